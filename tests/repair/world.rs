//! The real agent on a node with broken pods and an API server that can misbehave.

#![allow(dead_code, reason = "each test file uses another part of this")]

use crate::support::agent::Agent;
use crate::support::api::Api;
use crate::support::{Node, eventually, loopback};
use serde_json::Value;

/// The mode in which rules are programmed.
pub const REPAIR: (&str, &str) = ("REPAIR_REPAIR_PODS", "true");
/// The mode in which pods are deleted.
pub const DELETE: (&str, &str) = ("REPAIR_DELETE_PODS", "true");
/// Deletions go by the eviction API.
pub const EVICT: (&str, &str) = ("REPAIR_EVICT", "true");
/// The mode in which pods are labelled.
pub const LABEL: (&str, &str) = ("REPAIR_LABEL_PODS", "true");

/// A node with an API server; the agent is started when the pods are there.
pub struct World {
    pub node: Node,
    pub api: Api,
}

impl World {
    /// A node with these pods.
    pub fn new(pods: &[Value]) -> World {
        loopback();
        let (node, api) = (Node::new(), Api::start());
        node.write_kubeconfig(&format!("http://{}", api.address));
        pods.iter().for_each(|pod| api.put(pod));
        World { node, api }
    }

    /// Starts the agent and waits until it is ready.
    pub fn start(&self, environment: &[(&str, &str)]) -> Agent {
        let mut agent = World::start_on(&self.node, environment);
        agent.wait_for("ms after the start");
        agent
    }

    /// Starts the agent on a node, and waits only until its ports are open.
    pub fn start_on(node: &Node, environment: &[(&str, &str)]) -> Agent {
        // What an audit finds and says is another test's.
        let environment = [("AUDIT_INTERVAL", "0")].into_iter().chain(environment.iter().copied());
        Agent::start_with(node, &environment.collect::<Vec<_>>())
    }

    /// The Events on a pod or a node.
    pub fn events_on(&self, name: &str) -> Vec<Value> {
        self.api.events().into_iter().filter(|event| event["involvedObject"]["name"] == name).collect()
    }

    /// The one Event on a pod or a node that begins so, once it is there.
    pub fn event(&self, name: &str, beginning: &str) -> Value {
        let has_it = |event: &Value| event["message"].as_str().is_some_and(|message| message.starts_with(beginning));
        eventually(&format!("an Event {beginning:?} on {name}"), || self.events_on(name).into_iter().find(has_it))
    }
}

/// Whether a deletion was asked for and taken.
pub fn is_deleted(world: &World, pod: &Value) -> bool {
    world.api.object(pod).unwrap()["metadata"]["deletionTimestamp"].is_string()
}

/// The series of attempts of this type with this result.
pub fn repaired(mode: &str, result: &str) -> String {
    format!("istio_cni_repair_pods_repaired_total{{type=\"{mode}\",result=\"{result}\"}}")
}
