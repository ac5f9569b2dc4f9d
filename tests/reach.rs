//! The operator's tools reach an agent: over its socket, and through the API server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use clap::Parser;
use istio_cni_otel::cmd::reach::{Answer, Reach, ReachArgs, ReachError};
use istio_cni_otel::k8s::agents::AgentPod;
use serde_json::{Value, json};
use std::net::SocketAddr;
use support::agent::Agent;
use support::api::{Api, Fault};
use support::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    reach: ReachArgs,
}

/// The pod of an agent on a node.
fn agent_pod(node: &str, page: SocketAddr) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"namespace": "mesh", "name": format!("istio-cni-node-{node}"), "uid": format!("uid-{node}"),
            "labels": {"k8s-app": "istio-cni-node"}},
        "spec": {"nodeName": node, "containers": [{"name": "install-cni", "image": "cni:1",
            "env": [{"name": "PAGE_ADDRESS", "value": page.to_string()}]}]},
        "status": {"phase": "Running", "containerStatuses": [{"ready": true}]}})
}

/// A running agent with its page, and its pod in the API.
struct World {
    node: Node,
    api: Api,
    _agent: Agent,
    page: SocketAddr,
}

impl World {
    fn new() -> World {
        let (node, api) = (Node::new(), Api::start());
        node.write_kubeconfig(&format!("http://{}", api.address));
        let mut agent = Agent::start_with(&node, &[("PAGE_ADDRESS", "127.0.0.1:0")]);
        let port = agent.wait_for("serving the page")["server.port"].as_u64().unwrap();
        let page = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        agent.wait_for("ms after the start");
        for name in ["node-b", "node-a", "node-c"] {
            api.put(&agent_pod(name, page));
        }
        api.put(&support::pod(json!({})));
        api.forward(&agent_pod("node-a", page), page);
        World { node, api, _agent: agent, page }
    }

    /// With the agent's run directory, or one where there is nothing.
    fn reach(&self, run_dir: &str) -> Reach {
        let kubeconfig = self.node.path("istio-cni-kubeconfig");
        let line = ["x", "--cni-agent-run-dir", run_dir, "--kubeconfig", kubeconfig.to_str().unwrap()];
        Reach::new(&Line::try_parse_from(line).unwrap().reach, &|_| None)
    }

    fn elsewhere(&self) -> Reach {
        self.reach("/nowhere")
    }

    fn agent(&self) -> AgentPod {
        let reach = self.elsewhere();
        run(reach.agents(reach.api().unwrap(), Some("node-a"))).unwrap().remove(0)
    }

    fn through_the_api(&self, agent: &AgentPod) -> Result<Answer, ReachError> {
        let reach = self.elsewhere();
        run(reach.at_agent(reach.api().unwrap(), agent, "/"))
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn an_agent_is_asked_over_its_socket() {
    let world = World::new();
    let reach = world.reach(world.node.run_dir.path().to_str().unwrap());
    let answer = run(reach.at_socket("/")).unwrap().unwrap();
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8(answer.body).unwrap().contains("node-a"));
    assert!(run(world.elsewhere().at_socket("/")).is_none());
    assert_eq!(run(reach.at_socket("/nothing")).unwrap().unwrap().status, 404);
}

#[test]
fn an_agent_is_asked_through_the_api_server() {
    let world = World::new();
    let agent = world.agent();
    assert_eq!(
        (agent.name.as_str(), agent.ready, agent.page),
        ("istio-cni-node-node-a", true, Some(world.page.port()))
    );
    let answer = world.through_the_api(&agent).unwrap();
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8(answer.body).unwrap().contains("node-a"));
    let asked = world.api.requests();
    let forwarded = |request: &&String| {
        request.contains("/mesh/pods/istio-cni-node-node-a/portforward")
            && request.ends_with(&format!("ports={}", world.page.port()))
    };
    assert_eq!(asked.iter().filter(forwarded).count(), 1, "{asked:?}");
}

#[test]
fn the_agents_of_a_cluster_are_listed_by_node() {
    let world = World::new();
    let reach = world.elsewhere();
    let agents = run(reach.agents(reach.api().unwrap(), None)).unwrap();
    assert_eq!(agents.iter().map(|agent| agent.node.as_str()).collect::<Vec<_>>(), ["node-a", "node-b", "node-c"]);
}

#[test]
fn what_keeps_an_agent_from_answering_is_said() {
    let world = World::new();
    let agent = world.agent();
    let problem = |agent: &AgentPod| world.through_the_api(agent).unwrap_err().to_string();
    world.api.fail("portforward.get", Some(Fault::Status(403)));
    let said = problem(&agent);
    assert!(said.contains("(403)") && said.contains("get and create of pods/portforward"), "{said}");
    world.api.fail("portforward.get", Some(Fault::Status(500)));
    assert!(problem(&agent).contains("status 500"));
    world.api.fail("portforward.get", None);
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    world.api.forward(&agent_pod("node-a", nobody), nobody);
    let said = problem(&agent);
    assert!(
        said.contains("mesh/istio-cni-node-node-a on node node-a")
            && said.contains(&format!("port {}", world.page.port())),
        "{said}"
    );
    let off = AgentPod { page: None, ..agent };
    assert!(problem(&off).contains("PAGE_ADDRESS"));
}
