//! Recorded histories of pods, played to the real agent by a stand-in for the API server: a collector gets the trees that
//! `startup_golden.rs` shows.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "startup_golden/history.rs"]
mod history;
#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use history::History;
use istio_cni_otel::domain::startup::Outcome;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use otlp::{Speaks, hex};
use support::eventually;
use told::Told;
use world::World;

/// Its runs are told as validations, with what these say of a failure.
const VALIDATION: &str = "pod.init istio-validation";

/// What is compared of a span: its name, id, times, and why it failed.
type Seen = (String, String, u64, u64, Option<String>);

#[test]
fn the_agent_tells_a_recorded_start_as_its_tree_says() {
    let mut histories = History::all();
    // How long a late one took is the agent's own time.
    histories.retain(|history| !history.versions.is_empty() && history.startup().outcome != Outcome::Late);
    assert!(histories.len() >= 10, "{}", histories.len());
    let mut world = World::new(Speaks::Grpc, &[]);
    let mut agent = world.launch_agent(&[("AUDIT_INTERVAL", "0"), ("STARTUP_TRACES", "meshed")]);
    agent.wait_for("ms after the start");
    world.agent = Some(agent);
    for history in &histories {
        history.said["events"].as_array().unwrap().iter().for_each(|event| world.api.put(event));
        history.versions.iter().for_each(|pod| world.api.put(pod));
    }
    let remembered = world.node.path("startups");
    eventually("all in the file", || {
        let text = std::fs::read_to_string(&remembered).ok()?;
        (text.matches(" told").count() == histories.len()).then_some(())
    });
    let told = world.told();
    for history in &histories {
        assert_eq!(spans(&told, history), wanted(history), "{}", history.name);
    }
}

fn wanted(history: &History) -> Vec<Seen> {
    let why = |name: &str, text: String| if name == VALIDATION { String::new() } else { text };
    let spans = history.startup().spans.into_iter().map(|span| {
        let name = span.name();
        let failure = span.failure.as_ref().map(|(_, text)| why(&name, text.clone()));
        (name, span.id.to_hex(), span.start.ns, span.end.ns, failure)
    });
    sorted(spans.collect())
}

fn spans(told: &Told, history: &History) -> Vec<Seen> {
    let trace = history.said["pod"]["metadata"]["uid"].as_str().unwrap().replace('-', "");
    let spans = told.spans.iter().map(|(_, span)| span).filter(|span| hex(&span.trace_id) == trace);
    let root = spans.clone().find(|span| span.name == "pod.startup").unwrap_or_else(|| panic!("{}", history.name));
    let spans = spans.filter(|span| span.name.starts_with("pod.")).map(|span| {
        let is_below = span.parent_span_id == root.span_id || span.span_id == root.span_id;
        assert!(is_below, "{}: {}", history.name, span.name);
        let status = span.status.clone().unwrap_or_default();
        let failure = (status.code() == StatusCode::Error).then_some(status.message);
        let failure = failure.map(|text| if span.name == VALIDATION { String::new() } else { text });
        (span.name.clone(), hex(&span.span_id), span.start_time_unix_nano, span.end_time_unix_nano, failure)
    });
    sorted(spans.collect())
}

fn sorted(mut spans: Vec<Seen>) -> Vec<Seen> {
    spans.sort();
    spans
}
