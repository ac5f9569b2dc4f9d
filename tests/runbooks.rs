//! The runbooks name what there is: metrics, attributes, events and spans of the registry, settings of the
//! configuration, pages beside them; and the program prints them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/registry.rs"]
mod registry;

use istio_cni_otel::domain::runbook::Runbook;
use registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/runbooks")
}

/// What stands between backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|char: char| !(char.is_ascii_alphanumeric() || "_.".contains(char))).filter(|word| !word.is_empty())
}

/// All that the registry has a name for, by its kind and name.
struct Names {
    /// Metrics with their labels, and the values that a label may have where they are counted up.
    metrics: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    keys: BTreeSet<String>,
    spans: BTreeSet<String>,
}

impl Names {
    fn read() -> Names {
        let registry = Registry::read();
        let metrics = registry.groups.values().filter_map(|group| {
            let values = |key| registry.attributes.get(key).map(|defined| defined.members.clone()).unwrap_or_default();
            let labels = group.refs.keys().map(|key| (key.replace('.', "_"), values(key)));
            Some((group.fields.get("metric_name")?.clone(), labels.collect()))
        });
        let metrics = metrics.collect();
        let spans = registry.groups.keys().filter_map(|id| Some(id.strip_prefix("span.")?.to_owned())).collect();
        let mut keys: BTreeSet<String> =
            registry.groups.values().filter_map(|group| group.fields.get("name").cloned()).collect();
        keys.extend(registry.attributes.into_keys());
        Names { metrics, keys, spans }
    }

    /// What is wrong with a piece of code in a runbook.
    fn wrong(&self, code: &str, settings: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for word in words(code) {
            let key = word.trim_start_matches("span.");
            let is_setting = word.contains('_') && word.chars().all(|it| it.is_ascii_uppercase() || it == '_');
            let known = match word {
                _ if word.starts_with("istio_cni_") => self.metric(word).is_some(),
                _ if key.starts_with("istio_cni.") => self.keys.contains(key),
                _ if is_setting => settings.contains(word),
                _ => true,
            };
            if !known {
                wrong.push(word.to_owned());
            }
        }
        let named = code.split("name = \"").skip(1).filter_map(|rest| rest.split('"').next());
        wrong.extend(named.filter(|name| !self.spans.contains(*name)).map(str::to_owned));
        wrong.extend(self.wrong_labels(code));
        wrong
    }

    fn metric(&self, word: &str) -> Option<&BTreeMap<String, BTreeSet<String>>> {
        let of_histogram = ["_count", "_sum", "_bucket"].iter().find_map(|end| word.strip_suffix(end));
        self.metrics.get(word).or_else(|| self.metrics.get(of_histogram?))
    }

    /// Labels, and values of labels, that the metric of a PromQL expression does not have.
    fn wrong_labels(&self, code: &str) -> Vec<String> {
        let Some(labels) = words(code).find_map(|word| self.metric(word)) else { return Vec::new() };
        let inside = |open: &str, close: char| {
            let rest = code.split_once(open).map_or("", |(_, rest)| rest);
            rest.split(close).next().unwrap_or_default().split(',').map(str::trim).filter(|it| !it.is_empty())
        };
        let unknown = inside("by (", ')').filter(|label| !labels.contains_key(*label));
        let pairs = inside("{", '}').filter_map(|pair| pair.split_once('='));
        let other = pairs.filter(|(label, value)| {
            let value = value.trim_matches(['"', '~']);
            labels.get(label.trim_end_matches('!')).is_none_or(|all| !all.is_empty() && !all.contains(value))
        });
        unknown.map(str::to_owned).chain(other.map(|(label, value)| format!("{label}={value}"))).collect()
    }
}

#[test]
fn every_name_in_a_runbook_is_one_that_there_is() {
    let settings = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFIGURATION.md")).unwrap();
    let names = Names::read();
    let mut wrong = Vec::new();
    for Runbook { name, text } in Runbook::ALL {
        let found = code(text).into_iter().flat_map(|code| names.wrong(code, &settings));
        wrong.extend(found.map(|word| format!("{name}: {word}")));
    }
    assert!(wrong.is_empty(), "runbooks name what there is not: {wrong:#?}");
    for (code, wrong) in [
        ("sum(istio_cni_pots)", "istio_cni_pots"),
        ("{ span.istio_cni.outcom = 1 }", "span.istio_cni.outcom"),
        ("{ name = \"install.all\" }", "install.all"),
        ("REPAIR_ALL=true", "REPAIR_ALL"),
        ("sum by (code, no) (rate(istio_cni_api_requests_total[5m]))", "no"),
        ("istio_cni_pods{state=\"bad\"}", "state=\"bad\""),
        ("istio_cni_pods{is!=\"broken\"}", "is!=\"broken\""),
    ] {
        assert_eq!(names.wrong(code, &settings), [wrong]);
    }
}

#[test]
fn every_link_of_a_runbook_leads_somewhere() {
    for Runbook { name, text } in Runbook::ALL {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let there = std::fs::read_to_string(directory().join(file));
            let there = there.unwrap_or_else(|error| panic!("{name} links to {link}: {error}"));
            let mut anchors = there.lines().filter(|line| line.starts_with('#')).map(|line| {
                let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                title.replace(|char: char| !(char.is_alphanumeric() || char == '-'), "")
            });
            assert!(heading.is_empty() || anchors.any(|anchor| anchor == heading), "{name} links to {link}");
        }
    }
}

#[test]
fn every_file_is_in_the_program() {
    let files = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> = files.map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    let known: BTreeSet<String> = Runbook::ALL.iter().map(|runbook| runbook.name.to_owned()).collect();
    assert_eq!(files, known);
}

fn runbook(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_istio-cni-otel")).arg("runbook").args(arguments).output().unwrap()
}

#[test]
fn the_program_lists_and_prints_them() {
    let list = String::from_utf8(runbook(&[]).stdout).unwrap();
    assert_eq!(list.lines().count(), Runbook::ALL.len());
    assert!(list.lines().any(|line| line.starts_with("agent-not-ready ") && line.ends_with("The agent is not ready")));
    let printed = runbook(&["agent-not-ready"]);
    assert_eq!(printed.stdout, std::fs::read(directory().join("agent-not-ready.md")).unwrap());
}

#[test]
fn a_name_that_there_is_not_says_how_to_find_the_others() {
    let refused = runbook(&["agent-not-redy"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        said,
        "istio-cni-otel: there is no runbook \"agent-not-redy\": istio-cni-otel runbook lists their names\n"
    );
}
