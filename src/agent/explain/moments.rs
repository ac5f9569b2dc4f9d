//! The timeline: what happened to the pod, by time; and what is to be known of those times.

use super::calls;
use super::few::Few;
use super::spans::{Told, attribute, body, failure, flag, text, took};
use super::starting;
use super::subject::Subject;
use crate::domain::startup::Part;
use crate::telemetry::event::{self, EventName, Level};
use crate::telemetry::keys;
use crate::telemetry::timestamp::Timestamp;
use crate::wire::explain::Entry;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
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
pub fn timeline(subject: &Subject, told: &Told, now_ns: u64) -> Few<Entry> {
    let object = starting::of_object(subject, told, now_ns);
    let spans = told.spans.iter().filter(|span| !starting::is_outdated(span, &object));
    let mut entries: Vec<(u64, Entry)> = spans.filter_map(of_span).collect();
    entries.extend(told.logs.iter().filter_map(of_log));
    entries.extend(object);
    entries.sort_by_key(|(ns, _)| *ns);
    Few::of(entries.into_iter().map(|(_, entry)| entry).collect(), MOST, MOST / 4)
}

/// An entry of the timeline.
pub fn entry(ns: u64, took_ns: Option<u64>, what: &str, outcome: &str, text: &str) -> Entry {
    Entry { at: at(ns), took_ns, what: what.to_owned(), outcome: outcome.to_owned(), text: text.to_owned() }
}

/// What was found, or said, of the pod at a moment.
fn of_log(log: &LogRecord) -> Option<(u64, Entry)> {
    let ns = log.time_unix_nano;
    let bad = Level::of_severity(log.severity_number) >= Level::Warn;
    let outcome = if bad { "failed" } else { "ok" };
    let is = |name: EventName| log.event_name == name.as_str();
    let (what, outcome, text) = match () {
        () if is(event::POD_DRIFTED) || is(event::POD_STATE_UNKNOWN) => ("audit", "failed", body(log).to_owned()),
        () if is(event::POD_REDIRECTED_AGAIN) => ("audit", "ok", body(log).to_owned()),
        () if is(event::POD_STARTED_LATE) => {
            let outcome = if starting::is_good(log) { "ok" } else { "failed" };
            ("pod.started_late", outcome, body(log).to_owned())
        }
        () if is(event::POD_START_UNSEEN) => ("pod.start_unseen", "unfinished", body(log).to_owned()),
        () if is(event::POD_EVENT) => {
            let said = |key| attribute(&log.attributes, key).unwrap_or_default();
            let times = match said(keys::POD_EVENT_COUNT).as_str() {
                "" | "0" | "1" => String::new(),
                count => format!(" ({count} times)"),
            };
            ("pod.event", outcome, format!("{}{times}: {}", said(keys::POD_EVENT_REASON), body(log)))
        }
        () => return None,
    };
    Some((ns, entry(ns, None, what, outcome, &text)))
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
    let outcome = match failed {
        Some(_) => "failed",
        None if flag(span, keys::STARTUP_UNFINISHED) => "unfinished",
        None => "ok",
    };
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

/// What should be known before the rest is believed.
pub fn notes(subject: &Subject, told: &Told, now_ns: u64) -> Vec<String> {
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
    } else if let Some(note) = starting::clocks(subject, told, now_ns) {
        notes.push(note);
    }
    notes.extend(starting::note(subject, told));
    if calls::calls(told).items.is_empty() && subject.facts.is_some() {
        notes.push(
            "no call of the plugin for this pod is remembered: it was set up before this agent started, or by another plugin, or not yet"
                .to_owned(),
        );
    }
    notes
}
