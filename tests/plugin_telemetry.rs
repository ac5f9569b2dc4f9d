//! What the plugin tells of a call: its trace, its links, its log lines, and where they wait when
//! there is no agent.

#![expect(clippy::panic, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::telemetry::keys::{self, Key};
use istio_cni_otel::telemetry::story::{Batch, error_type_of, text_attribute};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn span<'a>(batch: &'a Batch, name: &str) -> &'a Span {
    batch.spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}"))
}

fn said(span: &Span, key: Key) -> Option<&str> {
    text_attribute(&span.attributes, key)
}

/// ADDs a meshed pod without an agent, and gives what was spooled.
fn standalone_add(node: &Node) -> Batch {
    let wire = Wire::new(Addresses::V4);
    assert_eq!(node.call("ADD", &wire.pod.path()).result(), prev_result());
    node.spooled().remove(0)
}

#[test]
fn a_standalone_add_is_one_trace_with_every_step() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let told = standalone_add(&Node::with_pod(&pod(json!({}))));
    let names: Vec<&str> = told.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ADD_SPANS);
    let request = span(&told, "cni.add");
    assert_eq!(hex(&request.parent_span_id), "8444555555555555", "below the pod's root span");
    for step in &told.spans {
        assert_eq!(hex(&step.trace_id), TRACE, "the trace is the pod's UID");
        assert_eq!(said(step, keys::POD_UID), Some(UID));
        assert!(u128::from(step.start_time_unix_nano) >= before);
        assert!(request.start_time_unix_nano <= step.start_time_unix_nano);
        assert!(step.end_time_unix_nano <= request.end_time_unix_nano);
        if step.name != "cni.add" {
            assert_eq!(step.parent_span_id, request.span_id, "{}", step.name);
        }
    }
    let of_request = [
        (keys::COMMAND, "add"),
        (keys::CONTAINER_ID, "cafe"),
        (keys::INTERFACE, "eth0"),
        (keys::OUTCOME, "enrolled"),
        (keys::PATH, "standalone"),
        (keys::POD_NAME, "web-0"),
        (keys::POD_NAMESPACE, "shop"),
    ];
    for (key, value) in of_request {
        assert_eq!(said(request, key), Some(value), "{}", key.as_str());
    }
    assert!(said(request, keys::NETNS).unwrap().starts_with("/proc/"));
    assert_eq!(said(span(&told, "pod.lookup"), keys::POD_SOURCE), Some("api"));
    assert_eq!(said(span(&told, "rules.apply"), keys::RULES_BACKEND), Some("nftables"));
}

#[test]
fn the_runtimes_trace_context_becomes_a_link() {
    let node = Node::with_pod(&pod(json!({"tracing.k8s.io/traceparent": PARENT.replace("0af7", "1bf7")})))
        .env("TRACEPARENT", PARENT)
        .env("TRACESTATE", "vendor=1")
        .env("BAGGAGE", "user=J%C3%BCrgen");
    let told = standalone_add(&node);
    let request = span(&told, "cni.add");
    assert_eq!(hex(&request.trace_id), TRACE);
    let [environment, annotation] = &request.links[..] else { panic!("two links, not {:?}", request.links) };
    assert_eq!(
        (hex(&environment.trace_id).as_str(), environment.trace_state.as_str()),
        ("0af7651916cd43dd8448eb211c80319c", "vendor=1")
    );
    assert_eq!(text_attribute(&environment.attributes, keys::LINK_SOURCE), Some("environment"));
    assert!(environment.attributes.iter().any(|kv| kv.key == "istio_cni.link.baggage.user"));
    assert_eq!(hex(&annotation.trace_id), "1bf7651916cd43dd8448eb211c80319c");
    assert_eq!(text_attribute(&annotation.attributes, keys::LINK_SOURCE), Some("annotation"));
}

#[test]
fn the_propagators_say_what_of_the_environment_is_read() {
    for (propagators, links, baggage) in [("baggage", 0, 0), ("none", 0, 0), ("tracecontext", 1, 0)] {
        let node = Node::with_pod(&pod(json!({})))
            .env("OTEL_PROPAGATORS", propagators)
            .env("TRACEPARENT", PARENT)
            .env("BAGGAGE", "user=me");
        let told = standalone_add(&node);
        let found = &span(&told, "cni.add").links;
        assert_eq!(found.len(), links, "{propagators}");
        let members = found.iter().flat_map(|link| &link.attributes).filter(|kv| kv.key.contains(".baggage."));
        assert_eq!(members.count(), baggage, "{propagators}");
    }
}

#[test]
fn the_runtimes_trace_context_becomes_the_parent_when_that_is_set() {
    let node = Node::with_pod(&pod(json!({}))).env("TRACEPARENT", PARENT).conf("trace_parent", json!("parent"));
    let told = standalone_add(&node);
    let request = span(&told, "cni.add");
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    for step in &told.spans {
        assert_eq!(hex(&step.trace_id), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(said(step, keys::POD_UID), Some(UID), "the pod is found by its UID all the same");
    }
    assert_eq!(span(&told, "rules.apply").parent_span_id, request.span_id);
    // That the parent is remote, or not, is known; and the lowest bit is the runtime's.
    assert_eq!((request.flags, span(&told, "rules.apply").flags), (0x301, 0x101));
    let unsampled = Node::with_pod(&pod(json!({})))
        .env("TRACEPARENT", &PARENT.replace("3331-01", "3331-00"))
        .conf("trace_parent", json!("parent"));
    let told = standalone_add(&unsampled);
    assert!(told.spans.iter().all(|span| span.flags & 1 == 0), "{:?}", told.spans);
    assert!(told.logs.iter().all(|log| log.flags == 0), "{:?}", told.logs);
}

#[test]
fn a_malformed_trace_context_is_ignored() {
    for parent in ["garbage", "00-00000000000000000000000000000000-b7ad6b7169203331-01", &PARENT.to_uppercase()] {
        let node = Node::new().env("TRACEPARENT", parent).conf("trace_parent", json!("parent"));
        assert_eq!(node.call("ADD", "/nonexistent").error().0, 999);
        let told = node.spooled().remove(0);
        assert_eq!(hex(&told.spans[0].trace_id), TRACE, "{parent}");
        assert!(told.spans.iter().all(|span| span.links.is_empty()));
    }
}

#[test]
fn a_failed_step_carries_its_type_and_the_request_too() {
    let node = Node::new();
    let (_, message) = node.call("ADD", "/nonexistent").error();
    let message = message.strip_suffix(&format!("; step netns.open, trace {TRACE}")).unwrap();
    let told = node.spooled().remove(0);
    for name in ["netns.open", "cni.add"] {
        let span = span(&told, name);
        assert_eq!(error_type_of(span).map(|kind| kind.as_str()), Some("netns_missing"));
        assert_eq!(span.status.as_ref().map(|status| (status.code, status.message.as_str())), Some((2, message)));
    }
    assert_eq!(said(span(&told, "cni.add"), keys::REASON), Some("netns_missing"));
}

#[test]
fn a_broken_configuration_is_told_where_its_run_directory_can_be_read() {
    let node = Node::new().conf("redirect_backend", json!("ebpf"));
    assert_eq!(node.call_as_is().error().0, 7);
    let told = node.spooled().remove(0);
    assert_eq!(error_type_of(span(&told, "config.parse")).map(|kind| kind.as_str()), Some("config_invalid"));
}

#[test]
fn a_configuration_refused_for_its_version_name_or_command_is_told_too() {
    let cases = [
        (Node::new().conf("cniVersion", json!("9.9.9")), "version_unsupported", "cni.add"),
        (Node::new().conf("name", json!("a/b")), "config_invalid", "cni.add"),
        (
            Node::new().env("CNI_COMMAND", "CHECK").conf("cniVersion", json!("0.3.1")),
            "version_unsupported",
            "cni.check",
        ),
    ];
    for (node, kind, request) in cases {
        let message = node.call_as_is().error().1;
        assert!(message.ends_with(&format!("; step config.parse, trace {TRACE}")), "{message}");
        let told = node.spooled().remove(0);
        for name in ["config.parse", request] {
            assert_eq!(error_type_of(span(&told, name)).map(|kind| kind.as_str()), Some(kind), "{message}");
        }
    }
    let unknown = Node::new().env("CNI_COMMAND", "FLY");
    let message = unknown.call_as_is().error().1;
    assert!(message.ends_with(&format!("; step config.parse, trace {TRACE}")), "{message}");
    let told = unknown.spooled().remove(0);
    let step = span(&told, "config.parse");
    assert_eq!(error_type_of(step).map(|kind| kind.as_str()), Some("environment_invalid"));
    assert_eq!(hex(&step.parent_span_id), "8444555555555555", "below the pod's root span");
}

#[test]
fn a_status_that_is_refused_leaves_no_file() {
    let node = Node::new().env("CNI_COMMAND", "STATUS");
    assert_eq!(node.call_as_is().error().0, 1);
    assert!(node.spooled().is_empty());
}

#[test]
fn log_lines_carry_trace_and_span_and_stand_in_the_file_when_the_agent_is_away() {
    let node = Node::with_pod(&pod(json!({})));
    let told = standalone_add(&node);
    assert!(told.logs.iter().all(|log| hex(&log.trace_id) == TRACE && log.span_id.len() == 8));
    let file = node.path("istio-cni.log");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), told.logs.len());
    for key in ["level", "time", "msg", "pod"] {
        assert!(lines.iter().all(|line| line[key].is_string()), "{key} is missing in {text}");
    }
    assert!(
        lines.iter().any(|line| line["msg"] == "============= Start nftables configuration for web-0 =============")
    );
}

#[test]
fn a_call_about_no_pod_has_a_trace_of_its_own() {
    let node = Node::new().env("CNI_ARGS", "");
    let traces: Vec<String> = (0..2)
        .map(|_| {
            assert!(node.call_as_is().success);
            let told = node.spooled().pop().unwrap();
            assert_eq!(said(span(&told, "cni.add"), keys::REASON), Some("not_kubernetes"));
            assert!(span(&told, "cni.add").parent_span_id.is_empty(), "it is a root");
            hex(&told.spans[0].trace_id)
        })
        .collect();
    assert_ne!(traces[0], traces[1]);
}

#[test]
fn a_pod_without_a_uid_gets_the_trace_of_the_one_that_was_found() {
    let node = Node::with_pod(&pod(json!({}))).env("CNI_ARGS", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0");
    let told = standalone_add(&node);
    assert!(told.spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    assert_eq!(hex(&span(&told, "cni.add").parent_span_id), "8444555555555555");
}

#[test]
fn telemetry_that_cannot_be_left_neither_fails_nor_delays_an_add() {
    let node = Node::with_pod(&pod(json!({})));
    std::fs::write(node.path("spool"), "a file where a directory should be").unwrap();
    std::fs::create_dir(node.path("istio-cni.log")).unwrap();
    let wire = Wire::new(Addresses::V4);
    let start = std::time::Instant::now();
    assert_eq!(node.call("ADD", &wire.pod.path()).result(), prev_result());
    assert!(start.elapsed() < Duration::from_secs(20));
}
