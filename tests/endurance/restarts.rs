//! An agent that is stopped and killed in turn every second for a minute, while pods start.

use crate::otlp::{Collector, Speaks};
use crate::received::{Lines, Spans, taken_along};
use crate::support::ADD_SPANS;
use crate::support::agent::{Agent, sandbox};
use crate::support::runtime_node::{RuntimeNode, pod_number, uid_number};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Twenty a second for a minute.
const PODS: usize = 1200;
const EVERY: Duration = Duration::from_millis(50);
/// So many pods start at once, where an ADD takes longer than that.
const WORKERS: usize = 6;
/// How long an agent lives.
const LIFE: Duration = Duration::from_secs(1);
/// An agent tells no more spans of its own life than these: of its installations.
const OWN_SPANS: usize = 30;

/// What became of an ADD.
#[derive(Debug)]
struct Added {
    n: usize,
    ended: Instant,
    /// The error, if it failed.
    failure: Option<String>,
    /// The plugin did it without an agent.
    alone: bool,
    /// The namespace's rules, as the kernel has them.
    rules: String,
}

/// An agent that has ended.
struct Life {
    born: Instant,
    ended: Instant,
    killed: bool,
    log: Vec<Value>,
}

fn add(world: &RuntimeNode, n: usize) -> Added {
    let (pod, netns) = (pod_number(n), sandbox());
    world.api.put(&pod);
    let answer = world.add(n, &netns.path(), |_| {});
    let ended = Instant::now();
    let rules = netns.sh("nft list ruleset");
    world.api.remove(&pod);
    let alone = ["goes on alone", "agent.call failed"].iter().any(|words| answer.stderr.contains(words));
    Added { n, ended, failure: (!answer.success).then(|| answer.error().1), alone, rules }
}

/// Adds all pods, each not before its time.
fn add_all(world: &RuntimeNode) -> Vec<Added> {
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    let work = || {
        let mut mine = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= PODS {
                return mine;
            }
            let at = start + EVERY * u32::try_from(n).unwrap();
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            mine.push(add(world, n));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// Lets an agent live until it is time, and ends it one way or the other.
fn end(mut agent: Agent, born: Instant, kill: bool) -> Life {
    std::thread::sleep((born + LIFE).saturating_duration_since(Instant::now()));
    agent.signal(if kill { Signal::SIGKILL } else { Signal::SIGTERM });
    assert_eq!(agent.ended().success(), !kill);
    Life { born, ended: Instant::now(), killed: kill, log: std::mem::take(&mut agent.log) }
}

/// Until nothing waits, and nobody's note is there but the living agent's.
fn wait_for_an_empty_spool(world: &RuntimeNode) {
    crate::support::eventually("an empty spool", || {
        let Ok(entries) = std::fs::read_dir(world.node.path("spool")) else { return Some(()) };
        let names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let with = |ending: &str| names.iter().filter(|name| name.ends_with(ending)).count();
        (with(".spool") == 0 && with(".held") <= 1).then_some(())
    });
}

/// What of all that was to be told is missing at the receiver, and of how many ADDs.
struct Missing {
    spans: usize,
    logs: usize,
    adds: usize,
}

/// Nothing is missing of those that found no agent: they were in the spool. Of the others, any.
fn missing(added: &[Added], spans: &Spans, lines: &Lines) -> Missing {
    let mut missing = Missing { spans: 0, logs: lines.shown_and_not_received(), adds: 0 };
    for added in added {
        let trace = trace(added);
        let (lost, unknown) = (spans.missing(&trace), if added.alone { 0 } else { lines.unknown(&trace) });
        assert!(!added.alone || lost.is_empty(), "spans that nobody had in memory: {lost:?} of {added:#?}");
        missing.spans += lost.len();
        missing.logs += unknown;
        missing.adds += usize::from(lost.len() + unknown > 0);
    }
    missing
}

/// The most spans that killed agents can have had in memory: of the ADDs that ended while they
/// lived, and of those under way at the end.
fn at_risk(added: &[Added], lives: &[Life]) -> usize {
    let during =
        |life: &&Life| added.iter().filter(|added| life.born <= added.ended && added.ended <= life.ended).count();
    let killed = lives.iter().filter(|life| life.killed);
    killed.map(|life| (during(&life) + WORKERS) * ADD_SPANS.len() + OWN_SPANS).sum()
}

/// The trace of an ADD.
fn trace(added: &Added) -> String {
    uid_number(added.n).replace('-', "")
}

#[test]
fn an_agent_that_is_restarted_every_second_costs_no_pod_and_no_telemetry_but_what_is_counted() {
    let world = RuntimeNode::new();
    let runtime = Runtime::new().unwrap();
    let collector = runtime.block_on(Collector::start(Speaks::Grpc, None));
    let url = collector.url();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
        // What is told of starts, beside ADDs, is another test's.
        ("STARTUP_TRACES", "off"),
    ];
    let mut agent = world.start(&environment);
    agent.wait_for("ms after the start");
    assert_eq!(world.entry()["redirect_backend"], "nftables", "the rules are read with nft");

    let (mut lives, start) = (Vec::new(), Instant::now());
    let added = std::thread::scope(|scope| {
        let adds = scope.spawn(|| add_all(&world));
        let (mut agent, mut born) = (agent, start);
        loop {
            lives.push(end(agent, born, lives.len() % 2 == 1));
            born = Instant::now();
            agent = world.start(&environment);
            if adds.is_finished() {
                break;
            }
        }
        wait_for_an_empty_spool(&world);
        lives.push(end(agent, born, false));
        adds.join().unwrap()
    });
    let took = start.elapsed();

    let failed: Vec<_> = added.iter().filter(|added| added.failure.is_some()).collect();
    assert!(failed.is_empty(), "ADDs that failed: {failed:#?}");
    let rules = &added[0].rules;
    assert!(rules.contains("redirect") || rules.contains("15006"), "{rules}");
    let unredirected: Vec<_> = added.iter().filter(|added| added.rules != *rules).collect();
    assert!(unredirected.is_empty(), "pods with other rules than {rules}: {unredirected:#?}");

    let (all, log) = (collector.received(), lives.iter().flat_map(|life| &life.log));
    let (spans, lines) = (Spans::of(&all), Lines::of(&all, log));
    let missing = missing(&added, &spans, &lines);
    let (counted, at_risk) = (taken_along(&lines), at_risk(&added, &lives));
    let kills = lives.iter().filter(|life| life.killed).count();
    let alone: Vec<&Added> = added.iter().filter(|added| added.alone).collect();
    let with_agent = added.iter().filter(|added| spans.way(&trace(added)) == Some("agent")).count();
    let unsaid = alone.iter().filter(|added| !lines.received(&trace(added), "===== End")).count();
    let hidden = alone.iter().filter(|added| !lines.shown(&trace(added), "===== End")).count();
    println!(
        "{} ADDs in {took:?}, {} agents, {kills} of them killed; {with_agent} through an agent, {} alone; {} spans and {} \
         log records missing, of {} ADDs and the agents; {} and {} counted, of {at_risk} spans that killed agents can have \
         had; of those alone, lines of {unsaid} missing at the receiver, of {hidden} in the log",
        added.len(),
        lives.len(),
        alone.len(),
        missing.spans,
        missing.logs,
        missing.adds,
        counted.0,
        counted.1,
    );
    assert!(with_agent > 50 && alone.len() > 5, "{with_agent} {}", alone.len());
    assert!(kills >= 10, "{kills}");
    assert!(missing.spans <= counted.0 && missing.logs <= counted.1, "telemetry that was lost without a count");
    assert!(counted.0 <= at_risk, "more counted than can be lost");
    assert_eq!(unsaid, 0);
}
