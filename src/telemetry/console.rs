//! How a log record looks on a console: JSON lines for the plugin's standard error, the
//! reference's tab-separated lines for the agent.

use super::event::Level;
use super::keys;
use super::resource::Origin;
use super::story::text_attribute;
use super::timestamp::Timestamp;
use crate::domain::pod::PodRef;
use crate::domain::unseen::misleads;
use nix::poll::{PollFd, PollFlags, poll};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a pipe that is ready takes without blocking (PIPE_BUF, pipe(7)).
const PIECE: usize = 4096;

/// How long all lines together wait for a reader that does not read.
const PATIENCE_MS: u16 = 50;

/// A [`super::story::Story`]'s console in the plugin: one JSON line to standard error.
pub fn stderr_json(record: &LogRecord, pod: &PodRef) {
    write_patiently(std::io::stderr().as_fd(), &json_line(record, pod));
}

/// The validator's console: the reference's tab-separated lines on standard output.
pub fn stdout_tabs(record: &LogRecord, _: &PodRef) {
    write_patiently(std::io::stdout().as_fd(), &tab_line(record, Origin::Validator.console_scope()));
}

/// The same as JSON lines.
pub fn stdout_json(record: &LogRecord, _: &PodRef) {
    write_patiently(std::io::stdout().as_fd(), &agent_json_line(record, Origin::Validator.console_scope()));
}

/// Writes a line, in one write if it is short. Errors are ignored, and a reader that has stopped
/// reading loses lines: a log line must neither fail nor hold up a pod.
fn write_patiently(out: BorrowedFd<'_>, line: &str) {
    static PATIENT: AtomicBool = AtomicBool::new(true);
    for piece in line.as_bytes().chunks(PIECE) {
        let patience = if PATIENT.load(Ordering::Relaxed) { PATIENCE_MS } else { 0 };
        let mut waited_for = [PollFd::new(out, PollFlags::POLLOUT)];
        if !matches!(poll(&mut waited_for, patience), Ok(ready) if ready > 0) {
            PATIENT.store(false, Ordering::Relaxed);
            return;
        }
        if nix::unistd::write(out, piece).is_err() {
            return;
        }
    }
}

/// A record as one JSON line in the reference's form: `level`, `time`, `msg`, then labels; `pod`
/// is `namespace/name`. The pod's UID and trace id follow, then the record's own attributes.
pub fn json_line(record: &LogRecord, pod: &PodRef) -> String {
    let mut fields = head(record, None);
    if !pod.name.is_empty() {
        fields.push(("pod", pod.to_string().into()));
    }
    if let Some(uid) = pod.uid.as_deref().filter(|uid| !uid.is_empty()) {
        fields.push((keys::POD_UID.as_str(), uid.into()));
    }
    if !record.trace_id.is_empty() {
        fields.push(("trace_id", hex(&record.trace_id).into()));
    }
    json_object(fields, record)
}

/// A record as the agent's console shows it with `--log_as_json`.
pub fn agent_json_line(record: &LogRecord, scope: &str) -> String {
    let mut fields = head(record, Some(scope));
    if let Some(name) = text_attribute(&record.attributes, keys::POD_NAME) {
        let namespace = text_attribute(&record.attributes, keys::POD_NAMESPACE).unwrap_or_default();
        fields.push(("pod", format!("{namespace}/{name}").into()));
    }
    if !record.trace_id.is_empty() {
        fields.push(("trace_id", hex(&record.trace_id).into()));
    }
    json_object(fields, record)
}

fn head(record: &LogRecord, scope: Option<&str>) -> Vec<(&'static str, Json)> {
    let mut fields =
        vec![("level", level(record).name().into()), ("time", Timestamp(record.time_unix_nano).to_string().into())];
    fields.extend(scope.map(|scope| ("scope", scope.into())));
    fields.push(("msg", text_of(record.body.as_ref()).into()));
    fields
}

/// By hand, because a JSON map would sort its keys, and people read level and message first.
fn json_object<'a>(mut fields: Vec<(&'a str, Json)>, record: &'a LogRecord) -> String {
    for kv in &record.attributes {
        if fields.iter().all(|(key, _)| *key != kv.key) {
            fields.push((&kv.key, json_of(kv.value.as_ref())));
        }
    }
    let mut line = String::from("{");
    for (index, (key, value)) in fields.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(line, "{comma}{}:{value}", Json::from(key));
    }
    line.push_str("}\n");
    line
}

/// A record as the agent's console shows it: time, level, scope, message and labels between tabs.
/// The pod's identity stands before the other labels, so that a search for a UID finds the line.
/// Other labels are left out when the message holds their value; JSON lines and OTLP keep them.
pub fn tab_line(record: &LogRecord, scope: &str) -> String {
    let mut line = format!("{}\t{}\t{scope}\t", Timestamp(record.time_unix_nano), level(record).name());
    let message = text_of(record.body.as_ref());
    push_on_one_line(&mut line, &message);
    if let Some(name) = text_attribute(&record.attributes, keys::POD_NAME) {
        let namespace = text_attribute(&record.attributes, keys::POD_NAMESPACE).unwrap_or_default();
        push_label(&mut line, "pod", &format!("{namespace}/{name}"));
    }
    if let Some(uid) = text_attribute(&record.attributes, keys::POD_UID) {
        push_label(&mut line, keys::POD_UID.as_str(), uid);
    }
    if !record.trace_id.is_empty() {
        push_label(&mut line, "trace_id", &hex(&record.trace_id));
    }
    // The problem is part of the message already, and long.
    let shown = [keys::POD_NAME, keys::POD_NAMESPACE, keys::POD_UID, keys::EXCEPTION_MESSAGE].map(keys::Key::as_str);
    for kv in record.attributes.iter().filter(|kv| !shown.contains(&kv.key.as_str())) {
        let value = text_of(kv.value.as_ref());
        if !holds(&message, &value) {
            push_label(&mut line, &kv.key, &value);
        }
    }
    line.push('\n');
    line
}

/// Whether the value stands in the message, and not merely as a part of a longer word or number.
fn holds(message: &str, value: &str) -> bool {
    let apart = |neighbour: Option<char>| !neighbour.is_some_and(char::is_alphanumeric);
    !value.is_empty()
        && message.match_indices(value).any(|(at, _)| {
            let (before, after) = (message.get(..at), message.get(at + value.len()..));
            apart(before.and_then(|text| text.chars().next_back())) && apart(after.and_then(|text| text.chars().next()))
        })
}

/// The level of a record.
pub fn level(record: &LogRecord) -> Level {
    Level::of_severity(record.severity_number)
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A value as text: strings as they are, everything else as JSON.
pub fn text_of(value: Option<&AnyValue>) -> String {
    match json_of(value) {
        Json::String(text) => text,
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

fn json_of(value: Option<&AnyValue>) -> Json {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.as_str().into(),
        Some(Value::BoolValue(value)) => (*value).into(),
        Some(Value::IntValue(value)) => (*value).into(),
        Some(Value::DoubleValue(value)) => (*value).into(),
        // Lists are flat: sanitize keeps no other.
        Some(Value::ArrayValue(list)) => list.values.iter().map(|value| Json::String(flat_text(value))).collect(),
        _ => Json::Null,
    }
}

fn flat_text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        _ => String::new(),
    }
}

fn push_label(line: &mut String, key: &str, value: &str) {
    line.push('\t');
    push_on_one_line(line, key);
    line.push('=');
    push_on_one_line(line, value);
}

/// Whatever a pod's annotation says, it cannot start a line or a field of its own.
fn push_on_one_line(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            '\r' => line.push_str("\\r"),
            c if misleads(c) => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::identity::TraceId;
    use crate::telemetry::event::{self, EventName};
    use crate::telemetry::keys::Key;
    use crate::telemetry::story::{Clock, Story, attribute};

    const UID: &str = "11111111-2222-4333-8444-555555555555";

    fn record(message: &str, event: EventName, labels: &[(Key, &str)]) -> (LogRecord, PodRef) {
        let pod = PodRef { namespace: "shop".into(), name: "cart-0".into(), uid: Some(UID.into()) };
        let story = Story::begin(Clock::start(), TraceId::of_pod(UID), None, pod.clone(), Level::Debug, None);
        let attributes = labels.iter().map(|(key, value)| attribute(*key, *value)).collect();
        story.log(Level::Info, event, message, attributes);
        let mut record = story.into_batch().logs.remove(0);
        record.time_unix_nano = 1_787_410_818_123_456_789;
        (record, pod)
    }

    #[test]
    fn the_plugin_writes_the_references_json() {
        let (record, pod) = record("excluded", event::POD_SKIPPED, &[(keys::REASON, "not_injected")]);
        let line = json_line(&record, &pod);
        assert!(line.starts_with(r#"{"level":"info","time":"2026-08-22T15:00:18.123456Z","msg":"excluded","pod":"#));
        let json: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "level": "info", "time": "2026-08-22T15:00:18.123456Z", "msg": "excluded", "pod": "shop/cart-0",
                "k8s.pod.uid": UID, "trace_id": "11111111222243338444555555555555",
                "k8s.pod.name": "cart-0", "k8s.namespace.name": "shop", "istio_cni.reason": "not_injected",
            })
        );
    }

    #[test]
    fn the_agent_writes_the_references_tabs() {
        let (record, _) = record("excluded", event::POD_SKIPPED, &[(keys::REASON, "not_injected")]);
        assert_eq!(
            tab_line(&record, "cni-plugin"),
            format!(
                "2026-08-22T15:00:18.123456Z\tinfo\tcni-plugin\texcluded\tpod=shop/cart-0\tk8s.pod.uid={UID}\t\
                 trace_id=11111111222243338444555555555555\tistio_cni.reason=not_injected\n"
            )
        );
    }

    #[test]
    fn what_the_message_says_is_not_said_twice() {
        let labels = [(keys::FILE_PATH, "/run/a.sock"), (keys::REASON, "1"), (keys::STEP, "x")];
        let (record, pod) = record("listening on /run/a.sock since 10", event::PROGRESS, &labels);
        let line = tab_line(&record, "cni-agent");
        assert!(line.ends_with("\tistio_cni.reason=1\tistio_cni.step=x\n") && !line.contains("file.path"), "{line}");
        assert!(json_line(&record, &pod).contains(r#""file.path":"/run/a.sock""#));
    }

    #[test]
    fn a_message_cannot_forge_a_line() {
        let (record, pod) = record("a\nb\tc\u{1b}[31m", event::POD_SKIPPED, &[(keys::REASON, "x\ny")]);
        let line = tab_line(&record, "cni-plugin");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains("\ta\\nb\\tc\\u{1b}[31m\t") && line.contains("=x\\ny"), "{line}");
        assert_eq!(json_line(&record, &pod).matches('\n').count(), 1);
    }
}
