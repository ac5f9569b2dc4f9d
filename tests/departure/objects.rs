//! The objects of the cluster that a departure is decided by, and answers of an API server about them.

use crate::support::scripted_api::Reply;
use istio_cni_otel::domain::departure::DaemonSetName;
use serde_json::{Value, json};

pub fn name() -> DaemonSetName {
    DaemonSetName::of_agent("istio-system", "istio-cni-node-x2b5k").unwrap()
}

pub fn daemonset(spec: &Value) -> Value {
    json!({"kind": "DaemonSet", "apiVersion": "apps/v1", "metadata": {"name": "istio-cni-node", "namespace": "istio-system"},
        "spec": {"template": {"spec": spec}}})
}

pub fn another() -> Value {
    let mut another = daemonset(&json!({}));
    another["metadata"]["name"] = json!("istio-cni-node-canary");
    another
}

pub fn deleting() -> Value {
    let mut deleting = daemonset(&json!({}));
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    deleting
}

pub fn on_linux() -> Value {
    let expression = json!({"key": "os", "operator": "In", "values": ["linux"]});
    let terms = json!([{"matchExpressions": [expression]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    daemonset(&json!({"affinity": {"nodeAffinity": required}}))
}

pub fn node(os: &str) -> Value {
    json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": "node-a", "labels": {"os": os}}})
}

pub fn reply(code: u16, body: &Value) -> Reply {
    Reply::Json(code, body.to_string())
}

pub fn status(code: u16, reason: &str, details: &Value) -> Reply {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "so", "metadata": {}, "details": details});
    reply(code, &status)
}

pub fn gone() -> Reply {
    status(404, "NotFound", &json!({"name": "istio-cni-node", "group": "apps", "kind": "daemonsets"}))
}
