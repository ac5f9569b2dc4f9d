//! What `doctor` takes: `make bench-doctor` prints it. Nothing is asserted, because machines differ.

use crate::cluster::{Cluster, fine, report};
use crate::scene::Scene;
use std::process::Command;
use std::time::{Duration, Instant};

/// So often each is measured.
const ROUNDS: usize = 11;

/// The time of the middle run; all of them must have ended with this status.
fn median(status: i32, mut run: impl FnMut() -> i32) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        assert_eq!(run(), status);
        times.push(began.elapsed());
    }
    times.sort();
    times[ROUNDS / 2]
}

#[test]
#[ignore = "it measures, and checks nothing: make bench-doctor"]
fn what_doctor_takes() {
    let floor = median(0, || {
        let done = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel")).arg("version").output().unwrap();
        done.status.code().unwrap()
    });
    let show = |what: &str, time: Duration| {
        println!("{what:<40} {time:>10.1?}  {:>7.1} × the floor", time.as_secs_f64() / floor.as_secs_f64());
    };
    show("floor: the command's version", floor);
    let scene = Scene::new();
    show("one node, with its agent", median(0, || scene.doctor(&[]).status));
    let mut cluster = Cluster::simulated();
    let same = report(env!("CARGO_PKG_VERSION"), &cluster.plugin, &fine());
    for (from, to) in [(0, 10), (10, 100)] {
        cluster.add((from..to).map(|n| format!("node-{n:03}")), &same);
        show(&format!("a cluster of {to} nodes, simulated"), median(0, || cluster.doctor(&[]).status));
    }
}
