//! `doctor --cluster`: a hundred nodes behind an API server, one with a real agent, the others with stand-ins that answer
//! as agents do, reached by port-forward.

use crate::scene::{Findings, Scene, text};
use crate::support::api::Fault;
use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Instant;

/// What answers in place of an agent, until it is dropped.
pub struct StandIn {
    pub address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl StandIn {
    pub fn start(report: &Value) -> StandIn {
        let report = report.to_string();
        StandIn::with(Router::new().route("/api/v1/doctor", get(move || async move { report.clone() })))
    }

    pub fn with(routes: Router) -> StandIn {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes).await.unwrap();
        });
        StandIn { address, _runtime: runtime }
    }
}

pub fn report(version: &str, plugin: &str, findings: &Value) -> Value {
    json!({"node": "any", "version": version, "plugin_sha256": plugin, "status": "ok", "findings": findings})
}

pub fn fine() -> Value {
    json!([{"check": "agent.ready", "status": "ok", "what": "the agent is ready", "evidence": [], "next": "", "runbook": ""}])
}

pub fn node_of(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}}})
}

pub fn agent_on(node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "istio-system", "name": format!("istio-cni-{node}"),
        "uid": format!("a-{node}"), "labels": {"k8s-app": "istio-cni-node"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "istio-cni-node"}]},
        "spec": {"nodeName": node, "containers": [{"name": "install-cni", "image": "cni:1"}]},
        "status": {"phase": "Running", "containerStatuses": [{"ready": true}]}})
}

/// A cluster in which a real agent runs on node-a.
pub struct Cluster {
    pub scene: Scene,
    pub plugin: String,
    pub stand_ins: Vec<StandIn>,
    pub kubeconfig: tempfile::TempDir,
}

impl Cluster {
    pub fn new() -> Cluster {
        let mut scene = Scene::installed();
        let mut agent = scene.start(&[("SKIP_INSTALL", "true"), ("PAGE_ADDRESS", "127.0.0.1:0")]);
        let page = agent.wait_for("serving the page");
        let port = u16::try_from(page["server.port"].as_u64().unwrap()).unwrap();
        scene.agent = Some(agent);
        let plugin = text(&scene.doctor(&[]).report["plugin_sha256"]).to_owned();
        let cluster = Cluster::around(scene, plugin);
        cluster.put("node-a", SocketAddr::from(([127, 0, 0, 1], port)));
        cluster
    }

    /// One that has nodes only when they are added, all with stand-ins.
    pub fn simulated() -> Cluster {
        let scene = Scene::bare();
        scene.runtime.node.write_kubeconfig(&format!("http://{}", scene.runtime.api.address));
        Cluster::around(scene, "ab".repeat(32))
    }

    fn around(scene: Scene, plugin: String) -> Cluster {
        let kubeconfig = tempfile::tempdir().unwrap();
        std::fs::copy(scene.kubeconfig(), kubeconfig.path().join("config")).unwrap();
        Cluster { scene, plugin, stand_ins: Vec::new(), kubeconfig }
    }

    /// A node without an agent.
    pub fn put_bare_node(&self, node: &str) {
        self.scene.runtime.api.put(&node_of(node));
    }

    /// Adds a node with an agent on which all is well.
    pub fn add_fine(&mut self, node: &str) {
        let fine = report(env!("CARGO_PKG_VERSION"), &self.plugin, &fine());
        self.add([node.to_owned()].into_iter(), &fine);
    }

    /// The command, from a machine that is no node.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
        command.args(["doctor", "--cluster"]).args(arguments).env_clear();
        command.env("KUBECONFIG", self.kubeconfig.path().join("config"));
        command
    }

    pub fn put(&self, node: &str, to: SocketAddr) {
        let api = &self.scene.runtime.api;
        api.put(&node_of(node));
        api.put(&agent_on(node));
        api.forward(&agent_on(node), to);
    }

    /// So many nodes, all with this report of their agents.
    pub fn add(&mut self, nodes: impl Iterator<Item = String>, report: &Value) {
        let stand_in = StandIn::start(report);
        nodes.for_each(|node| self.put(&node, stand_in.address));
        self.stand_ins.push(stand_in);
    }

    pub fn doctor(&self, arguments: &[&str]) -> Findings {
        // What tests let hang here on purpose are agents, and the list of nodes.
        Findings::in_time(self.command(&["--output", "json"]).args(arguments), &["agent.answers", "cluster.agents"])
    }
}

/// What is wrong on nodes, as `node check: status`.
pub fn wrong_on_nodes(findings: &Findings) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in findings.report["nodes"].as_array().unwrap() {
        for finding in node["findings"].as_array().unwrap() {
            if finding["status"] == "problem" || finding["status"] == "warning" {
                wrong.push(format!("{} {}", text(&node["node"]), text(&finding["check"])));
            }
        }
    }
    wrong
}

#[test]
fn a_hundred_nodes_on_which_all_is_well_have_no_findings() {
    let mut cluster = Cluster::new();
    let same = report(env!("CARGO_PKG_VERSION"), &cluster.plugin, &fine());
    cluster.add((1..100).map(|n| format!("node-{n:03}")), &same);
    let began = Instant::now();
    let findings = cluster.doctor(&[]);
    println!("a hundred nodes took {:?}", began.elapsed());
    findings.fine();
    assert_eq!(wrong_on_nodes(&findings), Vec::<String>::new());
    assert_eq!(findings.report["nodes"].as_array().unwrap().len(), 100);
    let real =
        findings.report["nodes"].as_array().unwrap().iter().find(|node| node["node"] == "node-a").unwrap().clone();
    assert!(real["findings"].to_string().contains("watch.fresh"), "{real:#}");
}

#[test]
fn nodes_without_an_agent_silent_agents_and_other_versions_are_named() {
    let mut cluster = Cluster::new();
    let own = env!("CARGO_PKG_VERSION");
    cluster.add(["node-b".to_owned()].into_iter(), &report("0.0.9", &cluster.plugin, &fine()));
    let problem = json!([{"check": "network.place", "status": "problem", "what": "gone\u{1b}[2J", "next": "look", "runbook": "x"}]);
    cluster.add(["node-c".to_owned()].into_iter(), &report(own, &cluster.plugin, &problem));
    cluster.scene.runtime.api.put(&node_of("node-d"));
    // Nobody listens at port 1.
    cluster.put("node-e", SocketAddr::from(([127, 0, 0, 1], 1)));
    let mut pending = agent_on("node-f");
    pending["status"] = json!({"phase": "Pending"});
    cluster.scene.runtime.api.put(&node_of("node-f"));
    cluster.scene.runtime.api.put(&pending);
    let mut windows = node_of("node-w");
    windows["metadata"]["labels"]["kubernetes.io/os"] = json!("windows");
    cluster.scene.runtime.api.put(&windows);

    let findings = cluster.doctor(&[]);
    assert_eq!(findings.status, 1);
    assert_eq!(findings.wrong(), ["cluster.agents: problem", "cluster.versions: warning"], "{findings:#?}");
    assert_eq!(findings.of("cluster.agents")["evidence"], json!(["node-d"]));
    let versions = findings.of("cluster.versions")["evidence"].to_string();
    assert!(versions.contains("agent 0.0.9: node-b"), "{versions}");
    assert_eq!(wrong_on_nodes(&findings), ["node-c network.place", "node-e agent.answers", "node-f agent.answers"]);
    assert!(!findings.report.to_string().contains('\u{1b}'), "what an agent says steers no terminal");
    assert!(findings.report.to_string().contains("its pod does not run"));
}

#[test]
fn a_cluster_without_any_agent_is_a_finding_and_one_that_may_not_be_asked_is_none() {
    let cluster = Cluster::simulated();
    cluster.scene.runtime.api.put(&node_of("node-a"));
    let findings = cluster.doctor(&[]);
    assert_eq!((findings.wrong(), findings.status), (vec!["cluster.agents: problem".to_owned()], 1));
    cluster.scene.runtime.api.fail("list", Some(Fault::Status(403)));
    let findings = cluster.doctor(&[]);
    assert_eq!(findings.status, 2, "{findings:#?}");
    assert!(findings.stderr.contains("403"), "{findings:#?}");
    let nowhere = cluster.doctor(&["--kubeconfig", "/nowhere/config"]);
    assert_eq!(nowhere.status, 2, "{nowhere:#?}");
}

#[test]
fn one_pod_is_asked_of_its_nodes_agent_with_the_clusters_events() {
    let cluster = Cluster::new();
    let api = &cluster.scene.runtime.api;
    let mut web = crate::node::broken(930);
    web["spec"]["nodeName"] = json!("node-a");
    api.put(&web);
    api.put(&json!({"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop", "name": "web.1"}, "type": "Warning",
        "reason": "FailedCreatePodSandBox", "message": "plugin type=\"istio-cni\" failed (add)", "count": 7,
        "involvedObject": {"kind": "Pod", "uid": web["metadata"]["uid"]}, "source": {"component": "kubelet"}}));
    cluster.scene.agent.as_ref().unwrap().wait_for_metric(r#"istio_cni_validations_total{result="failed"}"#, 1.0);
    let findings = cluster.doctor(&["--pod", "shop/web-930"]);
    assert_eq!(findings.of("pod.known")["status"], "ok");
    assert_eq!(findings.of("pod.validation")["status"], "problem");
    let events = findings.of("pod.events");
    assert!(events["evidence"].to_string().contains("FailedCreatePodSandBox (7 times, kubelet)"), "{events}");
    let gone = cluster.doctor(&["--pod", "shop/nobody"]);
    gone.only("pod.known", "warning", "there is no pod shop/nobody");
}

#[test]
fn of_two_agents_of_a_node_the_one_that_runs_is_asked() {
    let mut cluster = Cluster::simulated();
    let known = json!([{"check": "pod.known", "status": "ok", "what": "the agent knows the pod"}]);
    cluster.add(["node-a".to_owned()].into_iter(), &report(env!("CARGO_PKG_VERSION"), "", &known));
    let api = &cluster.scene.runtime.api;
    let mut web = crate::node::pod(1);
    web["spec"]["nodeName"] = json!("node-a");
    api.put(&web);
    let doctor = || cluster.doctor(&["--pod", "shop/web-1"]);
    // By its name it comes first.
    let mut other = agent_on("node-a");
    other["metadata"]["name"] = json!("istio-cni-a");
    other["metadata"]["uid"] = json!("a-first");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    for (key, value) in [("phase", json!("Failed")), ("phase", json!("Running"))] {
        other["status"][key] = value;
        if other["status"]["phase"] == "Running" {
            other["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        api.put(&other);
        api.forward(&other, nobody);
        doctor().fine();
    }
    // Where none runs, that is said.
    let mut ended = agent_on("node-a");
    ended["status"]["phase"] = json!("Failed");
    api.put(&ended);
    let findings = doctor();
    assert_eq!(findings.wrong(), ["agent.answers: problem"], "{findings:#?}");
    assert!(findings.of("agent.answers").to_string().contains("pod istio-system/istio-cni-a does not run"));
}

#[test]
fn who_may_not_ask_agents_is_told_so_and_not_that_they_are_dead() {
    let cluster = Cluster::new();
    cluster.scene.runtime.api.fail("portforward.get", Some(Fault::Status(403)));
    for arguments in [&[][..], &["--pod", "istio-system/istio-cni-node-a"]] {
        let findings = cluster.doctor(arguments);
        assert_eq!(findings.status, 2, "{findings:#?}");
        assert!(findings.stderr.contains("pods/portforward"), "{findings:#?}");
    }
}

#[test]
fn an_agent_that_cannot_be_asked_from_here_is_unknown_and_no_finding() {
    let mut cluster = Cluster::new();
    let mut off = agent_on("node-b");
    off["spec"]["containers"][0]["env"] = json!([{"name": "PAGE_ADDRESS", "value": "off"}]);
    cluster.scene.runtime.api.put(&node_of("node-b"));
    cluster.scene.runtime.api.put(&off);
    let old = StandIn::with(Router::new());
    cluster.put("node-c", old.address);
    cluster.stand_ins.push(old);
    let findings = cluster.doctor(&[]);
    findings.fine();
    assert_eq!(wrong_on_nodes(&findings), Vec::<String>::new());
    for (node, next) in [("node-b", "run doctor on its node"), ("node-c", "the command of the agent's image")] {
        let nodes = findings.report["nodes"].as_array().unwrap();
        let told = nodes.iter().find(|told| told["node"] == node).unwrap();
        assert_eq!(told["findings"][0]["status"], "unknown", "{told:#}");
        assert!(text(&told["findings"][0]["next"]).contains(next), "{told:#}");
    }
}
