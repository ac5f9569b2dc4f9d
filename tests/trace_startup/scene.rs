//! An agent that tells of starts, pods as they begin, and what came of both at the collector.

use crate::otlp::{hex, text};
use crate::registry::Registry;
use crate::support::agent::Agent;
use crate::support::*;
use crate::told::Told;
use crate::world::World;
use istio_cni_otel::telemetry::timestamp::Timestamp;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub const ROOT: &str = "8444555555555555";
pub const READY: &str = r#"istio_cni_pod_startup_duration_seconds_count{phase="startup",outcome="ready"}"#;
pub const LATE: &str = r#"istio_cni_pod_startup_duration_seconds_count{phase="startup",outcome="late"}"#;
pub const DELETED: &str = r#"istio_cni_pod_startup_duration_seconds_count{phase="startup",outcome="deleted"}"#;
pub const TRACES: (&str, &str) = ("STARTUP_TRACES", "meshed");

/// Starts an agent that tells of starts, and looks at no rules.
pub fn start<'a>(world: &'a mut World, more: &[(&str, &str)]) -> &'a mut Agent {
    let usual = [("AUDIT_INTERVAL", "0"), TRACES];
    let mut agent = world.launch_agent(&usual.iter().chain(more).copied().collect::<Vec<_>>());
    agent.wait_for("ms after the start");
    world.agent.insert(agent)
}

/// So many seconds before this process asked first, as the API writes it.
pub fn ago(seconds: u64) -> String {
    static NOW: OnceLock<u64> = OnceLock::new();
    let now = *NOW.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    let time = Timestamp((now - seconds) * 1_000_000_000).to_string();
    format!("{}Z", time.split('.').next().unwrap())
}

pub fn condition(kind: &str, met: bool, ago_s: u64) -> Value {
    json!({"type": kind, "status": if met { "True" } else { "False" }, "lastTransitionTime": ago(ago_s)})
}

/// The pod, created 20 seconds ago, with a validation that has passed and a container that runs.
pub fn begun() -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["creationTimestamp"] = json!(ago(20));
    pod["metadata"]["annotations"]["sidecar.istio.io/status"] = json!("{}");
    let passed = json!({"terminated": {"exitCode": 0, "reason": "Completed", "containerID": "containerd://v",
        "startedAt": ago(17), "finishedAt": ago(16)}});
    let runs = json!({"running": {"startedAt": ago(15)}});
    pod["status"] = json!({"phase": "Pending", "startTime": ago(19),
        "conditions": [condition("PodScheduled", true, 20), condition("PodReadyToStartContainers", true, 18)],
        "initContainerStatuses": [{"name": "istio-validation", "ready": true, "restartCount": 0, "state": passed}],
        "containerStatuses": [{"name": "web", "ready": false, "restartCount": 0, "state": runs}]});
    pod
}

/// The same, ready since five seconds.
pub fn ready(mut pod: Value) -> Value {
    let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
    conditions.extend([condition("ContainersReady", true, 5), condition("Ready", true, 5)]);
    pod["status"]["phase"] = json!("Running");
    pod["status"]["containerStatuses"][0]["ready"] = json!(true);
    pod
}

/// An Event on the pod, of the kubelet.
pub fn event(reason: &str, message: &str, ago_s: u64, container: &str) -> Value {
    let path = if container.is_empty() { String::new() } else { format!("spec.containers{{{container}}}") };
    let kind = if reason.starts_with("Failed") || reason == "Unhealthy" { "Warning" } else { "Normal" };
    json!({"apiVersion": "v1", "kind": "Event", "type": kind, "reason": reason, "message": message, "count": 1,
        "metadata": {"namespace": "shop", "name": format!("web-0.{reason}"), "creationTimestamp": ago(ago_s)},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-0", "uid": UID, "fieldPath": path},
        "source": {"component": "kubelet"}, "firstTimestamp": ago(ago_s), "lastTimestamp": ago(ago_s)})
}

/// A trace, one line a span below its parent: the name, whole seconds, what was asked for, and the error.
pub fn outline(told: &Told, shown: &[&str]) -> String {
    let mut spans: Vec<&Span> = told.spans.iter().map(|(_, span)| span).collect();
    spans.retain(|span| hex(&span.trace_id) == TRACE);
    spans.sort_by_key(|span| (span.start_time_unix_nano, span.name.clone()));
    let mut out = String::new();
    write(&mut out, &spans, "", 0, shown);
    out
}

pub fn write(out: &mut String, spans: &[&Span], parent: &str, depth: usize, shown: &[&str]) {
    for span in spans.iter().filter(|span| hex(&span.parent_span_id) == parent) {
        let took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000_000;
        let _ = write!(out, "{}{} {took}s", "  ".repeat(depth), span.name);
        for key in shown {
            if let Some(value) = text(&span.attributes, key) {
                let _ = write!(out, " {}={value}", key.rsplit('.').next().unwrap());
            }
        }
        if let Some(status) = span.status.as_ref().filter(|status| status.code() == StatusCode::Error) {
            let _ = write!(out, " !{}", status.message);
        }
        out.push('\n');
        write(out, spans, &hex(&span.span_id), depth + 1, shown);
    }
}

/// What is said of whole starts.
pub fn lines(told: &Told) -> Vec<String> {
    let ours = |name: &str| name.starts_with("istio_cni.pod.");
    let logs = told.logs.iter().map(|(_, log)| log).filter(|log| ours(&log.event_name));
    let body = |log: &opentelemetry_proto::tonic::logs::v1::LogRecord| {
        let body = opentelemetry_proto::tonic::common::v1::KeyValue {
            key: "body".into(),
            value: log.body.clone(),
            ..Default::default()
        };
        text(&[body], "body").unwrap()
    };
    logs.map(|log| format!("{} {} | {}", log.severity_text, log.event_name, body(log))).collect()
}

pub const PAGE: (&str, &str) = ("PAGE_ADDRESS", "127.0.0.1:0");

/// What `explain` says of the pod on this node.
pub fn explained(world: &World) -> Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
    command.args(["explain", "shop/web-0", "--output", "json", "--run-dir"]).arg(world.node.run_dir.path()).env_clear();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
pub fn as_the_registry_says(told: &Told) {
    let registry = Registry::read();
    let mut wrong: Vec<String> = told.spans.iter().flat_map(|(_, span)| registry.span(span)).collect();
    wrong.extend(told.logs.iter().flat_map(|(_, log)| registry.log(log)));
    wrong.extend(told.metrics.iter().flat_map(|metric| registry.metric(metric)));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The UID of the pod of this number.
pub fn uid(number: usize) -> String {
    format!("11111111-2222-4333-8444-{number:012}")
}
