//! What a collector was told, flattened, and as text: a trace is one line for each span, so that a
//! test can say in full what it must be.

#![allow(dead_code, reason = "each test file uses another part of this")]

use crate::otlp::{Received, Request, hex, text};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, exemplar, metric::Data, number_data_point::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Processes read the wall clock each for itself.
const SLACK_NS: u64 = 5_000_000;
/// How much of a log record's text is shown: one of them repeats the whole configuration.
const SHOWN: usize = 300;
/// Who tells, without the part of the scope's name that both have.
const SCOPES: [&str; 2] = ["agent", "plugin"];
/// Who the pod is, on every span and log record.
const IDENTITY: [&str; 3] = ["k8s.pod.name", "k8s.namespace.name", "k8s.pod.uid"];

/// Everything that was told; spans and log records with the name of their scope.
#[derive(Debug, Default)]
pub struct Told {
    pub spans: Vec<(String, Span)>,
    pub logs: Vec<(String, LogRecord)>,
    /// As they came; later ones count on from earlier ones.
    pub metrics: Vec<Metric>,
    pub resources: Vec<Resource>,
    /// What differs from run to run, and what is written in its place.
    pub volatile: Vec<(String, &'static str)>,
}

impl Told {
    /// Flattens requests. No span may have come twice.
    pub fn of(received: &[Received], volatile: Vec<(String, &'static str)>) -> Told {
        let mut told = Told { volatile, ..Told::default() };
        for received in received {
            told.resources.extend(received.resources());
            told.take(&received.request);
        }
        let mut seen = BTreeSet::new();
        for (_, span) in &told.spans {
            assert!(seen.insert(&span.span_id), "{} came twice", span.name);
        }
        told
    }

    fn take(&mut self, request: &Request) {
        let name = |scope: &Option<InstrumentationScope>| {
            let scope = scope.as_ref().unwrap();
            assert_eq!(scope.version, env!("CARGO_PKG_VERSION"));
            scope.name.clone()
        };
        match request {
            Request::Traces(request) => {
                for of in request.resource_spans.iter().flat_map(|of| &of.scope_spans) {
                    self.spans.extend(of.spans.iter().map(|span| (name(&of.scope), span.clone())));
                }
            }
            Request::Logs(request) => {
                for of in request.resource_logs.iter().flat_map(|of| &of.scope_logs) {
                    self.logs.extend(of.log_records.iter().map(|log| (name(&of.scope), log.clone())));
                }
            }
            Request::Metrics(request) => {
                let scopes = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
                self.metrics.extend(scopes.flat_map(|of| of.metrics.clone()));
            }
        }
    }

    /// The resource of every request, which must be one, without what is random.
    pub fn resource(&self) -> Vec<String> {
        let all = |resource: &Resource| {
            let pairs = resource.attributes.iter().filter(|kv| kv.key != "service.instance.id");
            let mut pairs: Vec<String> =
                pairs.map(|kv| format!("{}={}", kv.key, text(&resource.attributes, &kv.key).unwrap())).collect();
            assert_eq!(pairs.len() + 1, resource.attributes.len());
            pairs.sort();
            pairs
        };
        let resources: BTreeSet<Vec<String>> = self.resources.iter().map(all).collect();
        assert_eq!(resources.len(), 1, "{resources:?}");
        resources.into_iter().next().unwrap()
    }

    /// Writes THE ERROR from now on for the message of this CNI error, whose details end with the
    /// step and the trace.
    pub fn with_error(mut self, error: &str, trace: &str) -> Told {
        let place = error.rsplit_once("; step ").filter(|(_, place)| place.ends_with(&format!(", trace {trace}")));
        let (message, _) = place.unwrap_or_else(|| panic!("no step and trace in {error}"));
        self.volatile.insert(0, (message.to_owned(), "THE ERROR"));
        self
    }

    /// The one span of this name.
    pub fn span(&self, name: &str) -> &Span {
        let found: Vec<&Span> = self.spans.iter().map(|(_, span)| span).filter(|span| span.name == name).collect();
        let [span] = found[..] else { panic!("{} spans {name}", found.len()) };
        span
    }

    /// All of a pod's trace: its spans, its log records, and the pod as each of them names it.
    pub fn story(&self, trace: &str) -> String {
        self.story_below(trace, &trace[16..])
    }

    /// The same for a trace whose root span has another id.
    pub fn story_below(&self, trace: &str, root: &str) -> String {
        let ((tree, pod), (lines, of)) = (self.tree(trace, root), self.lines(trace));
        assert!(lines.is_empty() || of == pod, "{of:?} and {pod:?}");
        format!("{tree}--\n{lines}-- {}\n", pod.join(" "))
    }

    /// The spans of a trace, each below its parent in the order in which they began:
    ///
    /// ```text
    /// NAME (SCOPE) KEY=VALUE …
    ///   ! STATUS MESSAGE
    ///   ~ LINK …
    /// ```
    ///
    /// A span whose parent is not there must be `root`, or a child of it; an empty `root` is no parent at all. All
    /// must have the same identity, which is given back.
    pub fn tree(&self, trace: &str, root: &str) -> (String, Vec<String>) {
        let mut spans: Vec<&(String, Span)> =
            self.spans.iter().filter(|(_, span)| hex(&span.trace_id) == trace).collect();
        // Where two begin in the same nanosecond, the outer one ends later.
        spans.sort_by_key(|(_, span)| (span.start_time_unix_nano, Reverse(span.end_time_unix_nano)));
        let known: BTreeSet<&[u8]> = spans.iter().map(|(_, span)| span.span_id.as_slice()).collect();
        let mut out = String::new();
        for (scope, span) in &spans {
            if !known.contains(span.parent_span_id.as_slice()) {
                let parent = hex(&span.parent_span_id);
                let fits = parent == root || (parent.is_empty() && hex(&span.span_id) == root);
                assert!(fits, "{} is not {root:?}, nor below it", span.name);
                self.write_span(&mut out, &spans, (scope, span), 0);
            }
        }
        let written = |line: &&str| SCOPES.iter().any(|scope| line.contains(&format!(" ({scope})")));
        assert_eq!(out.lines().filter(written).count(), spans.len(), "spans that hang together:\n{out}");
        let identities: BTreeSet<Vec<String>> = spans.iter().map(|(_, span)| identity(&span.attributes)).collect();
        assert_eq!(identities.len(), 1, "{identities:?}");
        (out, identities.into_iter().next().unwrap())
    }

    fn write_span(&self, out: &mut String, all: &[&(String, Span)], (scope, span): (&str, &Span), depth: usize) {
        let indent = "  ".repeat(depth);
        assert_eq!((span.kind, span.flags & 1), (1, 1), "{}", span.name);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{}", span.name);
        let who = scope.trim_start_matches("istio-cni/");
        let _ = writeln!(out, "{indent}{} ({who}){}", span.name, self.attributes(&span.attributes));
        let status = span.status.clone().unwrap_or_default();
        match status.code() {
            StatusCode::Error => {
                let _ = writeln!(out, "{indent}  ! {}", self.settled(&status.message));
            }
            code => assert_eq!((code, status.message.as_str()), (StatusCode::Unset, ""), "{}", span.name),
        }
        for link in &span.links {
            let (trace, span, flags) = (hex(&link.trace_id), hex(&link.span_id), link.flags);
            let of = self.attributes(&link.attributes);
            let _ = writeln!(out, "{indent}  ~ {trace} {span} {flags} {:?}{of}", link.trace_state);
        }
        let mut reached = span.start_time_unix_nano;
        for (scope, child) in all.iter().filter(|(_, child)| child.parent_span_id == span.span_id) {
            // The parts of a start overlap: an ADD is made while there is no sandbox, and pods have several containers.
            let may_overlap = span.name == "pod.startup";
            assert!(may_overlap || child.start_time_unix_nano + SLACK_NS >= reached, "{} begins too early", child.name);
            assert!(child.end_time_unix_nano <= span.end_time_unix_nano + SLACK_NS, "{} ends too late", child.name);
            reached = child.end_time_unix_nano;
            self.write_span(out, all, (scope, child), depth + 1);
        }
    }

    /// The log records of a trace in their order: `SEVERITY EVENT (SCOPE, SPAN) KEY=VALUE … | TEXT`.
    /// All must have the same identity, which is given back.
    fn lines(&self, trace: &str) -> (String, Vec<String>) {
        let mut logs: Vec<&(String, LogRecord)> =
            self.logs.iter().filter(|(_, log)| hex(&log.trace_id) == trace).collect();
        logs.sort_by_key(|(_, log)| log.time_unix_nano);
        let mut out = String::new();
        for (scope, log) in &logs {
            let span = self.spans.iter().find(|(_, span)| span.span_id == log.span_id);
            let (_, span) = span.unwrap_or_else(|| panic!("a log record of no span: {log:?}"));
            assert_eq!(hex(&span.trace_id), trace);
            let who = scope.trim_start_matches("istio-cni/");
            let body = text(&[KeyValue { key: "body".into(), value: log.body.clone(), ..KeyValue::default() }], "body");
            let of = self.attributes(&log.attributes);
            let (level, event, name) = (&log.severity_text, &log.event_name, &span.name);
            let body: String = self.settled(&body.unwrap()).chars().take(SHOWN).collect();
            let _ = writeln!(out, "{level} {event} ({who}, {name}){of} | {body}");
        }
        let identities: BTreeSet<Vec<String>> = logs.iter().map(|(_, log)| identity(&log.attributes)).collect();
        assert!(identities.len() <= 1, "{identities:?}");
        (out, identities.into_iter().next().unwrap_or_default())
    }

    /// The value of a counter in the last report.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let metric = self.metrics.iter().rev().find(|metric| metric.name == name)?;
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{name} is no counter") };
        let point = sum.data_points.iter().find(|point| are(&point.attributes, labels))?;
        match point.value? {
            Value::AsDouble(value) => Some(value),
            Value::AsInt(value) => Some(value as f64),
        }
    }

    /// How many samples a histogram has in the last report, and the spans of its exemplars in any.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<(u64, BTreeSet<(String, String)>)> {
        let points = self.metrics.iter().filter(|metric| metric.name == name).flat_map(|metric| match &metric.data {
            Some(Data::Histogram(histogram)) => &histogram.data_points,
            _ => panic!("{name} is no histogram"),
        });
        let points: Vec<_> = points.filter(|point| are(&point.attributes, labels)).collect();
        let exemplars = points.iter().flat_map(|point| &point.exemplars);
        let spans = exemplars.map(|it| {
            assert!(matches!(it.value, Some(exemplar::Value::AsDouble(seconds)) if (0.0..60.0).contains(&seconds)));
            (hex(&it.trace_id), hex(&it.span_id))
        });
        Some((points.last()?.count, spans.collect()))
    }

    fn attributes(&self, attributes: &[KeyValue]) -> String {
        let own = attributes.iter().filter(|kv| !IDENTITY.contains(&kv.key.as_str()));
        let mut shown: Vec<String> =
            own.map(|kv| format!(" {}={}", kv.key, text(attributes, &kv.key).unwrap())).collect();
        shown.sort();
        self.settled(&shown.concat())
    }

    /// A text without what differs from run to run.
    fn settled(&self, text: &str) -> String {
        let text = self.volatile.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        without_times(&text)
    }
}

fn identity(attributes: &[KeyValue]) -> Vec<String> {
    IDENTITY.iter().filter_map(|key| text(attributes, key)).collect()
}

fn are(attributes: &[KeyValue], labels: &[(&str, &str)]) -> bool {
    attributes.len() == labels.len()
        && labels.iter().all(|(key, value)| text(attributes, key).as_deref() == Some(*value))
}

/// Replaces measured times ("in 1.250 ms", "after 3.0ms") by `TIME`; set ones ("within 300 ms") stay.
fn without_times(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = [" in ", " after "].iter().filter_map(|word| rest.find(word).map(|at| at + word.len())).min() {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let unit = rest[number..].trim_start();
        let unit = ["ns", "µs", "ms", "s"].into_iter().find(|name| unit.starts_with(name));
        if let (1.., Some(unit)) = (number, unit) {
            out.push_str("TIME");
            rest = rest[number..].trim_start().strip_prefix(unit).unwrap();
        }
    }
    out + rest
}
