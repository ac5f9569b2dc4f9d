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

    fn wall(&self) -> Duration {
        median(&self.costs.iter().map(|cost| cost.wall).collect::<Vec<_>>())
    }

    fn cpu(&self) -> Duration {
        let beside = self.beside_cpu / u32::try_from(self.costs.len().max(1)).unwrap_or(1);
        median(&self.costs.iter().map(|cost| cost.cpu).collect::<Vec<_>>()) + beside
    }
}

/// Prints what was measured, in the order of the ways; the first one is the floor.
pub fn report(ways: &[Way<'_>]) {
    let floor = ways.first().map_or(Duration::ZERO, Way::wall);
    println!("{:<36} {:>10} {:>9} {:>10} {:>9}", "one ADD (medians)", "wall", "x floor", "CPU", "peak");
    for way in ways {
        println!(
            "{:<36} {:>10} {:>9.2} {:>10} {:>6.1} MB",
            way.name,
            ms(way.wall()),
            way.wall().as_secs_f64() / floor.as_secs_f64(),
            ms(way.cpu()),
            way.peak_kib as f64 / 1024.0
        );
    }
    println!();
}

/// A duration as the tables show it.
pub fn ms(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}
