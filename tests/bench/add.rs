//! `make bench`: what one ADD, a validation and an agent's life cost, as medians and ratios taken in one run on one machine.
//!
//! The ways are measured in turn, round by round, so that a busy moment hits all of them alike.
//! `BENCH_ROUNDS` sets the number of rounds (40), `REFERENCE_PLUGIN` and
//! `REFERENCE_VALIDATOR` name programs to compare with.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measure that cannot be taken ends the run; it prints its table"
)]

mod agent;
mod api;
mod life;
mod measure;
mod node;
mod objects;
mod server;
mod starts;
mod validation;
mod way;
mod world;

use agent::Agent;
use api::Api;
use istio_cni_otel::domain::decision::{Decision, decide};
use istio_cni_otel::domain::ruleset::{Ruleset, build};
use istio_cni_otel::host::nftables::Nftables;
use istio_cni_otel::k8s::pod::Pod;
use life::Life;
use measure::{Cost, Measure, resident_kib, run};
use server::Server;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use way::{FLOOR, REFERENCES, Run, SILENT, TOLD, Way, ms, report};
use world::{Netns, inside, run_dir};

/// How many pods start on one node, and how many it has then.
const BURST: usize = 250;

fn main() {
    let Some(binaries) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from) else {
        println!("usage: bench DIRECTORY-OF-BINARIES (make bench gives it)");
        return;
    };
    let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let temp = tempfile::tempdir().expect("a directory");
    let bench = Bench { binaries, temp: temp.path().to_owned(), api: Api::start(BURST, BURST), rounds };
    println!("{rounds} rounds, {} CPUs\n", std::thread::available_parallelism().map_or(0, usize::from));
    bench.single();
    bench.burst();
    validation::report(&bench.binaries, &sample_rules(), rounds);
    bench.memory();
    let life = Life { binaries: &bench.binaries, temp: &bench.temp };
    life.starts(&bench.api, rounds);
    life.idle();
    bench.starts();
    bench.sizes();
}

struct Bench {
    binaries: PathBuf,
    temp: PathBuf,
    api: Api,
    rounds: usize,
}

impl Bench {
    fn single(&self) {
        let collector = Server::collector();
        let endpoint = format!("http://{}", collector.address);
        let told = run_dir(&self.temp, "told", &self.api);
        let silent = run_dir(&self.temp, "silent", &self.api);
        let alone = run_dir(&self.temp, "alone", &self.api);
        let otlp =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
        let telling = Agent::start(&self.tool(), &told, &otlp);
        let quiet = Agent::start(&self.tool(), &silent, &[("OTEL_SDK_DISABLED", "true")]);
        println!("agent: start to READY {} (telemetry on), {} (off)\n", ms(telling.ready_in), ms(quiet.ready_in));

        let plugin = self.binaries.join("istio-cni");
        let reference = std::env::var_os("REFERENCE_PLUGIN").map(PathBuf::from);
        let mut ways = vec![
            Way::new(FLOOR, None, Box::new(|netns, measure| inside(netns, || self.floor(measure)))),
            Way::new(TOLD, Some(telling.pid()), self.add(&plugin, &told, "{}")),
            Way::new(SILENT, Some(quiet.pid()), self.add(&plugin, &silent, "{}")),
            Way::new("alone, nftables", None, self.add(&plugin, &alone, "{}")),
            Way::new("alone, iptables", None, self.add(&plugin, &alone, r#"{"redirect_backend":"iptables"}"#)),
            Way::new(
                "iptables-restore of the same rules",
                None,
                Box::new(|netns, measure| inside(netns, || self.iptables_restore(measure))),
            ),
        ];
        if let Some(reference) = &reference {
            for (name, extra) in references() {
                ways.push(Way::new(name, None, self.add(reference, &alone, extra)));
            }
        }
        for _ in 0..self.rounds {
            ways.iter_mut().for_each(Way::measure);
        }
        ways.iter_mut().for_each(Way::measure_peak);
        report(&ways);
        let sent = collector.requests.load(Ordering::Relaxed);
        println!("the collector took {sent} requests meanwhile\n");
    }

    /// The rules of the sample pod in one transaction, after an empty program: nobody is faster.
    fn floor(&self, measure: Measure) -> Cost {
        let rules = sample_rules();
        let program = run(&mut Command::new(self.binaries.join("examples/empty")), b"", measure);
        let start = Instant::now();
        let changed = Nftables::open().and_then(|mut nftables| nftables.apply(&rules));
        let wall = program.wall + start.elapsed();
        Cost { wall, ok: program.ok && matches!(changed, Ok(true)), ..program }
    }

    fn iptables_restore(&self, measure: Measure) -> Cost {
        let pod = self.temp.join("pod.json");
        std::fs::write(&pod, objects::pod(0).to_string()).expect("a file");
        let rules = Command::new(self.tool())
            .args(["rules", "--backend", "iptables", "--family", "v4", "--pod"])
            .arg(&pod)
            .output()
            .expect("rules");
        assert!(rules.status.success(), "{}", String::from_utf8_lossy(&rules.stderr));
        run(Command::new("iptables-restore").args(["--noflush", "--wait"]), &rules.stdout, measure)
    }

    fn add<'a>(&'a self, plugin: &'a Path, run_dir: &'a Path, extra: &'static str) -> Run<'a> {
        Box::new(move |netns, measure| {
            run(&mut command(plugin, netns, 0), configuration(run_dir, extra).as_bytes(), measure)
        })
    }

    fn tool(&self) -> PathBuf {
        self.binaries.join("istio-cni-otel")
    }

    /// 250 pods start on one node, 64 at once.
    fn burst(&self) {
        const AT_ONCE: usize = 64;
        let directory = run_dir(&self.temp, "burst", &self.api);
        let _agent = Agent::start(&self.tool(), &directory, &[("OTEL_SDK_DISABLED", "true")]);
        let plugin = self.binaries.join("istio-cni");
        println!("{BURST} ADDs, {AT_ONCE} at once");
        let ours = self.rush(BURST, AT_ONCE, &plugin, &directory, "{}", "through the agent");
        if let Some(reference) = std::env::var_os("REFERENCE_PLUGIN").map(PathBuf::from) {
            for (name, extra) in references() {
                let theirs = self.rush(BURST, AT_ONCE, &reference, &directory, extra, name);
                println!("  {:<42} {:>8.1} times ours", "", theirs.as_secs_f64() / ours.as_secs_f64());
            }
        }
        println!();
    }

    fn rush(&self, pods: usize, at_once: usize, plugin: &Path, directory: &Path, extra: &str, name: &str) -> Duration {
        let before = self.api.total();
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ready = std::sync::Barrier::new(at_once + 1);
        let config = configuration(directory, extra);
        let took = std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    // Namespaces are made before the clock starts: they are not what is measured.
                    let mine: Vec<_> = (0..pods.div_ceil(at_once)).map(|_| Netns::new()).collect();
                    ready.wait();
                    for netns in &mine {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n < pods && !run(&mut command(plugin, &netns.path, n), config.as_bytes(), Measure::Time).ok {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            ready.wait();
            Instant::now()
        })
        .elapsed();
        let asked = self.api.total() - before;
        println!("  {name:<42} {:>8}, {} failed, {asked} API requests", ms(took), failed.load(Ordering::Relaxed));
        took
    }

    /// 250 pods start on one node, ten a second.
    fn starts(&self) {
        let plugin = self.binaries.join("istio-cni");
        let one = |netns: &str, n: usize, directory: &Path| {
            run(&mut command(&plugin, netns, n), configuration(directory, "{}").as_bytes(), Measure::Time).ok
        };
        starts::report(&self.binaries, &self.temp, one);
    }

    /// Resident memory of an agent that is ready and knows no pod, and of one that knows 250.
    fn memory(&self) {
        let none = Api::start(0, 0);
        for (api, pods) in [(&none, 0), (&self.api, BURST)] {
            let directory = run_dir(&self.temp, &format!("memory-{pods}"), api);
            let agent = Agent::start(&self.tool(), &directory, &[]);
            println!(
                "agent's resident memory with {pods:>3} pods, without installation: {:.1} MB, ready in {}",
                resident_kib(agent.pid()) as f64 / 1024.0,
                ms(agent.ready_in)
            );
        }
        println!();
    }

    /// What has to be brought to a node.
    fn sizes(&self) {
        for name in ["istio-cni", "istio-cni-otel"] {
            let bytes = std::fs::metadata(self.binaries.join(name)).map_or(0, |metadata| metadata.len());
            println!("{name}: {:.1} MB", bytes as f64 / 1e6);
        }
    }
}

/// The rules of the sample pod.
fn sample_rules() -> Ruleset {
    let pod: Pod = serde_json::from_value(objects::pod(0)).expect("the sample pod");
    let Ok(Decision::Enroll(settings)) = decide(&pod.into_facts()) else { panic!("the sample pod is meshed") };
    build(&settings, &["10.1.0.5".parse().expect("an address")]).expect("rules")
}

/// The reference's two backends: their names, and what they need in the configuration.
fn references() -> [(&'static str, &'static str); 2] {
    let [iptables, nftables] = REFERENCES;
    [(iptables, "{}"), (nftables, r#"{"native_nftables":true}"#)]
}

fn command(plugin: &Path, netns: &str, n: usize) -> Command {
    let mut command = Command::new(plugin);
    let arguments = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-{n};K8S_POD_INFRA_CONTAINER_ID=cafe;K8S_POD_UID={}",
        objects::uid(n)
    );
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "cafe"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ])
        .env("CNI_NETNS", netns)
        .env("CNI_ARGS", arguments);
    command
}

fn configuration(run_dir: &Path, extra: &str) -> String {
    let mut config = serde_json::json!({
        "cniVersion": "1.0.0", "name": "istio-cni", "type": "istio-cni", "plugin_log_level": "info",
        "cni_agent_run_dir": run_dir, "pod_namespace": "istio-system",
        "prevResult": {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/32"}]}
    });
    let extra: serde_json::Value = serde_json::from_str(extra).expect("JSON");
    for (key, value) in extra.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config.to_string()
}
