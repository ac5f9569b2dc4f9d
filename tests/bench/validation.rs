//! What a pod waits for its validation: from the start of the process to its end, where the rules are
//! right, beside a program that does nothing.

use super::measure::{Cost, Measure, median, run};
use super::way::ms;
use super::world::{Netns, inside};
use istio_cni_otel::domain::ruleset::Ruleset;
use istio_cni_otel::host::nftables::Nftables;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Who a proxy runs as.
const PROXY: u32 = 1337;

/// Measures in turn, round by round: an empty program, our validator, and the reference's if
/// `REFERENCE_VALIDATOR` names its `pilot-agent`.
pub fn report(binaries: &Path, rules: &Ruleset, rounds: usize) {
    let reference = std::env::var_os("REFERENCE_VALIDATOR");
    let mut programs = vec![
        ("floor: empty program", Command::new(binaries.join("examples/empty"))),
        ("validate", Command::new(binaries.join("istio-cni-otel"))),
    ];
    programs.extend(reference.map(|path| ("reference, pilot-agent", Command::new(path))));
    for ((_, command), subcommand) in programs.iter_mut().skip(1).zip(["validate", "istio-iptables"]) {
        command.env_clear().arg(subcommand).args(["-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT"]);
        command.args(["-i", "*", "-b", "*", "-d", "15090,15021,15020", "--run-validation", "--skip-rule-apply"]);
    }
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); programs.len()];
    for _ in 0..rounds {
        for ((name, command), costs) in programs.iter_mut().zip(&mut costs) {
            let netns = Netns::new();
            let cost = inside(&netns.path, || {
                let changed = Nftables::open().and_then(|mut nftables| nftables.apply(rules));
                assert!(matches!(changed, Ok(true)), "{changed:?}");
                run(command.uid(PROXY).gid(PROXY), b"", Measure::Time)
            });
            assert!(cost.ok, "{name} failed");
            costs.push(cost);
        }
    }
    println!("{:<36} {:>11} {:>9} {:>11}", "a validation that passes (medians)", "wall", "x floor", "CPU");
    let of = |costs: &[Cost], part: fn(&Cost) -> Duration| median(&costs.iter().map(part).collect::<Vec<_>>());
    let floor = of(&costs[0], |cost| cost.wall).as_secs_f64();
    for ((name, _), costs) in programs.iter().zip(&costs) {
        let (wall, cpu) = (of(costs, |cost| cost.wall), of(costs, |cost| cost.cpu));
        println!("{name:<36} {:>11} {:>9.2} {:>11}", ms(wall), wall.as_secs_f64() / floor, ms(cpu));
    }
    println!();
}
