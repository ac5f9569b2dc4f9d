//! An agent that is stopped and killed in turn every second for a minute, while pods start.

use crate::otlp::{self, Collector, Speaks, hex, text};
use crate::support::agent::{Agent, sandbox};
use crate::support::runtime_node::{RuntimeNode, pod_number, uid_number};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
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
/// What the agent was told so long before it is killed, it has sent: a batch waits for 20 ms.
const SENT_AFTER: Duration = Duration::from_millis(500);

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
    /// When it was killed, if it was.
    killed: Option<Instant>,
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
    let now = Instant::now();
    agent.signal(if kill { Signal::SIGKILL } else { Signal::SIGTERM });
    assert_eq!(agent.ended().success(), !kill);
    Life { killed: kill.then_some(now), log: std::mem::take(&mut agent.log) }
}

fn wait_for_an_empty_spool(world: &RuntimeNode) {
    crate::support::eventually("an empty spool", || {
        let Ok(entries) = std::fs::read_dir(world.node.path("spool")) else { return Some(()) };
        let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        (!names.any(|name| name.ends_with(".spool"))).then_some(())
    });
}

/// By number of pod: the ways in which its ADD was told of, and the lines of the plugin or the agent
/// about it that the receiver has.
fn received(collector: &Collector) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let all = collector.received();
    let adds = otlp::spans(&all).into_iter().filter(|span| span.name == "cni.add");
    let ways = adds.map(|span| (hex(&span.trace_id), text(&span.attributes, "istio_cni.path").unwrap())).collect();
    let logs = otlp::logs(&all).into_iter().filter(|log| format!("{:?}", log.body).contains("===== End"));
    (ways, logs.map(|log| hex(&log.trace_id)).collect())
}

#[test]
fn an_agent_that_is_restarted_every_second_costs_no_pod_and_no_telemetry_but_what_it_had_in_memory() {
    let world = RuntimeNode::new();
    let runtime = Runtime::new().unwrap();
    let collector = runtime.block_on(Collector::start(Speaks::Grpc, None));
    let url = collector.url();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
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

    let kills: Vec<Instant> = lives.iter().filter_map(|life| life.killed).collect();
    let (ways, lines) = received(&collector);
    let trace = |added: &Added| uid_number(added.n).replace('-', "");
    let missing: Vec<&Added> = added.iter().filter(|added| !ways.contains_key(&trace(added))).collect();
    let in_memory =
        |added: &Added| kills.iter().any(|kill| *kill + SENT_AFTER > added.ended && added.ended + SENT_AFTER > *kill);
    let alone: Vec<&Added> = added.iter().filter(|added| added.alone).collect();
    let with_agent = ways.values().filter(|way| *way == "agent").count();
    let at_risk = added.iter().filter(|added| !added.alone && in_memory(added)).count();
    let unsaid = alone.iter().filter(|added| !lines.contains(&trace(added))).count();
    let shown = |added: &Added| {
        let words = format!("End nftables configuration for web-{} ", added.n);
        lives
            .iter()
            .flat_map(|life| &life.log)
            .any(|line| line["msg"].as_str().is_some_and(|text| text.contains(&words)))
    };
    let hidden: Vec<usize> = alone.iter().filter(|added| !shown(added)).map(|added| added.n).collect();
    println!(
        "{} ADDs in {took:?}, {} agents, {} of them killed; {with_agent} through an agent, {} alone; spans of {} missing, of \
         {at_risk} that a killed agent may have had in memory; of those alone, lines of {unsaid} missing at the receiver, \
         of {} in the log",
        added.len(),
        lives.len(),
        kills.len(),
        alone.len(),
        missing.len(),
        hidden.len()
    );
    assert!(with_agent > 50 && alone.len() > 5, "{with_agent} {}", alone.len());
    assert!(kills.len() >= 10, "{}", kills.len());
    let lost: Vec<_> = missing.iter().filter(|added| added.alone || !in_memory(added)).collect();
    assert!(lost.is_empty(), "telemetry that nobody could have had in memory: {lost:#?}");
    assert_eq!(unsaid, 0);
}
