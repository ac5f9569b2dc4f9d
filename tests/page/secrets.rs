//! Nothing that is secret is on a page, or in what the page's server answers to programs.

use super::scene::Scene;
use super::support::agent::Agent;
use super::support::api::Api;
use super::support::{Namespace, Node, eventually, loopback, pod};
use istio_cni_otel::domain::identity::TraceId;
use istio_cni_otel::domain::runbook::Runbook;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

/// What is planted wherever a secret could be.
const PLANTED: &str = "PLANTED-SECRET";

/// A collector that lets nobody in; it says once that it was told the secret.
fn unfriendly() -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            if String::from_utf8_lossy(&head).contains(PLANTED) {
                let _ = tell.send(());
            }
            let _ = client.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (url, told)
}

/// An agent that has all these secrets and uses them.
fn scene(collector: &str) -> Scene {
    loopback();
    let (node, api) = (Node::new(), Api::start());
    node.write_kubeconfig(&format!("http://{}", api.address));
    let kubeconfig = node.path("istio-cni-kubeconfig");
    let text = fs::read_to_string(&kubeconfig).unwrap();
    fs::write(kubeconfig, text.replace("token: t", &format!("token: {PLANTED}"))).unwrap();
    api.take_only_token(PLANTED);
    let mut agent = Agent::start_with(
        &node,
        &[
            ("PAGE_ADDRESS", "127.0.0.1:0"),
            ("AUDIT_INTERVAL", "0"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer%20{PLANTED}")),
            ("DATABASE_PASSWORD", PLANTED),
        ],
    );
    let port = u16::try_from(agent.wait_for("serving the page on")["server.port"].as_u64().unwrap()).unwrap();
    agent.wait_for("ms after the start");
    Scene { node, api, agent, port }
}

#[test]
fn what_is_secret_is_on_no_page_and_in_no_answer() {
    let (collector, told) = unfriendly();
    let mut scene = scene(&collector);
    let mut traces = Vec::new();
    for (name, uid, ports) in [
        ("web-0", "00000001-2222-4333-8444-555555555555", "8080"),
        ("web-1", "00000002-2222-4333-8444-555555555555", "8080,none"),
    ] {
        let mut object = pod(json!({
            "traffic.sidecar.istio.io/excludeInboundPorts": ports, "example.com/api-token": PLANTED,
            "kubectl.kubernetes.io/last-applied-configuration": format!("{{\"password\":\"{PLANTED}\"}}"),
        }));
        object["metadata"]["name"] = json!(name);
        object["metadata"]["uid"] = json!(uid);
        for container in object["spec"]["containers"].as_array_mut().unwrap() {
            container["env"] = json!([{"name": "DB_PASSWORD", "value": PLANTED}]);
            container["command"] = json!(["server", format!("--password={PLANTED}")]);
        }
        scene.api.put(&object);
        let namespace = Namespace::new();
        namespace.ip("addr add 10.1.0.5/32 dev lo");
        scene.add_pod(&object, &namespace);
        let trace = TraceId::of_pod(uid).to_hex();
        scene.wait_for_trace(&trace, "cni.add");
        traces.push(trace);
    }
    // All of it was used, and what failed is told.
    told.recv_timeout(super::support::agent::PATIENCE).unwrap();
    let findings = eventually("doctor tells of the collector", || {
        let (_, findings) = scene.get("/api/v1/doctor");
        findings.contains("telemetry was lost").then_some(findings)
    });
    assert!(findings.contains(&collector), "{findings}");
    let mut paths: Vec<String> = [
        "/",
        "/?failed=true",
        "/?text=PLANTED",
        "/doctor",
        "/nowhere",
        "/traces/0",
        "/api/v1/traces",
        "/api/v1/traces?failed=true",
        "/api/v1/doctor",
        "/api/v1/doctor?pod=shop/web-0",
        "/api/v1/doctor?pod=shop/web-1",
        "/api/v1/explain?pod=shop/web-0",
        "/api/v1/explain?pod=shop/web-1",
        "/api/v1/settings",
        "/api/v1/metrics",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(traces.iter().flat_map(|id| [format!("/traces/{id}"), format!("/api/v1/traces/{id}")]));
    paths.extend(Runbook::ALL.iter().map(|runbook| format!("/runbooks/{}", runbook.name)));
    for path in paths {
        let (status, text) = scene.get(&path);
        assert!(matches!(status, 200 | 404), "{path}: {status} {text}");
        assert!(!text.contains(PLANTED), "{path} has a secret: {text}");
    }
    let log = format!("{:?}", scene.agent.log);
    assert!(!log.contains(PLANTED), "the agent's log has a secret: {log}");
}
