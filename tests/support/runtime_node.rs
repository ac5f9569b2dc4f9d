//! A node whose agent installs the plugin, and its container runtime: for each pod it reads the
//! node's configuration anew, and calls the plugin that it finds installed there.

use super::agent::Agent;
use super::api::Api;
use super::layout::Layout;
use super::{Answer, Node, call_program, loopback, pod, prev_result};
use serde_json::{Value, json};
use std::fs;

/// The network configuration of a [`Layout`] with a primary.
pub const LIST: &str = "10-primary.conflist";

/// The node. Its agent's own kubeconfig is not the plugin's.
pub struct RuntimeNode {
    pub node: Node,
    pub api: Api,
    pub layout: Layout,
    own_kubeconfig: tempfile::NamedTempFile,
}

/// The agent's own DaemonSet.
pub fn daemonset() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"template": {"spec": {}}},
        "metadata": {"namespace": "istio-system", "name": "istio-cni-node", "uid": "d1"}})
}

/// The meshed pod of this number.
pub fn pod_number(n: usize) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["name"] = json!(format!("web-{n}"));
    pod["metadata"]["uid"] = json!(uid_number(n));
    pod
}

/// The UID of the pod of this number.
pub fn uid_number(n: usize) -> String {
    format!("11111111-2222-4333-8444-{n:012x}")
}

impl RuntimeNode {
    /// A node with a primary, whose API server has the agent's DaemonSet.
    pub fn new() -> RuntimeNode {
        loopback();
        let (node, api, own_kubeconfig) = (Node::new(), Api::start(), tempfile::NamedTempFile::new().unwrap());
        node.write_kubeconfig(&format!("http://{}", api.address));
        fs::rename(node.path("istio-cni-kubeconfig"), own_kubeconfig.path()).unwrap();
        api.put(&daemonset());
        RuntimeNode { node, api, layout: Layout::with_primary(), own_kubeconfig }
    }

    /// Starts an agent that installs here; its ports are open.
    pub fn start(&self, more: &[(&str, &str)]) -> Agent {
        let directories = self.layout.environment();
        let mut environment: Vec<(&str, &str)> =
            directories.iter().map(|(key, value)| (*key, value.as_str())).collect();
        environment.push(("KUBECONFIG", self.own_kubeconfig.path().to_str().unwrap()));
        environment.extend(more);
        Agent::start_with(&self.node, &environment)
    }

    /// The plugin's entry as it stands in the node's configuration now; it must stand there.
    pub fn entry(&self) -> Value {
        let list = self.layout.read(LIST).expect("a list");
        let plugins = list["plugins"].as_array().unwrap();
        plugins.iter().find(|plugin| plugin["type"] == "istio-cni").expect("the plugin's entry").clone()
    }

    /// An ADD of the pod of this number; `change` may change what the plugin is told.
    pub fn add(&self, n: usize, netns: &str, change: impl FnOnce(&mut Value)) -> Answer {
        let mut told = self.entry();
        told["cniVersion"] = json!("1.0.0");
        told["name"] = json!("pod-network");
        told["prevResult"] = prev_result();
        change(&mut told);
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-{n};K8S_POD_UID={}", uid_number(n));
        let container = format!("cafe{n}");
        let environment = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", container.as_str()),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", args.as_str()),
            ("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"),
        ];
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned()));
        call_program(&self.layout.bin().join("istio-cni"), &environment, told.to_string().as_bytes())
    }
}
