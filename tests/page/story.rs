//! A node as it may look in the afternoon, for the README's pictures: real ADDs, and what a kubelet and a validator would
//! have told besides.

use super::scene::{Scene, Told, failed, log, now_ns, text};
use istio_cni_otel::domain::identity::TraceId;
use serde_json::json;

/// The scene, and the paths of a pod's start and of a failure.
pub fn told() -> (Scene, Vec<String>) {
    let mut scene = Scene::start(&[]);
    for (number, name) in
        ["cart-6b7f9-kx2lp", "checkout-59d4c-9fj2m", "payment-7c6d5-q8w4z", "search-0", "search-1"].iter().enumerate()
    {
        scene.add(name, 10 + number as u16, json!({}));
    }
    let broken =
        scene.add("orders-84bb-7tqhn", 40, json!({"traffic.sidecar.istio.io/excludeInboundPorts": "8080,none"}));
    scene.add("batch-importer-28c9f", 41, json!({"sidecar.istio.io/inject": "false"}));
    let start = scene.add("web-0", 50, json!({}));
    pod_start(&scene, &start);
    repair(&scene);
    (scene, vec![format!("/traces/{start}"), format!("/traces/{broken}")])
}

/// What happened around the ADD of a pod: it was scheduled before, and its containers started after.
fn pod_start(scene: &Scene, trace: &str) {
    let id = TraceId::from_hex(trace).unwrap();
    let told = Told { trace: id, pod: ("shop", "web-0"), began_ns: now_ns() - 1_600_000_000 };
    let s = 1_000_000;
    let mut root = told.span(0, 0, "pod.startup", 0, 9 * s + 400_000);
    root.span_id = id.root_span().0.to_vec();
    let mut spans = vec![root.clone()];
    let mut under = |number, name: &str, from, to| {
        let mut span = told.span(number, 0, name, from, to);
        span.parent_span_id.clone_from(&root.span_id);
        spans.push(span);
    };
    under(21, "pod.schedule", 0, s);
    under(22, "pod.sandbox", s, 2 * s);
    under(23, "pod.init istio-validation", 2 * s, 3 * s);
    under(24, "pod.image web", 3 * s, 7 * s);
    under(25, "pod.container istio-proxy", 7 * s, 8 * s);
    under(26, "pod.container web", 7 * s + 500_000, 9 * s);
    let mut validate = told.span(27, 23, "validate", 2 * s + 80_000, 2 * s + 104_000);
    validate.attributes.push(text("istio_cni.validation.result", "passed"));
    let said = log(&spans[4], 3_900_000, 9, "Successfully pulled image \"registry.example/web:1.4\" in 3.9s");
    spans.push(validate);
    scene.tell(spans, vec![said]);
    scene.wait_for_trace(trace, "pod.startup");
}

/// A pod that started too early, and was put right.
fn repair(scene: &Scene) {
    let told =
        Told { trace: TraceId([0x5a; 16]), pod: ("shop", "inventory-5f6c-m2p7d"), began_ns: now_ns() - 60_000_000 };
    let validate = failed(
        told.span(1, 9, "pod.init istio-validation", 0, 5_000),
        "redirect_missing",
        "a connection to 127.0.0.6:15002 met nobody: nothing redirects in this pod",
    );
    let mut repair = told.span(2, 9, "repair.pod", 20_000, 27_000);
    repair.attributes.push(text("istio_cni.repair.result", "success"));
    let steps = [
        told.span(3, 2, "repair.netns", 20_100, 21_900),
        told.span(4, 2, "rules.apply", 22_000, 25_600),
        told.span(5, 2, "rules.verify", 25_700, 26_900),
    ];
    scene.tell([validate, repair].into_iter().chain(steps).collect(), Vec::new());
    scene.wait_for_trace(&told.trace.to_hex(), "repair.pod");
}
