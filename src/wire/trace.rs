//! Traces as JSON, for programs that ask the agent: the list in a shape of its own, one trace in OTLP's (the JSON encoding of
//! protobuf as OTLP has it: ids in hex, 64-bit numbers as text), so that what can read OTLP can read it.

use crate::domain::identity::TraceId;
use crate::domain::pod::PodRef;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, span::Link};
use prost::Message;
use serde::Serialize;
use serde_json::{Value as Json, json};

/// The most bytes of spans and log records, as OTLP's binary form has them, that one answer holds.
const MOST: usize = 512 << 10;

/// A trace in short.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub trace: TraceId,
    /// What is in it.
    pub kinds: Vec<&'static str>,
    pub title: &'a str,
    pub pod: Option<&'a PodRef>,
    /// Nanoseconds since the epoch.
    pub began_ns: u64,
    pub ended_ns: u64,
    /// The error's type and sentence, if the trace's last word is one.
    pub error: Option<&'a str>,
    pub message: Option<&'a str>,
    /// How many spans there were.
    pub spans: usize,
    /// How many items are not remembered any more.
    pub forgotten: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryJson<'a> {
    trace_id: String,
    kinds: &'a [&'static str],
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<PodJson<'a>>,
    began_unix_nano: String,
    ended_unix_nano: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    spans: usize,
    forgotten: u64,
}

#[derive(Serialize)]
struct PodJson<'a> {
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
}

impl<'a> From<&'a Entry<'a>> for EntryJson<'a> {
    fn from(entry: &'a Entry<'a>) -> EntryJson<'a> {
        EntryJson {
            trace_id: entry.trace.to_hex(),
            kinds: &entry.kinds,
            title: entry.title,
            pod: entry.pod.map(|pod| PodJson { namespace: &pod.namespace, name: &pod.name, uid: pod.uid.as_deref() }),
            began_unix_nano: entry.began_ns.to_string(),
            ended_unix_nano: entry.ended_ns.to_string(),
            error_type: entry.error,
            message: entry.message,
            spans: entry.spans,
            forgotten: entry.forgotten,
        }
    }
}

/// `{"node": …, "traces": [{"traceId": …}]}`, in the order that is given.
pub fn entries(node: &str, entries: &[Entry<'_>]) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct List<'a> {
        node: &'a str,
        traces: Vec<EntryJson<'a>>,
    }
    serde_json::to_vec(&List { node, traces: entries.iter().map(EntryJson::from).collect() })
}

/// `{"error": …}`.
pub fn error(problem: &str) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&json!({ "error": problem }))
}

/// A trace: OTLP's `resourceSpans` and `resourceLogs`, with `summary` as the list has it beside them, and `leftOut`, how
/// many items had no room.
pub fn trace(entry: &Entry<'_>, spans: &[Span], logs: &[LogRecord]) -> serde_json::Result<Vec<u8>> {
    let mut room = MOST;
    let all = spans.len() + logs.len();
    let spans: Vec<Json> = spans.iter().filter(|item| fits(*item, &mut room)).map(span).collect();
    let logs: Vec<Json> = logs.iter().filter(|item| fits(*item, &mut room)).map(log).collect();
    serde_json::to_vec(&json!({
        "summary": EntryJson::from(entry),
        "leftOut": all - spans.len() - logs.len(),
        "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }],
        "resourceLogs": [{ "scopeLogs": [{ "logRecords": logs }] }],
    }))
}

fn fits(item: &impl Message, room: &mut usize) -> bool {
    let left = room.checked_sub(item.encoded_len());
    *room = left.unwrap_or(0);
    left.is_some()
}

fn span(span: &Span) -> Json {
    let status = span.status.as_ref();
    json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "parentSpanId": hex(&span.parent_span_id),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": span.start_time_unix_nano.to_string(),
        "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        "attributes": attributes(&span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count,
        "links": span.links.iter().map(link).collect::<Vec<_>>(),
        "status": { "code": status.map_or(0, |status| status.code), "message": status.map_or("", |status| &status.message) },
    })
}

fn link(link: &Link) -> Json {
    json!({
        "traceId": hex(&link.trace_id),
        "spanId": hex(&link.span_id),
        "attributes": attributes(&link.attributes),
    })
}

fn log(log: &LogRecord) -> Json {
    json!({
        "timeUnixNano": log.time_unix_nano.to_string(),
        "severityNumber": log.severity_number,
        "severityText": log.severity_text,
        "eventName": log.event_name,
        "body": log.body.as_ref().map(value),
        "attributes": attributes(&log.attributes),
        "traceId": hex(&log.trace_id),
        "spanId": hex(&log.span_id),
    })
}

fn attributes(attributes: &[KeyValue]) -> Vec<Json> {
    let pair = |pair: &KeyValue| json!({ "key": pair.key, "value": pair.value.as_ref().map(value) });
    attributes.iter().map(pair).collect()
}

/// A value; what is in a list is flat (`telemetry/sanitize.rs`), so a list in it is left empty.
fn value(given: &AnyValue) -> Json {
    match &given.value {
        Some(Value::ArrayValue(list)) => {
            json!({ "arrayValue": { "values": list.values.iter().map(flat).collect::<Vec<_>>() } })
        }
        _ => flat(given),
    }
}

fn flat(value: &AnyValue) -> Json {
    match &value.value {
        Some(Value::StringValue(text)) => json!({ "stringValue": text }),
        Some(Value::BoolValue(value)) => json!({ "boolValue": value }),
        Some(Value::IntValue(value)) => json!({ "intValue": value.to_string() }),
        Some(Value::DoubleValue(value)) => json!({ "doubleValue": value }),
        _ => json!({}),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pod: &PodRef) -> Entry<'_> {
        Entry {
            trace: TraceId([1; 16]),
            kinds: vec!["add"],
            title: "shop/web-0",
            pod: Some(pod),
            began_ns: 1_787_410_818_123_456_789,
            ended_ns: 1_787_410_818_125_000_000,
            error: None,
            message: None,
            spans: 1,
            forgotten: 0,
        }
    }

    fn pod() -> PodRef {
        PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some("u".into()) }
    }

    fn read(bytes: serde_json::Result<Vec<u8>>) -> Json {
        serde_json::from_slice(&bytes.unwrap()).unwrap()
    }

    #[test]
    fn the_list_has_each_trace_in_short() {
        let pod = pod();
        let wanted = json!({"node": "node-a", "traces": [{
            "traceId": "01010101010101010101010101010101", "kinds": ["add"], "title": "shop/web-0",
            "pod": {"namespace": "shop", "name": "web-0", "uid": "u"},
            "beganUnixNano": "1787410818123456789", "endedUnixNano": "1787410818125000000", "spans": 1, "forgotten": 0,
        }]});
        assert_eq!(read(entries("node-a", &[entry(&pod)])), wanted);
        assert_eq!(read(error("no \"x\"")), json!({"error": "no \"x\""}));
    }

    #[test]
    fn a_trace_is_otlp() {
        let pair = KeyValue {
            key: "k".into(),
            value: Some(AnyValue { value: Some(Value::IntValue(i64::MAX)) }),
            ..KeyValue::default()
        };
        let span = Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "cni.add".into(),
            start_time_unix_nano: u64::MAX,
            attributes: vec![pair],
            ..Span::default()
        };
        let log = LogRecord { span_id: vec![2; 8], severity_number: 9, ..LogRecord::default() };
        let pod = pod();
        let trace = read(trace(&entry(&pod), &[span], &[log]));
        let told = &trace["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(told["spanId"], "0202020202020202");
        assert_eq!(told["startTimeUnixNano"], u64::MAX.to_string());
        assert_eq!(told["attributes"], json!([{"key": "k", "value": {"intValue": i64::MAX.to_string()}}]));
        assert_eq!(trace["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["severityNumber"], 9);
        assert_eq!(trace["summary"]["title"], "shop/web-0");
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let spans = vec![Span { name: "x".repeat(1 << 10), ..Span::default() }; 1_000];
        let pod = pod();
        let trace = read(trace(&entry(&pod), &spans, &[]));
        let told = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len();
        assert!((300..600).contains(&told), "{told}");
        assert_eq!(trace["leftOut"], 1_000 - told);
    }
}
