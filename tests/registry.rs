//! The telemetry registry and the code say the same, in both directions; and what a whole run
//! emits is what the registry says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
#[path = "support/registry.rs"]
mod registry;

use istio_cni_otel::domain::departure::Departure;
use istio_cni_otel::domain::install::{INSTALL, PassResult, Reason, UNINSTALL};
use istio_cni_otel::domain::pod_state::PodState;
use istio_cni_otel::domain::repair::{Mode, REPAIR, RepairResult};
use istio_cni_otel::domain::request::{Backend, Command};
use istio_cni_otel::domain::settings::SkipReason;
use istio_cni_otel::domain::startup::{self, Part, Precision, Source};
use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::domain::validation::AttemptError;
use istio_cni_otel::domain::validation_run::{RunResult, VALIDATE};
use istio_cni_otel::telemetry::agent_event::AgentEvent;
use istio_cni_otel::telemetry::event;
use istio_cni_otel::telemetry::keys::{self, Key};
use istio_cni_otel::telemetry::metrics::catalog::{self, Kind};
use istio_cni_otel::telemetry::metrics::{DropReason, Signal};
use istio_cni_otel::telemetry::otlp::endpoint::Protocol;
use istio_cni_otel::telemetry::outcome::{CallPath, Outcome};
use istio_cni_otel::telemetry::resource::SCHEMA_URL;
use otlp::{Collector, Speaks};
use registry::{Registry, yaml};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokio::process::Command as Process;

/// Fails with what is on one side only.
#[track_caller]
fn same(what: &str, registry: &BTreeSet<String>, code: &BTreeSet<String>) {
    let (only_registry, only_code): (Vec<_>, Vec<_>) =
        (registry.difference(code).collect(), code.difference(registry).collect());
    assert!(
        only_registry.is_empty() && only_code.is_empty(),
        "{what}: only in the registry {only_registry:?}, only in the code {only_code:?}"
    );
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_attribute_key_is_in_the_registry_and_the_other_way_round() {
    let registry = Registry::read();
    let declared = set(keys::ALL.iter().map(|key| key.as_str()));
    let defined: BTreeSet<String> = registry.attributes.keys().cloned().collect();
    let referenced: BTreeSet<String> = registry.groups.values().flat_map(|group| group.refs.keys().cloned()).collect();
    let all: BTreeSet<String> = defined.union(&referenced).cloned().collect();
    let with_baggage: BTreeSet<String> =
        declared.iter().cloned().chain([keys::LINK_BAGGAGE_PREFIX.trim_end_matches('.').to_owned()]).collect();
    same("attributes", &all, &with_baggage);
    // Those of links are part of no group: a group has no place for them.
    let unused: Vec<&String> =
        defined.difference(&referenced).filter(|key| !key.starts_with("istio_cni.link.")).collect();
    assert!(unused.is_empty(), "defined and on nothing: {unused:?}");
    let labels: BTreeSet<Key> = catalog::ALL.iter().flat_map(|metric| metric.labels).copied().collect();
    for key in referenced.difference(&defined) {
        let label = labels.iter().any(|label| label.as_str() == key);
        assert!(key.contains('.') || !label, "{key} must be defined: it is in nobody else's registry");
    }
}

#[test]
fn every_span_is_in_the_registry_and_the_other_way_round() {
    let spans = Registry::read().of("span").into_keys().collect::<BTreeSet<String>>();
    let code = Step::ALL.map(Step::name).into_iter().chain(Command::ALL.map(Command::span_name));
    same(
        "spans",
        &spans,
        &set(code.chain([INSTALL, UNINSTALL, VALIDATE, REPAIR]).chain(Part::ALL.map(Part::span_name))),
    );
}

#[test]
fn every_metric_is_in_the_registry_and_the_other_way_round() {
    let registry = Registry::read();
    let metrics = registry.of("metric");
    same("metrics", &metrics.keys().cloned().collect(), &set(catalog::ALL.iter().map(|metric| metric.name)));
    for metric in catalog::ALL {
        let group = metrics[metric.name];
        let instrument = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let expected = [("instrument", instrument), ("metric_name", metric.name), ("unit", metric.unit)];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(group.fields, expected.into(), "{}", metric.name);
        assert_eq!(group.brief, metric.help, "{}", metric.name);
        let refs: BTreeSet<String> = group.refs.keys().cloned().collect();
        same(metric.name, &refs, &set(metric.labels.iter().map(|key| key.as_str())));
    }
}

#[test]
fn every_log_event_is_in_the_registry_and_the_other_way_round() {
    let registry = Registry::read();
    let events = registry.of("event");
    let of_stories = event::ALL.iter().map(|name| name.as_str());
    let of_agent = AgentEvent::ALL.iter().map(|(name, _, _)| name.as_str());
    same("events", &events.keys().cloned().collect(), &set(of_stories.chain(of_agent)));
    for (name, _, attributes) in AgentEvent::ALL {
        let refs: BTreeSet<String> = events[name.as_str()].refs.keys().cloned().collect();
        same(name.as_str(), &refs, &set(attributes.iter().map(|key| key.as_str())));
    }
    for (name, group) in events {
        assert_eq!(group.fields["name"], name);
    }
}

#[test]
fn every_closed_list_has_the_same_members_in_the_registry() {
    let registry = Registry::read();
    let errors = || ErrorType::ALL.iter().map(|kind| kind.as_str());
    let skips = || SkipReason::ALL.into_iter().map(SkipReason::name);
    let drops = || DropReason::ALL.into_iter().map(DropReason::name);
    let results = PassResult::ALL.map(PassResult::name).into_iter().chain(RunResult::ALL.map(RunResult::name));
    let results = results.chain(RepairResult::ALL.map(RepairResult::name));
    let lists = [
        ("istio_cni.command", set(Command::ALL.map(Command::name))),
        ("istio_cni.outcome", set(Outcome::ALL.map(Outcome::name))),
        ("istio_cni.path", set(CallPath::ALL.map(CallPath::name))),
        ("istio_cni.step", set(Step::ALL.map(Step::name))),
        ("istio_cni.reason", set(skips().chain(errors()))),
        ("istio_cni.departure.reason", set(Departure::REASONS)),
        ("istio_cni.rules.backend", set([Backend::Nftables, Backend::Iptables].map(Backend::name))),
        ("istio_cni.telemetry.signal", set(Signal::ALL.map(Signal::name))),
        ("istio_cni.telemetry.reason", set(drops())),
        ("istio_cni.telemetry.protocol", set([Protocol::Grpc, Protocol::HttpProtobuf].map(Protocol::name))),
        ("command", set(Command::ALL.map(Command::name))),
        ("istio_cni.pod.state", set(PodState::ALL.map(PodState::name))),
        ("state", set(PodState::ALL.map(PodState::name))),
        ("istio_cni.netns.source", set(["recorded", "proc"])),
        (
            "outcome",
            set(Outcome::ALL.map(Outcome::name).into_iter().chain(startup::Outcome::ALL.map(startup::Outcome::name))),
        ),
        ("phase", set(Part::ALL.map(Part::phase))),
        ("istio_cni.startup.outcome", set(startup::Outcome::ALL.map(startup::Outcome::name))),
        ("istio_cni.time.precision", set(Precision::ALL.map(Precision::name))),
        ("istio_cni.time.start_source", set(Source::ALL.map(Source::name))),
        ("istio_cni.time.end_source", set(Source::ALL.map(Source::name))),
        ("path", set(CallPath::ALL.map(CallPath::name))),
        ("step", set(Step::ALL.map(Step::name))),
        ("signal", set(Signal::ALL.map(Signal::name))),
        ("istio_cni.install.reason", set(Reason::ALL.map(Reason::name))),
        ("istio_cni.install.result", set(PassResult::ALL.map(PassResult::name))),
        ("result", set(results)),
        ("istio_cni.repair.result", set(RepairResult::ALL.map(RepairResult::name))),
        ("istio_cni.repair.mode", set(Mode::ALL.map(Mode::name))),
        ("type", set(Mode::ALL.map(Mode::name))),
        ("istio_cni.validation.result", set(RunResult::ALL.map(RunResult::name))),
        ("istio_cni.validation.error", set(AttemptError::ALL.map(AttemptError::name))),
        ("reason", set(skips().chain(errors()).chain(drops()))),
    ];
    for (key, members) in lists {
        same(key, &registry.attributes[key].members, &members);
    }
    same("error.type", &registry.groups["istio_cni.span"].examples["error.type"], &set(errors()));
}

#[test]
fn the_registry_depends_on_opentelemetrys_own() {
    let manifest = yaml("manifest.yaml");
    let dependency = &manifest["dependencies"][0];
    assert_eq!(dependency["schema_url"], SCHEMA_URL);
    let version = SCHEMA_URL.rsplit('/').next().unwrap();
    let path = format!("https://github.com/open-telemetry/semantic-conventions@v{version}[model]");
    assert_eq!(dependency["registry_path"], path.as_str());
    let own = manifest["schema_url"].as_str().unwrap();
    assert!(own.ends_with(&format!("/{}", env!("CARGO_PKG_VERSION"))), "{own} is not of this version");
}

#[test]
fn whatever_is_declared_is_told_by_somebody() {
    let telemetry = root().join("src/telemetry");
    let read = |name: &str| production_part(&telemetry.join(name));
    let declarations = [read("agent_event.rs"), read("metrics/catalog.rs")].concat();
    let source = sources(&root().join("src"), &["keys.rs", "event.rs", "agent_event.rs", "catalog.rs"]);
    let mut unused = Vec::new();
    for name in constants(&read("keys.rs")) {
        let in_declaration = words(&declarations).any(|word| word == name);
        if !in_declaration && !words(&source).any(|word| word == format!("keys::{name}")) {
            unused.push(format!("keys::{name}"));
        }
    }
    for name in constants(&read("event.rs")) {
        if !words(&source).any(|word| word == format!("event::{name}")) {
            unused.push(format!("event::{name}"));
        }
    }
    let variants = variants(&read("agent_event.rs"));
    assert_eq!(variants.len(), AgentEvent::ALL.len());
    for name in variants {
        if !words(&source).any(|word| word == format!("AgentEvent::{name}")) {
            unused.push(format!("AgentEvent::{name}"));
        }
    }
    assert!(unused.is_empty(), "declared, and told by nobody: {unused:?}");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file without its tests.
fn production_part(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// All Rust files below a directory except those of these names.
fn sources(directory: &Path, except: &[&str]) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            text.push_str(&sources(&path, except));
        } else if name.ends_with(".rs") && !name.contains("test") && !except.contains(&name) {
            text.push_str(&production_part(&path));
        }
    }
    text
}

/// Names and paths.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').filter(|word| !word.is_empty())
}

/// The names in `NAME = "text";`.
fn constants(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.ends_with("\";")).filter_map(|line| line.trim().split_once(" = \""));
    let names: Vec<String> = lines.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(' ')).collect();
    assert!(names.len() > 3, "{names:?}");
    names
}

/// The names in `Name { fields }` at the beginning of a line of the declaration.
fn variants(text: &str) -> Vec<String> {
    let declared = text.split("\nagent_events! {").nth(1).unwrap();
    let lines = declared.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(" {"));
    lines.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())).collect()
}

/// The demo runs the real plugin against the real agent: enrolled, skipped, failed, repeated and
/// drifted, with metrics and logs.
#[tokio::test]
async fn what_a_whole_run_emits_is_what_the_registry_says() {
    let collector = Collector::start(Speaks::Http, None).await;
    let demo = Process::new(env!("CARGO_BIN_EXE_istio-cni-otel"))
        .args(["demo", "--otlp", &collector.url()])
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(
        demo.status.success(),
        "{}{}",
        String::from_utf8_lossy(&demo.stdout),
        String::from_utf8_lossy(&demo.stderr)
    );
    let (registry, received) = (Registry::read(), collector.received());
    let (spans, logs, metrics) = (otlp::spans(&received), otlp::logs(&received), otlp::metrics(&received));
    let mut wrong: BTreeSet<String> = spans.iter().flat_map(|span| registry.span(span)).collect();
    wrong.extend(logs.iter().flat_map(|log| registry.log(log)));
    wrong.extend(metrics.iter().flat_map(|metric| registry.metric(metric)));
    wrong.extend(received.iter().flat_map(|of| of.resources()).flat_map(|resource| registry.resource(&resource)));
    assert!(wrong.is_empty(), "{wrong:#?}");
    let told: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    for name in
        ["cni.add", "config.parse", "agent.call", "pod.lookup", "redirect.decide", "rules.apply", "rules.verify"]
    {
        assert!(told.contains(name), "no span {name} among {told:?}");
    }
    assert!(logs.len() > 3 && metrics.len() > 6, "{} log records, {} metrics", logs.len(), metrics.len());
}
