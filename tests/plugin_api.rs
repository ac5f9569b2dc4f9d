//! The plugin on its own against an API server in every mood: each ends within its bounds, with an
//! error that says what to do, and without a rule left behind.

mod support;

use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::telemetry::story::error_type_of;
use serde_json::json;
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::api::Api;
use support::scripted_api::Reply;
use support::*;

/// ADDs a pod against this node, which must fail; gives the message.
fn failing_add(node: &Node) -> String {
    let pod = Namespace::new();
    let start = Instant::now();
    let (code, message) = node.call("ADD", &pod.path()).error();
    assert_eq!(code, 999, "{message}");
    assert!(start.elapsed() < Duration::from_secs(10), "{message}");
    assert!(pod.nft_tables().is_empty(), "half a rule is left: {:?}", pod.nft_tables());
    message
}

#[test]
fn every_mood_of_the_api_server_has_its_words_and_its_type() {
    let status = |code: u16| Reply::Json(code, json!({"kind": "Status", "message": "because"}).to_string());
    let other = json!({"kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop", "uid": "another"},
        "spec": {"containers": [{"name": "web"}]}});
    let headless = json!({"kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop", "uid": UID}});
    let cases = [
        (Reply::Json(200, headless.to_string()), ErrorType::ApiInvalidResponse, "it has no containers"),
        (status(401), ErrorType::ApiUnauthorized, "does not accept the kubeconfig's credentials (401: because)"),
        (status(403), ErrorType::ApiForbidden, "does not allow to get pods of namespace shop (403: because)"),
        (status(404), ErrorType::PodNotFound, "knows no pod shop/web-0 (404: because)"),
        (status(500), ErrorType::ApiError, "answered with status 500: because"),
        (Reply::Json(200, "garbage".into()), ErrorType::ApiInvalidResponse, "something that is not the pod shop/web-0"),
        (Reply::Raw(b"garbage\r\n\r\n".into()), ErrorType::ApiInvalidResponse, "something that is not the pod"),
        (Reply::Silence, ErrorType::ApiTimeout, "did not answer within 1500 ms (api_timeout_ms)"),
        (Reply::HangUp, ErrorType::ApiUnreachable, "no connection to the API server"),
        (Reply::Json(200, other.to_string()), ErrorType::PodReplaced, "has UID another at the API server"),
    ];
    for (reply, kind, expected) in cases {
        let node = Node::with_api(vec![reply.clone()]);
        let message = failing_add(&node);
        assert!(message.contains(expected), "{reply:?}: {message}");
        assert!(message.contains("(asked 2 times in "), "{message}");
        let [batch] = &node.spooled()[..] else { panic!("one batch") };
        let lookup = batch.spans.iter().find(|span| span.name == "pod.lookup").unwrap();
        assert_eq!(error_type_of(lookup), Some(kind));
    }
}

#[test]
fn nobody_at_the_servers_address_is_unreachable() {
    loopback();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Node::new();
    node.write_kubeconfig(&format!("http://{free}"));
    let message = failing_add(&node);
    assert!(message.contains(&format!("no connection to the API server http://{free}")), "{message}");
}

#[test]
fn a_missing_or_broken_kubeconfig_fails_at_once_and_names_the_file() {
    let node = Node::new().conf("pod_lookup_attempts", json!(10_000)).conf("pod_lookup_interval_ms", json!(1000));
    let path = node.path("istio-cni-kubeconfig");
    let message = failing_add(&node);
    assert!(message.contains(&format!("nor the kubeconfig {};", path.display())), "{message}");
    std::fs::write(&path, "token: SECRET\nclusters: 1").unwrap();
    let message = failing_add(&node);
    assert!(message.contains("is not YAML of the expected shape (line 2") && !message.contains("SECRET"), "{message}");
}

#[test]
fn an_annotation_out_of_range_is_the_only_thing_that_is_told() {
    let node = Node::with_pod(&pod(json!({"traffic.sidecar.istio.io/excludeInboundPorts": "99999"})));
    let message = failing_add(&node);
    assert!(
        message.starts_with(
            "annotation value error for value excludeInboundPorts; annotationFound = true: portList \"99999\" invalid"
        ),
        "{message}"
    );
    assert_eq!(node.api.as_ref().unwrap().requests().len(), 1, "a pod that was found is not asked for again");
}

#[test]
fn every_annotation_out_of_range_is_named_with_its_value_and_what_it_takes() {
    let traffic = "traffic.sidecar.istio.io";
    let ports = "ports from 0 to 65535 joined by commas";
    let ranges = "ranges like 10.1.0.0/16";
    let interfaces = "interface names joined by commas";
    let cases = [
        ("sidecar.istio.io/interceptionMode".to_owned(), "NONE", "redirectMode", "REDIRECT or TPROXY"),
        (format!("{traffic}/includeOutboundIPRanges"), "10.2.0.0/99", "includeIPCidrs", ranges),
        (format!("{traffic}/excludeOutboundIPRanges"), "*", "excludeIPCidrs", ranges),
        (format!("{traffic}/excludeInboundPorts"), "65536", "excludeInboundPorts", ports),
        (format!("{traffic}/excludeInboundPorts"), "*", "excludeInboundPorts", ports),
        (format!("{traffic}/includeInboundPorts"), "80,,81", "includeInboundPorts", ports),
        (format!("{traffic}/excludeOutboundPorts"), "*", "excludeOutboundPorts", ports),
        (format!("{traffic}/excludeOutboundPorts"), "-1", "excludeOutboundPorts", ports),
        (format!("{traffic}/includeOutboundPorts"), "*", "includeOutboundPorts", ports),
        (format!("{traffic}/excludeInterfaces"), "eth0,-x", "excludeInterfaces", interfaces),
        (
            "istio.io/reroute-virtual-interfaces".to_owned(),
            "0123456789abcdef",
            "reroute-virtual-interfaces",
            interfaces,
        ),
    ];
    for (key, value, name, takes) in cases {
        let message = failing_add(&Node::with_pod(&pod(json!({&key: value}))));
        let begins = format!("annotation value error for value {name}; annotationFound = true: ");
        assert!(message.starts_with(&begins), "{message}");
        let shown = value.split(',').next_back().unwrap();
        for part in [shown, &format!("annotation {key} takes "), takes, ": correct it where the pod is defined"] {
            assert!(message.contains(part), "{part} is missing: {message}");
        }
        assert!(message.ends_with(&format!("; step redirect.decide, trace {TRACE}")), "{message}");
    }
}

#[test]
fn a_kernel_without_nf_tables_is_named_with_what_to_do() {
    let node = Node::with_pod(&pod(json!({}))).conf("redirect_backend", json!("nftables"));
    let wire = Wire::new(Addresses::V4);
    let (code, message) = crippled(forbid_netfilter_netlink, || node.call("ADD", &wire.pod.path()).error());
    assert_eq!(code, 999);
    assert!(message.starts_with("the kernel has no nf_tables support for "), "{message}");
    assert!(
        message.contains("load the modules nf_tables, ") && message.contains("redirect_backend to iptables"),
        "{message}"
    );
    assert!(message.ends_with(&format!("; step rules.apply, trace {TRACE}")), "{message}");
    assert!(wire.pod.nft_tables().is_empty());
}

#[test]
fn a_node_without_iptables_is_told_where_it_was_looked_for() {
    for backend in ["iptables", "auto"] {
        let node = Node::with_pod(&pod(json!({}))).conf("redirect_backend", json!(backend));
        let wire = Wire::new(Addresses::V4);
        let lacking = || {
            hide_system_programs();
            // Where nf_tables works, nobody looks for iptables.
            if backend == "auto" {
                forbid_netfilter_netlink();
            }
        };
        let (code, message) = crippled(lacking, || node.call("ADD", &wire.pod.path()).error());
        assert_eq!(code, 999);
        if backend == "auto" {
            assert!(message.starts_with("the kernel has no nf_tables support for "), "{message}");
            assert!(message.contains("; iptables, which is tried then, fails too: none of "), "{message}");
        }
        assert!(message.contains("iptables-restore was found in /usr/local/sbin:"), "{message}");
        assert!(message.contains(": install iptables on the node, or "), "{message}");
        assert!(message.ends_with(&format!("; step rules.apply, trace {TRACE}")), "{message}");
        assert!(wire.pod.nft_tables().is_empty());
    }
}

#[test]
fn an_agent_that_has_to_use_iptables_says_why() {
    let (api, node) = (Api::start(), Node::new().conf("agent_timeout_ms", json!(20_000)));
    api.put(&pod(json!({})));
    let wire = Wire::new(Addresses::V4);
    let lacking = || {
        hide_system_programs();
        forbid_netfilter_netlink();
    };
    let (_, message) = crippled(lacking, || {
        let mut agent = Agent::start_unready(&node, &api);
        agent.wait_for("rules are programmed with iptables: ");
        node.call("ADD", &wire.pod.path()).error()
    });
    assert!(message.contains("iptables-restore was found in "), "{message}");
    let why = "; iptables was used because nf_tables cannot be used: the kernel has no nf_tables support for ";
    assert!(message.contains(why), "{message}");
    assert!(message.ends_with(&format!("; step rules.apply, trace {TRACE}")), "{message}");
}

#[test]
fn a_namespace_without_an_address_gets_no_rule() {
    let message = failing_add(&Node::with_pod(&pod(json!({}))));
    assert!(message.contains("no valid local IP address found"), "{message}");
}

#[test]
fn ambient_mode_is_warned_about_and_the_pod_is_treated_as_not_ambient() {
    let node = Node::with_pod(&pod(json!({}))).conf("ambient_enabled", json!(true));
    let wire = Wire::new(Addresses::V4);
    let answer = node.call("ADD", &wire.pod.path());
    assert_eq!(answer.result(), prev_result());
    assert_eq!(answer.messages("warn").iter().filter(|line| line.contains("ambient mode is not supported")).count(), 1);
    assert!(!wire.pod.nft_tables().is_empty());
}

#[test]
fn add_programs_check_compares_and_del_says_goodbye() {
    let node = Node::with_pod(&pod(json!({})));
    let wire = Wire::new(Addresses::Dual);
    let before = node.call("CHECK", &wire.pod.path()).error();
    assert!(before.1.contains("differ from what its annotations ask for"), "{before:?}");
    assert_eq!(node.call("ADD", &wire.pod.path()).result(), prev_result());
    assert_eq!(node.call("ADD", &wire.pod.path()).result(), prev_result(), "ADD twice is the same as once");
    let check = node.call("CHECK", &wire.pod.path());
    assert!(check.success && check.stdout.is_empty(), "{check:?}");
    wire.pod.sh("nft delete table inet istio-proxy-nat");
    assert!(node.call("CHECK", &wire.pod.path()).error().1.contains("differ from what its annotations ask for"));
    assert!(node.call("DEL", &wire.pod.path()).success);
    assert!(node.call("DEL", "").success);
}
