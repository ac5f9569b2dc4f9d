//! The limit on deletions of broken pods, and what counts for it: the real agent against an API server that is busy,
//! refuses or fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "repair/node.rs"]
mod node;
mod support;
#[path = "repair/world.rs"]
mod world;

use node::{broken, passed};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::api::Fault;
use support::eventually;
use world::{DELETE, EVICT, World, is_deleted, repaired};

#[test]
fn past_the_limit_nobody_is_deleted_and_everybody_is_told() {
    let numbers = 30..35;
    let pods: Vec<Value> = numbers.map(broken).collect();
    let world = World::new(&pods);
    let mut agent = World::start_on(&world.node, &[DELETE, ("REPAIR_LIMIT_PER_MINUTE", "2")]);
    let line = agent.wait_for("the limit of 2 broken pods deleted per minute (REPAIR_LIMIT_PER_MINUTE) is reached");
    assert_eq!(line["level"], "error");
    agent.wait_for_metric("istio_cni_repair_held_pods", 3.0);
    let event = world.event("node-a", "the limit of 2 broken pods");
    assert_eq!((&event["reason"], &event["type"]), (&json!("CNIRepairLimited"), &json!("Warning")));
    let (status, body) = agent.health("/readyz");
    assert!(status == 503 && body.contains("look at the installation"), "{status} {body}");
    assert_eq!(agent.metric("istio_cni_install_ready"), Some(0.0));
    assert_eq!(agent.metric(&repaired("delete", "success")), Some(2.0));
    let held: Vec<&Value> = pods.iter().filter(|pod| !is_deleted(&world, pod)).collect();
    assert_eq!(held.len(), 3);
    let left = "pod detected as broken, but left alone: the limit of 2 deletions per minute";
    held.iter().for_each(|pod| drop(world.event(pod["metadata"]["name"].as_str().unwrap(), left)));
    // Those that wait go, or recover.
    world.api.remove(held[0]);
    held[1..].iter().for_each(|pod| world.api.put(&passed((*pod).clone())));
    agent.wait_for("broken pods are deleted again");
    assert_eq!(agent.metric("istio_cni_repair_held_pods"), Some(0.0));
    eventually("readiness", || (agent.health("/readyz").0 == 200).then_some(()));
    assert_eq!(world.api.count("delete"), 2);
}

#[test]
fn a_server_that_is_busy_is_asked_again_only_after_the_pause_that_its_header_names() {
    for (number, request, more) in [(84, "delete", None), (85, "pods/eviction.create", Some(EVICT))] {
        let world = World::new(&[broken(number)]);
        world.api.fail(request, Some(Fault::Busy(3)));
        let begin = Instant::now();
        let mut agent = world.start(&[DELETE].into_iter().chain(more).collect::<Vec<_>>());
        agent.wait_for("Too many requests, please try again later.");
        world.api.wait_for(request, 2);
        assert!(begin.elapsed() >= Duration::from_secs(3), "{request} was tried again after {:?}", begin.elapsed());
        world.api.fail(request, None);
        agent.wait_for_metric(&repaired("delete", "success"), 1.0);
    }
}

#[test]
fn an_attempt_that_deleted_nothing_leaves_the_limit_as_it_was() {
    for (number, code) in [(80, 429), (81, 403), (82, 422)] {
        let world = World::new(&[broken(number)]);
        world.api.fail("delete", Some(Fault::Status(code)));
        let mut agent = world.start(&[DELETE, ("REPAIR_LIMIT_PER_MINUTE", "1")]);
        agent.wait_for("retrying (retry count: 1)");
        agent.wait_for("retrying (retry count: 2)");
        world.api.fail("delete", None);
        agent.wait_for_metric(&repaired("delete", "success"), 1.0);
        assert_eq!(agent.metric("istio_cni_repair_held_pods"), Some(0.0), "{code}");
    }
}

#[test]
fn an_attempt_that_may_have_deleted_something_counts_for_the_limit() {
    let world = World::new(&[broken(83)]);
    world.api.fail("delete", Some(Fault::Status(500)));
    let mut agent = world.start(&[DELETE, ("REPAIR_LIMIT_PER_MINUTE", "1")]);
    agent.wait_for("retrying (retry count: 1)");
    agent.wait_for_metric("istio_cni_repair_held_pods", 1.0);
    assert_eq!(world.api.count("delete"), 1);
}

#[test]
fn when_the_minute_is_over_those_that_wait_are_deleted() {
    let pods: Vec<Value> = (70..73).map(broken).collect();
    let world = World::new(&pods);
    let begin = Instant::now();
    let mut agent = World::start_on(&world.node, &[DELETE, ("REPAIR_LIMIT_PER_MINUTE", "2")]);
    agent.wait_for("the limit of 2 broken pods");
    while agent.metric(&repaired("delete", "success")) != Some(3.0) {
        assert!(begin.elapsed() < Duration::from_secs(120), "{}", agent.metrics());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(begin.elapsed() > Duration::from_secs(55), "no more than two in a minute");
    agent.wait_for("broken pods are deleted again: the limit of 2 per minute left room for all that waited");
    eventually("readiness", || (agent.health("/readyz").0 == 200).then_some(()));
    assert_eq!(agent.metric("istio_cni_repair_held_pods"), Some(0.0));
    assert!(pods.iter().all(|pod| is_deleted(&world, pod)));
}

#[test]
fn without_a_limit_two_hundred_and_fifty_pods_are_deleted_with_two_requests_each() {
    const PODS: u32 = 250;
    let pods: Vec<Value> = (1000..1000 + PODS).map(broken).collect();
    let world = World::new(&pods);
    let begin = Instant::now();
    let before = world.api.requests().len();
    // What is asked about starts that end with a deletion is another test's.
    let agent = world.start(&[DELETE, ("REPAIR_LIMIT_PER_MINUTE", "0"), ("STARTUP_TRACES", "off")]);
    agent.wait_for_metric(&repaired("delete", "success"), f64::from(PODS));
    let took = begin.elapsed();
    eventually("an Event for each", || (world.api.events().len() == PODS as usize).then_some(()));
    let requests = world.api.requests().len() - before;
    println!("250 broken pods: all deleted {took:.2?} after the start of the agent, {requests} API requests in all");
    assert_eq!(world.api.count("delete"), PODS as usize);
    assert!(requests <= 2 * PODS as usize + 10, "{requests} requests");
}
