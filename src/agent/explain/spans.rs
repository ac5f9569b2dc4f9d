//! The spans and log records that are remembered of a pod, and how they hang together.

use super::subject::Subject;
use crate::domain::identity::TraceId;
use crate::domain::step::{ErrorType, Step};
use crate::telemetry::attribute::text_attribute;
use crate::telemetry::history::History;
use crate::telemetry::keys::{self, Key};
use crate::wire::explain::Trace;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use std::collections::HashMap;

/// What was told of a pod, in all traces in which it is.
pub struct Told {
    own: Option<TraceId>,
    elsewhere: Vec<TraceId>,
    /// By start time.
    pub spans: Vec<Span>,
    /// By time.
    pub logs: Vec<LogRecord>,
    forgotten: u64,
    /// The places of a span's children, by its id.
    children: HashMap<Vec<u8>, Vec<usize>>,
}

impl Told {
    /// All that is remembered.
    pub fn of(subject: &Subject, history: &History) -> Told {
        let own = subject.pod.uid.as_deref().map(TraceId::of_pod);
        let (mut spans, mut logs, mut forgotten, mut elsewhere) = (Vec::new(), Vec::new(), 0, Vec::new());
        for trace in subject.traces.iter().filter_map(|trace| history.trace(*trace)) {
            let id = trace.summary.trace;
            forgotten += trace.summary.forgotten;
            if Some(id) != own {
                elsewhere.push(id);
            }
            // In a trace of somebody else there may be other pods, too.
            let is = |attributes: &[KeyValue]| Some(id) == own || is_of(subject, attributes);
            spans.extend(trace.spans.into_iter().filter(|span| is(&span.attributes)));
            logs.extend(trace.logs.into_iter().filter(|log| is(&log.attributes)));
        }
        spans.sort_by_key(|span: &Span| (span.start_time_unix_nano, std::cmp::Reverse(span.end_time_unix_nano)));
        logs.sort_by_key(|log: &LogRecord| log.time_unix_nano);
        let mut children: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (place, span) in spans.iter().enumerate() {
            children.entry(span.parent_span_id.clone()).or_default().push(place);
        }
        Told { own, elsewhere, spans, logs, forgotten, children }
    }

    /// Where the whole story is; `url` has a place for the trace's id.
    pub fn trace(&self, url: Option<&str>) -> Trace {
        let id = self.own.map(TraceId::to_hex).unwrap_or_default();
        Trace {
            url: url.filter(|_| !id.is_empty()).map(|url| url.replace("{trace_id}", &id)),
            id,
            spans: self.spans.len() as u64,
            log_records: self.logs.len() as u64,
            forgotten: self.forgotten,
            also_in: self.elsewhere.iter().map(|trace| trace.to_hex()).collect(),
        }
    }

    /// The spans below one, each before what is below it, with how deep they are.
    pub fn below<'a>(&'a self, span: &'a Span) -> Vec<(u32, &'a Span)> {
        let mut found = Vec::new();
        self.collect(&span.span_id, 0, &mut found);
        found
    }

    fn collect<'a>(&'a self, parent: &[u8], depth: u32, found: &mut Vec<(u32, &'a Span)>) {
        // Ids that go round in a circle end here.
        if depth > 16 || found.len() > self.spans.len() {
            return;
        }
        for span in self.children.get(parent).into_iter().flatten().filter_map(|place| self.spans.get(*place)) {
            found.push((depth, span));
            self.collect(&span.span_id, depth + 1, found);
        }
    }

    /// Steps of calls whose own span never came, by their parent.
    pub fn orphans(&self) -> Vec<Vec<&Span>> {
        let known: std::collections::HashSet<&[u8]> = self.spans.iter().map(|span| span.span_id.as_slice()).collect();
        let is_orphan = |span: &&Span| {
            let step = Step::from_name(&span.name).is_some_and(|step| Step::CALL.contains(&step));
            step && !known.contains(span.parent_span_id.as_slice())
        };
        let mut groups: Vec<Vec<&Span>> = Vec::new();
        for span in self.spans.iter().filter(is_orphan) {
            let of_parent = |group: &&mut Vec<&Span>| {
                group.first().is_some_and(|first| first.parent_span_id == span.parent_span_id)
            };
            match groups.iter_mut().find(of_parent) {
                Some(group) => group.push(span),
                None => groups.push(vec![span]),
            }
        }
        groups
    }
}

fn is_of(subject: &Subject, attributes: &[KeyValue]) -> bool {
    let uid = text_attribute(attributes, keys::POD_UID);
    let named = || {
        text_attribute(attributes, keys::POD_NAME) == Some(subject.pod.name.as_str())
            && text_attribute(attributes, keys::POD_NAMESPACE) == Some(subject.pod.namespace.as_str())
    };
    uid.map_or_else(named, |uid| uid == subject.uid())
}

/// An attribute as text; empty if there is none.
pub fn text(span: &Span, key: Key) -> String {
    attribute(&span.attributes, key).unwrap_or_default()
}

/// An attribute that is a number.
pub fn number(span: &Span, key: Key) -> Option<i64> {
    match value(&span.attributes, key)? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

/// An attribute that is a switch.
pub fn flag(span: &Span, key: Key) -> bool {
    matches!(value(&span.attributes, key), Some(Value::BoolValue(true)))
}

/// An attribute's value as text.
pub fn attribute(attributes: &[KeyValue], key: Key) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(is) => Some(is.to_string()),
        _ => None,
    }
}

fn value(attributes: &[KeyValue], key: Key) -> Option<&Value> {
    attributes.iter().find(|kv| kv.key == key.as_str())?.value.as_ref()?.value.as_ref()
}

/// How long it took.
pub fn took(span: &Span) -> u64 {
    span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)
}

/// The type and the message of what a span failed with.
pub fn failure(span: &Span) -> Option<(Option<ErrorType>, String, String)> {
    let error = text(span, keys::ERROR_TYPE);
    let status = span.status.as_ref().filter(|status| status.code() == StatusCode::Error);
    if error.is_empty() && status.is_none() {
        return None;
    }
    let message = status.map(|status| status.message.clone()).unwrap_or_default();
    Some((ErrorType::from_text(&error), if error.is_empty() { "other".to_owned() } else { error }, message))
}

/// What a log record says.
pub fn body(log: &LogRecord) -> &str {
    match log.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}
