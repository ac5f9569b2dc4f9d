//! A node on which the real agent has installed the real plugin, in the hands of the CNI library: while
//! the agent is there, after a reboot, without credentials, and with another level of the plugin's log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cni_tools.rs"]
mod cni_tools;
mod support;

use cni_tools::{cnitool_for, stand_in};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::api::Api;
use support::layout::Layout;
use support::*;

const LIST: &str = "10-primary.conflist";
/// Pods by what `CNI_ARGS` say of them.
const MESHED: &str =
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=11111111-2222-4333-8444-555555555555";
const OWN: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=istio-system;K8S_POD_NAME=istio-cni-node-x7k2p";
const EXCLUDED: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=coredns-0";
const NO_POD: &str = "IgnoreUnknown=1;OTHER=1";

/// A node with a primary, its plugins, and an API server that has the meshed pod.
struct Cluster {
    node: Node,
    api: Api,
    layout: Layout,
    own_kubeconfig: tempfile::NamedTempFile,
}

impl Cluster {
    fn new() -> Cluster {
        let cluster = Cluster {
            node: Node::new(),
            api: Api::start(),
            layout: Layout::with_primary(),
            own_kubeconfig: tempfile::NamedTempFile::new().unwrap(),
        };
        cluster.api.put(&pod(json!({})));
        for plugin in ["bridge", "portmap"] {
            stand_in(&cluster.layout.bin(), plugin);
        }
        cluster
    }

    /// An agent that is ready; its own kubeconfig is not in the run directory.
    fn agent(&self, more: &[(&str, &str)]) -> Agent {
        self.node.write_kubeconfig(&format!("http://{}", self.api.address));
        fs::rename(self.node.path("istio-cni-kubeconfig"), self.own_kubeconfig.path()).unwrap();
        let directories = self.layout.environment();
        let mut environment: Vec<(&str, &str)> =
            directories.iter().map(|(key, value)| (*key, value.as_str())).collect();
        environment.push(("KUBECONFIG", self.own_kubeconfig.path().to_str().unwrap()));
        environment.extend(more);
        let mut agent = Agent::start_with(&self.node, &environment);
        agent.wait_for("ms after the start");
        agent
    }

    /// What the CNI library says of a command for a pod: nothing when it went well.
    fn cni(&self, command: &str, args: &str, netns: &Namespace) -> Result<(), String> {
        let (net, bin) = (self.layout.net(), self.layout.bin());
        let output = cnitool_for(netns, args, &net, &bin, &[command, "pod-network"]);
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    fn reboot(&self) {
        for entry in fs::read_dir(self.node.run_dir.path()).unwrap().map(|entry| entry.unwrap()) {
            let remove = if entry.file_type().unwrap().is_dir() { fs::remove_dir_all } else { fs::remove_file };
            remove(entry.path()).unwrap();
        }
    }

    fn entry(&self, key: &str) -> serde_json::Value {
        self.layout.read(LIST).unwrap()["plugins"][2][key].clone()
    }
}

/// Whether `said` is what a pod is told that waits for the agent after a boot.
fn waits(said: &Result<(), String>) -> bool {
    said.as_ref().is_err_and(|said| said.contains("the node agent has not started yet on this node"))
}

#[test]
fn after_a_reboot_what_must_start_starts_and_everything_else_waits_for_the_agent() {
    let cluster = Cluster::new();
    assert!(cluster.agent(&[]).stop().success());
    let installed = fs::read(cluster.layout.net().join(LIST)).unwrap();
    cluster.reboot();

    let sandbox = support::agent::sandbox();
    let start = Instant::now();
    for args in [OWN, EXCLUDED, NO_POD] {
        assert_eq!(cluster.cni("add", args, &sandbox), Ok(()), "{args}");
        assert_eq!(cluster.cni("del", args, &sandbox), Ok(()), "{args}");
    }
    let said = cluster.cni("add", MESHED, &sandbox);
    assert!(waits(&said), "{said:?}");
    assert_eq!(cluster.cni("del", MESHED, &sandbox), Ok(()));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(sandbox.nft_tables().is_empty());
    assert_eq!(fs::read(cluster.layout.net().join(LIST)).unwrap(), installed, "a reboot changes no configuration");

    // The agent's pod started; the kubelet's next try goes well, and what was told meanwhile arrives.
    let mut agent = cluster.agent(&[]);
    agent.wait_for("that waited in the spool");
    assert_eq!(cluster.cni("add", MESHED, &sandbox), Ok(()));
    assert!(!sandbox.nft_tables().is_empty());
}

#[test]
fn a_node_without_credentials_has_none_and_its_pods_depend_on_the_agent() {
    let cluster = Cluster::new();
    let sandbox = support::agent::sandbox();
    let agent = cluster.agent(&[("PLUGIN_KUBECONFIG", "none")]);
    assert_eq!(cluster.entry("kubeconfig"), json!("none"));
    assert!(!cluster.node.path("istio-cni-kubeconfig").exists());
    assert_eq!(cluster.cni("add", MESHED, &sandbox), Ok(()));
    assert!(!sandbox.nft_tables().is_empty());
    assert!(agent.stop().success());
    let said = cluster.cni("add", MESHED, &support::agent::sandbox()).unwrap_err();
    assert!(
        said.contains("this node keeps no credentials for the plugin (kubeconfig: none), so the pod waits"),
        "{said}"
    );
    assert_eq!(cluster.cni("add", OWN, &support::agent::sandbox()), Ok(()));
    assert_eq!(cluster.cni("del", MESHED, &sandbox), Ok(()));
}

#[test]
fn the_file_in_the_run_directory_sets_the_level_of_the_plugins_log() {
    let cluster = Cluster::new();
    let _agent = cluster.agent(&[("LOG_OUTPUT_LEVEL", "warn,cni-agent:debug")]);
    let level = |wanted: &str| {
        let what = format!("plugin_log_level {wanted}");
        eventually(&what, || (cluster.entry("plugin_log_level") == json!(wanted)).then_some(()));
    };
    level("warn");
    let file = cluster.node.path("log-level");
    fs::write(&file, "cni-plugin:debug,cni-agent:debug\n").unwrap();
    level("debug");
    fs::write(&file, "cni-plugin:nonsense").unwrap();
    level("warn");
    fs::write(&file, "error").unwrap();
    level("error");
    fs::remove_file(&file).unwrap();
    level("warn");
}
