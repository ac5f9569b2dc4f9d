//! A start as spans and log records.

use super::schedule::Named;
use crate::domain::identity::TraceId;
use crate::domain::pod::{PodFacts, PodRef};
use crate::domain::startup::{Note, Outcome, Part, Span, Startup, startup};
use crate::telemetry::event::{self, EventName, Level};
use crate::telemetry::keys;
use crate::telemetry::past::{Past, Told};
use crate::telemetry::story::{Batch, attribute};
use opentelemetry_proto::tonic::common::v1::KeyValue;

/// The start as telemetry, without the runs of the validator: those are told by themselves.
pub fn batch(pod: &PodFacts, start: &Startup, events_known: bool, validator: &str, now_ns: u64) -> Batch {
    let mut past = Past::of_pod(&pod.reference());
    let root = past.trace().root_span();
    for span in &start.spans {
        let is_root = span.part == Part::Startup;
        if span.part == Part::Init && span.container.as_deref() == Some(validator) && !span.unfinished {
            continue;
        }
        let failure = span.failure.as_ref().map(|(error_type, message)| (*error_type, message.as_str()));
        let name = span.name();
        let (start_ns, end_ns) = (span.start.ns, span.end.ns);
        let parent = (!is_root).then_some(root);
        let mut attributes = about(span);
        if is_root {
            attributes.extend(of_root(start, events_known));
        }
        past.span(&Told { name: &name, id: span.id, parent, start_ns, end_ns, failure }, attributes);
    }
    for note in &start.notes {
        past.log((note.at.ns, now_ns), (level(note), event::POD_EVENT), &note.message, note.span, said(note));
    }
    let (level, name, message) = conclusion(pod, start);
    let over_ns = start.spans.first().map_or(now_ns, |root| root.end.ns);
    let mut attributes = vec![attribute(keys::STARTUP_OUTCOME, start.outcome.name())];
    let error_type = start.spans.first().and_then(|root| root.failure.as_ref()).map(|(error_type, _)| *error_type);
    attributes.extend(error_type.map(|it| attribute(keys::ERROR_TYPE, it.as_str())));
    past.log((over_ns, now_ns), (level, name), &message, root, attributes);
    past.into_batch()
}

/// What came of a pod whose start was told as late, and when, as far as anybody says; else when it was seen.
pub fn after_all(pod: &PodFacts, outcome: Outcome, seen_ns: u64, now_ns: u64) -> Batch {
    let mut past = Past::of_pod(&pod.reference());
    let who = format!("pod {}/{}", pod.namespace, pod.name);
    let start = startup(pod, &[], outcome, seen_ns);
    let first = start.spans.first();
    let over_ns = first.map_or(seen_ns, |root| root.end.ns);
    let took =
        first.map(|root| format!(", {} s after its start", root.end.ns.saturating_sub(root.start.ns) / 1_000_000_000));
    let took = took.unwrap_or_default();
    let why = first.and_then(|root| root.failure.as_ref()).map(|(_, why)| format!(": {why}")).unwrap_or_default();
    let (level, message) = match outcome {
        Outcome::Ready => (Level::Info, format!("{who}, which was late, is ready after all{took}")),
        Outcome::Completed => (Level::Info, format!("{who}, which was late, has done its work after all{took}")),
        Outcome::Failed => (Level::Warn, format!("{who}, which was late, has failed{took}{why}")),
        Outcome::Deleted | Outcome::Late => (Level::Info, format!("{who}, which was late, did not start{took}{why}")),
    };
    let attributes = vec![attribute(keys::STARTUP_OUTCOME, outcome.name())];
    let root = TraceId::of_pod(&pod.uid).root_span();
    past.log((over_ns, now_ns), (level, event::POD_STARTED_LATE), &message, root, attributes);
    past.into_batch()
}

/// A pod that was starting when the agent before ended, and is gone now: what came of it nobody saw.
pub fn vanished(pod: &Named, late: bool, now_ns: u64) -> Batch {
    let Named { namespace, name, uid } = pod;
    let mut past = Past::of_pod(&PodRef { namespace: namespace.clone(), name: name.clone(), uid: Some(uid.clone()) });
    let was = if late { "was late" } else { "was starting" };
    let message =
        format!("pod {namespace}/{name}, which {was} when the agent ended, is gone; what came of it nobody saw");
    let root = TraceId::of_pod(uid).root_span();
    past.log((now_ns, now_ns), (Level::Info, event::POD_START_UNSEEN), &message, root, Vec::new());
    past.into_batch()
}

fn about(span: &Span) -> Vec<KeyValue> {
    let details = &span.details;
    let mut attributes = vec![
        attribute(keys::TIME_PRECISION, span.precision().name()),
        attribute(keys::TIME_START_SOURCE, span.start.source.name()),
        attribute(keys::TIME_END_SOURCE, span.end.source.name()),
    ];
    attributes.extend(span.unfinished.then(|| attribute(keys::STARTUP_UNFINISHED, true)));
    attributes.extend(span.container.as_deref().map(|name| attribute(keys::CONTAINER_NAME, name)));
    attributes.extend(details.restarts.map(|count| attribute(keys::CONTAINER_RESTARTS, u64::from(count))));
    attributes.extend(details.exit_code.map(|code| attribute(keys::EXIT_CODE, i64::from(code))));
    attributes.extend(details.container_id.as_deref().map(|id| attribute(keys::CONTAINER_ID, id)));
    attributes.extend(details.sidecar.then(|| attribute(keys::CONTAINER_SIDECAR, true)));
    attributes.extend(details.image.as_deref().map(|image| attribute(keys::IMAGE_NAME, image)));
    attributes.extend(details.attempts.map(|count| attribute(keys::STARTUP_ATTEMPTS, count)));
    attributes.extend(details.pull_ms.map(|took| attribute(keys::IMAGE_PULL_MS, took)));
    attributes
}

fn of_root(start: &Startup, events_known: bool) -> Vec<KeyValue> {
    let events = if events_known { "known" } else { "unknown" };
    let mut attributes =
        vec![attribute(keys::STARTUP_OUTCOME, start.outcome.name()), attribute(keys::STARTUP_EVENTS, events)];
    attributes.extend(start.clock_offset_ms.map(|offset| attribute(keys::STARTUP_CLOCK_OFFSET_MS, offset)));
    attributes
}

fn level(note: &Note) -> Level {
    if note.warning { Level::Warn } else { Level::Info }
}

fn said(note: &Note) -> Vec<KeyValue> {
    vec![attribute(keys::POD_EVENT_REASON, note.reason.as_str()), attribute(keys::POD_EVENT_COUNT, note.count)]
}

fn conclusion(pod: &PodFacts, start: &Startup) -> (Level, EventName, String) {
    let who = format!("pod {}/{}", pod.namespace, pod.name);
    let root = start.spans.first();
    let took = root.filter(|_| start.clock_offset_ms.is_none()).map(|root| root.end.ns.saturating_sub(root.start.ns));
    let took = took.map(|ns| format!(" after {} s", ns / 1_000_000_000)).unwrap_or_default();
    let why = root.and_then(|root| root.failure.as_ref()).map(|(_, why)| why.as_str());
    let why = why.unwrap_or("nobody says when or why");
    match start.outcome {
        Outcome::Ready => (Level::Info, event::POD_STARTED, format!("{who} is ready{took}")),
        Outcome::Completed => (Level::Info, event::POD_STARTED, format!("{who} has done its work{took}")),
        Outcome::Deleted => (Level::Info, event::POD_NOT_STARTED, format!("{who} did not start: {why}")),
        Outcome::Failed => (Level::Warn, event::POD_NOT_STARTED, format!("{who} did not start: {why}")),
        Outcome::Late => (Level::Warn, event::POD_NOT_STARTED, format!("{who} has not started: {why}")),
    }
}
