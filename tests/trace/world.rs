//! A node with a real agent, a collector that decodes what it sends, and an API server with pods.

#![allow(dead_code, reason = "each test file uses another part of this")]

use crate::otlp::{Collector, Nobody, Speaks};
use crate::support::agent::Agent;
use crate::support::api::Api;
use crate::support::{Addresses, Answer, Namespace, Node, Wire, eventually, loopback};
use crate::told::Told;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A node and its surroundings. The agent is not running yet.
pub struct World {
    pub node: Node,
    pub collector: Collector,
    pub agent: Option<Agent>,
    pub speaks: Speaks,
    volatile: Vec<(String, &'static str)>,
    pub api: Api,
    runtime: Runtime,
}

impl World {
    /// A node with these pods at its API server, and a collector that speaks this.
    pub fn new(speaks: Speaks, pods: &[Value]) -> World {
        loopback();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let collector = runtime.block_on(Collector::start(speaks, None));
        let api = Api::start();
        pods.iter().for_each(|pod| api.put(pod));
        let node = Node::new().conf("agent_timeout_ms", json!(20_000)).conf("plugin_log_level", json!("info"));
        node.write_kubeconfig(&format!("http://{}", api.address));
        let run_dir = node.run_dir.path().display().to_string();
        let volatile = vec![(run_dir, "RUN_DIR"), (format!("http://{}", api.address), "API")];
        World { node, collector, agent: None, speaks, volatile, api, runtime }
    }

    /// Changes how the plugin is called.
    pub fn call_with(mut self, change: impl FnOnce(Node) -> Node) -> World {
        self.node = change(self.node);
        self
    }

    /// A pod's namespace, which is called NETNS from now on.
    pub fn wire(&mut self) -> Wire {
        let wire = Wire::new(Addresses::V4);
        self.calls_it_netns(&wire.pod);
        wire
    }

    /// Its path is called NETNS from now on.
    pub fn calls_it_netns(&mut self, pod: &Namespace) {
        self.volatile.insert(0, (pod.path(), "NETNS"));
    }

    /// What differs from run to run is called so from now on.
    pub fn calls(&mut self, text: String, name: &'static str) {
        self.volatile.insert(0, (text, name));
    }

    /// Waits until the agent has taken over all that plugins left.
    pub fn wait_for_an_empty_spool(&self) {
        eventually("an empty spool", || {
            let Ok(entries) = std::fs::read_dir(self.node.path("spool")) else { return Some(()) };
            let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            (!names.any(|name| name.ends_with(".spool"))).then_some(())
        });
    }

    /// Starts the agent and waits until it is ready.
    pub fn start_agent(&mut self) -> &mut Agent {
        let mut agent = self.launch_agent(&[]);
        agent.wait_for("ms after the start");
        self.agent.insert(agent)
    }

    /// Starts an agent, with more in its environment, and waits only until its ports are open.
    pub fn launch_agent(&self, more: &[(&str, &str)]) -> Agent {
        let usual = self.environment();
        let usual = usual.iter().map(|(key, value)| (*key, value.as_str()));
        Agent::start_with(&self.node, &usual.chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// The same, with nobody where its collector should be.
    pub fn launch_without_collector(&self, nobody: &Nobody, more: &[(&str, &str)]) -> Agent {
        let url = nobody.url();
        let gone = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str())];
        self.launch_agent(&gone.into_iter().chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// The agent's OpenTelemetry settings: as usual, but quicker.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let protocol = if self.speaks == Speaks::Grpc { "grpc" } else { "http/protobuf" };
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.collector.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test".to_owned()),
            ("K8S_CLUSTER_NAME", "cluster-1".to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
            ("OTEL_BLRP_SCHEDULE_DELAY", "20".to_owned()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned()),
            // How pods start is another test's.
            ("STARTUP_TRACES", "off".to_owned()),
        ]
    }

    /// Stops the agent, which sends what it has; everything that the collector was told then.
    pub fn told(&mut self) -> Told {
        if let Some(agent) = self.agent.take() {
            assert!(agent.stop().success());
        }
        self.told_so_far()
    }

    /// Everything that the collector was told so far.
    pub fn told_so_far(&self) -> Told {
        Told::of(&self.collector.received(), self.volatile.clone())
    }

    /// Runs something of the collector's.
    pub fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }
}

/// One ADD through the agent of a pod that the plugin is called for with these arguments.
pub fn add(pods: &[Value], arguments: &str, speaks: Speaks) -> (Told, Answer) {
    let mut world = World::new(speaks, pods).call_with(|node| node.env("CNI_ARGS", arguments));
    let wire = world.wire();
    world.start_agent();
    let answer = world.node.call("ADD", &wire.pod.path());
    let unmeshed = wire.pod.nft_tables().is_empty();
    let told = world.told();
    let enrolled = told.spans.iter().any(|(_, span)| span.name == "rules.verify");
    assert_eq!(unmeshed, !enrolled, "rules where the trace says so, and nowhere else");
    (told, answer)
}

/// `CNI_ARGS` for a pod of this name and UID; an empty UID is none.
pub fn args(name: &str, uid: &str) -> String {
    let uid = if uid.is_empty() { String::new() } else { format!(";K8S_POD_UID={uid}") };
    format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={name}{uid}")
}

/// Compares texts of many lines so that a difference can be read. What is expected may begin on a
/// line of its own.
#[track_caller]
pub fn same(found: &str, expected: &str) {
    let expected = expected.strip_prefix('\n').unwrap_or(expected);
    assert!(found == expected, "found:\n{found}\nexpected:\n{expected}");
}
