//! What the plugin tells of calls that go well and badly, without an agent, is what the telemetry
//! registry says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "support/registry.rs"]
mod registry;
mod support;

use istio_cni_otel::domain::step::Step;
use istio_cni_otel::telemetry::story::Batch;
use registry::Registry;
use serde_json::json;
use std::collections::BTreeSet;
use support::scripted_api::Reply;
use support::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Everything that a node's calls left in the spool.
fn told(node: &Node, calls: &[(&str, &str)]) -> Vec<Batch> {
    for (command, netns) in calls {
        node.call(command, netns);
    }
    let told = node.spooled();
    assert!(!told.is_empty(), "{calls:?} told nothing");
    told
}

#[test]
fn what_the_plugin_tells_is_what_the_registry_says() {
    let wire = Wire::new(Addresses::V4);
    let netns = wire.pod.path();
    let linked = || {
        let annotated = pod(json!({"tracing.k8s.io/traceparent": PARENT}));
        Node::with_pod(&annotated).env("TRACEPARENT", PARENT).env("BAGGAGE", "user=me")
    };
    let wrong_annotation = pod(json!({"traffic.sidecar.istio.io/excludeInboundPorts": "x"}));
    let not_meshed = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop", "uid": UID},
        "spec": {"containers": [{"name": "web"}]}});
    let batches = [
        told(&linked(), &[("CHECK", &netns), ("ADD", &netns), ("ADD", &netns), ("CHECK", &netns), ("DEL", &netns)]),
        told(&Node::with_pod(&wrong_annotation), &[("ADD", &netns)]),
        told(&Node::with_pod(&not_meshed), &[("ADD", &netns)]),
        told(&Node::with_api(vec![Reply::Json(403, "{}".to_owned()); 2]), &[("ADD", &netns)]),
        told(&Node::new(), &[("ADD", "/nonexistent"), ("ADD", "/proc/self/ns/net"), ("ADD", &netns)]),
        told(&Node::new().conf("cniVersion", json!("1.1.0")), &[("STATUS", ""), ("GC", "")]),
    ]
    .concat();

    let registry = Registry::read();
    let spans = batches.iter().flat_map(|batch| &batch.spans);
    let mut wrong: BTreeSet<String> = spans.clone().flat_map(|span| registry.span(span)).collect();
    wrong.extend(batches.iter().flat_map(|batch| &batch.logs).flat_map(|log| registry.log(log)));
    assert!(wrong.is_empty(), "{wrong:#?}");

    let told: BTreeSet<String> = spans.map(|span| span.name.clone()).collect();
    // Installations, validations and repairs are others' to tell.
    let is_a_calls =
        |name: &String| name.starts_with("cni.") || Step::CALL.iter().any(|step| step.name() == name.as_str());
    let all: BTreeSet<String> = registry.of("span").into_keys().filter(is_a_calls).collect();
    let never: Vec<&String> = all.difference(&told).collect();
    // A gc, a status and a del without anything to say leave no file.
    assert!(never.iter().all(|name| ["cni.gc", "cni.status", "cni.del"].contains(&name.as_str())), "{never:?}");
}
