//! How the pod started, or starts: from the spans in which that was told, and from its object as far as no
//! span tells it.

use super::moments::{at, entry};
use super::spans::{Told, attribute, failure, flag, number, text};
use super::subject::Subject;
use crate::domain::pod::PodFacts;
use crate::domain::startup::{self, Outcome, Part, startup, was_ready};
use crate::domain::step::ErrorType;
use crate::telemetry::event;
use crate::telemetry::keys;
use crate::wire::explain::Entry;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;

/// What became ready after longer than this, while nobody told it, may have been ready before.
const LONG_NS: u64 = 600_000_000_000;

/// What there is to say of the start in the summary: nothing of one that went well in time, or goes well.
pub fn came_to(subject: &Subject, told: &Told, now_ns: u64) -> Option<String> {
    let after_all = told.logs.iter().rfind(|log| log.event_name == event::POD_STARTED_LATE.as_str());
    if let Some(log) = after_all {
        let outcome = outcome_in(log);
        let when = at(log.time_unix_nano);
        return Some(match outcome {
            Some(Outcome::Ready) => format!("its start was late, and it was ready by {when}"),
            Some(Outcome::Completed) => format!("its start was late, and it had done its work by {when}"),
            Some(Outcome::Failed) => format!("its start was late, and it had failed by {when}"),
            _ => format!("its start was late, and it was deleted before it was ready, by {when}"),
        });
    }
    let is_ready = subject.facts.as_ref().is_some_and(|facts| Outcome::of(facts).is_some_and(Outcome::is_good));
    match told_root(told) {
        Some(root) if is_ready && outcome_of(root) == Some(Outcome::Late) => None,
        Some(root) => {
            let now = subject.facts.as_ref().filter(|facts| Outcome::of(facts).is_none());
            // What was told of it may have changed since.
            let now = now.and_then(|facts| waits(facts, now_ns));
            now.or_else(|| failure(root).map(|(_, _, message)| message)).filter(|message| !message.is_empty())
        }
        None => waits(subject.facts.as_ref()?, now_ns),
    }
}

fn outcome_in(log: &LogRecord) -> Option<Outcome> {
    attribute(&log.attributes, keys::STARTUP_OUTCOME).and_then(|name| Outcome::from_name(&name))
}

/// Whether it says that a start went well in the end.
pub fn is_good(log: &LogRecord) -> bool {
    outcome_in(log).is_some_and(Outcome::is_good)
}

/// What a start that is under way waits for, if something is wrong with it.
fn waits(facts: &PodFacts, now_ns: u64) -> Option<String> {
    if Outcome::of(facts).is_some() || was_ready(facts) {
        return None;
    }
    let start = startup(facts, &[], Outcome::Late, now_ns);
    let (error, message) = start.spans.into_iter().next()?.failure?;
    // That it is not ready yet is nothing to speak of.
    (error != ErrorType::PodNotReady).then_some(message)
}

/// The start as it was told.
pub fn told_root(told: &Told) -> Option<&Span> {
    told.spans.iter().find(|span| Part::of_span(&span.name) == Some(Part::Startup))
}

fn outcome_of(root: &Span) -> Option<Outcome> {
    Outcome::from_name(&text(root, keys::STARTUP_OUTCOME))
}

/// Whether the object says more than was told: nothing was, or only that it was late.
fn is_open(told: &Told) -> bool {
    told_root(told).is_none_or(|root| outcome_of(root) == Some(Outcome::Late))
}

/// Whether a span was told that the object tells better.
pub fn is_outdated(span: &Span, entries: &[(u64, Entry)]) -> bool {
    flag(span, keys::STARTUP_UNFINISHED)
        && entries.iter().any(|(ns, entry)| (*ns, &entry.what) == (span.start_time_unix_nano, &span.name))
}

/// What the API server says of the start now, as far as no span tells it.
pub fn of_object(subject: &Subject, told: &Told, now_ns: u64) -> Vec<(u64, Entry)> {
    let Some(facts) = subject.facts.as_ref().filter(|_| is_open(told)) else { return Vec::new() };
    let outcome = Outcome::of(facts);
    // When one became ready that is not any more, nobody says.
    let unseen = outcome.is_none() && was_ready(facts);
    let start = startup(facts, &[], outcome.unwrap_or(Outcome::Late), now_ns);
    let is_told = |span: &startup::Span| {
        let same = |told: &&Span| told.name == span.name() && told.start_time_unix_nano == span.start.ns;
        let by_name =
            |told: &&Span| told.name == span.name() && span.part != Part::Container && span.part != Part::Init;
        told.spans.iter().filter(|told| same(told) || by_name(told)).any(|told| !flag(told, keys::STARTUP_UNFINISHED))
    };
    let is_left_out = |span: &startup::Span| is_told(span) || (unseen && of_what_was_ready(span));
    let spans = start.spans.iter().filter(|span| !is_left_out(span));
    spans.map(|span| (span.start.ns, of_span(span, outcome))).collect()
}

/// Whether it would be told as if it went on until now.
fn of_what_was_ready(span: &startup::Span) -> bool {
    span.unfinished || span.part == Part::Startup
}

fn of_span(span: &startup::Span, outcome: Option<Outcome>) -> Entry {
    let took_ns = span.end.ns.saturating_sub(span.start.ns);
    // That it is late is not known of a start that is under way.
    let under_way = span.unfinished || (outcome.is_none() && span.part == Part::Startup);
    let until_ready = matches!(span.part, Part::Startup | Part::Container) && outcome == Some(Outcome::Ready);
    let (word, text) = match &span.failure {
        Some((error, message)) if outcome.is_some() || span.part != Part::Startup => {
            ("failed", format!("{}: {message}", error.as_str()))
        }
        // That it is not ready yet is nothing to speak of; what is wrong is.
        Some((error, message)) if under_way && *error != ErrorType::PodNotReady => ("unfinished", message.clone()),
        _ if under_way => ("unfinished", String::new()),
        _ if until_ready && took_ns > LONG_NS => {
            let text = format!("ready since {}, perhaps not for the first time", at(span.end.ns));
            return entry(span.start.ns, None, &span.name(), "ok", &text);
        }
        _ => ("ok", String::new()),
    };
    entry(span.start.ns, Some(took_ns), &span.name(), word, &text)
}

/// That the clocks whose times stand beside each other differ, if the start shows it.
pub fn clocks(subject: &Subject, told: &Told, now_ns: u64) -> Option<String> {
    let offset_ms = match told_root(told) {
        Some(root) => number(root, keys::STARTUP_CLOCK_OFFSET_MS),
        None => {
            let facts = subject.facts.as_ref()?;
            startup(facts, &[], Outcome::of(facts).unwrap_or(Outcome::Late), now_ns).clock_offset_ms
        }
    };
    let offset_ms = offset_ms?;
    let side = if offset_ms > 0 { "ahead of" } else { "behind" };
    let seconds = offset_ms.unsigned_abs() as f64 / 1e3;
    Some(format!(
        "the clocks of the API server and the node differ: the node's is {seconds:.1} s {side} the API server's, so times of its conditions and of calls cannot be compared with when the pod was created"
    ))
}

/// What is to be known of a start that nobody told.
pub fn note(subject: &Subject, told: &Told) -> Option<String> {
    let unseen = |facts: &PodFacts| Outcome::of(facts).is_none() && was_ready(facts) && told_root(told).is_none();
    let note = "the pod was ready before and is not now; when it became ready first, nobody says";
    subject.facts.as_ref().filter(|facts| unseen(facts)).map(|_| note.to_owned())
}
