//! What the stand-in API server has: sample pods, of this node first and then of others, and the agents'
//! DaemonSet.

use super::world::NODE;
use serde_json::{Value, json};

/// How many pods a node of the sample cluster has.
const PODS_PER_NODE: usize = 250;
/// The agents' own pod, and the DaemonSet that such a pod is of.
pub const AGENT_POD: &str = "istio-cni-node-x7k2p";
const DAEMONSET: &str = "istio-cni-node";
/// Where the agents run.
pub const NAMESPACE: &str = "istio-system";

/// The sample pod of number `n`, of this node: an ordinary injected pod.
pub fn pod(n: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("web-{n}"), "namespace": "shop", "uid": uid(n), "resourceVersion": "7",
            "annotations": {"sidecar.istio.io/status": "{}"}, "labels": {"app": "web"}},
        "spec": {"nodeName": NODE, "containers": [
            {"name": "web", "image": "web"},
            {"name": "istio-proxy", "image": "proxy", "args": ["proxy", "sidecar"], "env": []}]},
        "status": {"phase": "Pending"}
    })
}

/// The same, once it is ready: what a kubelet says of a start that took some seconds.
pub fn ready(n: usize) -> Value {
    let mut pod = pod(n);
    let at = |second: usize| format!("2026-01-02T03:04:{second:02}Z");
    let condition = |kind: &str, second| json!({"type": kind, "status": "True", "lastTransitionTime": at(second)});
    let ran = |name: &str| json!({"name": name, "ready": true, "restartCount": 0, "state": {"running": {"startedAt": at(5)}}, "lastState": {}});
    pod["metadata"]["resourceVersion"] = json!((100 + n).to_string());
    pod["metadata"]["creationTimestamp"] = json!(at(1));
    pod["status"] = json!({
        "phase": "Running", "startTime": at(2), "podIPs": [{"ip": "10.1.0.5"}],
        "conditions": [condition("PodScheduled", 1), condition("PodReadyToStartContainers", 3),
            condition("Initialized", 4), condition("ContainersReady", 6), condition("Ready", 6)],
        "containerStatuses": [ran("web"), ran("istio-proxy")]});
    pod
}

/// The UID of pod number `n`.
pub fn uid(n: usize) -> String {
    format!("5f2b0c11-7a51-4c1e-9d3f-{n:012x}")
}

/// The pods of a cluster, of which the first `ours` are this node's.
pub fn pods(all: usize, ours: usize) -> Vec<Value> {
    let on_its_node = |n| {
        let mut pod = pod(n);
        if n >= ours {
            pod["spec"]["nodeName"] = json!(format!("other-{}", (n - ours) / PODS_PER_NODE));
        }
        pod
    };
    (0..all).map(on_its_node).collect()
}

/// The DaemonSet that the agents are of, as one that stands.
pub fn daemonset() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": DAEMONSET, "namespace": NAMESPACE, "uid": "d", "resourceVersion": "7", "generation": 1},
        "spec": {"template": {"spec": {"nodeSelector": {}, "containers": [{"name": "install-cni", "image": "cni"}]}}}
    })
}

/// Whether a field selector (`spec.nodeName=a`) takes the object; none takes all.
pub fn selected(object: &Value, selector: Option<&str>) -> bool {
    let Some((field, value)) = selector.and_then(|selector| selector.split_once('=')) else { return true };
    field.split('.').fold(object, |object, key| &object[key]) == value
}
