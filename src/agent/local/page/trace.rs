//! The page of one trace: what it came to, and when what happened.

use super::Page;
use super::layout::{document, pill};
use super::overview::{verdict, word};
use super::question::encoded;
use super::tree::{branch, strays, trees};
use super::waterfall::{Paper, logs, said, waterfall};
use super::words::{clock, count, day, duration, hex, instant, number, shown};
use crate::domain::identity::{SpanId, TraceId};
use crate::domain::pod::PodRef;
use crate::telemetry::event;
use crate::telemetry::history::{Summary, Trace};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

/// The longest title, in characters.
const TITLE: usize = 300;

/// The page of the trace with this id; a pair `span` shows what is below that span, on a scale of its own.
pub(super) async fn page(page: &Page, id: &str, pairs: &[(String, String)]) -> Response {
    let frame = page.frame().await;
    let found = TraceId::from_hex(id).and_then(|id| page.telemetry.history().trace(id));
    let span = pairs.iter().find(|(key, _)| key == "span").map(|(_, value)| value.as_str());
    match found {
        None => document(&frame, StatusCode::NOT_FOUND, "No such trace", &unknown(id)),
        Some(trace) => {
            let title = shown(&trace.summary.title, TITLE);
            let known = |id| page.telemetry.history().contains(id);
            document(&frame, StatusCode::OK, &title, &content(&trace, span.and_then(SpanId::from_hex), &known))
        }
    }
}

fn unknown(id: &str) -> Markup {
    html! {
        section class="card" {
            h1 { "This trace is not remembered here" }
            p {
                @if TraceId::from_hex(id).is_some() { code { (id) } " was told to another node's agent, or is older than what this one remembers: ask your collector for it." }
                @else { "A trace id has 32 hex digits: those of a pod's UID, without the dashes." }
            }
            p { a href="/" { "What happened lately" } }
        }
    }
}

fn content(trace: &Trace, zoom: Option<SpanId>, known: &dyn Fn(TraceId) -> bool) -> Markup {
    let (spans, records) = (&trace.spans, &trace.logs);
    let id = trace.summary.trace.to_hex();
    let mut paper = Paper::new(&id, trace.summary.message.as_deref(), known);
    let zoomed = zoom.and_then(|id| branch(spans, records, &id.0));
    let all = if zoomed.is_some() { Vec::new() } else { trees(spans, records) };
    let first = trace.summary.began_ns;
    html! {
        nav class="crumbs" aria-label="Where this is" {
            a href="/" { "What happened lately" }
            @if zoomed.is_some() { " / " a href={ "/traces/" (id) } { "the whole trace" } }
        }
        (head(&trace.summary, after_all(records)))
        div id="waterfalls" data-live="" {
            @if let Some(tree) = &zoomed { (waterfall(tree, None, &mut paper)) }
            @for tree in &all {
                @let later = (all.len() > 1).then(|| tree.began_ns.saturating_sub(first));
                (waterfall(tree, later, &mut paper))
            }
            @let strays = if zoomed.is_some() { Vec::new() } else { strays(spans, records) };
            @if !strays.is_empty() {
                section class="card" aria-label="Log records" { h2 { "Said beside these steps" } (logs(&strays, first, &mut paper)) }
            }
            @if paper.left_out() > 0 {
                p class="note" { (count(paper.left_out(), "item")) " found no room on this page: all of them are in the JSON." }
            }
        }
        @if let Some(pod) = trace.summary.pod.as_ref().filter(|pod| !pod.name.is_empty()) { (explained(pod)) }
        p class="after" { "As OTLP in JSON, for tools: " a href={ "/api/v1/traces/" (id) } { "/api/v1/traces/" (id) } }
    }
}

/// Where it is said why, and what to do.
fn explained(pod: &PodRef) -> Markup {
    let name = shown(&format!("{}/{}", pod.namespace, pod.name), TITLE);
    let by_uid = pod.uid.as_deref().filter(|uid| !uid.is_empty()).map(|uid| format!("uid={}", encoded(uid)));
    let asked = by_uid.unwrap_or_else(|| format!("pod={}", encoded(&name)));
    html! {
        p class="after" {
            "What was decided and why, with the rules as they are now: " code { "istio-cni-otel explain " (name) } ", or "
            a href={ "/api/v1/explain?" (asked) } { "as JSON" }
        }
    }
}

/// What came of a pod that was late.
fn after_all(records: &[LogRecord]) -> Option<&LogRecord> {
    let told = records.iter().filter(|record| record.event_name == event::POD_STARTED_LATE.as_str());
    told.max_by_key(|record| record.time_unix_nano)
}

fn head(summary: &Summary, after_all: Option<&LogRecord>) -> Markup {
    let (mark, result) = verdict(summary);
    html! {
        section id="head" class="card head" data-live="" aria-label="In short" {
            div class="headline" {
                h1 { (shown(&summary.title, TITLE)) }
                (pill(mark, &result))
                @for kind in &summary.kinds { span class="kind" { (word(*kind)) } }
            }
            @if let Some(message) = summary.message.as_deref().filter(|message| !message.is_empty()) {
                p class={ "verdict " (mark.class()) } { (shown(message, 2_000)) }
            }
            @if let Some(record) = after_all.filter(|_| summary.error.is_none()) {
                p class="verdict good" { (said(record, 2_000)) }
            }
            dl class="facts" {
                (fact("Began", &html! { time datetime=(instant(summary.began_ns)) { (day(summary.began_ns)) " " (clock(summary.began_ns)) } }))
                (fact("From first to last", &html! { (duration(summary.ended_ns.saturating_sub(summary.began_ns))) }))
                (fact("Spans", &html! { (number(summary.spans as u64)) @if summary.forgotten > 0 { " (" (number(summary.forgotten)) " items forgotten)" } }))
                @if let Some(uid) = summary.pod.as_ref().and_then(|pod| pod.uid.as_deref()) {
                    (fact("Pod UID", &html! { code { (shown(uid, 100)) } }))
                }
                (fact("Trace id", &html! { code { (hex(&summary.trace.0)) } }))
            }
        }
    }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}
