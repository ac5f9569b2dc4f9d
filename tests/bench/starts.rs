//! What an agent takes while pods start on its node, ten a second, and become ready: processor time and memory, with
//! everything on that is on by default, and a collector that takes what it sends.

use super::BURST;
use super::agent::Agent;
use super::api::Api;
use super::measure::{cpu_of, resident_kib};
use super::node::Node;
use super::server::Server;
use super::way::ms;
use super::world::Netns;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// From one start to the next.
const EVERY: Duration = Duration::from_millis(100);
/// A start is told a second after its end; until then everything is.
const SETTLED: Duration = Duration::from_secs(3);

/// Starts the pods with `add` (namespace, number, run directory), and prints what that cost the agent.
pub fn report(binaries: &Path, temp: &Path, add: impl Fn(&str, usize, &Path) -> bool) {
    let (api, collector) = (Api::start(BURST, BURST), Server::collector());
    let node = Node::new(temp, "starts", binaries, &api);
    let mut environment = node.environment();
    environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address)));
    environment.push(("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()));
    let environment: Vec<(&str, &str)> = environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let agent = Agent::start(&binaries.join("istio-cni-otel"), &node.run_dir(), &environment);
    // Namespaces are made before the clock starts: they are not what is measured.
    let namespaces: Vec<Netns> = (0..BURST).map(|_| Netns::new()).collect();
    std::thread::sleep(SETTLED);

    let before = (cpu_of(agent.pid()), resident_kib(agent.pid()), api.asked());
    let begun = Instant::now();
    let mut failed = 0;
    for (n, netns) in namespaces.iter().enumerate() {
        let due = EVERY * u32::try_from(n).expect("a small number");
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        failed += usize::from(!add(&netns.path, n, &node.run_dir()));
        api.next_is_ready();
    }
    std::thread::sleep(SETTLED);
    let cpu = cpu_of(agent.pid()).saturating_sub(before.0);
    let events = |asked: &super::api::Requests| -> usize {
        asked
            .iter()
            .filter(|(asked, _)| asked.resource == "events" && asked.verb == "list")
            .map(|(_, count)| count)
            .sum()
    };
    let mb = |kib: u64| kib as f64 / 1024.0;
    println!(
        "{BURST} starts, ten a second, {failed} failed: {:.1} % of one processor ({} a start), resident memory {:.1} MB before, \
         {:.1} MB after; {} lists of Events, {} requests to the collector\n",
        100.0 * cpu.as_secs_f64() / begun.elapsed().as_secs_f64(),
        ms(cpu / u32::try_from(BURST).expect("a small number")),
        mb(before.1),
        mb(resident_kib(agent.pid())),
        events(&api.asked()) - events(&before.2),
        collector.requests.load(Ordering::Relaxed),
    );
}
