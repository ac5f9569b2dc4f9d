//! Whole traces as text, so that a test can say what a trace must look like at a glance.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of an attribute; numbers and booleans in their usual form.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|kv| kv.key == key)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        other => format!("{other:?}"),
    })
}

/// The spans of one trace, each on a line below its parent, in the order in which they began. What
/// stands on a line: the name, the attributes asked for, `!` and the status message of an error,
/// and `^` and the parent's id where the parent is not among the spans.
pub fn outline(spans: &[Span], trace_id: &str, shown: &[&str]) -> String {
    let mut spans: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == trace_id).collect();
    // Where two begin in the same nanosecond, the outer one ends later.
    spans.sort_by_key(|span| (span.start_time_unix_nano, std::cmp::Reverse(span.end_time_unix_nano)));
    let known: BTreeSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    assert_eq!(known.len(), spans.len(), "two spans with one id");
    let mut text = String::new();
    for root in spans.iter().filter(|span| !known.contains(span.parent_span_id.as_slice())) {
        write_span(&mut text, &spans, root, 0, shown);
    }
    text
}

fn write_span(out: &mut String, spans: &[&Span], span: &Span, depth: usize, shown: &[&str]) {
    let _ = write!(out, "{}{}", "  ".repeat(depth), span.name);
    for key in shown {
        if let Some(value) = text(&span.attributes, key) {
            let _ = write!(out, " {key}={value}");
        }
    }
    if let Some(status) = span.status.as_ref().filter(|status| status.code() == StatusCode::Error) {
        let _ = write!(out, " !{}", status.message);
    }
    if depth == 0 && !span.parent_span_id.is_empty() {
        let _ = write!(out, " ^{}", hex(&span.parent_span_id));
    }
    out.push('\n');
    for child in spans.iter().filter(|child| child.parent_span_id == span.span_id) {
        assert!(
            child.start_time_unix_nano >= span.start_time_unix_nano
                && child.end_time_unix_nano <= span.end_time_unix_nano,
            "{} is not within its parent {}",
            child.name,
            span.name
        );
        write_span(out, spans, child, depth + 1, shown);
    }
}
