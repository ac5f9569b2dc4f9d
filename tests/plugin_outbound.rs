//! The variables of the plugin's own process: whose outbound traffic is captured, what counts as
//! loopback, and the file that gets the rules in the namespace's stead.

mod support;

use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::telemetry::story::error_type_of;
use serde_json::{Value, json};
use support::agent::{Agent, sandbox};
use support::api::Api;
use support::*;

const GROUPS: &str = "ISTIO_OUTBOUND_OWNER_GROUPS";
const EXCLUDED: &str = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE";
const LOOPBACK: &str = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR";
const DRY_RUN: &str = "DRY_RUN_FILE_PATH";

fn meshed() -> Value {
    pod(json!({}))
}

/// A pod that gets no rules.
fn plain() -> Value {
    let mut pod = meshed();
    pod["metadata"]["annotations"] = json!({});
    pod
}

/// The backends that take rules about the proxy's group and others: without root, iptables knows
/// none but the test's own.
fn backends() -> &'static [&'static str] {
    if other_users_for("iptables") { &["nftables", "iptables"] } else { &["nftables"] }
}

/// The rules of the namespace in whichever language they are.
fn rules(pod: &Namespace) -> String {
    pod.sh("nft -s list ruleset; iptables-nft-save")
}

/// Calls ADD and CHECK, which must go well, and looks for these rules.
fn adds(node: &Node, expected: &[&str]) {
    let pod = sandbox();
    assert_eq!(node.call("ADD", &pod.path()).result(), prev_result());
    let found = rules(&pod);
    assert!(expected.iter().all(|rule| found.contains(rule)), "{expected:?}: {found}");
    assert!(node.call("CHECK", &pod.path()).success);
    let other = Node::with_pod(&meshed()).conf("redirect_backend", node.configuration["redirect_backend"].clone());
    let (_, message) = other.call("CHECK", &pod.path()).error();
    assert!(message.contains("differ from what its annotations ask for"), "{message}");
}

#[test]
fn the_node_says_whose_traffic_is_captured_and_what_is_loopback() {
    for backend in backends() {
        let nftables = *backend == "nftables";
        let node = || Node::with_pod(&meshed()).conf("redirect_backend", json!(backend));
        let only = if nftables {
            "meta skgid != 2000 meta skgid != 0 counter return"
        } else {
            "-A ISTIO_OUTPUT -m owner ! --gid-owner 2000 -m owner ! --gid-owner 0 -j RETURN"
        };
        adds(&node().env(GROUPS, "2000,root").env(EXCLUDED, "not looked at"), &[only]);
        let but = if nftables { "meta skgid 2000 counter return" } else { "-m owner --gid-owner 2000 -j RETURN" };
        adds(&node().env(EXCLUDED, "2000"), &[but]);
        let range = if nftables {
            ["ip daddr != 127.0.0.0/8", "ip daddr 127.0.0.0/8 counter return"]
        } else {
            ["! -d 127.0.0.0/8 -o lo", "-A ISTIO_OUTPUT -d 127.0.0.0/8 -j RETURN"]
        };
        adds(&node().env(LOOPBACK, "127.0.0.1/8"), &range);
    }
}

#[test]
fn an_empty_list_of_groups_captures_nobody() {
    let mut node = Node::with_pod(&meshed()).conf("redirect_backend", json!("nftables"));
    node.environment.push((GROUPS.to_owned(), String::new()));
    // Behind the proxy's own, and before all that is captured.
    adds(&node, &["meta skgid 1337 counter return\n\t\tcounter return\n"]);
}

#[test]
fn the_agent_is_told_what_the_plugins_process_says() {
    let (api, node) = (Api::start(), Node::new());
    api.put(&meshed());
    let agent = Agent::start(&node, &api);
    let node = node.env(GROUPS, "root,2000").env(LOOPBACK, "127.0.0.0/16");
    adds(&node, &["meta skgid != 0 meta skgid != 2000 counter return", "ip daddr 127.0.0.0/16 counter return"]);
    agent.wait_for_metric(r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"}"#, 1.0);
}

/// The wrong values, and what is said of each.
const WRONG: [(&str, &str, &str); 3] = [
    (GROUPS, "nosuchgroup", "\"nosuchgroup\" is no group; it takes * for all, or at most 64 groups"),
    (EXCLUDED, "*", "\"*\" is no group; it takes groups joined by commas"),
    (LOOPBACK, "10.0.0.0/8", "it is no range of IPv4 loopback addresses; it takes one range"),
];

#[test]
fn a_wrong_value_fails_the_pods_that_get_rules_in_one_sentence() {
    for (variable, value, said) in WRONG {
        let (node, pod) = (Node::with_pod(&meshed()).env(variable, value), sandbox());
        let (code, message) = node.call("ADD", &pod.path()).error();
        let begin = format!("{variable} is {value:?} in the environment of istio-cni: ");
        assert!(code == 999 && message.starts_with(&begin) && message.contains(said), "{message}");
        assert_eq!(pod.nft_tables(), Vec::<String>::new());
        let [batch] = &node.spooled()[..] else { panic!("one batch") };
        let decide = batch.spans.iter().find(|span| span.name == Step::RedirectDecide.name()).unwrap();
        assert_eq!(error_type_of(decide), Some(ErrorType::EnvironmentInvalid));
    }
}

#[test]
fn a_wrong_value_fails_through_the_agent_in_the_same_words() {
    let (api, node) = (Api::start(), Node::new());
    api.put(&meshed());
    let _agent = Agent::start(&node, &api);
    let (variable, value, said) = WRONG[2];
    let (_, message) = node.env(variable, value).call("ADD", &sandbox().path()).error();
    assert!(message.starts_with(variable) && message.contains(said), "{message}");
}

#[test]
fn a_wrong_value_fails_no_pod_that_gets_no_rules_and_no_removal() {
    for (variable, value, _) in WRONG {
        let (node, pod) = (Node::with_pod(&plain()).env(variable, value), sandbox());
        assert_eq!(node.call("ADD", &pod.path()).result(), prev_result());
        assert!(node.call("DEL", &pod.path()).success);
    }
}

#[test]
fn a_dry_run_writes_the_rules_and_programs_nothing() {
    for (backend, line) in
        [("nftables", "\ntable inet istio-proxy-nat {\n"), ("iptables", "-A OUTPUT -j ISTIO_OUTPUT\n")]
    {
        let node = Node::with_pod(&pod(json!({"sidecar.istio.io/interceptionMode": "TPROXY"})));
        let file = node.path("rules.txt");
        std::fs::write(&file, "those of the pod before").unwrap();
        let node = node.conf("redirect_backend", json!(backend)).env(DRY_RUN, file.to_str().unwrap());
        let (pod, node) = (sandbox(), node.env(GROUPS, "2000"));
        let before = pod.sh("nft list ruleset; ip rule; ip route show table all");
        let answer = node.call("ADD", &pod.path());
        assert_eq!(answer.result(), prev_result());
        let [warning] = &answer.messages("warn")[..] else { panic!("one warning: {}", answer.stderr) };
        assert!(warning.starts_with(&format!("{DRY_RUN} is set: the rules of this pod are written to ")), "{warning}");
        assert_eq!(pod.sh("nft list ruleset; ip rule; ip route show table all"), before, "{backend}");
        let written = std::fs::read_to_string(&file).unwrap();
        for rule in [line, "2000", "\n# ip -4 rule add fwmark 1337 lookup 133\n"] {
            assert!(written.contains(rule), "{backend}: {rule} is missing in {written}");
        }
        assert!(!written.contains("before"), "{written}");
        assert!(node.call("CHECK", &pod.path()).success, "nothing is compared either");
    }
}

#[test]
fn a_dry_run_does_not_go_to_the_agent() {
    let node = Node::with_pod(&meshed());
    let heard = agent(&node, Mood::Silent);
    let file = node.path("rules.txt");
    let node = node.env(DRY_RUN, file.to_str().unwrap());
    assert_eq!(node.call("ADD", &sandbox().path()).result(), prev_result());
    assert!(std::fs::read_to_string(&file).unwrap().contains("istio-proxy-nat"));
    let heard = heard.recv().unwrap();
    assert!(heard.call.is_none() && heard.telemetry.is_some(), "only what was done is told");
}

#[test]
fn a_dry_run_without_a_place_to_write_to_fails() {
    let pod = sandbox();
    for (file, said) in [("/nonexistent/rules", "cannot write the rules to"), ("/dev/null", "is no regular file")] {
        let (code, message) = Node::with_pod(&meshed()).env(DRY_RUN, file).call("ADD", &pod.path()).error();
        assert!(code == 999 && message.contains(said) && message.contains(file), "{message}");
    }
}

#[test]
fn a_dry_run_of_a_pod_that_gets_no_rules_writes_nothing() {
    let node = Node::with_pod(&plain());
    let file = node.path("rules.txt");
    let node = node.env(DRY_RUN, file.to_str().unwrap());
    assert_eq!(node.call("ADD", &sandbox().path()).result(), prev_result());
    assert!(!file.exists());
}
