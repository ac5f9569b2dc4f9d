//! The ways to have a pod set up that are compared, and their table.

use super::measure::{Cost, Measure, cpu_of, median};
use super::world::Netns;
use std::time::Duration;

/// Between two measures, so that one does not pay for the other.
const SETTLE: Duration = Duration::from_millis(10);

/// Sets up the pod, or does the like, in the namespace at the given path.
pub type Run<'a> = Box<dyn Fn(&str, Measure) -> Cost + 'a>;

/// One way to have a pod set up.
pub struct Way<'a> {
    name: &'static str,
    run: Run<'a>,
    /// The process that works beside the one measured, if there is one.
    beside: Option<u32>,
    costs: Vec<Cost>,
    beside_cpu: Duration,
    peak_kib: i64,
}

impl<'a> Way<'a> {
    pub fn new(name: &'static str, beside: Option<u32>, run: Run<'a>) -> Way<'a> {
        Way { name, run, beside, costs: Vec::new(), beside_cpu: Duration::ZERO, peak_kib: 0 }
    }

    pub fn measure(&mut self) {
        let netns = Netns::new();
        // The kernel still takes the last namespace apart, and the agent still counts.
        std::thread::sleep(SETTLE);
        let before = self.beside.map(cpu_of);
        let cost = (self.run)(&netns.path, Measure::Time);
        assert!(cost.ok, "{} failed", self.name);
        if let (Some(pid), Some(before)) = (self.beside, before) {
            self.beside_cpu += cpu_of(pid).saturating_sub(before);
        }
        self.costs.push(cost);
    }

    pub fn measure_peak(&mut self) {
        let cost = (self.run)(&Netns::new().path, Measure::Peak);
        assert!(cost.ok, "{} failed", self.name);
        self.peak_kib = cost.peak_kib;
    }

    /// Wall and CPU time as multiples of another way's.
    fn ratio(&self, other: &Way<'_>) -> [f64; 2] {
        let of = |mine: Duration, theirs: Duration| mine.as_secs_f64() / theirs.as_secs_f64();
        [of(self.wall(), other.wall()), of(self.cpu(), other.cpu())]
    }

    fn wall(&self) -> Duration {
        median(&self.costs.iter().map(|cost| cost.wall).collect::<Vec<_>>())
    }

    fn cpu(&self) -> Duration {
        let beside = self.beside_cpu / u32::try_from(self.costs.len().max(1)).unwrap_or(1);
        median(&self.costs.iter().map(|cost| cost.cpu).collect::<Vec<_>>()) + beside
    }
}

/// The names of the ways that others are compared with.
pub const FLOOR: &str = "floor: empty program + one batch";
pub const TOLD: &str = "through the agent, telemetry on";
pub const SILENT: &str = "through the agent, telemetry off";
pub const REFERENCES: [&str; 2] = ["reference, iptables", "reference, native nftables"];

/// Prints what was measured, in the order of the ways, and how it compares: with the floor, and
/// with each way of the reference that was measured (wall and CPU time as multiples of its own).
pub fn report(ways: &[Way<'_>]) {
    let named = |name: &str| ways.iter().find(|way| way.name == name);
    let references: Vec<&Way<'_>> = REFERENCES.into_iter().filter_map(named).collect();
    print!("{:<36} {:>11} {:>9} {:>11} {:>9}", "one ADD (medians)", "wall", "x floor", "CPU", "peak");
    for reference in &references {
        print!("  {:>28}", format!("x {}", reference.name));
    }
    println!();
    for way in ways {
        let [wall, _] = named(FLOOR).map_or([f64::NAN; 2], |floor| way.ratio(floor));
        let peak = way.peak_kib as f64 / 1024.0;
        print!("{:<36} {:>11} {wall:>9.2} {:>11} {peak:>6.1} MB", way.name, ms(way.wall()), ms(way.cpu()));
        for reference in &references {
            let [wall, cpu] = way.ratio(reference);
            print!("  {:>28}", format!("{wall:.3} wall, {cpu:.3} CPU"));
        }
        println!();
    }
    println!();
    if references.is_empty() {
        println!("no reference to compare with: name its plugin in REFERENCE_PLUGIN");
    }
    if let (Some(told), Some(silent)) = (named(TOLD), named(SILENT)) {
        let [wall, cpu] = told.ratio(silent).map(|ratio| (ratio - 1.0) * 100.0);
        println!("telemetry on costs {wall:+.1} % wall, {cpu:+.1} % CPU of the same ADD with telemetry off");
    }
}

/// A duration as the tables show it.
pub fn ms(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}
