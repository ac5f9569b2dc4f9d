//! What is counted of an agent that is killed, and of a plugin: at least what was lost with it, and
//! nothing where nothing was lost.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use istio_cni_otel::agent::spool::SpoolKeeper;
use istio_cni_otel::host::spool::Spool;
use istio_cni_otel::host::uds::Connection;
use istio_cni_otel::telemetry::keep::Keeper;
use istio_cni_otel::telemetry::story::Lost;
use istio_cni_otel::wire::agent::{self as wire, Call, Kind, Tells};
use otlp::{Answer, Speaks};
use serde_json::json;
use std::fs;
use std::os::fd::AsFd;
use support::agent::{Agent, PATIENCE, call_for, conclusion, sandbox, taken_along};
use support::api::Api;
use support::*;
use world::World;

/// The spans of an ADD, of the plugin and of the agent.
const PLUGIN: [&str; 4] = ["config.parse", "netns.open", "agent.call", "cni.add"];
const AGENT: [&str; 5] = ["pod.lookup", "redirect.decide", "rules.build", "rules.apply", "rules.verify"];
/// The note of a process that holds nothing.
const NOTHING: &str = "0000000000 0000000000\n";

/// ADDs that were told of.
const THROUGH_AGENT: &str = r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"}"#;

/// The notes of what processes hold in memory.
fn notes(node: &Node) -> Vec<String> {
    let Ok(entries) = fs::read_dir(node.path("spool")) else { return Vec::new() };
    let files = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "held"));
    files.filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// Waits until there is the living agent's own note alone, and it says that nothing is held.
fn wait_until_idle(world: &World) {
    world.wait_for_an_empty_spool();
    eventually("a note of nothing", || (notes(&world.node) == [NOTHING]).then_some(()));
}

/// What an agent has counted of killed processes: spans and log records.
fn killed(agent: &Agent) -> (u64, u64) {
    let counted = |signal: &str| {
        let series = format!("istio_cni_telemetry_dropped_total{{signal=\"{signal}\",reason=\"killed\"}}");
        agent.metric(&series).unwrap() as u64
    };
    (counted("traces"), counted("logs"))
}

#[test]
fn what_a_killed_agent_had_not_sent_is_counted_by_the_next_and_said_once() {
    const CALLS: usize = 3;
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    let wire = world.wire();
    world.collector.answer([], Answer::Hang);
    let agent = world.start_agent();
    agent.wait_for_metric("istio_cni_install_ready", 1.0);
    for _ in 0..CALLS {
        assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    }
    let agent = world.agent.take().unwrap();
    agent.wait_for_metric(THROUGH_AGENT, CALLS as f64);
    let lines = agent.log.len() as u64;
    agent.kill();

    world.collector.answer([], Answer::Take);
    let second = world.start_agent();
    second.wait_for("an agent was killed and took at most ");
    let (spans, logs) = killed(second);
    assert_eq!(spans, (CALLS * (PLUGIN.len() + AGENT.len())) as u64);
    assert!(logs >= lines, "{logs} of {lines} and more");
    assert_eq!(taken_along(&second.log), (spans, logs));
    wait_until_idle(&world);
    world.agent.take().unwrap().kill();
    world.start_agent();
    wait_until_idle(&world);
    assert_eq!(killed(world.agent.as_ref().unwrap()), (0, 0), "the second one held nothing");
    world.told();
    assert_eq!(notes(&world.node), Vec::<String>::new(), "an agent that ends in order leaves no note");
    assert_eq!(otlp::spans(&world.collector.received()).len(), 0);
}

#[test]
fn an_agent_that_is_stopped_has_lost_nothing() {
    let mut world = World::new(Speaks::Http, &[pod(json!({}))]);
    let wire = world.wire();
    world.collector.answer([], Answer::Hang);
    world.start_agent();
    assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    assert!(world.agent.take().unwrap().stop().success());
    assert_eq!(notes(&world.node), Vec::<String>::new());
    world.collector.answer([], Answer::Take);
    world.start_agent();
    wait_until_idle(&world);
    assert_eq!(killed(world.agent.as_ref().unwrap()), (0, 0));
    assert_eq!(otlp::spans(&world.collector.received()).len(), PLUGIN.len() + AGENT.len());
}

#[test]
fn an_agent_that_is_killed_before_any_system_call_of_an_add_loses_nothing_uncounted() {
    const STRIDE: usize = 3;
    const LIMIT: usize = 5_000;
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    let (mut before, mut lost, mut in_all) = ([0; 9], 0, (0, 0));
    let names: Vec<&str> = PLUGIN.into_iter().chain(AGENT).collect();
    let arrived = |world: &World| -> [usize; 9] {
        let spans = otlp::spans(&world.collector.received());
        std::array::from_fn(|index| spans.iter().filter(|span| span.name == names[index]).count())
    };
    for n in (1..LIMIT).step_by(STRIDE) {
        world.start_agent();
        wait_until_idle(&world);
        let pod = sandbox();
        let agent = world.agent.take().unwrap();
        let (hit, answer) = add_with_agent_killed_at(&world.node, agent, &pod.path(), n);
        assert_eq!(answer.result(), prev_result(), "killed before call {n}");
        world.start_agent();
        wait_until_idle(&world);
        let agent = world.agent.take().unwrap();
        let counted = killed(&agent);
        agent.kill();
        let now = arrived(&world);
        let missing = (0..9).filter(|index| now[*index] == before[*index]).count() as u64;
        assert!(missing <= counted.0, "killed before call {n}: {missing} spans missing, {counted:?} counted");
        assert!(counted.0 <= 9, "{counted:?}");
        (before, lost, in_all) = (now, lost + missing, (in_all.0 + counted.0, in_all.1 + counted.1));
        if !hit {
            // It was killed when the call was over; then anything may have been in its memory.
            assert!(lost > 0 && n > 10 * STRIDE, "{lost} spans were lost of {n} calls; {in_all:?} counted");
            return;
        }
    }
    panic!("the ADD never came to its end");
}

#[test]
fn a_plugin_that_is_killed_after_its_answer_is_counted() {
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    world.start_agent();
    let agent = world.agent.as_ref().unwrap();
    let (mut adds, mut counted) = (0, 0);
    for n in 1..1000 {
        let pod = sandbox();
        let was_killed = call_killed_at(&world.node, "ADD", &pod.path(), Counted::Afterwards, n);
        adds += 1;
        let (told, spans) = eventually("what was told or counted", || {
            let (told, (spans, _)) = (agent.metric(THROUGH_AGENT).unwrap_or_default() as usize, killed(agent));
            let spans = spans as usize;
            (told + spans / PLUGIN.len() == adds).then_some((told, spans))
        });
        assert_eq!(spans % PLUGIN.len(), 0, "all of a plugin's spans or none: {spans}");
        counted = spans;
        if !was_killed {
            assert!(told >= 1 && counted > 0 && n > 2, "{told} told, {counted} spans counted, {n} calls");
            break;
        }
    }
    wait_until_idle(&world);
    let spans = otlp::spans(&world.collector.received()).len();
    assert_eq!(spans + counted, adds * (PLUGIN.len() + AGENT.len()));
}

#[test]
fn notes_of_the_dead_are_taken_whatever_they_say() {
    let (node, api) = (Node::new(), Api::start());
    fs::create_dir(node.path("spool")).unwrap();
    fs::write(node.path("spool/0.held"), "0000000003 0000000002\n").unwrap();
    fs::write(node.path("spool/1.held"), "0000000004 0000000001\n").unwrap();
    fs::write(node.path("spool/2.held"), NOTHING).unwrap();
    fs::write(node.path("spool/3.held"), "garbage").unwrap();
    fs::write(node.path("spool/4.held"), "").unwrap();
    fs::create_dir(node.path("spool/5.held")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", node.path("spool/6.held")).unwrap();
    let mut agent = Agent::start(&node, &api);
    for _ in 0..2 {
        agent.wait_for("an agent was killed and took at most ");
        agent.wait_for("it does not say how much a killed process held in memory");
    }
    for stuck in ["5.held", "6.held"] {
        agent.wait_for(&format!("{stuck} cannot be read: "));
    }
    assert_eq!(killed(&agent), (7, 3));
    assert_eq!(taken_along(&agent.log), (7, 3));
    let left = fs::read_dir(node.path("spool")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<String> = left.filter(|name| name.len() == "0.held".len()).collect();
    left.sort();
    assert_eq!(left, ["5.held", "6.held"], "what is no file of ours stays");
    assert!(agent.stop().success());
}

/// Calls the agent for a sandbox of its own, and gives the connection after the answer.
fn call_with(node: &Node, tells: Option<Tells>) -> Connection {
    let netns = sandbox();
    let call = Call { tells, ..call_for(UID) };
    let mut connection = Connection::connect(&node.path("agent.sock"), PATIENCE).unwrap();
    let frame = wire::frame(Kind::Call, &wire::encode_call(&call).unwrap()).unwrap();
    connection.send_with(&frame, netns.as_fd()).unwrap();
    assert!(conclusion(&mut connection).result.is_ok());
    connection
}

#[test]
fn what_a_caller_says_that_it_will_tell_is_believed_within_reason() {
    let (node, api) = (Node::new(), Api::start());
    api.put(&pod(json!({})));
    let agent = Agent::start(&node, &api);
    drop(call_with(&node, None));
    drop(call_with(&node, Some(Tells { spans: 3, logs: 2 })));
    eventually("what did not come", || (killed(&agent) == (3, 2)).then_some(()));
    drop(call_with(&node, Some(Tells { spans: u32::MAX, logs: u32::MAX })));
    eventually("what cannot be more", || (killed(&agent) == (3 + 512, 2 + 2048)).then_some(()));
}

#[test]
fn a_caller_that_takes_too_long_keeps_its_telemetry_and_nothing_is_counted() {
    let (node, api) = (Node::new(), Api::start());
    api.put(&pod(json!({})));
    let agent = Agent::start(&node, &api);
    let mut connection = call_with(&node, Some(Tells { spans: 3, logs: 2 }));
    assert!(connection.receive(&mut [0]).is_err(), "the agent hangs up");
    let frame = wire::frame(Kind::Telemetry, b"").unwrap();
    assert!(connection.send(&frame).is_err(), "and the caller learns of it");
    assert_eq!(killed(&agent), (0, 0));
}

#[test]
fn a_note_that_somebody_removed_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let keeper = SpoolKeeper::new(directory.path());
    let spool = Spool::in_run_dir(directory.path());
    let note = |spans| {
        keeper.note(Lost { spans, logs: 0 }).unwrap();
        spool.held().unwrap().iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(note(1), ["0000000001 0000000000\n"]);
    fs::remove_dir_all(spool.directory()).unwrap();
    assert_eq!(note(2), ["0000000002 0000000000\n"]);
    keeper.end_note();
    assert!(spool.held().unwrap().is_empty());
}
