//! The metrics as OTLP data points: cumulative since the start of the process, with exemplars.

use super::catalog::{Definition, Kind};
use super::family::{Exemplar, Histogram, Label, Snapshot, Value};
use crate::telemetry::keys::Key;
use crate::telemetry::story::attribute;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    self as proto, AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, exemplar, metric::Data,
    number_data_point,
};

/// The window that data points stand for, in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When counting began.
    pub start_ns: u64,
    /// When the points were last collected; older exemplars were sent then.
    pub previous_ns: u64,
    /// Now.
    pub now_ns: u64,
}

/// Snapshots as OTLP metrics.
pub fn metrics(snapshots: &[Snapshot], window: Window) -> Vec<Metric> {
    snapshots.iter().map(|snapshot| metric(snapshot, window)).collect()
}

/// How many data points metrics have.
pub fn points(metrics: &[Metric]) -> u64 {
    let of = |metric: &Metric| match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    };
    metrics.iter().map(of).sum::<usize>() as u64
}

fn metric(snapshot: &Snapshot, window: Window) -> Metric {
    let definition = snapshot.definition;
    let numbers = || snapshot.series.iter().filter_map(|(labels, value)| number(definition, labels, value, window));
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match definition.kind {
        Kind::Gauge => Data::Gauge(proto::Gauge { data_points: numbers().collect() }),
        Kind::Counter => Data::Sum(proto::Sum {
            data_points: numbers().collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Histogram(bounds) => Data::Histogram(proto::Histogram {
            data_points: snapshot
                .series
                .iter()
                .filter_map(|(labels, value)| histogram(definition, bounds, labels, value, window))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: definition.name.to_owned(),
        description: definition.help.to_owned(),
        unit: definition.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn number(definition: &Definition, labels: &[Label], value: &Value, window: Window) -> Option<NumberDataPoint> {
    let Value::Number(number) = value else { return None };
    // A gauge is of its moment; only what is counted has a beginning.
    let start = if definition.kind == Kind::Counter { window.start_ns } else { 0 };
    Some(NumberDataPoint {
        attributes: attributes(definition, labels),
        start_time_unix_nano: start,
        time_unix_nano: window.now_ns,
        value: Some(number_data_point::Value::AsDouble(*number)),
        ..NumberDataPoint::default()
    })
}

fn histogram(
    definition: &Definition,
    bounds: &[f64],
    labels: &[Label],
    value: &Value,
    window: Window,
) -> Option<HistogramDataPoint> {
    let Value::Histogram(samples) = value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(definition, labels),
        start_time_unix_nano: window.start_ns,
        time_unix_nano: window.now_ns,
        count: samples.count(),
        sum: Some(samples.sum),
        bucket_counts: samples.counts.clone(),
        explicit_bounds: bounds.to_vec(),
        exemplars: exemplars(samples, window),
        ..HistogramDataPoint::default()
    })
}

fn exemplars(samples: &Histogram, window: Window) -> Vec<proto::Exemplar> {
    let recent = samples.exemplars.iter().flatten().filter(|exemplar| exemplar.time_ns > window.previous_ns);
    recent.map(proto_exemplar).collect()
}

fn proto_exemplar(exemplar: &Exemplar) -> proto::Exemplar {
    proto::Exemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: exemplar.time_ns,
        span_id: exemplar.span_id.0.to_vec(),
        trace_id: exemplar.trace_id.0.to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
    }
}

/// An empty label is no attribute, as in Prometheus an empty label is no label.
fn attributes(definition: &Definition, labels: &[Label]) -> Vec<KeyValue> {
    let pairs = definition.labels.iter().zip(labels).filter(|(_, value)| !value.is_empty());
    pairs.map(|(key, value): (&Key, &Label)| attribute(*key, value.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use opentelemetry_proto::tonic::trace::v1::Span;

    #[test]
    fn data_points_are_cumulative_and_carry_recent_exemplars() {
        let registry = Metrics::new("1", "");
        let mut span = Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "rules.apply".to_owned(),
            start_time_unix_nano: 1_000,
            end_time_unix_nano: 301_000,
            ..Span::default()
        };
        registry.observe_span(&span);
        span.end_time_unix_nano = 3_001_000;
        registry.observe_span(&span);
        let window = Window { start_ns: 5, previous_ns: 400_000, now_ns: 4_000_000 };
        let metrics = metrics(&registry.snapshot(), window);
        let found = metrics.iter().find(|metric| metric.name == "istio_cni_step_duration_seconds").unwrap();
        assert_eq!(found.unit, "s");
        let Some(Data::Histogram(histogram)) = &found.data else { panic!("{found:?}") };
        assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
        let point = &histogram.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano, point.count), (5, 4_000_000, 2));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.exemplars.len(), 1, "the first exemplar is older than the last collection");
        assert_eq!(point.exemplars[0].span_id, [2; 8]);
        let keys: Vec<&str> = point.attributes.iter().map(|kv| kv.key.as_str()).collect();
        assert_eq!(keys, ["step", "outcome"], "an empty error.type is no attribute");
        assert!(points(&metrics) > 2);
    }
}
