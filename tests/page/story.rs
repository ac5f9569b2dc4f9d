//! A node as it may look in the afternoon, for the README's pictures. Nothing of it is painted: recorded starts are played
//! to the real agent, the ADDs are real, and so is the repair of a pod that started without rules.

use super::node::{self, Sandbox};
use super::recording::{Step, play, second, steps};
use super::scene::{Scene, now_ns};
use super::support::api::Api;
use super::support::{Namespace, Node, eventually, pod};
use istio_cni_otel::domain::identity::TraceId;
use serde_json::{Value, json};

/// What happened, and what it needs to stay so.
pub struct Story {
    pub scene: Scene,
    /// The paths of a pod's start and of a failure.
    pub start: String,
    pub failure: String,
    _pods: Vec<Namespace>,
    _repaired: Sandbox,
}

/// A node agent's settings: pods are repaired, and nobody is at the collector's address.
const SETTINGS: [(&str, &str); 3] = [
    ("AUDIT_INTERVAL", "5m"),
    ("REPAIR_REPAIR_PODS", "true"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
];

/// Tells it all.
pub fn told() -> Story {
    let place = tempfile::Builder::new().prefix("istio-cni").rand_bytes(0).tempdir_in("/run").unwrap();
    let mut scene = Scene::of(Node::with_run_dir(place), Api::start(), &SETTINGS);
    scene.agent.wait_for("ms after the start");
    let mut pods = Vec::new();
    for (number, name) in ["cart-6b7f9-kx2lp", "checkout-59d4c-9fj2m", "search-0"].iter().enumerate() {
        pods.push(add(&mut scene, &meshed(name, number, json!({}))));
    }
    let broken = meshed("orders-84bb-7tqhn", 40, json!({"traffic.sidecar.istio.io/excludeInboundPorts": "8080,none"}));
    pods.push(add(&mut scene, &broken));
    let outside = meshed("batch-importer-28c9f", 41, json!({"sidecar.istio.io/inject": "false"}));
    pods.push(add(&mut scene, &outside));
    let repaired = repair(&scene);
    let begins = now_ns() / 1_000_000_000 + 1;
    let mut both = steps("native-sidecar", "payment-7c6d5-q8w4z", &uid(50), begins);
    both.extend(steps("normal", "web-0", &uid(51), begins + 6));
    play(both, |step| match step {
        Step::Put(object) => scene.api.put(&object),
        Step::Add(object) => pods.push(call(&mut scene, &object)),
    });
    let trace = |number| TraceId::of_pod(&uid(number)).to_hex();
    [50, 51].iter().for_each(|number| scene.wait_for_trace(&trace(*number), "pod.startup"));
    eventually("nobody takes the telemetry", || {
        let findings = scene.json("/api/v1/doctor")["findings"].clone();
        findings.as_array().unwrap().iter().any(|it| it["status"] == "warning").then_some(())
    });
    let path = |number| format!("/traces/{}", trace(number));
    Story { scene, start: path(51), failure: path(40), _pods: pods, _repaired: repaired }
}

fn uid(number: usize) -> String {
    format!("{number:08x}-2222-4333-8444-555555555555")
}

/// A pod that has just been made.
fn meshed(name: &str, number: usize, annotations: Value) -> Value {
    let mut object = pod(annotations);
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(uid(number));
    object["metadata"]["creationTimestamp"] = json!(ago(0));
    object
}

/// So many seconds ago, as the API server writes it.
fn ago(seconds: u64) -> String {
    second(now_ns() / 1_000_000_000 - seconds) + "Z"
}

/// The pod's ADD, and its namespace, which stays.
fn call(scene: &mut Scene, object: &Value) -> Namespace {
    let namespace = Namespace::new();
    namespace.ip("addr add 10.1.0.5/32 dev lo");
    scene.add_pod(object, &namespace);
    namespace
}

/// The same of a pod that the API server does not have yet.
fn add(scene: &mut Scene, object: &Value) -> Namespace {
    scene.api.put(object);
    let namespace = call(scene, object);
    scene.wait_for_trace(&TraceId::of_pod(object["metadata"]["uid"].as_str().unwrap()).to_hex(), "cni.add");
    namespace
}

/// A pod that started before the plugin was there, and that is put right.
fn repair(scene: &Scene) -> Sandbox {
    let sandbox = Sandbox::new(1);
    let mut early = node::pod(1);
    early["metadata"]["name"] = json!("inventory-5f6c-m2p7d");
    early["metadata"]["creationTimestamp"] = json!(ago(4));
    let ended = |exit: u8, from: String, container: &str| {
        json!({"terminated": {"exitCode": exit, "reason": if exit == 0 { "Completed" } else { "Error" },
            "startedAt": from, "finishedAt": ago(0), "containerID": container}})
    };
    let mut runs = |count: u8, state: Value, last: Value| {
        early["status"]["initContainerStatuses"] = json!([
            {"name": "istio-validation", "restartCount": count, "state": state, "lastState": last}]);
        scene.api.put(&early);
    };
    let failed = ended(126, ago(2), "containerd://1");
    runs(0, json!({"waiting": {"reason": "CrashLoopBackOff"}}), failed.clone());
    scene.agent.wait_for_metric("istio_cni_repair_pods_repaired_total{type=\"repair\",result=\"success\"}", 1.0);
    runs(1, ended(0, ago(0), "containerd://2"), failed);
    sandbox
}
