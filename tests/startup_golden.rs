//! Pods' histories, as the API server tells them, and the whole trace trees that they give.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

use istio_cni_otel::domain::pod::PodFacts;
use istio_cni_otel::domain::startup::{Moment, Note, Outcome, PodEvent, Precision, Span, Startup, startup};
use istio_cni_otel::k8s::pod::Pod;
use istio_cni_otel::k8s::pod_events::Event;
use serde::Deserialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// When it is told: 2026-11-22T10:10:00.5Z.
const NOW: u64 = 1_795_342_200_500_000_000;

/// A history: the pod, the Events on it, and what its start comes to if the pod does not say.
#[derive(Deserialize)]
struct History {
    pod: Pod,
    events: Vec<Event>,
    outcome: Option<String>,
}

impl History {
    fn read(path: &Path) -> History {
        let text = std::fs::read_to_string(path).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn parts(self) -> (PodFacts, Vec<PodEvent>, Outcome) {
        let pod = self.pod.into_facts();
        let given = self.outcome.map(|name| Outcome::from_name(&name).unwrap());
        let outcome = given.or_else(|| Outcome::of(&pod)).unwrap();
        (pod, self.events.into_iter().map(PodEvent::from).collect(), outcome)
    }

    fn startup(self) -> Startup {
        let (pod, events, outcome) = self.parts();
        startup(&pod, &events, outcome, NOW)
    }
}

fn histories() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/startup");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 15, "{paths:?}");
    paths
}

#[test]
fn every_history_gives_its_tree() {
    for path in histories() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        insta::assert_snapshot!(name, shown(&History::read(&path).startup()));
    }
}

#[test]
fn what_is_told_twice_has_the_same_ids_and_no_two_parts_have_one() {
    for path in histories() {
        let ids = |it: &Startup| it.spans.iter().map(|span| span.id.to_hex()).collect::<Vec<_>>();
        let (once, again) = (History::read(&path).startup(), History::read(&path).startup());
        assert_eq!(ids(&once), ids(&again));
        let mut unique = ids(&once);
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), once.spans.len(), "{}", path.display());
    }
}

/// Whatever is missing: no panic, no span that ends before it began, nothing that is not of this pod's
/// time, and one root or nothing.
#[test]
fn any_part_of_a_history_may_be_missing_and_any_time_may_be_another() {
    for path in histories() {
        let whole: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut places = Vec::new();
        leaves(&whole, String::new(), &mut places);
        for place in places {
            for instead in [serde_json::Value::Null, serde_json::json!("2026-11-22T09:59:58Z")] {
                let mut changed = whole.clone();
                let leaf = changed.pointer_mut(&place).unwrap();
                if !instead.is_null() && !leaf.as_str().is_some_and(|text| text.ends_with('Z')) {
                    continue;
                }
                *leaf = instead;
                // Null in a list, or for a whole object, is what no server sends.
                let Ok(history) = serde_json::from_value::<History>(changed) else { continue };
                let (pod, events, _) = history.parts_or(Outcome::Late);
                for outcome in Outcome::ALL {
                    holds(&startup(&pod, &events, outcome, NOW), &place);
                }
            }
        }
    }
}

impl History {
    fn parts_or(self, otherwise: Outcome) -> (PodFacts, Vec<PodEvent>, Outcome) {
        let pod = self.pod.into_facts();
        let outcome = Outcome::of(&pod).unwrap_or(otherwise);
        (pod, self.events.into_iter().map(PodEvent::from).collect(), outcome)
    }
}

fn leaves(value: &serde_json::Value, at: String, out: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => members.iter().for_each(|(key, inner)| {
            leaves(inner, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
        }),
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, inner)| leaves(inner, format!("{at}/{index}"), out));
        }
        _ => out.push(at),
    }
}

#[track_caller]
fn holds(startup: &Startup, without: &str) {
    let roots = startup.spans.iter().filter(|span| span.name() == "pod.startup").count();
    assert_eq!(roots, usize::from(!startup.spans.is_empty()), "{without}");
    assert!(startup.outcome.is_good() || startup.spans.first().is_none_or(|root| root.failure.is_some()), "{without}");
    for span in &startup.spans {
        assert!(span.start.ns > 0 && span.end.ns >= span.start.ns, "{without}: {span:?}");
        let sentence = span.failure.as_ref().map(|(_, text)| text.as_str()).unwrap_or_default();
        assert!(!sentence.contains(char::is_control) && sentence.len() < 2000, "{without}: {sentence}");
    }
    for note in &startup.notes {
        assert!(startup.spans.iter().any(|span| span.id == note.span), "{without}: {note:?}");
    }
}

/// One line for each span, with times from the begin of the first one on:
///
/// ```text
/// NAME BEGIN..END (WHERE FROM..WHERE FROM, PRECISION) DETAILS
///   ! ERROR TYPE: SENTENCE
///   - NOTE
/// ```
fn shown(startup: &Startup) -> String {
    let mut out = startup.outcome.name().to_owned();
    if let Some(offset) = startup.clock_offset_ms {
        let _ = write!(out, ", the node's clock is {offset} ms ahead");
    }
    out.push('\n');
    let zero = startup.spans.first().map(|root| root.start.ns).unwrap_or_default();
    for span in &startup.spans {
        let indent = if span.name() == "pod.startup" { "" } else { "  " };
        write_span(&mut out, span, zero, indent);
        for note in startup.notes.iter().filter(|note| note.span == span.id) {
            write_note(&mut out, note, zero, indent);
        }
    }
    out
}

fn write_span(out: &mut String, span: &Span, zero: u64, indent: &str) {
    let (from, to) = (at(span.start, zero), at(span.end, zero));
    let sources = format!("{}..{}", span.start.source.name(), span.end.source.name());
    let open = if span.unfinished { " unfinished" } else { "" };
    let _ = write!(out, "{indent}{} {from}..{to} ({sources}, {}){open}", span.name(), span.precision().name());
    let details = &span.details;
    for (key, value) in [
        ("restarts", details.restarts.map(|it| it.to_string())),
        ("exit", details.exit_code.map(|it| it.to_string())),
        ("container", details.container_id.clone()),
        ("sidecar", details.sidecar.then(|| "true".to_owned())),
        ("image", details.image.clone()),
        ("attempts", details.attempts.map(|it| it.to_string())),
        ("pull_ms", details.pull_ms.map(|it| it.to_string())),
    ] {
        if let Some(value) = value {
            let _ = write!(out, " {key}={value}");
        }
    }
    out.push('\n');
    if let Some((error_type, sentence)) = &span.failure {
        let _ = writeln!(out, "{indent}  ! {}: {sentence}", error_type.as_str());
    }
}

fn write_note(out: &mut String, note: &Note, zero: u64, indent: &str) {
    let _ = writeln!(out, "{indent}  - {} {} ({}x): {}", at(note.at, zero), note.reason, note.count, note.message);
}

fn at(moment: Moment, zero: u64) -> String {
    let ns = i128::from(moment.ns) - i128::from(zero);
    match moment.precision {
        Precision::Second => format!("{}", ns / 1_000_000_000),
        Precision::Microsecond | Precision::Nanosecond => format!("{:.6}", ns as f64 / 1e9),
    }
}
