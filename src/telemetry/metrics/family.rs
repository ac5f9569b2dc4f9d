//! The series of one metric, and the snapshot of them that the expositions are made of.

use super::catalog::{Definition, Kind};
use crate::domain::identity::{SpanId, TraceId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A label value; borrowed where it comes from a closed list.
pub type Label = Cow<'static, str>;

/// A metric with `N` labels.
#[derive(Debug)]
pub struct Family<const N: usize> {
    definition: &'static Definition,
    series: Mutex<BTreeMap<[Label; N], Value>>,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A counter or a gauge.
    Number(f64),
    /// A histogram.
    Histogram(Histogram),
}

/// The samples of a series of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Samples by bucket, not accumulated; the last bucket has no upper bound.
    pub counts: Vec<u64>,
    /// The sum of the samples.
    pub sum: f64,
    /// The latest sample of each bucket that belongs to a span.
    pub exemplars: Vec<Option<Exemplar>>,
}

/// A sample and the span that it was measured on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The sample.
    pub value: f64,
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    /// The span's trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
}

/// All series of one metric at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The metric.
    pub definition: &'static Definition,
    /// Label values in the order of the definition's labels, and the value.
    pub series: Vec<(Vec<Label>, Value)>,
}

impl<const N: usize> Family<N> {
    /// A metric without series yet. `N` is the number of the definition's labels, which the
    /// compiler checks where the definition is a constant.
    pub const fn new(definition: &'static Definition) -> Family<N> {
        assert!(definition.labels.len() == N);
        Family { definition, series: Mutex::new(BTreeMap::new()) }
    }

    /// Adds to a counter.
    pub fn add(&self, labels: [Label; N], amount: f64) {
        if let Value::Number(number) = self.lock().entry(labels).or_insert(Value::Number(0.0)) {
            *number += amount;
        }
    }

    /// Sets a gauge, or a counter that somebody else keeps.
    pub fn set(&self, labels: [Label; N], value: f64) {
        self.lock().insert(labels, Value::Number(value));
    }

    /// Adds a sample to a histogram.
    pub fn observe(&self, labels: [Label; N], sample: f64, exemplar: Option<Exemplar>) {
        let Kind::Histogram(bounds) = self.definition.kind else { return };
        let bucket = bounds.partition_point(|bound| *bound < sample);
        let empty = || {
            let buckets = bounds.len() + 1;
            Value::Histogram(Histogram { counts: vec![0; buckets], sum: 0.0, exemplars: vec![None; buckets] })
        };
        if let Value::Histogram(histogram) = self.lock().entry(labels).or_insert_with(empty) {
            histogram.sum += sample;
            if let Some(count) = histogram.counts.get_mut(bucket) {
                *count += 1;
            }
            if let (Some(kept), Some(new)) = (histogram.exemplars.get_mut(bucket), exemplar) {
                *kept = Some(new);
            }
        }
    }

    /// The number of a series of a counter or gauge.
    pub fn number(&self, labels: [Label; N]) -> Option<f64> {
        match self.lock().get(&labels) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// All series now.
    pub fn snapshot(&self) -> Snapshot {
        let series = self.lock().iter().map(|(labels, value)| (labels.to_vec(), value.clone())).collect();
        Snapshot { definition: self.definition, series }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[Label; N], Value>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Histogram {
    /// How many samples there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}
