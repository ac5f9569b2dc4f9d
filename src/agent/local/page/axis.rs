//! The scale of time of a waterfall: where an instant stands, and which ticks it has.

use super::words::duration;

/// So many ticks after the first at most.
const TICKS: f64 = 6.0;

/// A scale from one instant to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    began_ns: u64,
    length_ns: u64,
}

impl Axis {
    /// From the first instant to the last, in nanoseconds; never empty.
    pub(super) fn new(began_ns: u64, ended_ns: u64) -> Axis {
        Axis { began_ns, length_ns: ended_ns.saturating_sub(began_ns).max(1) }
    }

    /// The first instant.
    pub(super) fn began_ns(&self) -> u64 {
        self.began_ns
    }

    /// How long it is, in nanoseconds.
    pub(super) fn length_ns(&self) -> u64 {
        self.length_ns
    }

    /// Where an instant stands, in percent from the left; what is outside stands at the edge.
    pub(super) fn at(&self, ns: u64) -> f64 {
        self.share(ns.saturating_sub(self.began_ns))
    }

    /// What part of the scale so many nanoseconds are, in percent.
    pub(super) fn share(&self, ns: u64) -> f64 {
        (ns as f64 * 100.0 / self.length_ns as f64).min(100.0)
    }

    /// Ticks at round times: where, in percent, and the time since the beginning. The first is 0.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let step = round(self.length_ns as f64 / TICKS);
        let ticks = (0..=10_u64).map(|tick| tick.saturating_mul(step)).take_while(|ns| *ns <= self.length_ns);
        ticks.map(|ns| (self.share(ns), if ns == 0 { "0".to_owned() } else { duration(ns) })).collect()
    }
}

/// The next 1, 2 or 5 times a power of ten; from a minute on, of minutes and hours.
fn round(ns: f64) -> u64 {
    const LONGER: [f64; 9] = [60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 10_800.0, 21_600.0, 86_400.0];
    let seconds = ns / 1e9;
    if seconds > 30.0 {
        let longer = LONGER.into_iter().find(|step| *step >= seconds);
        return (longer.unwrap_or_else(|| (seconds / 86_400.0).ceil() * 86_400.0) * 1e9) as u64;
    }
    let unit = 10_f64.powf(ns.max(1.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * unit).find(|step| *step >= ns);
    (step.unwrap_or(unit) as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(length: u64) -> Vec<String> {
        Axis::new(1_000, 1_000 + length).ticks().into_iter().map(|(_, label)| label.replace('\u{a0}', " ")).collect()
    }

    #[test]
    fn ticks_are_at_round_times() {
        assert_eq!(labels(2_290_000), ["0", "500 µs", "1 ms", "1.5 ms", "2 ms"]);
        assert_eq!(labels(10_000), ["0", "2 µs", "4 µs", "6 µs", "8 µs", "10 µs"]);
        assert_eq!(labels(95_000_000_000), ["0", "20 s", "40 s", "1 min", "1 min 20 s"]);
        assert_eq!(labels(400_000_000_000), ["0", "2 min", "4 min", "6 min"]);
        assert_eq!(labels(1), ["0", "1 ns"]);
    }

    #[test]
    fn any_length_has_a_few_ticks_within_the_scale() {
        for length in (0..64).map(|bits| 1_u64 << bits).chain([0, u64::MAX]) {
            let ticks = Axis::new(0, length).ticks();
            assert!((1..=11).contains(&ticks.len()), "{length}: {ticks:?}");
            assert!(ticks.iter().all(|(at, _)| (0.0..=100.0).contains(at)));
        }
    }

    #[test]
    fn an_instant_stands_where_it_was() {
        let axis = Axis::new(1_000, 2_000);
        assert_eq!((axis.at(1_000), axis.at(1_250), axis.at(9_999), axis.at(0)), (0.0, 25.0, 100.0, 0.0));
        assert_eq!(Axis::new(5, 5).at(5), 0.0);
    }
}
