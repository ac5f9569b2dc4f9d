//! Which nodes agents are meant for, plugins of several architectures, and nodes that do not answer.

use crate::cluster::{Cluster, StandIn, fine, node_of, report, wrong_on_nodes};
use crate::scene::text;
use crate::support::api::Fault;
use crate::support::runtime_node::daemonset;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// A node with these labels and taints.
fn node_with(name: &str, labels: Value, taints: Value) -> Value {
    let mut node = node_of(name);
    node["metadata"]["labels"].as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    node["spec"] = json!({"taints": taints});
    node
}

#[test]
fn nodes_that_the_daemonset_does_not_select_need_no_agent() {
    let mut cluster = Cluster::simulated();
    cluster.add_fine("node-a");
    let api = &cluster.scene.runtime.api;
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "pool", "operator": "NotIn", "values": ["virtual"]}]}]}}});
    let mut set = daemonset();
    set["spec"]["template"]["spec"] = json!({"nodeSelector": {"mesh": "yes"}, "affinity": affinity,
        "tolerations": [{"key": "gpu", "operator": "Exists"}]});
    api.put(&set);
    let meshed = || json!({"mesh": "yes"});
    api.put(&node_with("node-a", meshed(), json!([{"key": "gpu", "value": "1", "effect": "NoSchedule"}])));
    api.put(&node_of("node-unlabelled"));
    api.put(&node_with("node-virtual", json!({"mesh": "yes", "pool": "virtual"}), json!([])));
    api.put(&node_with("node-tainted", meshed(), json!([{"key": "db", "effect": "NoExecute"}])));
    let findings = cluster.doctor(&[]);
    findings.fine();
    let spared = findings.of("cluster.agents")["evidence"].to_string();
    for node in ["node-unlabelled", "node-virtual", "node-tainted"] {
        assert!(spared.contains(node), "{spared}");
    }

    // One that is cordoned, or not ready, is to have one all the same.
    let trouble = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
    api.put(&node_with("node-cordoned", meshed(), trouble));
    let findings = cluster.doctor(&[]);
    findings.only("cluster.agents", "problem", "no agent runs on 1 of 2 nodes");
    assert_eq!(findings.of("cluster.agents")["evidence"], json!(["node-cordoned"]));

    api.fail("daemonsets.get", Some(Fault::Status(403)));
    let findings = cluster.doctor(&[]);
    findings.fine();
    let open = findings.of("cluster.agents");
    assert_eq!(open["status"], "unknown", "{open:#}");
    assert!(open.to_string().contains("kubectl auth can-i get daemonsets -n istio-system"), "{open:#}");
}

#[test]
fn nodes_of_different_architectures_have_different_plugins() {
    let mut cluster = Cluster::simulated();
    cluster.add_fine("node-a");
    let other = report(env!("CARGO_PKG_VERSION"), &"cd".repeat(32), &fine());
    cluster.add(["node-b".to_owned()].into_iter(), &other);
    let api = &cluster.scene.runtime.api;
    api.put(&node_with("node-a", json!({"kubernetes.io/arch": "amd64"}), json!([])));
    api.put(&node_with("node-b", json!({"kubernetes.io/arch": "arm64"}), json!([])));
    cluster.doctor(&[]).fine();
    api.put(&node_with("node-b", json!({"kubernetes.io/arch": "amd64"}), json!([])));
    let findings = cluster.doctor(&[]);
    findings.only("cluster.versions", "warning", "amd64 plugin cdcd");
}

/// What takes connections and never answers, as an agent on a node that hangs.
fn hanging() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_hundred_nodes_of_which_half_hang_are_all_named_within_the_limit() {
    let mut cluster = Cluster::simulated();
    let same = report(env!("CARGO_PKG_VERSION"), &cluster.plugin, &fine());
    let listeners: Vec<_> = (0..50).map(|n| (hanging(), format!("node-{n:03}"))).collect();
    listeners.iter().for_each(|((_, address), node)| cluster.put(node, *address));
    cluster.add((50..100).map(|n| format!("node-{n:03}")), &same);
    let began = Instant::now();
    let findings = cluster.doctor(&["--timeout", "16"]);
    let took = began.elapsed();
    // The limit, and what a busy machine needs to start and to list.
    assert!(took < Duration::from_secs(16 + 14), "it took {took:?}");
    assert_eq!((findings.status, &findings.report["not_asked"]), (1, &json!(0)));
    let wanted: Vec<String> = (0..50).map(|n| format!("node-{n:03} agent.answers")).collect();
    assert_eq!(wrong_on_nodes(&findings), wanted);
    assert!(findings.report.to_string().contains("it did not answer within 4s"));
}

#[test]
fn who_had_no_time_to_answer_is_not_said_to_be_dead() {
    let cluster = Cluster::simulated();
    let listeners: Vec<_> = (0..200).map(|n| (hanging(), format!("node-{n:03}"))).collect();
    listeners.iter().for_each(|((_, address), node)| cluster.put(node, *address));
    let findings = cluster.doctor(&["--timeout", "3"]);
    let nodes = findings.report["nodes"].as_array().unwrap();
    let missed = nodes.iter().filter(|node| node.to_string().contains("not asked: the 3 s for all agents were over"));
    let missed: Vec<&Value> = missed.collect();
    assert_eq!((nodes.len(), json!(missed.len())), (200, findings.report["not_asked"].clone()));
    assert!(missed.len() >= 200 - 4 * 32, "{}", missed.len());
    assert!(missed.iter().all(|node| node["findings"][0]["status"] == "unknown"));
    assert!(text(&missed[0]["findings"][0]["next"]).contains("--timeout"));
}

#[test]
fn agents_that_answer_nonsense_are_named_with_it() {
    let mut cluster = Cluster::simulated();
    cluster.add_fine("node-a");
    let answers = |text: &'static str| {
        let route = axum::routing::get(move || async move { text });
        StandIn::with(axum::Router::new().route("/api/v1/doctor", route))
    };
    for (node, text) in [("node-b", "<html>hello</html>"), ("node-c", ""), ("node-d", "{\"findings\": 7}")] {
        let stand_in = answers(text);
        cluster.put(node, stand_in.address);
        cluster.stand_ins.push(stand_in);
    }
    let other =
        json!({"version": "9.9.9", "new": {}, "findings": [{"check": "new.check", "status": "terrible", "what": "w"}]});
    cluster.add(["node-e".to_owned()].into_iter(), &other);
    let findings = cluster.doctor(&[]);
    assert_eq!(wrong_on_nodes(&findings), ["node-b agent.answers", "node-c agent.answers", "node-d agent.answers"]);
    assert_eq!(findings.wrong(), ["cluster.versions: warning"], "{findings:#?}");
    assert!(findings.report.to_string().contains("this is no report of doctor"));
}
