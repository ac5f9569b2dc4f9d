//! OTLP metrics folded to the last state of each series, to say which ones moved.

use super::trace::text;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, metric, number_data_point};
use std::collections::BTreeMap;

/// What the names of our metrics begin with.
const OURS: &str = "istio_cni_";

/// The last state of every counter and histogram. Gauges tell a state and no movement: they are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    series: BTreeMap<(String, String), Moved>,
}

/// How far a series has come since the agent's start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moved {
    /// A counter's value.
    Counter(f64),
    /// A histogram's number of samples, and their sum (seconds).
    Histogram { count: u64, sum: f64 },
}

impl Metrics {
    /// Takes an exported metric in: cumulative points replace, deltas add.
    pub fn take(&mut self, metric: Metric) {
        match metric.data {
            Some(metric::Data::Sum(sum)) if sum.is_monotonic => {
                let delta = is_delta(sum.aggregation_temporality);
                for point in sum.data_points {
                    let value = match point.value {
                        Some(number_data_point::Value::AsInt(value)) => value as f64,
                        Some(number_data_point::Value::AsDouble(value)) => value,
                        None => continue,
                    };
                    self.put(&metric.name, &point.attributes, Moved::Counter(value), delta);
                }
            }
            Some(metric::Data::Histogram(histogram)) => {
                let delta = is_delta(histogram.aggregation_temporality);
                for point in histogram.data_points {
                    let moved = Moved::Histogram { count: point.count, sum: point.sum.unwrap_or_default() };
                    self.put(&metric.name, &point.attributes, moved, delta);
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, name: &str, attributes: &[KeyValue], moved: Moved, delta: bool) {
        let key = (name.to_owned(), labels(attributes));
        let before = self.series.get(&key).filter(|_| delta);
        let after = match (before, moved) {
            (Some(Moved::Counter(before)), Moved::Counter(more)) => Moved::Counter(before + more),
            (Some(Moved::Histogram { count, sum }), Moved::Histogram { count: more, sum: length }) => {
                Moved::Histogram { count: count + more, sum: sum + length }
            }
            _ => moved,
        };
        self.series.insert(key, after);
    }

    /// Our own series that are no longer zero: name, labels, and how far. Those of the process always move.
    pub fn moved(&self) -> impl Iterator<Item = (&str, &str, Moved)> {
        let still = |moved: &Moved| matches!(moved, Moved::Counter(0.0) | Moved::Histogram { count: 0, .. });
        let all = self.series.iter().filter(move |((name, _), moved)| name.starts_with(OURS) && !still(moved));
        all.map(|((name, labels), moved)| (name.as_str(), labels.as_str(), *moved))
    }
}

impl Metrics {
    /// The sum of a counter over all labels.
    pub fn total(&self, counter: &str) -> f64 {
        let own = self.series.iter().filter(|((name, _), _)| name == counter);
        own.map(|(_, moved)| if let Moved::Counter(value) = moved { *value } else { 0.0 }).sum()
    }
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Moved::Counter(value) => write!(f, "+{value}"),
            Moved::Histogram { count, sum } => {
                let samples = if *count == 1 { "sample," } else { "samples, together" };
                write!(f, "+{count} {samples} {:.2} ms", sum * 1_000.0)
            }
        }
    }
}

fn is_delta(temporality: i32) -> bool {
    temporality == i32::from(AggregationTemporality::Delta)
}

/// Labels in the order of their names.
fn labels(attributes: &[KeyValue]) -> String {
    let value = |pair: &KeyValue| pair.value.as_ref().map(text).unwrap_or_default();
    let mut pairs: Vec<String> = attributes.iter().map(|pair| format!("{}={}", pair.key, value(pair))).collect();
    pairs.sort();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
    use opentelemetry_proto::tonic::metrics::v1::{Gauge, NumberDataPoint, Sum};

    fn point(value: i64) -> NumberDataPoint {
        let command = AnyValue { value: Some(any_value::Value::StringValue("add".to_owned())) };
        NumberDataPoint {
            attributes: vec![KeyValue { key: "command".to_owned(), value: Some(command), ..KeyValue::default() }],
            value: Some(number_data_point::Value::AsInt(value)),
            ..NumberDataPoint::default()
        }
    }

    fn counter(value: i64, temporality: AggregationTemporality) -> Metric {
        let sum =
            Sum { data_points: vec![point(value)], aggregation_temporality: temporality.into(), is_monotonic: true };
        Metric { name: "istio_cni_requests_total".to_owned(), data: Some(metric::Data::Sum(sum)), ..Metric::default() }
    }

    fn moved(exports: impl IntoIterator<Item = Metric>) -> Vec<String> {
        let mut metrics = Metrics::default();
        exports.into_iter().for_each(|metric| metrics.take(metric));
        metrics.moved().map(|(name, labels, moved)| format!("{name} {labels} {moved}")).collect()
    }

    #[test]
    fn cumulative_points_replace_and_deltas_add() {
        let twice = |temporality| moved([counter(2, temporality), counter(3, temporality)]);
        assert_eq!(twice(AggregationTemporality::Cumulative), ["istio_cni_requests_total command=add +3"]);
        assert_eq!(twice(AggregationTemporality::Delta), ["istio_cni_requests_total command=add +5"]);
    }

    #[test]
    fn a_sum_of_several_samples_is_said_to_be_one() {
        let texts = [1, 2].map(|count| Moved::Histogram { count, sum: 0.0032 }.to_string());
        assert_eq!(texts, ["+1 sample, 3.20 ms", "+2 samples, together 3.20 ms"]);
    }

    #[test]
    fn what_stayed_at_zero_and_gauges_did_not_move() {
        let gauge = metric::Data::Gauge(Gauge { data_points: vec![point(1)] });
        let gauge = Metric { name: "istio_cni_pods".to_owned(), data: Some(gauge), ..Metric::default() };
        let process =
            Metric { name: "process_cpu_seconds_total".to_owned(), ..counter(1, AggregationTemporality::Delta) };
        assert!(moved([counter(0, AggregationTemporality::Cumulative), gauge, process]).is_empty());
    }
}
