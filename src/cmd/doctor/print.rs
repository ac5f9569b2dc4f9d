//! The findings for people, and as JSON. Whatever others wrote stays on its line and steers no terminal.

use super::args::{DoctorArgs, Form};
use crate::cmd::demo::style::Style;
use crate::domain::cluster_findings::ClusterReport;
use crate::domain::finding::{Finding, Report, Status, so_many};
use crate::domain::verdict::Verdict;
use crate::wire::finding::{Output, encode_cluster, encode_output, on_one_line};
use std::io::{self, Write};

/// What JSON has beside the findings.
pub fn output<'a>(args: &'a DoctorArgs, verdict: &'a Verdict) -> Output<'a> {
    Output { verdict, runbooks: args.runbooks.as_deref().unwrap_or_default() }
}

/// Prints the report of one node to standard output.
pub fn node(args: &DoctorArgs, report: &Report, verdict: &Verdict) -> io::Result<()> {
    print(args, || encode_output(report, &output(args, verdict)), || text(report, Style::of_stdout(), args))
}

/// Prints a cluster's report to standard output.
pub fn cluster(args: &DoctorArgs, report: &ClusterReport, verdict: &Verdict) -> io::Result<()> {
    print(args, || encode_cluster(report, &output(args, verdict)), || cluster_text(report, Style::of_stdout(), args))
}

/// Prints that there is no report, for programs; people are told on standard error.
pub fn nothing(args: &DoctorArgs, verdict: &Verdict) -> io::Result<()> {
    print(args, || encode_output(&Report::default(), &output(args, verdict)), String::new)
}

fn print(args: &DoctorArgs, json: impl FnOnce() -> Vec<u8>, text: impl FnOnce() -> String) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.output {
        Form::Json => {
            out.write_all(&json())?;
            out.write_all(b"\n")?;
        }
        Form::Text => out.write_all(text().as_bytes())?,
    }
    out.flush()
}

/// A cluster's report as lines: what is wrong on each node, and all that is said of the cluster.
pub fn cluster_text(report: &ClusterReport, style: Style, args: &DoctorArgs) -> String {
    let mut lines = format!("{}\n", style.bold("the cluster"));
    report.findings.iter().for_each(|finding| push_finding(&mut lines, finding, style, args));
    let (wrong, fine): (Vec<&Report>, Vec<&Report>) =
        report.nodes.iter().partition(|node| args.verbose || node.worst().is_finding());
    for node in wrong {
        lines.push_str(&format!("\n{}\n", title(node, style)));
        let shown = node.findings.iter().filter(|finding| args.verbose || finding.status.is_finding());
        shown.for_each(|finding| push_finding(&mut lines, finding, style, args));
    }
    if !fine.is_empty() {
        lines.push_str(&format!("\nnothing is wrong on {}\n", so_many(fine.len(), "node")));
    }
    lines.push_str(&format!("\n{}\n", count(report.all())));
    lines
}

fn title(report: &Report, style: Style) -> String {
    let node = match report.node.as_str() {
        "" => "this node".to_owned(),
        node => format!("node {}", on_one_line(node)),
    };
    let agent = match report.version.as_str() {
        "" => "no agent answers".to_owned(),
        version => format!("agent {}", on_one_line(version)),
    };
    format!("{}, {agent}", style.bold(&node))
}

/// A node's report as lines.
pub fn text(report: &Report, style: Style, args: &DoctorArgs) -> String {
    let mut lines = format!("{}\n", title(report, style));
    for finding in &report.findings {
        push_finding(&mut lines, finding, style, args);
    }
    lines.push_str(&format!("{}\n", count(&report.findings)));
    lines
}

/// One finding: a line, and below it what was seen and what to do.
pub fn push_finding(lines: &mut String, finding: &Finding, style: Style, args: &DoctorArgs) {
    const WIDEST: usize = 20;
    let word = match finding.status {
        Status::Ok => style.green("ok     "),
        Status::Unknown => style.dim("unknown"),
        Status::Warning => style.bold("WARNING"),
        Status::Problem => style.red("PROBLEM"),
    };
    let (check, what) = (on_one_line(&finding.check), on_one_line(&finding.what));
    lines.push_str(&format!("{word}  {check:WIDEST$}  {what}\n"));
    let mut below = |text: &str| lines.push_str(&format!("{:1$}{text}\n", "", WIDEST + 11));
    if finding.status != Status::Ok || args.verbose {
        finding.evidence.iter().for_each(|line| below(&style.dim(&on_one_line(line))));
    }
    if !finding.next.is_empty() {
        below(&format!("next: {}", on_one_line(&finding.next)));
    }
    if !finding.runbook.is_empty() {
        let name = on_one_line(&finding.runbook);
        below(&match &args.runbooks {
            None => format!("runbook: istio-cni-otel runbook {name}"),
            Some(url) => format!("runbook: {}/{name}.md", url.trim_end_matches('/')),
        });
    }
}

/// How many there are of each status.
pub fn count<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
    let mut counts = [0; Status::ALL.len()];
    for finding in findings {
        for (count, status) in counts.iter_mut().zip(Status::ALL) {
            *count += usize::from(finding.status == status);
        }
    }
    let [unknown, ok, warnings, problems] = counts;
    let (problems, warnings) = (so_many(problems, "problem"), so_many(warnings, "warning"));
    format!("{problems}, {warnings}, {unknown} unknown, {ok} ok")
}
