//! What is asked for when the agent is told to stop, and what is decided by the answers.

use crate::agent::Agent;
use crate::objects::{another, daemonset, deleting, gone, name, node, on_linux, reply, status};
use crate::support::api::{Api, Fault};
use crate::support::loopback;
use crate::support::scripted_api::{Reply, ScriptedApi};
use istio_cni_otel::k8s::parent::Patience;
use istio_cni_otel::telemetry::api_request::ApiRequest;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What an agent decides in this cluster.
fn decided(objects: &[Value]) -> &'static str {
    let api = Api::start();
    let agent = Agent::of(api.address);
    objects.iter().for_each(|object| api.put(object));
    agent.departure().reason()
}

#[test]
fn the_daemonset_as_it_is_decides() {
    assert_eq!(decided(&[daemonset(&json!({}))]), "daemonset_stands");
    assert_eq!(decided(&[deleting()]), "daemonset_deleting");
    assert_eq!(decided(&[another()]), "daemonset_gone");
    assert_eq!(decided(&[on_linux(), node("linux")]), "daemonset_stands");
    assert_eq!(decided(&[on_linux(), node("windows")]), "node_not_selected");
    let selecting = daemonset(&json!({"nodeSelector": {"os": "linux"}}));
    assert_eq!(decided(&[selecting.clone(), node("linux")]), "daemonset_stands");
    assert_eq!(decided(&[selecting, node("windows")]), "node_not_selected");
    assert_eq!(decided(&[on_linux()]), "placement_unknown", "there is no such node");
}

#[test]
fn whatever_is_not_proof_keeps_and_is_said() {
    let api = Api::start();
    let mut agent = Agent::of(api.address);
    agent.patience.answer = Duration::from_millis(200);
    let faults = [
        (Fault::Status(401), "(401)"),
        (Fault::Status(403), "get, list and watch of its DaemonSet"),
        // Something in between that knows no such page.
        (Fault::Status(404), "(404)"),
        (Fault::Status(500), "status 500"),
        (Fault::Garbage, "something that is no DaemonSet"),
        (Fault::Silence, "did not answer within 200.0ms"),
    ];
    for (fault, said) in faults {
        api.fail("daemonsets.get", Some(fault));
        let departure = agent.departure();
        assert_eq!(departure.reason(), "daemonset_unknown", "{fault:?}");
        let sentence = departure.sentence(Some(&name()), "node-a");
        assert!(sentence.contains(said), "{sentence}");
    }
    api.fail("daemonsets.get", None);
    api.put(&on_linux());
    api.fail("nodes.get", Some(Fault::Status(403)));
    let departure = agent.departure();
    assert_eq!(departure.reason(), "placement_unknown");
    assert!(departure.sentence(Some(&name()), "node-a").contains("needs get of nodes"));
    let address = api.address;
    drop(api);
    assert_eq!(Agent::of(address).departure().reason(), "daemonset_unknown", "nobody is there");
}

#[test]
fn an_api_server_that_hangs_takes_no_longer_than_the_patience_lasts() {
    let api = Api::start();
    let mut agent = Agent::of(api.address);
    api.fail("daemonsets.get", Some(Fault::Silence));
    agent.patience = Patience { total: Duration::from_millis(500), ..Patience::default() };
    let start = Instant::now();
    assert_eq!(agent.departure().reason(), "daemonset_unknown");
    assert!((Duration::from_millis(500)..Duration::from_secs(5)).contains(&start.elapsed()), "{:?}", start.elapsed());
    let usual = Patience::default();
    assert!(usual.total + usual.settle <= Duration::from_secs(15), "within the grace period, with time left to remove");
}

#[test]
fn a_trouble_that_passes_is_got_over() {
    loopback();
    let script = vec![status(500, "", &json!({})), Reply::HangUp, reply(200, &daemonset(&json!({})))];
    let api = ScriptedApi::http(script);
    let agent = Agent::of(api.address);
    assert_eq!(agent.departure().reason(), "daemonset_stands");
    let counted = agent.counted.lock().unwrap().clone();
    let request = |code| ApiRequest { verb: "get", resource: "daemonsets", code };
    assert_eq!(counted, [request(Some(500)), request(None), request(Some(200))]);
}

#[test]
fn a_daemonset_that_is_replaced_by_force_keeps() {
    loopback();
    let api = ScriptedApi::http(vec![gone(), reply(200, &daemonset(&json!({})))]);
    assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_stands");
    assert_eq!(api.requests().len(), 2);
}

#[test]
fn what_was_gone_stays_gone_when_our_own_rights_go_too() {
    loopback();
    for code in [401, 403] {
        let api = ScriptedApi::http(vec![gone(), status(code, "", &json!({}))]);
        assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_gone");
        let api = ScriptedApi::http(vec![status(code, "", &json!({}))]);
        assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_unknown", "alone, {code} is no proof");
    }
}

#[test]
fn an_object_of_another_name_decides_nothing() {
    loopback();
    for other in [json!({}), another()] {
        let api = ScriptedApi::http(vec![reply(200, &other)]);
        assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_unknown");
    }
    let details = json!({"name": "somebody-else"});
    let api = ScriptedApi::http(vec![status(404, "NotFound", &details)]);
    assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_unknown");
}

#[test]
fn an_api_server_with_an_ipv6_address_is_asked() {
    loopback();
    let api = Api::start_at("[::1]:0".parse().unwrap());
    api.put(&deleting());
    assert_eq!(Agent::of(api.address).departure().reason(), "daemonset_deleting");
}
