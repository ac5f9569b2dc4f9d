//! What a collector got of ADDs, beside what agents have shown of them in their logs.

use crate::otlp::{self, Received, hex, text};
use crate::support::ADD_SPANS;
use istio_cni_otel::telemetry::timestamp::Timestamp;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The spans that came, by trace.
pub struct Spans(BTreeMap<String, Vec<Span>>);

impl Spans {
    pub fn of(received: &[Received]) -> Spans {
        let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for span in otlp::spans(received) {
            traces.entry(hex(&span.trace_id)).or_default().push(span);
        }
        Spans(traces)
    }

    /// Those of an ADD that did not come.
    pub fn missing(&self, trace: &str) -> Vec<&'static str> {
        let came = |name: &str| self.0.get(trace).is_some_and(|spans| spans.iter().any(|span| span.name == name));
        ADD_SPANS.into_iter().filter(|name| !came(name)).collect()
    }

    /// Who did the work of an ADD, if its span came.
    pub fn way(&self, trace: &str) -> Option<&'static str> {
        let add = self.0.get(trace)?.iter().find(|span| span.name == "cni.add")?;
        let way = text(&add.attributes, "istio_cni.path")?;
        ["agent", "standalone"].into_iter().find(|known| *known == way)
    }
}

/// A line, wherever it is: the trace, if it is of one, the time, and the text.
type Line = (String, String, String);

/// The lines that came to the receiver, and those that stand in the log.
pub struct Lines {
    received: BTreeSet<Line>,
    shown: BTreeSet<Line>,
    /// What killed agents took along by the words of others: spans and log records, for each line.
    taken_along: BTreeMap<Line, (usize, usize)>,
    /// How many lines most ADDs have that an agent did.
    usual: usize,
}

impl Lines {
    pub fn of<'a>(received: &[Received], log: impl Iterator<Item = &'a Value>) -> Lines {
        let mut lines =
            Lines { received: BTreeSet::new(), shown: BTreeSet::new(), taken_along: BTreeMap::new(), usual: 0 };
        for record in otlp::logs(received) {
            let number = |what: &str| text(&record.attributes, &format!("istio_cni.telemetry.{what}"));
            let numbers = number("spans").zip(number("log_records"));
            lines.note(line_of(&record), numbers.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())));
            lines.received.insert(line_of(&record));
        }
        // Of what is lost at the end of a life, the log alone can tell.
        for line in log.filter(|line| !line["time"].is_null()) {
            let words = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let this = (words("trace_id"), words("time"), words("msg"));
            let number = |what: &str| line[format!("istio_cni.telemetry.{what}")].as_u64();
            let numbers = number("spans").zip(number("log_records"));
            lines.note(this.clone(), numbers.map(|(a, b)| (a as usize, b as usize)));
            if !["lost ", "kept "].iter().any(|words| this.2.starts_with(words)) {
                lines.shown.insert(this);
            }
        }
        let spans = Spans::of(received);
        let mut usual: BTreeMap<usize, usize> = BTreeMap::new();
        for trace in spans.0.keys().filter(|trace| spans.way(trace) == Some("agent")) {
            *usual.entry(lines.known(trace)).or_default() += 1;
        }
        lines.usual = usual.into_iter().max_by_key(|(_, times)| *times).map_or(0, |(lines, _)| lines);
        lines
    }

    fn note(&mut self, line: Line, taken_along: Option<(usize, usize)>) {
        if let Some(numbers) = taken_along {
            self.taken_along.insert(line, numbers);
        }
    }

    /// How many lines an agent has shown, and nobody has received.
    pub fn shown_and_not_received(&self) -> usize {
        self.shown.difference(&self.received).count()
    }

    /// How many lines of an ADD that an agent did are neither here nor there.
    pub fn unknown(&self, trace: &str) -> usize {
        self.usual.saturating_sub(self.known(trace))
    }

    fn known(&self, trace: &str) -> usize {
        of_trace(&self.shown, trace).collect::<BTreeSet<_>>().union(&of_trace(&self.received, trace).collect()).count()
    }

    /// Whether such a line of this trace was received.
    pub fn received(&self, trace: &str, words: &str) -> bool {
        of_trace(&self.received, trace).any(|line| line.2.contains(words))
    }

    /// Whether such a line of this trace stands in the log.
    pub fn shown(&self, trace: &str, words: &str) -> bool {
        of_trace(&self.shown, trace).any(|line| line.2.contains(words))
    }
}

/// The lines of one trace.
fn of_trace<'a>(lines: &'a BTreeSet<Line>, trace: &'a str) -> impl Iterator<Item = &'a Line> {
    let first = (trace.to_owned(), String::new(), String::new());
    lines.range(first..).take_while(move |line| line.0 == trace)
}

/// What killed agents took along at most: spans and log records. Each line of it counts once, whether
/// it was shown, received or both.
pub fn taken_along(lines: &Lines) -> (usize, usize) {
    lines.taken_along.values().fold((0, 0), |sum, killed| (sum.0 + killed.0, sum.1 + killed.1))
}

fn line_of(record: &LogRecord) -> Line {
    let text = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    (hex(&record.trace_id), Timestamp(record.time_unix_nano).to_string(), text)
}
