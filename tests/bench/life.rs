//! What an agent's life costs: how long it starts, without and with an installation, and what it holds and
//! asks while nothing happens.

use super::BURST;
use super::agent::Agent;
use super::api::{Api, Requests};
use super::measure::{median, resident_kib};
use super::node::Node;
use super::way::ms;
use super::world::run_dir;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More starts than this tell nothing more.
const STARTS: usize = 15;
/// What begins with the agent, but not before it is ready, has begun by then.
const SETTLED: Duration = Duration::from_secs(1);
/// How long an agent is left alone to see what it does then.
const IDLE: Duration = Duration::from_secs(15);
const HOUR: f64 = 3600.0;
/// So much earlier the watches of one agent end, so that its idle time has an hour's watches. Its pauses
/// between them are as long as ever, which makes it a few less.
const HURRY: u32 = 3600 / IDLE.as_secs() as u32;

/// Agents of these binaries, in directories of their own.
pub struct Life<'a> {
    pub binaries: &'a Path,
    pub temp: &'a Path,
}

impl Life<'_> {
    /// From the start of the process until `/readyz` says yes, in turn: without an installation, with the
    /// first one of a node, and again on that node. What writing files costs is the disk's of the
    /// temporary directory.
    pub fn starts(&self, api: &Api, rounds: usize) {
        let rounds = rounds.clamp(1, STARTS);
        let mut took: [Vec<Duration>; 3] = Default::default();
        for round in 0..rounds {
            let bare = run_dir(self.temp, &format!("start-{round}"), api);
            took[0].push(Agent::start(&self.tool(), &bare, &[]).ready_in);
            let node = Node::new(self.temp, &format!("node-{round}"), self.binaries, api);
            took[1].push(self.installing(&node).ready_in);
            // The agent has ended in between, and has left everything there.
            took[2].push(self.installing(&node).ready_in);
            node.remove();
        }
        println!("{:<36} {:>11} {:>22}", "start to ready (medians)", "wall", "x without installation");
        let without = median(&took[0]).as_secs_f64();
        let names = ["without installation", "first installation on a node", "restart, all is in place"];
        for (name, took) in names.into_iter().zip(&took) {
            let wall = median(took);
            println!("{name:<36} {:>11} {:>22.2}", ms(wall), wall.as_secs_f64() / without);
        }
        println!("{rounds} starts of each, {} pods of this node\n", BURST);
    }

    /// Resident memory and requests of agents that install, then idle: with no pods, with this node's, and
    /// with this node's among those of a cluster.
    pub fn idle(&self) {
        let cases = [(0, 0), (BURST, BURST), (5000, BURST)];
        let lives: Vec<Idle> =
            cases.into_iter().map(|(all, ours)| Idle::start(self, Api::start(all, ours), all, ours)).collect();
        let api = Api::hurried(BURST, BURST, HURRY);
        let node = Node::new(self.temp, "hurried", self.binaries, &api);
        let _hurried = self.installing(&node);
        std::thread::sleep(SETTLED);
        let hour_begun = api.asked();
        let begun: Vec<Requests> = lives.iter().map(|life| life.api.asked()).collect();
        std::thread::sleep(IDLE);
        let hour_ended = api.asked();
        let later: Vec<Requests> = lives.iter().map(|life| life.api.asked()).collect();
        report_memory(&lives);
        for ((life, begun), later) in lives.iter().zip(&begun).zip(&later) {
            report_requests(life, begun, later);
        }
        println!("an hour's watches measured in {} s (each ended {HURRY} times as early)", IDLE.as_secs());
        println!("  measured:                      {}\n", told(&less(&hour_ended, &hour_begun)));
    }

    fn installing(&self, node: &Node) -> Agent {
        let environment = node.environment();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let agent = Agent::start(&self.tool(), &node.run_dir(), &environment);
        assert!(node.is_installed(), "the agent said that it is ready, but the plugin is not there");
        agent
    }

    fn tool(&self) -> PathBuf {
        self.binaries.join("istio-cni-otel")
    }
}

/// An agent that has nothing to do, with an API server of its own.
struct Idle {
    agent: Agent,
    api: Api,
    all: usize,
    ours: usize,
    ready_kib: u64,
    until_ready: Requests,
}

impl Idle {
    fn start(life: &Life<'_>, api: Api, all: usize, ours: usize) -> Idle {
        let node = Node::new(life.temp, &format!("idle-{all}"), life.binaries, &api);
        let agent = life.installing(&node);
        let until_ready = api.asked();
        Idle { ready_kib: resident_kib(agent.pid()), agent, api, all, ours, until_ready }
    }

    fn name(&self) -> String {
        format!("{} of this node, {} on the API", self.ours, self.all)
    }
}

fn report_memory(lives: &[Idle]) {
    let (settled, idle) = (SETTLED.as_secs(), IDLE.as_secs());
    println!(
        "{:<36} {:>11} {:>11} {:>9}",
        "resident memory, installing (pods)",
        "at ready",
        format!("{} s later", settled + idle),
        "x no pods"
    );
    let now: Vec<u64> = lives.iter().map(|life| resident_kib(life.agent.pid())).collect();
    for (life, kib) in lives.iter().zip(&now) {
        let mb = |kib: u64| format!("{:.1} MB", kib as f64 / 1024.0);
        let ratio = *kib as f64 / now[0].max(1) as f64;
        println!("{:<36} {:>11} {:>11} {ratio:>9.2}", life.name(), mb(life.ready_kib), mb(*kib));
    }
    println!();
}

/// Measured: until ready, in the second after, and in the time left alone. Computed: the hour that the
/// watches' own times make of it, for each watch that ends is asked for again.
fn report_requests(life: &Idle, begun: &Requests, later: &Requests) {
    println!("API requests, {}", life.name());
    println!("  measured until ready:          {}", told(&life.until_ready));
    println!("  measured in the {} s after:     {}", SETTLED.as_secs(), told(&less(begun, &life.until_ready)));
    println!("  measured in {} s idle:         {}", IDLE.as_secs(), told(&less(later, begun)));
    // One of a kind is open at a time, however often it was asked for.
    let watches = later.keys().filter_map(|asked| Some((asked, HOUR / asked.seconds? as f64)));
    let (mut sum, mut parts) = (0.0, Vec::new());
    for (asked, renewals) in watches {
        sum += renewals;
        parts.push(format!(
            "{renewals:.1} watch {} (each ends after {} s)",
            asked.resource,
            asked.seconds.unwrap_or(0)
        ));
    }
    println!("  computed per hour idle:        {sum:.1}: {}", parts.join(", "));
}

/// What came in between.
fn less(now: &Requests, before: &Requests) -> Requests {
    let since = now.iter().map(|(asked, count)| (asked.clone(), count - before.get(asked).unwrap_or(&0)));
    since.filter(|(_, count)| *count > 0).collect()
}

fn told(requests: &Requests) -> String {
    let parts: Vec<String> =
        requests.iter().map(|(asked, count)| format!("{count} {} {}", asked.verb, asked.resource)).collect();
    match parts.as_slice() {
        [] => "0".to_owned(),
        _ => format!("{}: {}", requests.values().sum::<usize>(), parts.join(", ")),
    }
}
