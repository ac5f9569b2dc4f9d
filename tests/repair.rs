//! Pods that started before the plugin was there: the real agent finds them in the watch and repairs
//! them in their real namespaces, whatever the API server and the pods do meanwhile.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "repair/node.rs"]
mod node;
mod support;
#[path = "repair/world.rs"]
mod world;

use nix::sys::signal::Signal;
use node::{REDIRECTED, Sandbox, broken, broken_for_good, failed_again, name, passed, pod, trace};
use serde_json::{Value, json};
use std::time::Instant;
use support::api::Fault;
use support::{Node, eventually};
use world::{DELETE, REPAIR, World, repaired};

// Each test has pods of other numbers, and so of other addresses: all look into the same /proc.

#[test]
fn a_pod_that_started_without_rules_is_repaired_and_packets_prove_it() {
    let world = World::new(&[broken(1)]);
    let sandbox = Sandbox::new(1);
    let _proxy = sandbox.proxy();
    assert_eq!(sandbox.outbound(), "timeout");
    let mut agent = world.start(&[REPAIR]);
    agent.wait_for("starting CNI sidecar repair controller");
    agent.wait_for("Repairing pod...");
    let line = agent.wait_for("pod repaired");
    for (key, value) in [("k8s.pod.name", name(1)), ("k8s.namespace.name", "shop".into()), ("trace_id", trace(1))] {
        assert_eq!(line[key], value, "{line}");
    }
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    assert_eq!(sandbox.outbound(), REDIRECTED);
    let event = world.event(&name(1), "pod detected");
    assert_eq!(event["message"], format!("pod detected as broken, repaired, trace {}", trace(1)));
    assert_eq!((&event["reason"], &event["type"]), (&json!("RepairBrokenPod"), &json!("Warning")));
    assert_eq!(event["source"]["component"], "cni-repair");
    // It is still broken in the API until its validation has run again, which changes nothing.
    let mut again = broken(1);
    again["status"]["phase"] = json!("Running");
    world.api.put(&again);
    agent.wait_for("Skipping pod, already repaired");
    world.api.put(&passed(broken(1)));
    assert_eq!(agent.metric(&repaired("repair", "success")), Some(1.0));
    assert_eq!(agent.metric(&repaired("repair", "fail")), None);
}

#[test]
fn a_pod_that_breaks_while_the_agent_runs_is_repaired_and_a_sound_one_is_left_alone() {
    let world = World::new(&[pod(10), pod(11)]);
    let (failing, sound) = (Sandbox::new(10), Sandbox::new(11));
    let agent = world.start(&[REPAIR]);
    world.api.put(&broken(10));
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    assert!(failing.has_rules() && !sound.has_rules());
}

#[test]
fn a_repair_that_fails_is_tried_again_until_it_succeeds() {
    let world = World::new(&[broken(20)]);
    let mut agent = world.start(&[REPAIR]);
    let line = agent.wait_for("error handling shop/web-20, retrying (retry count: 1): ");
    assert_eq!(line["level"], "error", "{line}");
    agent.wait_for("failed to setup redirection: ");
    let sandbox = Sandbox::new(20);
    let _proxy = sandbox.proxy();
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    assert_eq!(sandbox.outbound(), REDIRECTED);
    assert!(agent.metric(&repaired("repair", "fail")).unwrap() >= 1.0, "{}", agent.metrics());
    world.event("web-20", "pod detected as broken, but failed to repair: ");
    world.event("web-20", "pod detected as broken, repaired, trace ");
}

#[test]
fn what_fails_so_often_is_left_until_the_pods_next_change() {
    let world = World::new(&[broken(30)]);
    let mut agent = world.start(&[REPAIR, ("REPAIR_ATTEMPTS", "2")]);
    agent.wait_for("error handling shop/web-30, retrying (retry count: 1): ");
    agent.wait_for("error handling shop/web-30, and retry budget exceeded: ");
    assert_eq!(agent.metric(&repaired("repair", "fail")), Some(2.0));
    let sandbox = Sandbox::new(30);
    let _proxy = sandbox.proxy();
    let mut changed = broken(30);
    changed["metadata"]["labels"]["changed"] = json!("yes");
    world.api.put(&changed);
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    assert_eq!(sandbox.outbound(), REDIRECTED);
}

#[test]
fn a_pod_that_vanishes_before_its_repair_is_skipped() {
    let world = World::new(&[broken(40)]);
    let mut agent = world.start(&[REPAIR]);
    agent.wait_for("error handling shop/web-40, retrying (retry count: 1): ");
    world.api.remove(&broken(40));
    agent.wait_for("shop/web-40 is not repaired: it is gone");
    agent.wait_for_metric(&repaired("repair", "skip"), 1.0);
    assert_eq!(agent.metric(&repaired("repair", "success")), None);
}

#[test]
fn a_pod_that_takes_the_broken_ones_name_is_not_taken_for_it() {
    let world = World::new(&[broken(50)]);
    let mut agent = world.start(&[REPAIR]);
    agent.wait_for("error handling shop/web-50, retrying (retry count: 1): ");
    let mut successor = pod(51);
    successor["metadata"]["name"] = json!(name(50));
    let sandbox = Sandbox::new(51);
    world.api.put(&successor);
    agent.wait_for("shop/web-50 is not repaired: it is gone");
    agent.wait_for_metric(&repaired("repair", "skip"), 1.0);
    assert!(!sandbox.has_rules());
}

#[test]
fn a_pod_that_recovers_by_itself_or_is_being_deleted_needs_no_repair() {
    let world = World::new(&[broken(60), broken(61)]);
    let mut agent = world.start(&[REPAIR]);
    agent.wait_for("error handling shop/web-60, retrying (retry count: 1): ");
    agent.wait_for("error handling shop/web-61, retrying (retry count: 1): ");
    world.api.put(&passed(broken(60)));
    let mut ending = broken(61);
    ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.api.put(&ending);
    for pod in ["shop/web-60", "shop/web-61"] {
        agent.wait_for(&format!("{pod} is not repaired: it is not broken any more, or is being deleted"));
    }
    agent.wait_for_metric(&repaired("repair", "skip"), 2.0);
}

#[test]
fn a_pod_in_the_hosts_namespace_is_left_alone_and_told_so() {
    let mut host = broken(70);
    host["spec"]["hostNetwork"] = json!(true);
    let world = World::new(&[host]);
    let mut agent = world.start(&[REPAIR, DELETE]);
    agent.wait_for("shop/web-70 is broken and left alone: it is in the host's network namespace");
    agent.wait_for_metric(&repaired("repair", "skip"), 1.0);
    world.event("web-70", "pod detected as broken, but left alone: it is in the host's network namespace");
    assert_eq!(world.api.count("delete"), 0);
}

#[test]
fn a_pod_whose_validation_never_runs_again_is_told_and_deleted_only_if_that_is_asked_for() {
    let world = World::new(&[broken_for_good(80)]);
    let mut agent = world.start(&[REPAIR]);
    agent.wait_for("shop/web-80 is broken and left alone: its validation is never run again");
    world.event("web-80", "pod detected as broken, but left alone: its validation is never run again");
    agent.wait_for_metric(&repaired("repair", "skip"), 1.0);
    assert_eq!(world.api.count("delete"), 0);
    assert!(agent.stop().success());
    let agent = world.start(&[REPAIR, DELETE]);
    agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    world.event("web-80", "pod detected as broken, deleted, trace ");
}

#[test]
fn a_repair_in_vain_is_noticed_and_not_repeated_for_ever() {
    let world = World::new(&[broken(90)]);
    let sandbox = Sandbox::new(90);
    let mut agent = world.start(&[REPAIR]);
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    for times in 1..5 {
        // Somebody else takes the rules away, and the next validation fails.
        sandbox.without_rules();
        let at = format!("2099-01-01T00:{times:02}:00Z");
        world.api.put(&failed_again(broken(90), times + 1, &at));
        agent.wait_for(&format!("its validation failed again after {times} repairs"));
        agent.wait_for_metric(&repaired("repair", "success"), f64::from(times + 1));
        assert!(sandbox.has_rules());
    }
    sandbox.without_rules();
    world.api.put(&failed_again(broken(90), 6, "2099-01-01T00:06:00Z"));
    agent.wait_for("shop/web-90 is broken and left alone: its rules were programmed and read back again and again");
    assert_eq!(agent.metric(&repaired("repair", "success")), Some(5.0));
    assert!(!sandbox.has_rules());
}

#[test]
fn a_pod_that_was_repaired_in_vain_so_often_is_deleted_if_that_is_asked_for_too() {
    let world = World::new(&[broken(95)]);
    let sandbox = Sandbox::new(95);
    let mut agent = world.start(&[REPAIR, DELETE]);
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    for times in 1..5 {
        sandbox.without_rules();
        world.api.put(&failed_again(broken(95), times + 1, &format!("2099-01-01T00:{times:02}:00Z")));
        agent.wait_for_metric(&repaired("repair", "success"), f64::from(times + 1));
    }
    assert_eq!(world.api.count("delete"), 0);
    // What fails then is tried again.
    world.api.fail("delete", Some(Fault::Status(500)));
    world.api.put(&failed_again(broken(95), 6, "2099-01-01T00:06:00Z"));
    agent.wait_for("its validation failed again after 5 repairs");
    agent.wait_for("error handling shop/web-95, retrying (retry count: 1): ");
    world.api.fail("delete", None);
    agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    world.event("web-95", "pod detected as broken, deleted, trace ");
    assert_eq!(agent.metric(&repaired("repair", "success")), Some(5.0));
}

#[test]
fn a_validator_that_said_it_is_not_redirected_and_was_killed_then_has_failed() {
    let said = r#"{"istio_cni_validation":1,"result":"failed","error_type":"redirect_missing","message":"m","start_unix_nano":1767225660000000000,"listened_us":1,"end_us":2}"#;
    let killed = |number, message: &str| {
        let mut pod = broken(number);
        let last = &mut pod["status"]["initContainerStatuses"][0]["lastState"]["terminated"];
        (last["exitCode"], last["message"]) = (json!(137), json!(message));
        pod
    };
    let sandboxes = [96, 97].map(Sandbox::new);
    let world = World::new(&[killed(97, "killed"), killed(96, said)]);
    let agent = world.start(&[REPAIR]);
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    world.event("web-96", "pod detected as broken, repaired, trace ");
    assert_eq!(sandboxes.each_ref().map(Sandbox::has_rules), [true, false]);
}

#[test]
fn an_agent_that_repairs_stops_without_waiting_for_work_that_is_not_there() {
    let world = World::new(&[broken(98)]);
    let _sandbox = Sandbox::new(98);
    let mut agent = world.start(&[REPAIR]);
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    let waited = "were still worked on when time ran out";
    let said = |line: &Value| line["msg"].as_str().is_some_and(|text| text.contains(waited));
    assert!(!agent.log.iter().any(said), "{:#?}", agent.log);
}

#[test]
fn rules_that_vanish_before_the_next_validation_are_made_again() {
    let world = World::new(&[broken(99)]);
    let sandbox = Sandbox::new(99);
    let agent = world.start(&[REPAIR, ("AUDIT_INTERVAL", "1s")]);
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    sandbox.without_rules();
    agent.wait_for_metric(&repaired("repair", "success"), 2.0);
    assert!(sandbox.has_rules());
}

#[test]
fn only_selected_pods_are_repaired() {
    let mut other = broken(101);
    other["metadata"]["labels"] = json!({"app": "db"});
    let mut elsewhere = broken(102);
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    let world = World::new(&[broken(100), other, elsewhere]);
    let sandboxes = [100, 101, 102].map(Sandbox::new);
    let agent = world.start(&[
        REPAIR,
        ("REPAIR_LABEL_SELECTORS", "app in (web, cart)"),
        ("REPAIR_FIELD_SELECTORS", "metadata.namespace!=kube-system,spec.nodeName=node-a"),
    ]);
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    // What comes later is repaired after all that was there before.
    let late = Sandbox::new(103);
    world.api.put(&broken(103));
    agent.wait_for_metric(&repaired("repair", "success"), 2.0);
    assert_eq!(agent.metric(&repaired("repair", "skip")), None);
    assert_eq!(
        [&sandboxes[0], &sandboxes[1], &sandboxes[2], &late].map(Sandbox::has_rules),
        [true, false, false, true]
    );
}

#[test]
fn an_agent_that_is_killed_in_the_middle_leaves_all_rules_or_none_and_the_next_one_goes_on() {
    let numbers = 200..224;
    let pods: Vec<_> = numbers.clone().map(broken).collect();
    let world = World::new(&pods);
    let sandboxes: Vec<Sandbox> = numbers.map(Sandbox::new).collect();
    let agent = World::start_on(&world.node, &[REPAIR]);
    eventually("a first repaired pod", || sandboxes.iter().any(Sandbox::has_rules).then_some(()));
    agent.kill();
    let rules: Vec<String> = sandboxes.iter().map(Sandbox::rules).filter(|rules| !rules.is_empty()).collect();
    println!("{} of {} pods were repaired when the agent was killed", rules.len(), sandboxes.len());
    assert!(rules.windows(2).all(|two| two[0] == two[1]), "all rules or none: {rules:#?}");
    let agent = world.start(&[REPAIR]);
    agent.wait_for_metric(&repaired("repair", "success"), 24.0);
    assert_eq!(agent.metric(&repaired("repair", "fail")), None, "what was there was whole, or nothing");
    for sandbox in &sandboxes {
        let _proxy = sandbox.proxy();
        assert_eq!(sandbox.outbound(), REDIRECTED);
    }
}

#[test]
fn two_agents_repair_the_same_pods_without_harm() {
    let numbers = 300..316;
    let pods: Vec<_> = numbers.clone().map(broken).collect();
    let (world, other) = (World::new(&pods), Node::new());
    other.write_kubeconfig(&format!("http://{}", world.api.address));
    let sandboxes: Vec<Sandbox> = numbers.map(Sandbox::new).collect();
    let agents = [&world.node, &other].map(|node| World::start_on(node, &[REPAIR]));
    for agent in &agents {
        agent.wait_for_metric(&repaired("repair", "success"), 16.0);
        assert_eq!(agent.metric(&repaired("repair", "fail")), None);
    }
    for sandbox in &sandboxes {
        let _proxy = sandbox.proxy();
        assert_eq!(sandbox.outbound(), REDIRECTED);
    }
}

#[test]
fn an_agent_whose_socket_another_one_has_taken_leaves_the_pods_to_it() {
    let world = World::new(&[]);
    let mut first = world.start(&[REPAIR]);
    let _second = world.start(&[]);
    let sandbox = Sandbox::new(400);
    world.api.put(&broken(400));
    first.wait_for("shop/web-400 is left to the agent that has taken over the socket");
    assert_eq!(first.metric(&repaired("repair", "success")), None);
    assert!(!sandbox.has_rules());
}

#[test]
fn two_hundred_and_fifty_broken_pods_at_once_are_all_repaired_with_an_event_for_each() {
    const PODS: u32 = 250;
    let numbers = 1000..1000 + PODS;
    let pods: Vec<_> = numbers.clone().map(broken).collect();
    let world = World::new(&pods);
    let sandboxes: Vec<Sandbox> = numbers.clone().map(Sandbox::new).collect();
    let before = world.api.requests().len();
    let begin = Instant::now();
    let agent = world.start(&[REPAIR]);
    agent.wait_for_metric(&repaired("repair", "success"), f64::from(PODS));
    let took = begin.elapsed();
    for sandbox in &sandboxes {
        let _proxy = sandbox.proxy();
        assert_eq!(sandbox.outbound(), REDIRECTED);
    }
    eventually("an Event for each", || (world.api.events().len() == PODS as usize).then_some(()));
    let requests = world.api.requests().len() - before;
    println!("250 broken pods: all repaired {took:.2?} after the start of the agent, {requests} API requests in all");
    assert_eq!(world.api.count("events.create"), PODS as usize, "one request per pod: its Event");
    assert!(requests <= PODS as usize + 10, "{requests} requests");
    assert_eq!(agent.metric(&repaired("repair", "fail")), None);
}

#[test]
fn an_api_server_that_takes_no_events_keeps_nobody_from_being_repaired() {
    let world = World::new(&[broken(500)]);
    let sandbox = Sandbox::new(500);
    let _proxy = sandbox.proxy();
    world.api.fail("events.create", Some(Fault::Silence));
    let agent = world.start(&[REPAIR]);
    agent.wait_for_metric(&repaired("repair", "success"), 1.0);
    assert_eq!(sandbox.outbound(), REDIRECTED);
}
