//! Spans as a person looks at them: the calls of one trace, each a tree on its own scale of time.

use crate::domain::identity::TraceId;
use crate::telemetry::event::Level;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};

/// A tree of spans: one call of the runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// When it began, in nanoseconds since the epoch.
    pub start_ns: u64,
    /// From the first start to the last end; never zero.
    pub length_ns: u64,
    /// The tree, from the top down, each span's children in the order of their starts.
    pub rows: Vec<Row>,
}

/// One span in its tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// For each level above, whether another child of that level follows further down.
    pub rails: Vec<bool>,
    pub name: String,
    /// Since the call's start.
    pub offset_ns: u64,
    pub duration_ns: u64,
    pub failed: bool,
    /// Why it failed, where that was born: a span does not repeat what one below it says.
    pub error: Option<String>,
    /// The attributes as text, without the ones that every span of a pod has.
    pub attributes: Vec<(String, String)>,
    /// Spans of other traces: `trace id/span id`.
    pub links: Vec<String>,
}

/// Attributes that say again what the tree says, or which sandbox it was.
const LEFT_OUT: [&str; 4] = ["command", "container.id", "netns", "network.interface.name"];

impl Row {
    /// The attributes and links that tell something, as short as they can be understood beside the span's name.
    pub fn telling(&self) -> Vec<String> {
        let room = self.name.split('.').next().unwrap_or_default();
        let short = |key: &str| -> String {
            let key = key.strip_prefix("istio_cni.").unwrap_or(key);
            key.strip_prefix(room).and_then(|rest| rest.strip_prefix('.')).unwrap_or(key).to_owned()
        };
        let attributes = self.attributes.iter().map(|(key, value)| (short(key), value));
        let attributes = attributes.filter(|(key, _)| !LEFT_OUT.contains(&key.as_str()));
        let links = self.links.iter().map(|link| format!("link={link}"));
        attributes.map(|(key, value)| format!("{key}={value}")).chain(links).collect()
    }
}

/// The calls of one trace, the earliest first. A span whose parent was not received begins a call.
pub fn calls(spans: &[Span], trace: TraceId) -> Vec<Call> {
    let mut own: Vec<&Span> = spans.iter().filter(|span| span.trace_id == trace.0).collect();
    own.sort_by_key(|span| (span.start_time_unix_nano, u64::MAX - span.end_time_unix_nano));
    let is_top = |span: &&&Span| !own.iter().any(|other| other.span_id == span.parent_span_id);
    own.iter().filter(is_top).map(|top| call(&own, top)).collect()
}

fn call(spans: &[&Span], top: &Span) -> Call {
    let mut tree = Vec::new();
    descend(spans, top, &[], &mut tree);
    let start_ns = tree.iter().map(|(_, span)| span.start_time_unix_nano).min().unwrap_or_default();
    let end_ns = tree.iter().map(|(_, span)| span.end_time_unix_nano).max().unwrap_or_default();
    let rows = rows(tree, start_ns);
    Call { start_ns, length_ns: end_ns.saturating_sub(start_ns).max(1), rows }
}

/// Adds a span and what is below it. A span that is its own ancestor does not go on for ever.
fn descend<'a>(spans: &[&'a Span], span: &'a Span, rails: &[bool], tree: &mut Vec<(Vec<bool>, &'a Span)>) {
    tree.push((rails.to_vec(), span));
    let seen = |child: &Span| tree.iter().any(|(_, above)| above.span_id == child.span_id);
    let children: Vec<&Span> =
        spans.iter().copied().filter(|child| child.parent_span_id == span.span_id && !seen(child)).collect();
    for (index, child) in children.iter().enumerate() {
        let more = index + 1 < children.len();
        descend(spans, child, &[rails, &[more]].concat(), tree);
    }
}

fn rows(tree: Vec<(Vec<bool>, &Span)>, start_ns: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = tree.into_iter().map(|(rails, span)| row(rails, span, start_ns)).collect();
    for above in 0..rows.len() {
        let (top, below) = rows.split_at_mut(above + 1);
        let Some(row) = top.last_mut() else { continue };
        let below = below.iter().take_while(|other| other.rails.len() > row.rails.len());
        if below.into_iter().any(|other| row.error.is_some() && other.error == row.error) {
            row.error = None;
        }
    }
    rows
}

fn row(rails: Vec<bool>, span: &Span, start_ns: u64) -> Row {
    let status = span.status.as_ref().filter(|status| status.code == i32::from(StatusCode::Error));
    Row {
        failed: status.is_some(),
        rails,
        name: span.name.clone(),
        offset_ns: span.start_time_unix_nano.saturating_sub(start_ns),
        duration_ns: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
        error: status.map(|status| status.message.clone()),
        attributes: own(&span.attributes),
        links: span.links.iter().map(|link| format!("{}/{}", hex(&link.trace_id), hex(&link.span_id))).collect(),
    }
}

/// The attributes but those of the pod's identity, which every span has.
fn own(attributes: &[KeyValue]) -> Vec<(String, String)> {
    attributes
        .iter()
        .filter(|attribute| !attribute.key.starts_with("k8s."))
        .map(|attribute| (attribute.key.clone(), attribute.value.as_ref().map(text).unwrap_or_default()))
        .collect()
}

/// A log line of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    pub level: Level,
    pub text: String,
}

/// The log lines of a trace, in the order of their times.
pub fn logs(records: &[LogRecord], trace: TraceId) -> Vec<Line> {
    let own = records.iter().filter(|record| record.trace_id == trace.0);
    let line = |record: &LogRecord| Line {
        time_ns: record.time_unix_nano,
        level: Level::of_severity(record.severity_number),
        text: body(record),
    };
    let mut lines: Vec<Line> = own.map(line).collect();
    lines.sort_by_key(|line| line.time_ns);
    lines
}

/// A value as text.
pub fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(Value::ArrayValue(array)) => array.values.iter().map(text).collect::<Vec<_>>().join(","),
        Some(Value::KvlistValue(list)) => {
            let pair = |pair: &KeyValue| format!("{}={}", pair.key, pair.value.as_ref().map(text).unwrap_or_default());
            list.values.iter().map(pair).collect::<Vec<_>>().join(",")
        }
        Some(Value::BytesValue(bytes)) => hex(bytes),
        _ => String::new(),
    }
}

/// The text of an attribute, empty when it is not there.
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_ref()).map(text).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a log record.
pub fn body(log: &LogRecord) -> String {
    log.body.as_ref().map(text).unwrap_or_default()
}

/// A duration for people: microseconds below one millisecond, else milliseconds or seconds.
pub fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..10_000_000 => format!("{}.{:02} ms", ns / 1_000_000, ns / 10_000 % 100),
        10_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => format!("{}.{:02} s", ns / 1_000_000_000, ns / 10_000_000 % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::trace::v1::Status;

    fn span(id: u8, parent: u8, start: u64, end: u64) -> Span {
        let bytes = |id: u8| if id == 0 { Vec::new() } else { vec![id; 8] };
        Span {
            trace_id: vec![7; 16],
            span_id: bytes(id),
            parent_span_id: bytes(parent),
            name: format!("s{id}"),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..Span::default()
        }
    }

    fn shape(spans: &[Span]) -> Vec<Vec<String>> {
        let line = |row: &Row| format!("{}{}", "-".repeat(row.rails.len()), row.name);
        calls(spans, TraceId([7; 16])).iter().map(|call| call.rows.iter().map(line).collect()).collect()
    }

    #[test]
    fn children_stand_below_their_parents_in_the_order_of_their_starts() {
        let spans = [span(3, 1, 30, 40), span(2, 1, 10, 20), span(1, 9, 0, 50), span(4, 3, 31, 32)];
        assert_eq!(shape(&spans), [["s1", "-s2", "-s3", "--s4"]]);
    }

    #[test]
    fn each_call_whose_parent_is_elsewhere_is_a_tree_with_its_own_clock() {
        let spans = [span(1, 9, 100, 200), span(2, 9, 900, 950), span(3, 2, 910, 920)];
        assert_eq!(shape(&spans), [vec!["s1"], vec!["s2", "-s3"]]);
        let second = &calls(&spans, TraceId([7; 16]))[1];
        assert_eq!((second.start_ns, second.length_ns, second.rows[1].offset_ns), (900, 50, 10));
    }

    #[test]
    fn spans_that_are_each_others_parents_end() {
        let spans = [span(1, 2, 0, 10), span(2, 1, 1, 9), span(3, 9, 0, 1)];
        assert_eq!(shape(&spans), [["s3"]]);
    }

    #[test]
    fn an_error_stands_where_it_was_born() {
        let failed = |mut span: Span, message: &str| {
            span.status = Some(Status { code: StatusCode::Error.into(), message: message.to_owned() });
            span
        };
        let spans = [failed(span(1, 9, 0, 50), "no"), failed(span(2, 1, 1, 9), "no"), span(3, 1, 10, 20)];
        let rows = calls(&spans, TraceId([7; 16])).remove(0).rows;
        let errors: Vec<_> = rows.iter().map(|row| (row.failed, row.error.as_deref())).collect();
        assert_eq!(errors, [(true, None), (true, Some("no")), (false, None)]);
    }

    #[test]
    fn attributes_are_shortened_by_what_the_reader_sees_already() {
        let attributes = [
            ("istio_cni.command", "add"),
            ("container.id", "cafe"),
            ("istio_cni.rules.backend", "nftables"),
            ("istio_cni.pod.source", "cache"),
            ("error.type", "io"),
        ];
        let mut row = calls(&[span(1, 9, 0, 50)], TraceId([7; 16])).remove(0).rows.remove(0);
        row.name = "rules.apply".to_owned();
        row.attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        row.links = vec!["a/b".to_owned()];
        assert_eq!(row.telling(), ["backend=nftables", "pod.source=cache", "error.type=io", "link=a/b"]);
    }

    #[test]
    fn durations_have_three_digits_that_matter() {
        let texts = [0, 999_999, 1_234_567, 12_345_678, 2_345_678_901].map(duration);
        assert_eq!(texts, ["0 µs", "999 µs", "1.23 ms", "12.3 ms", "2.34 s"]);
    }
}
