//! The metrics that matter to whoever looks at one node, out of all of them.

use crate::domain::pod_state::PodState;
use crate::telemetry::metrics::catalog::{self, Definition, Kind};
use crate::telemetry::metrics::family::{Histogram, Label, Snapshot, Value};

/// The numbers of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    /// ADDs since the agent started, by outcome.
    pub(super) adds: Vec<(String, u64)>,
    /// How long half of the ADDs took at most, and 99 of 100, in seconds.
    pub(super) half: Option<f64>,
    pub(super) most: Option<f64>,
    /// Pods by state, every state of them.
    pub(super) pods: Vec<(&'static str, u64)>,
    /// Validations and repairs by result.
    pub(super) validations: Vec<(String, u64)>,
    pub(super) repairs: Vec<(String, u64)>,
    /// Broken pods that a limit keeps from being deleted.
    pub(super) held: u64,
    /// How often others changed the installation.
    pub(super) reverts: u64,
    /// Lost items of telemetry by reason.
    pub(super) lost: Vec<(String, u64)>,
    /// Seconds since the watch of the pods heard something.
    pub(super) watch_age: Option<f64>,
    /// Bytes of memory, and the process' start in seconds since the epoch.
    pub(super) resident: Option<f64>,
    pub(super) started: Option<f64>,
}

impl Numbers {
    /// Reads them from all metrics.
    pub(super) fn of(snapshots: &[Snapshot]) -> Numbers {
        let all = All(snapshots);
        let adds = all.histogram(&catalog::REQUEST_DURATION, |labels| labels.first().is_some_and(|it| it == "add"));
        let count_in =
            |state: PodState| all.sum(&catalog::PODS, |labels| labels.first().is_some_and(|it| it == state.name()));
        Numbers {
            adds: all.by(&catalog::REQUESTS, 1, |labels| labels.first().is_some_and(|it| it == "add")),
            half: quantile(&adds, 0.5),
            most: quantile(&adds, 0.99),
            pods: PodState::ALL.map(|state| (state.name(), count_in(state))).to_vec(),
            validations: all.by(&catalog::VALIDATIONS, 0, |_| true),
            repairs: all.by(&catalog::REPAIRS, 1, |_| true),
            held: all.sum(&catalog::REPAIR_HELD, |_| true),
            reverts: all.sum(&catalog::CONFIG_REVERTS, |_| true),
            lost: all.by(&catalog::TELEMETRY_DROPPED, 1, |_| true),
            watch_age: all.first(&catalog::WATCH_AGE, |labels| labels.first().is_some_and(|it| it == "pods")),
            resident: all.first(&catalog::PROCESS_RESIDENT, |_| true),
            started: all.first(&catalog::PROCESS_START, |_| true),
        }
    }
}

/// All metrics, to be asked.
struct All<'a>(&'a [Snapshot]);

impl All<'_> {
    fn series(&self, metric: &'static Definition) -> impl Iterator<Item = &(Vec<Label>, Value)> {
        self.0
            .iter()
            .filter(move |snapshot| snapshot.definition.name == metric.name)
            .flat_map(|snapshot| &snapshot.series)
    }

    /// The numbers of the series that `is` takes, with their labels.
    fn numbers<'s>(
        &'s self,
        metric: &'static Definition,
        is: impl Fn(&[Label]) -> bool + 's,
    ) -> impl Iterator<Item = (&'s [Label], f64)> + 's {
        self.series(metric).filter_map(move |(labels, value)| match value {
            Value::Number(number) if is(labels) => Some((labels.as_slice(), *number)),
            _ => None,
        })
    }

    fn first(&self, metric: &'static Definition, is: impl Fn(&[Label]) -> bool) -> Option<f64> {
        self.numbers(metric, is).next().map(|(_, number)| number)
    }

    fn sum(&self, metric: &'static Definition, is: impl Fn(&[Label]) -> bool) -> u64 {
        self.numbers(metric, is).map(|(_, number)| number as u64).sum()
    }

    /// Sums by one label, those that are not zero.
    fn by(&self, metric: &'static Definition, label: usize, is: impl Fn(&[Label]) -> bool) -> Vec<(String, u64)> {
        let mut sums: Vec<(String, u64)> = Vec::new();
        for (labels, number) in self.numbers(metric, is) {
            let Some(label) = labels.get(label) else { continue };
            match sums.iter_mut().find(|(name, _)| name == label) {
                Some((_, sum)) => *sum += number as u64,
                None => sums.push((label.to_string(), number as u64)),
            }
        }
        sums.retain(|(_, sum)| *sum > 0);
        sums
    }

    /// The counts of the series that `is` takes, bucket by bucket, with the buckets' bounds.
    fn histogram(&self, metric: &'static Definition, is: impl Fn(&[Label]) -> bool) -> Buckets {
        let Kind::Histogram(bounds) = metric.kind else { return Buckets::default() };
        let mut counts = vec![0; bounds.len() + 1];
        for (labels, value) in self.series(metric) {
            if let Value::Histogram(Histogram { counts: more, .. }) = value
                && is(labels)
            {
                counts.iter_mut().zip(more).for_each(|(sum, count)| *sum += count);
            }
        }
        Buckets { bounds, counts }
    }
}

/// Samples by bucket; the last bucket has no bound.
#[derive(Default)]
struct Buckets {
    bounds: &'static [f64],
    counts: Vec<u64>,
}

/// The value that this part of the samples does not exceed, as Prometheus estimates it: evenly spread within a bucket,
/// and no more than the last bound.
fn quantile(buckets: &Buckets, part: f64) -> Option<f64> {
    let total: u64 = buckets.counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = part * total as f64;
    let (mut below, mut lower) = (0.0, 0.0);
    for (count, upper) in buckets.counts.iter().zip(buckets.bounds) {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            return Some(lower + (upper - lower) * ((rank - below) / count).max(0.0));
        }
        (below, lower) = (below + count, *upper);
    }
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{DropReason, Metrics, Signal};

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = |counts: &[u64]| Buckets { bounds: &[1.0, 2.0, 4.0], counts: counts.to_vec() };
        assert_eq!(quantile(&buckets(&[0, 0, 0, 0]), 0.5), None);
        assert_eq!(quantile(&buckets(&[4, 0, 0, 0]), 0.5), Some(0.5));
        assert_eq!(quantile(&buckets(&[2, 2, 0, 0]), 0.75), Some(1.5));
        assert_eq!(quantile(&buckets(&[0, 0, 0, 3]), 0.99), Some(4.0), "no more than the last bound");
    }

    #[test]
    fn an_agent_that_did_nothing_has_zeros_and_no_times() {
        let numbers = Numbers::of(&Metrics::new("1", "r").snapshot());
        assert_eq!((numbers.adds, numbers.half, numbers.lost), (Vec::new(), None, Vec::new()));
        assert_eq!(numbers.pods.iter().map(|(_, count)| count).sum::<u64>(), 0);
        assert!(numbers.resident.is_some_and(|bytes| bytes > 0.0));
    }

    #[test]
    fn what_was_counted_is_summed_by_what_matters() {
        let metrics = Metrics::new("1", "r");
        metrics.dropped(Signal::Traces, DropReason::QueueFull, 2);
        metrics.dropped(Signal::Logs, DropReason::QueueFull, 3);
        metrics.pods(PodState::Broken, 1);
        metrics.config_reverted(4);
        metrics.watch_synced("pods");
        let numbers = Numbers::of(&metrics.snapshot());
        assert_eq!(numbers.lost, [("queue_full".to_owned(), 5)]);
        assert!(numbers.pods.contains(&("broken", 1)));
        assert_eq!(numbers.reverts, 4);
        assert!(numbers.watch_age.is_some_and(|age| age < 60.0));
    }
}
