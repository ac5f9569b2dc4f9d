//! Bounds for spans and log records that another process made: what cannot be right is named,
//! what is merely too long is cut (and counted where OTLP has a field for it).

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};

/// The most attributes, links or list entries of one item.
pub const MAX_ENTRIES: usize = 128;
/// The most bytes of one text; longer ones are cut at a character boundary.
pub const MAX_TEXT: usize = 8 << 10;
/// The most bytes of a name or a key.
pub const MAX_NAME: usize = 256;

/// What makes an item unusable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {item} of the telemetry has no usable {field}")]
pub struct Invalid {
    item: &'static str,
    field: &'static str,
}

/// Checks a span and cuts it to the limits.
pub fn span(span: &mut Span) -> Result<(), Invalid> {
    let invalid = |field| Invalid { item: "span", field };
    require(is_id(&span.trace_id, 16), invalid("trace id"))?;
    require(is_id(&span.span_id, 8), invalid("span id"))?;
    require(span.parent_span_id.is_empty() || is_id(&span.parent_span_id, 8), invalid("parent span id"))?;
    require(!span.name.is_empty(), invalid("name"))?;
    require(span.start_time_unix_nano > 0, invalid("start time"))?;
    require(span.end_time_unix_nano >= span.start_time_unix_nano, invalid("end time"))?;
    require(SpanKind::try_from(span.kind).is_ok(), invalid("kind"))?;
    if let Some(status) = &span.status {
        require(StatusCode::try_from(status.code).is_ok(), invalid("status"))?;
    }
    let links_hold = span.links.iter().all(|link| is_id(&link.trace_id, 16) && is_id(&link.span_id, 8));
    require(links_hold, invalid("link"))?;
    cut_span(span);
    Ok(())
}

/// Checks a log record and cuts it to the limits.
pub fn log(log: &mut LogRecord) -> Result<(), Invalid> {
    let invalid = |field| Invalid { item: "log record", field };
    require(log.trace_id.is_empty() || is_id(&log.trace_id, 16), invalid("trace id"))?;
    require(log.span_id.is_empty() || is_id(&log.span_id, 8), invalid("span id"))?;
    require((0..=24).contains(&log.severity_number), invalid("severity"))?;
    require(log.time_unix_nano > 0, invalid("time"))?;
    cut_log(log);
    Ok(())
}

/// Cuts the texts and lists of a span.
pub fn cut_span(span: &mut Span) {
    cut_text(&mut span.name, MAX_NAME);
    cut_text(&mut span.trace_state, MAX_TEXT);
    span.dropped_attributes_count = span.dropped_attributes_count.saturating_add(cut_attributes(&mut span.attributes));
    // Span events are never written here: what happens is a log record.
    span.dropped_events_count = span.dropped_events_count.saturating_add(count(span.events.len()));
    span.events.clear();
    span.dropped_links_count = span.dropped_links_count.saturating_add(cut_list(&mut span.links));
    for link in &mut span.links {
        cut_text(&mut link.trace_state, MAX_TEXT);
        link.dropped_attributes_count =
            link.dropped_attributes_count.saturating_add(cut_attributes(&mut link.attributes));
    }
    if let Some(status) = &mut span.status {
        cut_text(&mut status.message, MAX_TEXT);
    }
}

/// Cuts the texts and lists of a log record.
pub fn cut_log(log: &mut LogRecord) {
    cut_text(&mut log.severity_text, MAX_NAME);
    cut_text(&mut log.event_name, MAX_NAME);
    if let Some(body) = &mut log.body {
        cut_value(body);
    }
    log.dropped_attributes_count = log.dropped_attributes_count.saturating_add(cut_attributes(&mut log.attributes));
}

fn require(holds: bool, invalid: Invalid) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(invalid) }
}

fn is_id(bytes: &[u8], length: usize) -> bool {
    bytes.len() == length && bytes.iter().any(|byte| *byte != 0)
}

fn cut_attributes(attributes: &mut Vec<KeyValue>) -> u32 {
    let before = attributes.len();
    attributes.retain(|kv| !kv.key.is_empty() && kv.key.len() <= MAX_NAME && kv.value.is_some());
    attributes.truncate(MAX_ENTRIES);
    for value in attributes.iter_mut().filter_map(|kv| kv.value.as_mut()) {
        cut_value(value);
    }
    count(before - attributes.len())
}

/// Keeps texts, numbers, booleans and flat lists of them; anything else becomes empty.
fn cut_value(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::StringValue(text)) => cut_text(text, MAX_TEXT),
        Some(Value::BoolValue(_) | Value::IntValue(_) | Value::DoubleValue(_)) | None => {}
        Some(Value::ArrayValue(list)) => {
            cut_list(&mut list.values);
            for entry in &mut list.values {
                match &mut entry.value {
                    Some(Value::StringValue(text)) => cut_text(text, MAX_TEXT),
                    Some(Value::BoolValue(_) | Value::IntValue(_) | Value::DoubleValue(_)) | None => {}
                    Some(_) => entry.value = None,
                }
            }
        }
        Some(_) => value.value = None,
    }
}

fn cut_list<T>(list: &mut Vec<T>) -> u32 {
    let over = list.len().saturating_sub(MAX_ENTRIES);
    list.truncate(MAX_ENTRIES);
    count(over)
}

/// Cuts a text to at most `limit` bytes, at a character boundary.
pub fn cut_text(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}
