//! The plugin and the agent killed at any moment of an ADD: the namespace has all of the rules or
//! none, the next ADD brings all, the next agent serves, and no span is told twice.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use istio_cni_otel::telemetry::story::error_type_of;
use otlp::Speaks;
use serde_json::json;
use std::collections::BTreeSet;
use support::agent::sandbox;
use support::*;
use world::World;

/// No ADD makes as many system calls.
const LIMIT: usize = 5_000;

/// Whatever happened, there are all rules or none; the next ADD brings all.
fn all_or_none_and_then_all(world: &World, pod: &Namespace, when: &str) {
    let tables = pod.nft_tables();
    let check = || world.node.call("CHECK", &pod.path());
    if !tables.is_empty() {
        let found = check();
        assert!(found.success, "{when}: {tables:?}, but {}", found.stdout);
    }
    assert_eq!(world.node.call("ADD", &pod.path()).result(), prev_result(), "{when}");
    let found = check();
    assert!(found.success && !pod.nft_tables().is_empty(), "{when}: after the next ADD: {}", found.stdout);
}

/// Kills the plugin before its first system call and before every `stride`-th one after it, until an
/// ADD comes to its end; says how often it was killed. (`kill_each_call` leaves none out.)
fn kill_everywhere(world: &World, stride: usize) -> usize {
    for (killed, n) in (1..LIMIT).step_by(stride).enumerate() {
        let pod = sandbox();
        if !call_killed_at(&world.node, "ADD", &pod.path(), Counted::All, n) {
            assert_eq!(pod.nft_tables().len(), 1, "an ADD that was not killed");
            return killed;
        }
        all_or_none_and_then_all(world, &pod, &format!("killed before call {n}"));
    }
    panic!("the ADD never came to its end");
}

#[test]
fn a_plugin_that_is_killed_while_the_agent_works() {
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    world.start_agent();
    let killed = kill_everywhere(&world, 3);
    assert!(killed > 10, "{killed}");
    let told = world.told();
    let adds = told.spans.iter().filter(|(_, span)| span.name == "cni.add").count();
    assert!(adds > killed, "each ADD that was not killed is told, and none twice: {adds} of {killed}");
    assert!(!world.node.path("agent.sock").exists(), "a stopped agent leaves no socket");
}

#[test]
fn a_plugin_that_is_killed_while_it_works_alone() {
    let mut world = World::new(Speaks::Http, &[pod(json!({}))]);
    let killed = kill_everywhere(&world, 7);
    assert!(killed > 10, "{killed}");
    world.start_agent();
    world.wait_for_an_empty_spool();
    let told = world.told();
    let adds = told.spans.iter().filter(|(_, span)| span.name == "cni.add").count();
    assert!(adds > killed, "each ADD that was not killed is told, and none twice: {adds} of {killed}");
}

/// Starts an agent, and waits until all that waits in the spool has arrived; says how many calls
/// that were.
fn start_and_collect(world: &mut World) -> usize {
    let left: Vec<_> = world.node.spooled().into_iter().flat_map(|batch| batch.spans).collect();
    world.start_agent();
    eventually("what was left in the spool", || {
        let told = world.told_so_far();
        let ids: BTreeSet<&Vec<u8>> = told.spans.iter().map(|(_, span)| &span.span_id).collect();
        left.iter().all(|span| ids.contains(&span.span_id)).then_some(())
    });
    // Killed before it has heard that they arrived, the agent would leave them to be sent again.
    world.wait_for_an_empty_spool();
    left.iter().filter(|span| span.name.starts_with("cni.")).count()
}

#[test]
fn an_agent_that_is_killed_while_it_works() {
    const STRIDE: usize = 8;
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    let (mut killed, mut alone) = (0, 0);
    for n in (1..LIMIT).step_by(STRIDE) {
        let pod = sandbox();
        alone += start_and_collect(&mut world);
        let agent = world.agent.take().unwrap();
        let (hit, answer) = add_with_agent_killed_at(&world.node, agent, &pod.path(), n);
        assert_eq!(answer.result(), prev_result(), "killed before call {n}");
        all_or_none_and_then_all(&world, &pod, &format!("the agent killed before call {n}"));
        if !hit {
            break;
        }
        killed += 1;
    }
    assert!(killed > 10 && killed < LIMIT / STRIDE, "{killed}");
    alone += start_and_collect(&mut world);
    // After each kill an ADD and its CHECK at least found no agent.
    assert!(alone > 2 * killed, "{alone} calls for {killed} agents");
    let told = world.told();
    let hung_up = told.spans.iter().filter(|(_, span)| span.name == "agent.call" && error_type_of(span).is_some());
    let hung_up = hung_up.count();
    assert!(hung_up > killed / 3, "most calls fail with the agent: {hung_up} of {killed}");
}
