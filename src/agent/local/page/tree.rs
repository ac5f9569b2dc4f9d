//! Spans as a person looks at them: trees from the top down, each on its own scale of time, with the log records of each
//! span beside it. Whoever wrote the spans may have written anything: no depth, order or loop of theirs does harm.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use std::collections::{HashMap, HashSet};

/// What is deeper stands at this depth.
const DEEPEST: usize = 12;

/// A tree of spans: what began with a span whose parent is not there.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    /// From the first start to the last end, in nanoseconds since the epoch.
    pub(super) began_ns: u64,
    pub(super) ended_ns: u64,
    /// Each span after its parent, children by their starts.
    pub(super) rows: Vec<Row<'a>>,
}

/// One span in its tree.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) span: &'a Span,
    pub(super) depth: usize,
    /// The parent's name, if it is there.
    pub(super) within: Option<&'a str>,
    /// How many spans are below it.
    pub(super) below: usize,
    /// Its log records, by time.
    pub(super) logs: Vec<&'a LogRecord>,
    /// Why it failed, where that was born: a span does not repeat what one below it says.
    pub(super) error: Option<&'a str>,
}

impl Row<'_> {
    /// Whether it failed.
    pub(super) fn failed(&self) -> bool {
        message(self.span).is_some()
    }
}

/// Why a span failed, if it did; may be empty.
pub(super) fn message(span: &Span) -> Option<&str> {
    let status = span.status.as_ref().filter(|status| status.code() == StatusCode::Error)?;
    Some(&status.message)
}

/// The trees of a trace, the earliest first.
pub(super) fn trees<'a>(spans: &'a [Span], logs: &'a [LogRecord]) -> Vec<Tree<'a>> {
    let forest = Forest::new(spans, logs);
    let mut seen = HashSet::new();
    let tops: Vec<&Span> = forest.tops().collect();
    tops.into_iter().filter_map(|top| forest.tree(top, &mut seen)).collect()
}

/// The part of a trace from one span on, if that span is there.
pub(super) fn branch<'a>(spans: &'a [Span], logs: &'a [LogRecord], id: &[u8]) -> Option<Tree<'a>> {
    let top = spans.iter().find(|span| span.span_id == id)?;
    Forest::new(spans, logs).tree(top, &mut HashSet::new())
}

/// The log records that belong to none of the spans.
pub(super) fn strays<'a>(spans: &[Span], logs: &'a [LogRecord]) -> Vec<&'a LogRecord> {
    let known: HashSet<&[u8]> = spans.iter().map(|span| span.span_id.as_slice()).collect();
    logs.iter().filter(|log| !known.contains(log.span_id.as_slice())).collect()
}

struct Forest<'a> {
    spans: Vec<&'a Span>,
    by_id: HashMap<&'a [u8], &'a Span>,
    children: HashMap<&'a [u8], Vec<&'a Span>>,
    logs: HashMap<&'a [u8], Vec<&'a LogRecord>>,
}

impl<'a> Forest<'a> {
    fn new(spans: &'a [Span], logs: &'a [LogRecord]) -> Forest<'a> {
        let mut sorted: Vec<&Span> = spans.iter().collect();
        sorted.sort_by_key(|span| (span.start_time_unix_nano, u64::MAX - span.end_time_unix_nano));
        let by_id = sorted.iter().map(|span| (span.span_id.as_slice(), *span)).collect();
        let mut children: HashMap<&[u8], Vec<&Span>> = HashMap::new();
        for span in &sorted {
            children.entry(&span.parent_span_id).or_default().push(span);
        }
        let mut by_span: HashMap<&[u8], Vec<&LogRecord>> = HashMap::new();
        for log in logs {
            by_span.entry(&log.span_id).or_default().push(log);
        }
        Forest { spans: sorted, by_id, children, logs: by_span }
    }

    /// Where trees begin: spans without a parent that is there, and, if all that is left goes round in circles, the
    /// earliest of a circle.
    fn tops(&self) -> impl Iterator<Item = &'a Span> {
        let top = |span: &&&Span| !self.by_id.contains_key(span.parent_span_id.as_slice());
        self.spans.iter().filter(top).chain(&self.spans).copied()
    }

    fn tree(&self, top: &'a Span, seen: &mut HashSet<&'a [u8]>) -> Option<Tree<'a>> {
        let mut rows: Vec<Row<'a>> = Vec::new();
        let mut next = vec![(top, 0)];
        while let Some((span, depth)) = next.pop() {
            if !seen.insert(&span.span_id) {
                continue;
            }
            let within =
                self.by_id.get(span.parent_span_id.as_slice()).filter(|_| depth > 0).map(|it| it.name.as_str());
            let logs = self.logs.get(span.span_id.as_slice()).cloned().unwrap_or_default();
            rows.push(Row { span, depth: depth.min(DEEPEST), within, below: 0, logs, error: message(span) });
            let children = self.children.get(span.span_id.as_slice()).map(Vec::as_slice).unwrap_or_default();
            next.extend(children.iter().rev().map(|child| (*child, depth + 1)));
        }
        look_below(&mut rows);
        let began_ns = rows.iter().map(|row| row.span.start_time_unix_nano).min()?;
        let ended_ns = rows.iter().map(|row| row.span.end_time_unix_nano).max()?;
        Some(Tree { began_ns, ended_ns, rows })
    }
}

/// Counts what is below each row, and takes errors away that are said again below, from the last row up.
fn look_below(rows: &mut [Row<'_>]) {
    // The rows that nobody above has been found for yet, the topmost last.
    let mut open: Vec<(usize, usize, Option<String>)> = Vec::new();
    for row in rows.iter_mut().rev() {
        let (mut below, mut said) = (0, row.error.map(str::to_owned));
        while let Some((depth, count, error)) = open.pop_if(|(depth, ..)| *depth > row.depth) {
            debug_assert!(depth > row.depth);
            below += count;
            if error.is_some() && error.as_deref() == row.error {
                row.error = None;
            }
            said = said.or(error);
        }
        row.below = below;
        open.push((row.depth, below + 1, said));
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
