//! Broken pods that are deleted, evicted or labelled: the real agent against an API server that
//! refuses, conflicts, forgets and hangs. Never is another pod touched than the one that was seen.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "repair/node.rs"]
mod node;
mod support;
#[path = "repair/world.rs"]
mod world;

use nix::sys::signal::Signal;
use node::{broken, broken_for_good, name, passed, pod, trace};
use serde_json::{Value, json};
use support::agent::Agent;
use support::api::Fault;
use support::eventually;
use world::{DELETE, EVICT, LABEL, REPAIR, World, is_deleted, repaired};

const KEY: &str = "cni.istio.io/uninitialized";

/// A pod that the API server has, but that the agent has seen only as it was before.
fn changed_behind_the_watch(world: &World, agent: &mut Agent, before: &Value, after: &Value) {
    world.api.fail("delete", Some(Fault::Status(500)));
    world.api.put(before);
    agent.wait_for("retrying (retry count: 1)");
    world.api.hold_watches(true);
    world.api.put(after);
    world.api.fail("delete", None);
}

#[test]
fn a_broken_pod_is_deleted_and_found_in_the_log_under_either_wording() {
    let world = World::new(&[broken(1)]);
    let mut agent = world.start(&[DELETE]);
    for words in ["Deleting broken pod: shop/web-1", "Pod detected as broken, deleting: shop/web-1"] {
        let line = agent.wait_for(words);
        assert_eq!(line["msg"], words);
        assert_eq!((&line["level"], &line["trace_id"]), (&json!("info"), &json!(trace(1))), "{line}");
        assert_eq!((&line["k8s.pod.name"], &line["k8s.namespace.name"]), (&json!("web-1"), &json!("shop")));
    }
    agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    let event = world.event("web-1", "pod detected as broken, deleted, trace ");
    assert_eq!((&event["reason"], &event["source"]["component"]), (&json!("DeleteBrokenPod"), &json!("cni-repair")));
    assert!(is_deleted(&world, &broken(1)));
    assert_eq!((world.api.count("delete"), world.api.count("get "), world.api.count("events.create")), (1, 0, 1));
    assert_eq!(agent.metric(r#"istio_cni_api_requests_total{verb="delete",resource="pods",code="200"}"#), Some(1.0));
}

#[test]
fn a_pod_that_never_runs_again_is_deleted_too() {
    let world = World::new(&[broken_for_good(2)]);
    let agent = world.start(&[DELETE]);
    agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    assert!(is_deleted(&world, &broken(2)));
}

#[test]
fn repair_wins_over_delete_and_delete_over_label() {
    let world = World::new(&[broken(3)]);
    let mut agent = world.start(&[REPAIR, DELETE, LABEL]);
    agent.wait_for("Repairing pod...");
    assert_eq!((world.api.count("delete"), world.api.count("pods/status")), (0, 0));
    drop(agent);
    let agent = world.start(&[DELETE, LABEL]);
    agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    assert_eq!(world.api.count("pods/status"), 0);
}

#[test]
fn without_a_mode_nothing_is_done_and_it_can_be_switched_off() {
    let world = World::new(&[broken(4)]);
    let mut agent = world.start(&[]);
    agent.wait_for("starting CNI sidecar repair controller");
    assert!(agent.stop().success());
    let mut agent = world.start(&[DELETE, ("REPAIR_ENABLED", "false")]);
    agent.wait_for("CNI repair controller is disabled");
    assert!(agent.stop().success());
    assert_eq!(["delete", "pods/status", "events"].map(|verb| world.api.count(verb)), [0, 0, 0]);
}

#[test]
fn an_eviction_goes_by_the_eviction_api_and_waits_for_a_budget() {
    let world = World::new(&[broken(5)]);
    world.api.fail("pods/eviction.create", Some(Fault::Budget(1)));
    let mut agent = world.start(&[DELETE, EVICT]);
    agent.wait_for("Deleting broken pod: shop/web-5");
    agent.wait_for("repair.evict failed");
    world.event("web-5", "pod detected as broken, but failed to delete: a PodDisruptionBudget does not allow");
    world.api.wait_for("pods/eviction.create", 2);
    world.api.fail("pods/eviction.create", None);
    agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    world.event("web-5", "pod detected as broken, deleted by an eviction, trace ");
    assert!(is_deleted(&world, &broken(5)));
    assert_eq!(world.api.count("delete"), 0);
    let evictions = r#"istio_cni_api_requests_total{verb="create",resource="pods/eviction",code="#;
    assert!(agent.metric(&format!("{evictions}\"429\"}}")).unwrap() >= 2.0);
    assert_eq!(agent.metric(&format!("{evictions}\"201\"}}")), Some(1.0));
}

#[test]
fn a_pod_that_has_changed_meanwhile_is_looked_at_anew() {
    let world = World::new(&[]);
    let mut agent = world.start(&[DELETE]);
    let mut changed = broken(6);
    changed["metadata"]["labels"]["changed"] = json!("yes");
    changed_behind_the_watch(&world, &mut agent, &broken(6), &changed);
    agent.wait_for("the pod has changed meanwhile, or is another one by now (409)");
    assert!(!is_deleted(&world, &broken(6)));
    world.api.hold_watches(false);
    agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    assert!(is_deleted(&world, &broken(6)));
}

#[test]
fn a_pod_that_has_recovered_meanwhile_is_not_deleted() {
    let world = World::new(&[]);
    let mut agent = world.start(&[DELETE]);
    changed_behind_the_watch(&world, &mut agent, &broken(7), &passed(broken(7)));
    agent.wait_for("(409)");
    world.api.hold_watches(false);
    agent.wait_for("shop/web-7 is not repaired: it is not broken any more");
    assert!(!is_deleted(&world, &broken(7)));
}

#[test]
fn a_pod_that_has_taken_the_name_meanwhile_is_not_deleted() {
    let world = World::new(&[]);
    let mut agent = world.start(&[DELETE]);
    let mut successor = pod(9);
    successor["metadata"]["name"] = json!(name(8));
    changed_behind_the_watch(&world, &mut agent, &broken(8), &successor);
    agent.wait_for("(409)");
    world.api.hold_watches(false);
    agent.wait_for("shop/web-8 is not repaired: it is gone");
    agent.wait_for_metric(&repaired("delete", "skip"), 1.0);
    assert!(!is_deleted(&world, &successor));
    assert_eq!(agent.metric(&repaired("delete", "success")), None);
}

#[test]
fn a_pod_that_is_gone_meanwhile_is_skipped() {
    let world = World::new(&[]);
    let mut agent = world.start(&[DELETE]);
    world.api.fail("delete", Some(Fault::Status(500)));
    world.api.put(&broken(10));
    agent.wait_for("retrying (retry count: 1)");
    world.api.hold_watches(true);
    world.api.remove(&broken(10));
    world.api.fail("delete", None);
    agent.wait_for("shop/web-10 is not repaired: it is gone");
    agent.wait_for_metric(&repaired("delete", "skip"), 1.0);
}

#[test]
fn who_may_not_is_told_which_rule_is_missing() {
    for (number, mode, verb, rule) in [
        (11, &[DELETE][..], "delete", "the service account needs delete of pods (REPAIR_DELETE_PODS)"),
        (
            12,
            &[DELETE, EVICT],
            "pods/eviction.create",
            "the service account needs create of pods/eviction (REPAIR_EVICT)",
        ),
        (13, &[LABEL], "pods/status.patch", "the service account needs patch of pods/status (REPAIR_LABEL_PODS)"),
    ] {
        let world = World::new(&[broken(number)]);
        world.api.fail(verb, Some(Fault::Status(403)));
        let mut agent = world.start(mode);
        agent.wait_for(rule);
        let kind = mode[0].0.trim_start_matches("REPAIR_").trim_end_matches("_PODS").to_lowercase();
        world.event(
            &name(number),
            &format!("pod detected as broken, but failed to {kind}: the API server does not allow"),
        );
        world.api.fail(verb, None);
        agent.wait_for_metric(&repaired(&kind, "success"), 1.0);
    }
}

#[test]
fn a_server_that_fails_or_answers_nonsense_is_asked_again() {
    for (number, fault, told) in [
        (14, Fault::Status(503), "answered with status 503"),
        (15, Fault::Garbage, "answered something that is no pod"),
    ] {
        let world = World::new(&[broken(number)]);
        world.api.fail("delete", Some(fault));
        let mut agent = world.start(&[DELETE]);
        agent.wait_for(told);
        world.api.fail("delete", None);
        agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    }
}

#[test]
fn a_silent_server_is_given_up_after_a_while_and_asked_again() {
    let world = World::new(&[broken(16)]);
    world.api.fail("delete", Some(Fault::Silence));
    let mut agent = world.start(&[DELETE]);
    agent.wait_for("the API server did not answer within 5.0s");
    world.api.fail("delete", None);
    agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    assert_eq!(agent.metric(r#"istio_cni_api_requests_total{verb="delete",resource="pods",code="error"}"#), Some(1.0));
}

#[test]
fn an_agent_that_stops_while_the_server_is_silent_stops_in_time() {
    let world = World::new(&[broken(17)]);
    world.api.fail("delete", Some(Fault::Silence));
    let mut agent = world.start(&[DELETE]);
    world.api.wait_for("delete", 1);
    agent.signal(Signal::SIGTERM);
    agent.wait_for("1 broken pods were still worked on when time ran out");
    assert!(agent.ended().success());
}

#[test]
fn a_broken_pod_is_labelled_once() {
    let world = World::new(&[broken(18)]);
    let mut agent = world.start(&[LABEL]);
    agent.wait_for("Pod detected as broken, adding label: shop/web-18");
    agent.wait_for(&format!("Labeling pod shop/web-18 with label {KEY}=true"));
    agent.wait_for_metric(&repaired("label", "success"), 1.0);
    let event = world.event("web-18", "pod detected as broken, labeled, trace ");
    assert_eq!(event["reason"], "LabelBrokenPod");
    assert_eq!(world.api.object(&broken(18)).unwrap()["metadata"]["labels"], json!({"app": "web", KEY: "true"}));
    agent.wait_for("Skipping pod, already repaired");
    assert!(agent.stop().success());
    let mut next = world.start(&[LABEL]);
    next.wait_for(&format!("Pod shop/web-18 already has label with key {KEY}, skipping"));
    next.wait_for_metric(&repaired("label", "skip"), 1.0);
    assert_eq!(world.api.count("pods/status.patch"), 1);
}

#[test]
fn a_label_that_cannot_be_put_is_told_in_the_references_words() {
    let world = World::new(&[broken(19)]);
    world.api.fail("pods/status.patch", Some(Fault::Status(500)));
    let mut agent =
        world.start(&[LABEL, ("REPAIR_BROKEN_POD_LABEL_KEY", "broken"), ("REPAIR_BROKEN_POD_LABEL_VALUE", "yes")]);
    agent.wait_for("Labeling pod shop/web-19 with label broken=yes");
    agent.wait_for("Failed to update pod: ");
    world.event("web-19", "pod detected as broken, but failed to label: ");
    world.api.fail("pods/status.patch", None);
    agent.wait_for_metric(&repaired("label", "success"), 1.0);
    assert_eq!(world.api.object(&broken(19)).unwrap()["metadata"]["labels"]["broken"], "yes");
}

#[test]
fn of_two_agents_one_deletes_each_pod() {
    const PODS: u32 = 20;
    let pods: Vec<Value> = (40..40 + PODS).map(broken).collect();
    let (world, other) = (World::new(&pods), support::Node::new());
    other.write_kubeconfig(&format!("http://{}", world.api.address));
    let agents = [&world.node, &other].map(|node| World::start_on(node, &[DELETE]));
    let deleted = || {
        let of = |agent: &Agent| agent.metric(&repaired("delete", "success")).unwrap_or_default();
        (agents.iter().map(of).sum::<f64>() >= f64::from(PODS)).then_some(())
    };
    eventually("a deletion of each pod", deleted);
    assert!(pods.iter().all(|pod| is_deleted(&world, pod)));
    let total: f64 = agents.iter().map(|agent| agent.metric(&repaired("delete", "success")).unwrap_or_default()).sum();
    assert_eq!(total, f64::from(PODS), "none was deleted twice");
}

#[test]
fn a_wrong_setting_ends_the_agent_with_what_is_allowed() {
    let world = World::new(&[]);
    for (key, value, told) in [
        (
            "REPAIR_LABEL_SELECTORS",
            "a in b",
            r#"REPAIR_LABEL_SELECTORS="a in b" cannot be used: it takes a label selector"#,
        ),
        (
            "REPAIR_FIELD_SELECTORS",
            "spec.x=y",
            r#"REPAIR_FIELD_SELECTORS="spec.x=y" cannot be used: it takes a field selector"#,
        ),
        (
            "REPAIR_LIMIT_PER_MINUTE",
            "many",
            r#"REPAIR_LIMIT_PER_MINUTE="many" cannot be used: it takes a whole number"#,
        ),
    ] {
        let mut command = support::agent::command(&world.node);
        let output = command.env(key, value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
    }
}
