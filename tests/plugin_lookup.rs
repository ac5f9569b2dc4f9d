//! Looking a pod up is one mechanism, whether the plugin asks the API server alone or the agent
//! does: the same patience, the same errors, the same attributes.

#![expect(clippy::panic, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::telemetry::keys;
use istio_cni_otel::telemetry::story::{error_type_of, text_attribute};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::api::{Api, Fault};
use support::*;

const OTHER_UID: &str = "22222222-2222-4333-8444-555555555555";

fn with_uid(uid: &str) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["uid"] = json!(uid);
    pod
}

/// A node, alone or with an agent, and its API server. The bounds are the default ones, 30 attempts
/// with a second between them, but for these.
struct World {
    api: Api,
    node: Node,
    agent: Option<Agent>,
}

impl World {
    fn new(with_agent: bool, bounds: &[(&str, u32)], pods: &[Value]) -> World {
        loopback();
        let api = Api::start();
        pods.iter().for_each(|pod| api.put(pod));
        let mut node = Node::new().conf("agent_timeout_ms", json!(60_000));
        for key in ["pod_lookup_attempts", "pod_lookup_interval_ms"] {
            node = node.conf(key, Value::Null);
        }
        for (key, value) in bounds {
            node = node.conf(key, json!(value));
        }
        node.write_kubeconfig(&format!("http://{}", api.address));
        let agent = with_agent.then(|| Agent::start(&node, &api));
        World { api, node, agent }
    }

    /// Waits until the metrics count a failed lookup of this type.
    fn counts_a_failed_lookup(&self, error_type: &str) {
        let Some(agent) = &self.agent else { return };
        let labels = format!(r#"{{step="pod.lookup",outcome="failed",error_type="{error_type}"}}"#);
        agent.wait_for_metric(&format!("istio_cni_step_duration_seconds_count{labels}"), 1.0);
    }
}

/// The error without its numbers, which depend on the time.
fn without_numbers(message: &str) -> String {
    let (text, _) = message.split_once(" (asked ").unwrap_or_else(|| panic!("no attempts in {message}"));
    text.to_owned()
}

#[test]
fn a_pod_that_was_replaced_is_waited_for_a_moment_only() {
    let errors = [false, true].map(|with_agent| {
        let world = World::new(with_agent, &[], &[with_uid(OTHER_UID)]);
        let sandbox = Namespace::new();
        let start = Instant::now();
        let (code, message) = world.node.call("ADD", &sandbox.path()).error();
        assert_eq!(code, 999);
        assert!(start.elapsed() < Duration::from_secs(15), "not the 30 s of a pod that may still come");
        assert!((2..=4).contains(&world.api.count("get")), "{:?}", world.api.requests());
        assert!(message.contains(UID) && message.contains(OTHER_UID), "{message}");
        assert!(sandbox.nft_tables().is_empty());
        world.counts_a_failed_lookup("pod_replaced");
        without_numbers(&message)
    });
    assert_eq!(errors[0], errors[1]);
}

#[test]
fn an_api_server_with_an_old_view_is_asked_again() {
    for with_agent in [false, true] {
        let world = World::new(with_agent, &[], &[with_uid(OTHER_UID)]);
        let wire = Wire::new(Addresses::V4);
        // What the watch brings would end the pause.
        world.api.hold_watches(true);
        std::thread::scope(|scope| {
            let adding = scope.spawn(|| world.node.call("ADD", &wire.pod.path()));
            world.api.wait_for("get", 1);
            world.api.put(&with_uid(UID));
            assert_eq!(adding.join().unwrap().result(), prev_result());
        });
        assert!(!wire.pod.nft_tables().is_empty(), "{with_agent}");
    }
}

#[test]
fn a_lasting_trouble_is_told_with_its_attempts_in_both_ways() {
    for with_agent in [false, true] {
        let world = World::new(with_agent, &[("pod_lookup_attempts", 3), ("pod_lookup_interval_ms", 1)], &[]);
        world.api.fail("get", Some(Fault::Status(500)));
        let message = world.node.call("ADD", &Namespace::new().path()).error().1;
        assert!(message.starts_with("pod shop/web-0 could not be looked up: the API server "), "{message}");
        assert!(message.contains("answered with status 500") && message.contains("; check its health "), "{message}");
        assert!(message.contains(" (asked 3 times in 0."), "{message}");
        assert!(message.ends_with(&format!("; step pod.lookup, trace {TRACE}")), "{message}");
        assert_eq!(world.api.count("get"), 3);
        world.counts_a_failed_lookup("api_error");
    }
}

#[test]
fn a_failed_lookup_says_where_and_how_often_it_looked() {
    let world = World::new(false, &[("pod_lookup_attempts", 3), ("pod_lookup_interval_ms", 1)], &[]);
    assert!(!world.node.call("ADD", &Namespace::new().path()).success);
    let told = world.node.spooled().remove(0);
    let step = told.spans.iter().find(|span| span.name == "pod.lookup").unwrap();
    assert_eq!(error_type_of(step).map(|kind| kind.as_str()), Some("pod_not_found"));
    assert_eq!(text_attribute(&step.attributes, keys::POD_SOURCE), Some("api"));
    let attempts = step.attributes.iter().find(|kv| kv.key == keys::POD_ATTEMPTS.as_str()).unwrap();
    assert_eq!(attempts.value.as_ref().unwrap().value, Some(Any::IntValue(3)));
}
