//! The metrics as text: Prometheus 0.0.4, or OpenMetrics 1.0 (which has exemplars) for those who
//! ask for it.

use super::Metrics;
use super::catalog::{Definition, Kind};
use super::family::{Exemplar, Histogram, Label, Snapshot, Value};
use std::fmt::Write as _;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of an answer in this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header asks for: OpenMetrics when it is named with at least the
    /// weight of plain text.
    pub fn accepted(accept: Option<&str>) -> Format {
        let weight = |media: &str| {
            let ranges = accept.unwrap_or_default().split(',').map(str::trim);
            let named = ranges.filter(|range| range.split(';').next().is_some_and(|name| name.trim() == media));
            named.map(quality).fold(0.0, f64::max)
        };
        let openmetrics = weight("application/openmetrics-text");
        if openmetrics > 0.0 && openmetrics >= weight("text/plain") { Format::OpenMetrics } else { Format::Prometheus }
    }
}

fn quality(range: &str) -> f64 {
    let parameter = range.split(';').find_map(|part| part.trim().strip_prefix("q="));
    parameter.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0))
}

impl Metrics {
    /// The answer to a scrape: its content type and its text.
    pub fn render(&self, accept: Option<&str>) -> (&'static str, String) {
        let format = Format::accepted(accept);
        (format.content_type(), render(&self.snapshot(), format))
    }
}

/// Snapshots as text.
pub fn render(snapshots: &[Snapshot], format: Format) -> String {
    let mut page = Page { text: String::with_capacity(16 << 10), format };
    for Snapshot { definition, series } in snapshots {
        page.head(definition);
        for (labels, value) in series {
            match value {
                Value::Number(number) => {
                    page.sample(definition.name, definition, labels, None, &number.to_string(), None);
                }
                Value::Histogram(histogram) => page.histogram(definition, labels, histogram),
            }
        }
    }
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page {
    text: String,
    format: Format,
}

impl Page {
    fn head(&mut self, definition: &Definition) {
        // In OpenMetrics a counter's family is named without the suffix of its sample.
        let family = match self.format {
            Format::OpenMetrics => definition.name.trim_end_matches("_total"),
            Format::Prometheus => definition.name,
        };
        let kind = match definition.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {family} {}\n# TYPE {family} {kind}", escape(definition.help));
    }

    fn histogram(&mut self, definition: &Definition, labels: &[Label], histogram: &Histogram) {
        let Kind::Histogram(bounds) = definition.kind else { return };
        let bucket_name = format!("{}_bucket", definition.name);
        let bounds = bounds.iter().map(|bound| self.bound(*bound)).chain(["+Inf".to_owned()]);
        let bounds: Vec<String> = bounds.collect();
        let mut so_far = 0;
        for ((bound, count), exemplar) in bounds.iter().zip(&histogram.counts).zip(&histogram.exemplars) {
            so_far += count;
            let exemplar = exemplar.as_ref();
            self.sample(&bucket_name, definition, labels, Some(bound), &so_far.to_string(), exemplar);
        }
        let (sum, count) = (histogram.sum.to_string(), so_far.to_string());
        self.sample(&format!("{}_sum", definition.name), definition, labels, None, &sum, None);
        self.sample(&format!("{}_count", definition.name), definition, labels, None, &count, None);
    }

    /// OpenMetrics wants `1.0` where Prometheus' own format has `1`.
    fn bound(&self, bound: f64) -> String {
        match self.format {
            Format::OpenMetrics => format!("{bound:?}"),
            Format::Prometheus => bound.to_string(),
        }
    }

    fn sample(
        &mut self,
        name: &str,
        definition: &Definition,
        labels: &[Label],
        le: Option<&str>,
        value: &str,
        exemplar: Option<&Exemplar>,
    ) {
        let mut pairs: Vec<String> = definition
            .labels
            .iter()
            .zip(labels)
            .map(|(key, value)| format!("{}=\"{}\"", key.label(), escape(value)))
            .collect();
        pairs.extend(le.map(|bound| format!("le=\"{bound}\"")));
        self.text.push_str(name);
        if !pairs.is_empty() {
            let _ = write!(self.text, "{{{}}}", pairs.join(","));
        }
        let _ = write!(self.text, " {value}");
        if let (Some(exemplar), Format::OpenMetrics) = (exemplar, self.format) {
            let (trace, span) = (exemplar.trace_id.to_hex(), exemplar.span_id.to_hex());
            let time = exemplar.time_ns as f64 / 1e9;
            let value = exemplar.value;
            let _ = write!(self.text, " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {value} {time:.3}");
        }
        self.text.push('\n');
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::api_request::ApiRequest;
    use crate::telemetry::metrics::{DropReason, Signal};
    use crate::telemetry::story::attribute;
    use crate::telemetry::{keys, story};
    use opentelemetry_proto::tonic::trace::v1::{Span, Status, status::StatusCode};

    fn span(name: &str, micros: u64) -> Span {
        Span {
            trace_id: vec![0x11; 16],
            span_id: vec![0x22; 8],
            name: name.to_owned(),
            start_time_unix_nano: 1_787_410_818_000_000_000,
            end_time_unix_nano: 1_787_410_818_000_000_000 + micros * 1000,
            ..Span::default()
        }
    }

    fn page(metrics: &Metrics, accept: Option<&str>) -> String {
        metrics.render(accept).1
    }

    #[test]
    fn a_step_becomes_a_sample_with_the_labels_of_its_end() {
        let metrics = Metrics::new("1.2.3", "abc");
        metrics.observe_span(&span("rules.apply", 300));
        let mut failed = span("pod.lookup", 2_000_000);
        failed.status = Some(Status { code: StatusCode::Error.into(), message: String::new() });
        failed.attributes.push(attribute(keys::ERROR_TYPE, "api_timeout"));
        metrics.observe_span(&failed);
        metrics.observe_span(&span("somebody.elses", 1));
        let text = page(&metrics, None);
        for line in [
            "# TYPE istio_cni_step_duration_seconds histogram",
            r#"istio_cni_step_duration_seconds_bucket{step="rules.apply",outcome="done",error_type="",le="0.00025"} 0"#,
            r#"istio_cni_step_duration_seconds_bucket{step="rules.apply",outcome="done",error_type="",le="0.0005"} 1"#,
            r#"istio_cni_step_duration_seconds_sum{step="rules.apply",outcome="done",error_type=""} 0.0003"#,
            r#"istio_cni_step_duration_seconds_count{step="rules.apply",outcome="done",error_type=""} 1"#,
            r#"istio_cni_step_duration_seconds_bucket{step="pod.lookup",outcome="failed",error_type="api_timeout",le="1"} 0"#,
            r#"istio_cni_step_duration_seconds_bucket{step="pod.lookup",outcome="failed",error_type="api_timeout",le="2.5"} 1"#,
            r#"istio_cni_step_duration_seconds_bucket{step="pod.lookup",outcome="failed",error_type="api_timeout",le="+Inf"} 1"#,
            r#"istio_cni_build_info{version="1.2.3",revision="abc"} 1"#,
            r#"istio_cni_telemetry_dropped_total{signal="traces",reason="queue_full"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("somebody") && !text.contains("trace_id") && !text.contains("# EOF"));
    }

    #[test]
    fn a_request_is_counted_with_its_reason_and_path() {
        let metrics = Metrics::new("1", "");
        let mut add = span("cni.add", 900);
        add.attributes.push(attribute(keys::OUTCOME, "skipped"));
        add.attributes.push(attribute(keys::REASON, "not_injected"));
        add.attributes.push(attribute(keys::PATH, "agent"));
        metrics.observe_span(&add);
        let text = page(&metrics, None);
        let line = r#"istio_cni_requests_total{command="add",outcome="skipped",reason="not_injected",path="agent"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(text.contains(r#"seconds_count{command="add",outcome="skipped",path="agent"} 1"#), "{text}");
    }

    #[test]
    fn made_up_values_make_no_series() {
        let metrics = Metrics::new("1", "");
        let mut add = span("cni.add", 900);
        for key in [keys::OUTCOME, keys::REASON, keys::PATH, keys::ERROR_TYPE] {
            add.attributes.push(attribute(key, "made\"up"));
        }
        metrics.observe_span(&add);
        let text = page(&metrics, None);
        assert!(
            text.contains(r#"istio_cni_requests_total{command="add",outcome="done",reason="",path=""} 1"#),
            "{text}"
        );
        assert!(!text.contains("made"));
    }

    #[test]
    fn openmetrics_has_exemplars_and_an_end() {
        let metrics = Metrics::new("1", "");
        metrics.observe_span(&span("rules.apply", 300));
        let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        let (content_type, text) = metrics.render(Some(accept));
        assert!(content_type.starts_with("application/openmetrics-text; version=1.0.0"));
        assert!(text.ends_with("# EOF\n"));
        assert!(
            text.contains("# TYPE istio_cni_telemetry_dropped counter\nistio_cni_telemetry_dropped_total{"),
            "{text}"
        );
        let line = text.lines().find(|line| line.contains("le=\"0.0005\"")).unwrap();
        let exemplar =
            r#"1 # {trace_id="11111111111111111111111111111111",span_id="2222222222222222"} 0.0003 1787410818.000"#;
        assert!(line.ends_with(exemplar), "{line}");
        assert!(text.contains("le=\"1.0\""));
    }

    #[test]
    fn the_format_follows_the_accept_header() {
        for (accept, format) in [
            (None, Format::Prometheus),
            (Some("*/*"), Format::Prometheus),
            (Some("text/plain"), Format::Prometheus),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("application/openmetrics-text;q=0.2, text/plain;q=0.9"), Format::Prometheus),
            (Some("application/openmetrics-text;q=x"), Format::Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn api_requests_watches_drops_and_the_spool_have_their_series() {
        let metrics = Metrics::new("1", "");
        let request = |code| ApiRequest { verb: "get", resource: "pods", code };
        metrics.api_requests(request(Some(404)), 1);
        metrics.api_requests(request(None), 1);
        metrics.watch_synced("pods");
        metrics.spool_bytes(17);
        metrics.dropped(Signal::Logs, DropReason::Rejected, 3);
        let text = page(&metrics, None);
        for line in [
            r#"istio_cni_api_requests_total{verb="get",resource="pods",code="404"} 1"#,
            r#"istio_cni_api_requests_total{verb="get",resource="pods",code="error"} 1"#,
            r#"istio_cni_watch_last_sync_age_seconds{resource="pods"} 0."#,
            "istio_cni_telemetry_spool_bytes 17",
            r#"istio_cni_telemetry_dropped_total{signal="logs",reason="rejected"} 3"#,
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
        assert_eq!(metrics.dropped_so_far(Signal::Logs, DropReason::Rejected), 3);
        let clock = story::Clock::start();
        assert!(clock.now_ns() >= clock.start_ns());
    }
}
