//! The tool as a process, the pod that it is asked about, and the agents' pods through which it asks.

use crate::support::agent::Agent;
use crate::support::api::Api;
use crate::support::*;
use crate::world::World;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;

pub const PAGE: (&str, &str) = ("PAGE_ADDRESS", "127.0.0.1:0");

/// What the tool printed, and its exit status.
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!((self.status, self.err.as_str()), (0, ""), "{}", self.out);
        serde_json::from_str(&self.out).unwrap()
    }
}

/// Runs the tool without any environment but what is given.
pub fn tool(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_istio-cni-otel")).arg("explain"), arguments, environment)
}

pub fn run(command: &mut Command, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let output = command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Asks the agent of this node, for JSON.
pub fn on_node(world: &World, arguments: &[&str]) -> Ran {
    let run_dir = world.node.run_dir.path().to_str().unwrap();
    tool(&[arguments, &["--run-dir", run_dir, "--output", "json"]].concat(), &[])
}

/// Asks through the API server.
pub fn from_elsewhere(world: &World, arguments: &[&str]) -> Ran {
    let kubeconfig = world.node.path("istio-cni-kubeconfig");
    let reach = ["--run-dir", "/nowhere", "--kubeconfig", kubeconfig.to_str().unwrap(), "--output", "json"];
    tool(&[arguments, &reach].concat(), &[])
}

pub fn web_0() -> Value {
    let mut pod = pod(json!({}));
    pod["spec"]["nodeName"] = json!("node-a");
    pod["status"] = json!({"phase": "Running", "podIP": "10.1.0.5"});
    pod
}

/// The pod of an agent.
pub fn agent_pod(node: &str, page: SocketAddr) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"namespace": "mesh", "name": format!("istio-cni-node-{node}"), "uid": format!("uid-{node}"),
            "labels": {"k8s-app": "istio-cni-node"}},
        "spec": {"nodeName": node, "containers": [{"name": "install-cni",
            "env": [{"name": "PAGE_ADDRESS", "value": page.to_string()}]}]},
        "status": {"phase": "Running", "containerStatuses": [{"ready": true}]}})
}

/// Puts an agent's pod there, and leads a port-forward to its page.
pub fn reachable(api: &Api, node: &str, agent: &mut Agent) {
    let port = agent.wait_for("serving the page")["server.port"].as_u64().unwrap();
    let page = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
    api.put(&agent_pod(node, page));
    api.forward(&agent_pod(node, page), page);
}

/// The explanation once it says so.
pub fn once(world: &World, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let ran = on_node(world, &["shop/web-0"]);
        (ran.status == 0).then(|| ran.json()).filter(&is)
    })
}
