//! The timeline: what happened to the pod, by time; and what is to be known of those times.

use super::calls;
use super::spans::{Told, attribute, body, failure, text, took};
use super::subject::Subject;
use crate::domain::startup::{Outcome, Part, startup, was_ready};
use crate::domain::step::ErrorType;
use crate::telemetry::event;
use crate::telemetry::keys;
use crate::telemetry::timestamp::Timestamp;
use crate::wire::explain::Entry;
use opentelemetry_proto::tonic::trace::v1::Span;

/// How many entries there are at the most: the first of them, and the newest.
const MOST: usize = 200;
/// Clocks that differ by less need not be spoken of.
const APART_NS: u64 = 1_000_000_000;

/// A time with as many digits as are known: the API's are whole seconds.
pub fn at(ns: u64) -> String {
    let text = Timestamp(ns).to_string();
    text.strip_suffix(".000000Z").map_or(text.clone(), |whole| format!("{whole}Z"))
}

/// What happened.
pub fn timeline(subject: &Subject, told: &Told, now_ns: u64) -> Vec<Entry> {
    let mut entries: Vec<(u64, Entry)> = told.spans.iter().filter_map(of_span).collect();
    entries.extend(told.logs.iter().filter_map(|log| {
        let ns = log.time_unix_nano;
        let outcome = match log.event_name.as_str() {
            name if name == event::POD_STARTED_LATE.as_str() => {
                let outcome = attribute(&log.attributes, keys::STARTUP_OUTCOME);
                let is_good = outcome.and_then(|name| Outcome::from_name(&name)).is_some_and(Outcome::is_good);
                let word = if is_good { "ok" } else { "failed" };
                return Some((ns, entry(ns, None, "pod.started_late", word, body(log))));
            }
            name if name == event::POD_START_UNSEEN.as_str() => {
                return Some((ns, entry(ns, None, "pod.start_unseen", "unfinished", body(log))));
            }
            name if name == event::POD_DRIFTED.as_str() || name == event::POD_STATE_UNKNOWN.as_str() => "failed",
            name if name == event::POD_REDIRECTED_AGAIN.as_str() => "ok",
            _ => return None,
        };
        Some((log.time_unix_nano, entry(log.time_unix_nano, None, "audit", outcome, body(log))))
    }));
    // Until the whole start is told, its parts are what the pod's object says of it now.
    if !told.spans.iter().any(|span| Part::of_span(&span.name) == Some(Part::Startup)) {
        entries.extend(of_object(subject, told, now_ns));
    }
    entries.sort_by_key(|(ns, _)| *ns);
    while entries.len() > MOST {
        entries.remove(MOST / 4);
    }
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn entry(ns: u64, took_ns: Option<u64>, what: &str, outcome: &str, text: &str) -> Entry {
    Entry { at: at(ns), took_ns, what: what.to_owned(), outcome: outcome.to_owned(), text: text.to_owned() }
}

/// The spans that are of the pod itself; steps are told with their calls.
fn of_span(span: &Span) -> Option<(u64, Entry)> {
    let is_told = span.name.starts_with("cni.") || span.name == "repair.pod" || Part::of_span(&span.name).is_some();
    if !is_told {
        return None;
    }
    let failed = failure(span);
    let text = match &failed {
        Some((_, error, message)) => format!("{error}: {message}"),
        None => said(span),
    };
    let outcome = if failed.is_some() { "failed" } else { "ok" };
    let start = span.start_time_unix_nano;
    Some((start, entry(start, Some(took(span)), &span.name, outcome, &text)))
}

/// What a span that went well came to.
fn said(span: &Span) -> String {
    let pairs =
        [keys::OUTCOME, keys::REASON, keys::PATH, keys::REPAIR_MODE, keys::REPAIR_RESULT, keys::VALIDATION_RESULT];
    let words: Vec<String> = pairs.into_iter().map(|key| text(span, key)).filter(|word| !word.is_empty()).collect();
    words.join(", ")
}

/// What the API server says of the start now, as far as no span tells it.
fn of_object(subject: &Subject, told: &Told, now_ns: u64) -> Vec<(u64, Entry)> {
    let Some(facts) = &subject.facts else { return Vec::new() };
    let outcome = Outcome::of(facts);
    let start = startup(facts, &[], outcome.unwrap_or(Outcome::Late), now_ns);
    // Of a start that nobody saw end, only the parts are known that have an end.
    let unseen = outcome.is_none() && was_ready(facts);
    let is_known = |span: &&crate::domain::startup::Span| !unseen || (span.part != Part::Startup && !span.unfinished);
    let is_new = |name: &str| !told.spans.iter().any(|span| span.name == name);
    let spans = start.spans.iter().filter(|span| is_new(&span.name())).filter(is_known);
    let entries = spans.map(|span| {
        let took_ns = span.end.ns.saturating_sub(span.start.ns);
        // That it is late is not known of a start that is under way.
        let under_way = span.unfinished || (outcome.is_none() && span.part == Part::Startup);
        let (word, text) = match &span.failure {
            Some((error, message)) if outcome.is_some() || span.part != Part::Startup => {
                ("failed", format!("{}: {message}", error.as_str()))
            }
            // That it is not ready yet is nothing to speak of; what is wrong is.
            Some((error, message)) if under_way && *error != ErrorType::PodNotReady => ("unfinished", message.clone()),
            _ if under_way => ("unfinished", String::new()),
            _ => ("ok", String::new()),
        };
        (span.start.ns, entry(span.start.ns, Some(took_ns), &span.name(), word, &text))
    });
    entries.collect()
}

/// What should be known before the rest is believed.
pub fn notes(subject: &Subject, told: &Told) -> Vec<String> {
    let mut notes = Vec::new();
    if subject.uid().is_empty() {
        notes.push("nobody said the pod's UID, so its trace is not known".to_owned());
    }
    let created = subject.facts.as_ref().and_then(|facts| facts.status.life.created_ns);
    let first_call = told.spans.iter().find(|span| span.name.starts_with("cni.")).map(|span| span.start_time_unix_nano);
    if let (Some(created), Some(first)) = (created, first_call)
        && created > first + APART_NS
    {
        notes.push(format!(
            "the clocks of the API server and the node differ: the pod was set up at least {:.1} s before it was created, so times of conditions and of calls cannot be compared",
            (created - first) as f64 / 1e9
        ));
    }
    let begun = told.spans.iter().any(|span| Part::of_span(&span.name) == Some(Part::Startup));
    if !begun && subject.facts.as_ref().is_some_and(|facts| Outcome::of(facts).is_none() && was_ready(facts)) {
        notes.push("the pod was ready before and is not now; when it became ready first, nobody says".to_owned());
    }
    if calls::calls(told).is_empty() && subject.facts.is_some() {
        notes.push(
            "no call of the plugin for this pod is remembered: it was set up before this agent started, or by another plugin, or not yet"
                .to_owned(),
        );
    }
    notes
}
