//! One tree of spans as a waterfall: a row for each span, with its bar on the scale of time, and on demand its attributes
//! and what it said. Bars are SVG with places in its attributes, because the page allows no inline styles.

use super::axis::Axis;
use super::layout::Mark;
use super::tree::{Row, Tree};
use super::words::{TEXT, clock, duration, hex, instant, number, shown};
use crate::domain::identity::TraceId;
use crate::telemetry::event::Level;
use crate::telemetry::keys;
use maud::{Markup, html};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// How many bytes of a page its rows may take, by an estimate that is seldom too low: texts grow by escaping.
const ROOM: usize = 2 << 20;
/// What a row or a record costs besides its texts.
const ROW: usize = 1_500;
/// Of what is narrower than this, in percent of a scale, the parts cannot be told apart.
const NARROW: f64 = 12.0;

/// What a page of waterfalls is written with.
pub(super) struct Paper<'a> {
    /// The trace's id, in hex.
    pub(super) id: &'a str,
    /// What the page says at its head already.
    pub(super) said: Option<&'a str>,
    /// Whether a trace is remembered here.
    pub(super) known: &'a dyn Fn(TraceId) -> bool,
    left: usize,
    left_out: usize,
}

impl<'a> Paper<'a> {
    pub(super) fn new(id: &'a str, said: Option<&'a str>, known: &'a dyn Fn(TraceId) -> bool) -> Paper<'a> {
        Paper { id, said, known, left: ROOM, left_out: 0 }
    }

    /// How many items found no room.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    fn takes(&mut self, item: &impl Message) -> bool {
        let left = self.left.checked_sub(ROW + 6 * item.encoded_len());
        self.left = left.unwrap_or(0);
        self.left_out += usize::from(left.is_none());
        left.is_some()
    }
}

/// A tree; `later` is how long after the trace's first instant it began, where that tells something.
pub(super) fn waterfall(tree: &Tree<'_>, later: Option<u64>, paper: &mut Paper<'_>) -> Markup {
    let axis = Axis::new(tree.began_ns, tree.ended_ns);
    let top = tree.rows.first().map(|row| shown(&row.span.name, 200)).unwrap_or_default();
    let key = tree.rows.first().map(|row| hex(&row.span.span_id)).unwrap_or_default();
    html! {
        section class="card waterfall" data-key={ "tree-" (key) } aria-label={ "Steps of " (top) } {
            div class="scale" {
                p {
                    time datetime=(instant(tree.began_ns)) { (clock(tree.began_ns)) }
                    @if let Some(later) = later.filter(|later| *later > 0) { span class="later" { " +" (duration(later)) } }
                }
                (ticks(&axis))
                p class="long" { (duration(axis.length_ns())) }
            }
            (spans(&tree.rows, &axis, paper))
        }
    }
}

/// Rows on one scale. What is below a span that is too short on it gets a scale of its own, in its place.
fn spans(mut rows: &[Row<'_>], axis: &Axis, paper: &mut Paper<'_>) -> Markup {
    let mut items = Vec::new();
    while let Some((row, rest)) = rows.split_first() {
        let (below, after) = rest.split_at(row.below.min(rest.len()));
        let inner = enlarged(row, below, axis);
        rows = if inner.is_some() { after } else { rest };
        items.push(span(row, axis, inner.map(|inner| (below, inner)), paper));
    }
    html! { ol class="spans" { @for item in &items { (item) } } }
}

/// The scale for what is below a span, if on the given one nothing of it could be told apart. Rows are at most so deep
/// (`tree.rs`) that scales within scales come to an end.
fn enlarged(row: &Row<'_>, below: &[Row<'_>], axis: &Axis) -> Option<Axis> {
    let ended = |row: &Row<'_>| row.span.end_time_unix_nano;
    let last = below.iter().map(ended).max()?.max(ended(row));
    let inner = Axis::new(row.span.start_time_unix_nano, last);
    (below.len() > 1 && axis.share(inner.length_ns()) < NARROW).then_some(inner)
}

fn ticks(axis: &Axis) -> Markup {
    html! {
        svg class="ticks" width="100%" height="18" aria-hidden="true" {
            @for (at, label) in axis.ticks() {
                @if at < 93.0 {
                    line x1=(percent(at)) x2=(percent(at)) y1="12" y2="18" {}
                    text x=(percent(at)) y="10" class=[(at < 4.0).then_some("first")] { (label) }
                }
            }
        }
    }
}

fn percent(at: f64) -> String {
    format!("{at:.3}%")
}

fn span(row: &Row<'_>, axis: &Axis, inner: Option<(&[Row<'_>], Axis)>, paper: &mut Paper<'_>) -> Markup {
    if !paper.takes(row.span) {
        return Markup::default();
    }
    let (key, failed) = (hex(&row.span.span_id), row.failed());
    let took = row.span.end_time_unix_nano.saturating_sub(row.span.start_time_unix_nano);
    html! {
        li class={ "span d" (row.depth) " of-" (family(&row.span.name)) @if failed { " bad" } } data-key=(key) id={ "s-" (key) } {
            details {
                summary {
                    span class="name" {
                        @if failed { (Mark::Bad.shape()) }
                        (shown(&row.span.name, 200))
                        @if let Some(within) = row.within { span class="hidden" { ", in " (shown(within, 200)) } }
                        @if failed { span class="hidden" { ", failed" } }
                    }
                    (bar(row, axis))
                    span class="long" { span class="hidden" { ", took " } (duration(took)) }
                }
                (inside(row, axis, paper))
            }
            @if let Some(error) = row.error { (said_wrong(row.span, error, paper.said)) }
            @if let Some((below, inner)) = inner { (inset(row, below, axis, &inner, paper)) }
        }
    }
}

/// What is below a short span, enlarged: lines lead from its place on the outer scale to the ends of its own.
fn inset(row: &Row<'_>, below: &[Row<'_>], outer: &Axis, inner: &Axis, paper: &mut Paper<'_>) -> Markup {
    let left = outer.at(row.span.start_time_unix_nano);
    let right = (left + outer.share(inner.length_ns())).min(100.0);
    html! {
        div class="inset" {
            div class="scale" {
                p { "enlarged " (number(outer.length_ns() / inner.length_ns().max(1))) " times" }
                div {
                    svg class="lens" width="100%" height="14" aria-hidden="true" {
                        line x1=(percent(left)) y1="0" x2="0%" y2="14" {}
                        line x1=(percent(right)) y1="0" x2="100%" y2="14" {}
                    }
                    (ticks(inner))
                }
            }
            (spans(below, inner, paper))
        }
    }
}

/// What its colour says of a span: whose step it is.
fn family(name: &str) -> &'static str {
    match name.split('.').next().unwrap_or_default() {
        "pod" if name != "pod.lookup" => "pod",
        "validate" => "validation",
        "repair" => "repair",
        "install" | "uninstall" => "install",
        _ => "cni",
    }
}

fn bar(row: &Row<'_>, axis: &Axis) -> Markup {
    let (began, ended) = (row.span.start_time_unix_nano, row.span.end_time_unix_nano);
    let (left, width) = (axis.at(began).min(99.7), axis.share(ended.saturating_sub(began)));
    html! {
        svg class="bar" width="100%" height="20" aria-hidden="true" {
            @for (at, _) in axis.ticks() { line class="grid" x1=(percent(at)) x2=(percent(at)) y1="0" y2="20" {} }
            rect class="took" x=(percent(left)) width=(percent(width.max(0.05))) y="5" height="10" rx="2" {}
            @for log in row.logs.iter().filter(|log| level(log) > Level::Debug).take(40) {
                circle class=(level(log).name()) cx=(percent(axis.at(log.time_unix_nano))) cy="10" r="2.5" {}
            }
        }
    }
}

/// Why a span failed; what the page's head says already is not said again.
fn said_wrong(span: &Span, error: &str, said: Option<&str>) -> Markup {
    let kind = span.attributes.iter().find(|attribute| attribute.key == keys::ERROR_TYPE.as_str());
    let kind = kind.and_then(|attribute| attribute.value.as_ref()).map(text).unwrap_or_default();
    html! {
        p class="error" {
            @if !kind.is_empty() { strong { (shown(&kind, 60)) } " " }
            @if said == Some(error) { "here, as said above" } @else { (shown(error, 2_000)) }
        }
    }
}

/// What a span tells on demand.
fn inside(row: &Row<'_>, axis: &Axis, paper: &mut Paper<'_>) -> Markup {
    let span = row.span;
    let mut attributes: Vec<&KeyValue> = span.attributes.iter().filter(|pair| !pair.key.starts_with("k8s.")).collect();
    attributes.extend(span.attributes.iter().filter(|pair| pair.key.starts_with("k8s.")));
    html! {
        div class="inside" {
            dl class="attributes" {
                (pair("began", &html! { "+" (duration(span.start_time_unix_nano.saturating_sub(axis.began_ns()))) }))
                @for attribute in attributes { (pair(&attribute.key, &html! { (value(attribute)) })) }
                @for link in &span.links { (pair("link", &linked(&link.trace_id, paper.known))) }
                (pair("span id", &html! { (hex(&span.span_id)) }))
            }
            @if !row.logs.is_empty() { (logs(&row.logs, axis.began_ns(), paper)) }
            @if row.below > 0 {
                p { a href={ "/traces/" (paper.id) "?span=" (hex(&span.span_id)) } { "Only this and what is below it" } }
            }
        }
    }
}

fn pair(key: &str, value: &Markup) -> Markup {
    html! { div { dt { (shown(key, 120)) } dd { (value) } } }
}

fn value(attribute: &KeyValue) -> String {
    shown(&attribute.value.as_ref().map(text).unwrap_or_default(), TEXT)
}

/// Another trace, which may be here too.
fn linked(trace: &[u8], known: &dyn Fn(TraceId) -> bool) -> Markup {
    let name = hex(trace);
    html! {
        @match TraceId::from_hex(&name) {
            Some(id) if known(id) => { a href={ "/traces/" (name) } { "trace " (name) } },
            _ => { "trace " (name) },
        }
    }
}

/// Log records, each with its time since the beginning.
pub(super) fn logs(records: &[&LogRecord], began_ns: u64, paper: &mut Paper<'_>) -> Markup {
    html! {
        ol class="logs" {
            @for record in records {
                @if paper.takes(*record) {
                    @let level = level(record);
                    li class=(level.name()) {
                        time datetime=(instant(record.time_unix_nano)) { "+" (duration(record.time_unix_nano.saturating_sub(began_ns))) }
                        " " b { (level.name()) } " "
                        (said(record, TEXT))
                        @if !record.event_name.is_empty() { " " small { (shown(&record.event_name, 120)) } }
                    }
                }
            }
        }
    }
}

/// What a log record says, this many characters at most.
pub(super) fn said(record: &LogRecord, most: usize) -> String {
    shown(&record.body.as_ref().map(text).unwrap_or_default(), most)
}

fn level(record: &LogRecord) -> Level {
    Level::of_severity(record.severity_number)
}

/// A value as text.
fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(Value::ArrayValue(list)) => list.values.iter().map(text_flat).collect::<Vec<_>>().join(", "),
        Some(Value::BytesValue(bytes)) => hex(bytes),
        _ => String::new(),
    }
}

/// The same of what is in a list: the lists that come here are flat (`telemetry/sanitize.rs`).
fn text_flat(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::ArrayValue(_)) => "…".to_owned(),
        _ => text(value),
    }
}
