//! `doctor`'s report as JSON: what the agent answers, what `--output json` prints, and what is read back from an agent
//! of any version. What is read is bounded and on one line each, because it goes to terminals and pages.

use crate::domain::cluster_findings::ClusterReport;
use crate::domain::finding::{Finding, Report, Status, worst};
use crate::domain::unseen::misleads;
use crate::domain::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The version of the command's output.
const SCHEMA: u32 = 1;
/// The most bytes of a report that are read.
pub const LARGEST: usize = 1 << 20;
/// The most findings of a report, and lines of a finding, that are taken.
const MOST: usize = 256;
/// The longest text that is taken, in characters.
const LONGEST: usize = 2048;

/// Something is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("the report has {0} bytes, at most {LARGEST} are read")]
    TooLarge(usize),
    #[error("this is no report of doctor: {0}")]
    Json(#[source] serde_json::Error),
}

#[derive(Serialize, Deserialize)]
struct ReportJson<'a> {
    #[serde(default)]
    node: Cow<'a, str>,
    #[serde(default)]
    version: Cow<'a, str>,
    #[serde(default)]
    plugin_sha256: Cow<'a, str>,
    /// The worst of the findings.
    #[serde(default)]
    status: Cow<'a, str>,
    findings: Vec<FindingJson<'a>>,
}

/// A finding as JSON.
#[derive(Serialize, Deserialize)]
struct FindingJson<'a> {
    check: Cow<'a, str>,
    status: Cow<'a, str>,
    what: Cow<'a, str>,
    #[serde(default)]
    evidence: Cow<'a, [String]>,
    #[serde(default)]
    next: Cow<'a, str>,
    #[serde(default)]
    runbook: Cow<'a, str>,
}

/// A report as a JSON value.
fn report(report: &Report) -> ReportJson<'_> {
    ReportJson {
        node: on_one_line(&report.node).into(),
        version: report.version.as_str().into(),
        plugin_sha256: report.plugin.as_str().into(),
        status: report.worst().name().into(),
        findings: report.findings.iter().map(finding).collect(),
    }
}

/// A finding as a JSON value.
fn finding(finding: &Finding) -> FindingJson<'_> {
    FindingJson {
        check: on_one_line(&finding.check).into(),
        status: finding.status.name().into(),
        what: on_one_line(&finding.what).into(),
        evidence: finding.evidence.iter().map(|line| on_one_line(line)).collect::<Vec<_>>().into(),
        next: on_one_line(&finding.next).into(),
        runbook: on_one_line(&finding.runbook).into(),
    }
}

/// What the command's output has beside a report.
pub struct Output<'a> {
    pub verdict: &'a Verdict,
    /// What stands before a runbook's name.
    pub runbooks: &'a str,
}

/// The command's output. Keys are only ever added; another meaning of one would be another `schema_version`.
#[derive(Serialize)]
struct OutputJson<'a, T: Serialize> {
    schema_version: u32,
    exit: ExitJson<'a>,
    runbooks: &'a str,
    #[serde(flatten)]
    report: T,
}

#[derive(Serialize)]
struct ExitJson<'a> {
    status: u8,
    meaning: &'a str,
    /// Why it could not be looked; empty where it could.
    reason: &'a str,
}

#[derive(Serialize)]
struct ClusterJson<'a> {
    status: &'static str,
    not_asked: usize,
    findings: Vec<FindingJson<'a>>,
    nodes: Vec<ReportJson<'a>>,
}

fn output<T: Serialize>(report: T, Output { verdict, runbooks }: &Output<'_>) -> Vec<u8> {
    let reason = if let Verdict::NotSeen(reason) = verdict { reason } else { "" };
    let exit = ExitJson { status: verdict.status(), meaning: verdict.meaning(), reason };
    // Texts, numbers and lists of texts cannot fail to be written.
    serde_json::to_vec(&OutputJson { schema_version: SCHEMA, exit, runbooks, report }).unwrap_or_default()
}

/// Of what could not be looked at nothing is said to be well.
fn status(worst: Status, with: &Output<'_>) -> &'static str {
    match with.verdict {
        Verdict::NotSeen(_) => Status::Unknown.name(),
        Verdict::Fine | Verdict::Found => worst.name(),
    }
}

/// Writes the command's output of a cluster.
pub fn encode_cluster(told: &ClusterReport, with: &Output<'_>) -> Vec<u8> {
    let cluster = ClusterJson {
        status: status(worst(told.all()), with),
        not_asked: told.not_asked,
        findings: told.findings.iter().map(finding).collect(),
        nodes: told.nodes.iter().map(report).collect(),
    };
    output(cluster, with)
}

/// Writes the command's output of a node, or of a pod.
pub fn encode_output(told: &Report, with: &Output<'_>) -> Vec<u8> {
    output(ReportJson { status: status(told.worst(), with).into(), ..report(told) }, with)
}

/// Writes a report.
pub fn encode(told: &Report) -> Vec<u8> {
    // Texts and lists of texts cannot fail to be written.
    serde_json::to_vec(&report(told)).unwrap_or_default()
}

/// Reads a report; a status that this version does not know is unknown.
pub fn decode(bytes: &[u8]) -> Result<Report, ReportError> {
    if bytes.len() > LARGEST {
        return Err(ReportError::TooLarge(bytes.len()));
    }
    let read: ReportJson<'_> = serde_json::from_slice(bytes).map_err(ReportError::Json)?;
    let finding = |found: &FindingJson<'_>| Finding {
        check: Cow::Owned(on_one_line(&found.check)),
        status: Status::ALL.into_iter().find(|status| status.name() == found.status).unwrap_or(Status::Unknown),
        what: on_one_line(&found.what),
        evidence: found.evidence.iter().take(MOST).map(|line| on_one_line(line)).collect(),
        next: on_one_line(&found.next),
        runbook: Cow::Owned(on_one_line(&found.runbook)),
    };
    Ok(Report {
        node: on_one_line(&read.node),
        version: on_one_line(&read.version),
        plugin: on_one_line(&read.plugin_sha256),
        findings: read.findings.iter().take(MOST).map(finding).collect(),
    })
}

/// A text that cannot start a line of its own, nor steer a terminal; cut where it is very long.
pub fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars().take(LONGEST) {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if misleads(c) => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Check;

    #[test]
    fn what_is_written_is_read_back() {
        let told = Report {
            node: "node-a".into(),
            version: "0.1.0".into(),
            plugin: "ab".repeat(32),
            findings: vec![
                Finding::problem(Check::PluginBinary, "it is gone", "wait").with("/opt/cni/bin/istio-cni"),
                Finding::ok(Check::Backend, "nftables"),
            ],
        };
        assert_eq!(decode(&encode(&told)).unwrap(), told);
    }

    #[test]
    fn a_report_of_another_version_is_read_as_far_as_it_is_understood() {
        let text = br#"{"findings":[{"check":"agent.mood","status":"terrible","what":"w","since":3}],"more":{}}"#;
        let read = decode(text).unwrap();
        assert_eq!((read.findings[0].check.as_ref(), read.findings[0].status), ("agent.mood", Status::Unknown));
    }

    #[test]
    fn the_commands_output_has_the_keys_that_are_documented() {
        let told =
            Report { findings: vec![Finding::problem(Check::Backend, "it is gone", "wait")], ..Report::default() };
        let with = Output { verdict: &Verdict::Found, runbooks: "runbooks/" };
        let keys = |json: &serde_json::Value| json.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let one: serde_json::Value = serde_json::from_slice(&encode_output(&told, &with)).unwrap();
        let report = ["exit", "findings", "node", "plugin_sha256", "runbooks", "schema_version", "status", "version"];
        assert_eq!(keys(&one), report);
        assert_eq!(one["exit"], serde_json::json!({"status": 1, "meaning": "there are findings", "reason": ""}));
        let finding = ["check", "evidence", "next", "runbook", "status", "what"];
        assert_eq!(keys(&one["findings"][0]), finding);
        assert_eq!(one["findings"][0]["runbook"], "backend");
        let cluster = ClusterReport { nodes: vec![told], ..ClusterReport::default() };
        let all: serde_json::Value = serde_json::from_slice(&encode_cluster(&cluster, &with)).unwrap();
        let cluster = ["exit", "findings", "nodes", "not_asked", "runbooks", "schema_version", "status"];
        assert_eq!(keys(&all), cluster);
        assert_eq!(keys(&all["nodes"][0]), ["findings", "node", "plugin_sha256", "status", "version"]);
        let documented = include_str!("../../CONFIGURATION.md");
        for key in report.iter().chain(&finding).chain(&cluster).chain(&["exit.meaning", "exit.reason"]) {
            assert!(documented.contains(&format!("`{key}`")), "{key} is not in CONFIGURATION.md");
        }
        let unseen = Verdict::NotSeen("who knows".into());
        let nothing = encode_output(&Report::default(), &Output { verdict: &unseen, runbooks: "" });
        let nothing: serde_json::Value = serde_json::from_slice(&nothing).unwrap();
        assert_eq!((&nothing["status"], &nothing["exit"]["status"]), (&"unknown".into(), &2.into()));
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        for bad in ["", "[]", "{}", "{\"findings\":1}", "<html>"] {
            assert!(matches!(decode(bad.as_bytes()), Err(ReportError::Json(_))), "{bad}");
        }
        assert!(matches!(decode(&vec![b' '; LARGEST + 1]), Err(ReportError::TooLarge(_))));
    }

    #[test]
    fn hostile_texts_cannot_steer_a_terminal() {
        assert_eq!(on_one_line("a\u{1b}[2Jb\nc\u{202e}d\u{7}"), "a\\u{1b}[2Jb c\\u{202e}d\\u{7}");
        assert_eq!(on_one_line(&"é".repeat(3000)).chars().count(), LONGEST + 1);
    }
}
