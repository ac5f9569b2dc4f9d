//! Pods that started before the plugin was there: the real agent finds them in the watch and repairs
//! them in their real namespaces, whatever the API server and the pods do meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "repair/node.rs"]
mod node;
mod support;

use node::{REDIRECTED, Sandbox, broken, trace};
use serde_json::Value;
use support::agent::Agent;
use support::api::Api;
use support::{Node, eventually};

const REPAIR: &[(&str, &str)] = &[("REPAIR_REPAIR_PODS", "true")];

/// A node with an API server; the agent is started when the pods are there.
struct World {
    node: Node,
    api: Api,
}

impl World {
    fn new(pods: &[Value]) -> World {
        support::loopback();
        let (node, api) = (Node::new(), Api::start());
        node.write_kubeconfig(&format!("http://{}", api.address));
        pods.iter().for_each(|pod| api.put(pod));
        World { node, api }
    }

    fn start(&self, environment: &[(&str, &str)]) -> Agent {
        let mut agent = Agent::start_with(&self.node, environment);
        agent.wait_for("ms after the start");
        agent
    }

    /// The Event on a pod, once it is there.
    fn event(&self, name: &str) -> Value {
        eventually(&format!("an Event on {name}"), || {
            self.api.events().into_iter().find(|event| event["involvedObject"]["name"] == name)
        })
    }
}

fn repaired(mode: &str, result: &str) -> String {
    format!("istio_cni_repair_pods_repaired_total{{type=\"{mode}\",result=\"{result}\"}}")
}

#[test]
fn a_pod_that_started_without_rules_is_repaired_and_packets_prove_it() {
    let world = World::new(&[broken(1)]);
    let sandbox = Sandbox::new(1);
    let _proxy = sandbox.proxy();
    assert_eq!(sandbox.outbound(), "timeout");
    let mut agent = world.start(REPAIR);
    agent.wait_for("starting CNI sidecar repair controller");
    agent.wait_for("Repairing pod...");
    let line = agent.wait_for("pod repaired");
    assert_eq!(line["k8s.pod.name"], "web-1", "{line}");
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    assert_eq!(sandbox.outbound(), REDIRECTED);
    let event = world.event("web-1");
    assert_eq!(event["reason"], "RepairBrokenPod");
    assert_eq!(event["message"], format!("pod detected as broken, repaired, trace {}", trace(1)));
    assert_eq!(event["source"]["component"], "cni-repair");
}
