//! A node with a real agent, a collector that decodes what it sends, and an API server with pods.

#![allow(dead_code, reason = "each test file uses another part of this")]

use crate::otlp::{Collector, Speaks};
use crate::support::{Addresses, Namespace, Node, RealAgent, Wire, loopback};
use crate::told::Told;
use istio_cni_otel::cmd::demo::api::Api;
use istio_cni_otel::cmd::demo::pods::Pod;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A node and its surroundings. The agent is not running yet.
pub struct World {
    pub node: Node,
    pub collector: Collector,
    pub agent: Option<RealAgent>,
    pub speaks: Speaks,
    volatile: Vec<(String, &'static str)>,
    runtime: Runtime,
}

impl World {
    /// A node with these pods at its API server, and a collector that speaks this.
    pub fn new(speaks: Speaks, pods: &[Value]) -> World {
        loopback();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let pods: Vec<Pod> = pods.iter().map(served).collect();
        let (api, collector) =
            runtime.block_on(async { (Api::start(pods.iter()).await.unwrap(), Collector::start(speaks, None).await) });
        let node = Node::new().conf("agent_timeout_ms", json!(20_000)).conf("plugin_log_level", json!("info"));
        node.write_kubeconfig(&format!("http://{}", api.address()));
        let run_dir = node.run_dir.path().display().to_string();
        let volatile = vec![(run_dir, "RUN_DIR"), (format!("http://{}", api.address()), "API")];
        World { node, collector, agent: None, speaks, volatile, runtime }
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

    /// Starts the agent and waits until it is ready.
    pub fn start_agent(&mut self) -> &RealAgent {
        let agent = RealAgent::start(&self.node, &self.environment());
        self.agent.insert(agent)
    }

    /// The agent's OpenTelemetry settings: as usual, but quicker.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let protocol = if self.speaks == Speaks::Grpc { "grpc" } else { "http/protobuf" };
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.collector.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test".to_owned()),
            ("K8S_CLUSTER_NAME", "cluster-1".to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned()),
            ("OTEL_BLRP_SCHEDULE_DELAY", "20".to_owned()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned()),
        ]
    }

    /// Stops the agent, which sends what it has; everything that the collector was told then.
    pub fn told(&mut self) -> Told {
        if let Some(agent) = self.agent.take() {
            agent.stop();
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

/// A pod in the form that the API server serves.
fn served(object: &Value) -> Pod {
    let text = |key: &str| object["metadata"][key].as_str().unwrap().to_owned();
    Pod { name: text("name").leak(), uid: text("uid"), object: object.clone() }
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
