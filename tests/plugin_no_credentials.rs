//! A node that keeps no credentials for the plugin (`kubeconfig: none`): the plugin depends on the
//! agent, never reads a kubeconfig that happens to be there, and says what it waits for.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::telemetry::keys;
use istio_cni_otel::telemetry::story::{error_type_of, text_attribute};
use serde_json::json;
use std::os::unix::net::UnixListener;
use support::agent::Agent;
use support::api::Api;
use support::*;

/// Such a node, on which a kubeconfig that works was left behind.
fn node() -> Node {
    Node::with_pod(&pod(json!({}))).conf("kubeconfig", json!("none"))
}

fn asked(node: &Node) -> usize {
    node.api.as_ref().unwrap().requests().len()
}

#[test]
fn without_an_agent_a_pod_waits_and_the_kubeconfig_is_not_read() {
    for command in ["ADD", "CHECK"] {
        for (stale, reason) in
            [(false, "No such file or directory (os error 2)"), (true, "Connection refused (os error 111)")]
        {
            let node = node();
            if stale {
                drop(UnixListener::bind(node.path("agent.sock")).unwrap());
            }
            let wire = Wire::new(Addresses::V4);
            let answer = node.call(command, &wire.pod.path());
            let expected = format!(
                "the node agent does not answer at {} ({reason}), and this node keeps no credentials for the plugin \
                 (kubeconfig: none), so the pod waits: check the istio-cni-node pod of this node in namespace \
                 istio-system; step pod.lookup, trace {TRACE}",
                node.path("agent.sock").display()
            );
            assert_eq!(answer.error(), (999, expected));
            assert!(!answer.messages("warn").iter().any(|line| line.contains("goes on alone")), "{answer:?}");
            assert!(wire.pod.nft_tables().is_empty());
            assert_eq!(asked(&node), 0);
            let [told] = &node.spooled()[..] else { panic!("one batch") };
            let span = |name: &str| told.spans.iter().find(|span| span.name == name).unwrap();
            assert_eq!(error_type_of(span("agent.call")), None);
            assert_eq!(error_type_of(span("pod.lookup")), Some(ErrorType::AgentUnreachable));
            let request = span(if command == "ADD" { "cni.add" } else { "cni.check" });
            assert_eq!(error_type_of(request), Some(ErrorType::AgentUnreachable));
            assert_eq!(text_attribute(&request.attributes, keys::PATH), Some("standalone"));
        }
    }
}

#[test]
fn an_agent_that_is_of_no_help_is_named_with_what_it_did() {
    for (mood, kind, what) in [
        (Mood::Silent, ErrorType::AgentTimeout, "did not answer within 1500 ms (agent_timeout_ms)"),
        (Mood::HangsUp, ErrorType::AgentProtocol, "hung up without an answer"),
    ] {
        let node = node();
        let _heard = agent(&node, mood);
        let (_, message) = node.call("ADD", &Wire::new(Addresses::V4).pod.path()).error();
        assert!(message.starts_with("the node agent was of no help (the node agent at "), "{message}");
        assert!(message.contains(what) && message.contains("(kubeconfig: none), so the pod waits: "), "{message}");
        let [told] = &node.spooled()[..] else { panic!("one batch") };
        let lookup = told.spans.iter().find(|span| span.name == "pod.lookup").unwrap();
        assert_eq!((error_type_of(lookup), asked(&node)), (Some(kind), 0));
    }
}

#[test]
fn with_the_agent_a_pod_gets_its_rules_and_without_it_nothing_that_must_start_waits() {
    let (api, node) =
        (Api::start(), Node::new().conf("kubeconfig", json!("none")).conf("agent_timeout_ms", json!(20_000)));
    api.put(&pod(json!({})));
    let wire = Wire::new(Addresses::V4);
    let agent = Agent::start(&node, &api);
    assert_eq!(node.call("ADD", &wire.pod.path()).result(), prev_result());
    assert!(!wire.pod.nft_tables().is_empty());
    assert!(agent.stop().success());
    assert!(
        node.call("ADD", &wire.pod.path()).error().1.contains("(kubeconfig: none)"),
        "the kubeconfig is still there"
    );
    assert!(node.call("DEL", &wire.pod.path()).success);
    for args in
        ["K8S_POD_NAMESPACE=istio-system;K8S_POD_NAME=istio-cni-node-a", "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=a"]
    {
        let node = self::node().env("CNI_ARGS", args);
        assert_eq!(node.call("ADD", "/nonexistent").result(), prev_result());
    }
}

#[test]
fn the_strict_status_says_that_pods_would_wait() {
    let node = node().conf("cniVersion", json!("1.1.0")).conf("prevResult", json!(null));
    let lenient = node.call("STATUS", "");
    assert!(lenient.success && lenient.messages("warn")[0].contains("so pods wait: check"), "{lenient:?}");
    let node = node.conf("status_mode", json!("strict"));
    let (code, message) = node.call("STATUS", "").error();
    assert_eq!(code, 50);
    assert!(
        message.contains("this node keeps no credentials for the plugin (kubeconfig: none), so pods wait"),
        "{message}"
    );
    let _heard = agent(&node, Mood::HangsUp);
    assert_eq!(node.call("STATUS", "").error().0, 51);
    assert_eq!(asked(&node), 0);
}

#[test]
fn another_word_is_an_error_but_not_for_del_and_gc() {
    let node = node().conf("kubeconfig", json!("None")).conf("cniVersion", json!("1.1.0"));
    for command in ["ADD", "CHECK", "STATUS"] {
        let (code, message) = node.call(command, "/nonexistent").error();
        assert_eq!(code, 7);
        let expected = "invalid network configuration: kubeconfig is \"None\"; allowed is one of file, none; ";
        assert!(message.starts_with(expected), "{message}");
    }
    for command in ["DEL", "GC"] {
        let answer = node.call(command, "");
        assert!(answer.success && answer.messages("warn")[0].contains("kubeconfig is \"None\""), "{answer:?}");
    }
}

#[test]
fn a_dry_run_needs_credentials() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let node = node().env("DRY_RUN_FILE_PATH", file.path().to_str().unwrap());
    let (_, message) = node.call("ADD", &Wire::new(Addresses::V4).pod.path()).error();
    assert!(
        message.starts_with("with DRY_RUN_FILE_PATH the node agent is not asked, and this node keeps no"),
        "{message}"
    );
    assert!(message.contains("so the pod waits: unset DRY_RUN_FILE_PATH"), "{message}");
}
