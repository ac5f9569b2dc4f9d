//! The first page: whether the node is ready, the numbers that matter, and what happened lately.

use super::layout::{Frame, Mark, document, pill};
use super::numbers::Numbers;
use super::question::Question;
use super::tiles::tiles;
use super::words::{bytes, clock, count, day, duration, instant, number, shown};
use super::{Page, question};
use crate::telemetry::history::{Extent, Filter, Kind, Summary};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

/// The longest title and message of a trace in the list, in characters.
const TITLE: usize = 160;
const MESSAGE: usize = 280;

/// The page that answers these pairs of a query.
pub(super) async fn page(page: &Page, pairs: &[(String, String)]) -> Response {
    let frame = page.frame().await;
    let numbers = Numbers::of(&page.telemetry.metrics().snapshot());
    let history = page.telemetry.history();
    let (status, list) = match Question::read(pairs) {
        Err(problem) => (StatusCode::BAD_REQUEST, wrong(&problem)),
        Ok(question) => {
            // One more than is shown tells whether there are more.
            let found = history.summaries(&question.filter, question.most + 1);
            (StatusCode::OK, html! { (form(&question)) (list(&question, &found, history.extent())) })
        }
    };
    let content = html! {
        h1 class="hidden" { "What happened on node " (shown(frame.node, TITLE)) }
        (readiness(&frame))
        (tiles(&numbers))
        section class="card list" aria-labelledby="traces-title" {
            h2 id="traces-title" { "What happened lately" }
            (list)
        }
    };
    document(&frame, status, "What happened", &content)
}

fn readiness(frame: &Frame<'_>) -> Markup {
    let ready = frame.waiting_for.is_empty();
    let mark = if ready { Mark::Good } else { Mark::Bad };
    html! {
        section id="readiness" class={ "banner " (mark.class()) } data-live="" role="status" aria-label="Readiness" {
            (mark.shape())
            div {
                @if ready {
                    p { strong { "Ready." } " A meshed pod that starts on this node now has its traffic redirected to its sidecar." }
                } @else {
                    p { strong { "Not ready." } " A meshed pod that starts on this node now may wait or fail, until this is as it should be:" }
                    ul { @for reason in &frame.waiting_for { li { (shown(reason, 600)) } } }
                    p { a href="/doctor" { "What to do about it" } }
                }
            }
        }
    }
}

fn wrong(problem: &str) -> Markup {
    html! {
        p class="note bad" { (Mark::Bad.shape()) (problem) "." }
        p { a href="/" { "Show all" } }
    }
}

fn form(question: &Question) -> Markup {
    let Filter { text, kind, failed } = &question.filter;
    html! {
        form class="filters" method="get" action="/" role="search" aria-label="Filter what happened" {
            label class="text" {
                span { "Pod, UID, trace id or error" }
                input type="search" name="text" value=(text) maxlength="200" autocomplete="off" spellcheck="false" placeholder="shop/web-0";
            }
            label {
                span { "What" }
                select name="kind" {
                    option value="all" selected[kind.is_none()] { "everything" }
                    @for one in Kind::ALL { option value=(one.name()) selected[*kind == Some(one)] { (word(one)) } }
                }
            }
            label class="check" {
                input type="checkbox" name="failed" value="true" checked[*failed];
                span { "failed only" }
            }
            @if question.most != question::SHOWN[0] { input type="hidden" name="most" value=(question.most); }
            button type="submit" { "Filter" }
            a id="reset" class="reset" data-live="" href="/" hidden[!question.is_filtered()] { "Show all" }
        }
    }
}

fn list(question: &Question, found: &[Summary], extent: Extent) -> Markup {
    let most = found.get(..question.most).unwrap_or(found);
    let more = question.more().filter(|_| found.len() > most.len());
    html! {
        div id="traces" data-live="" {
            @if most.is_empty() { (nothing(question, extent)) }
            @for day in most.chunk_by(|one, other| day(one.ended_ns) == day(other.ended_ns)) { (of_a_day(day)) }
            @if let Some(more) = more {
                p class="more" { a href=(more.url()) rel="next" { "Show up to " (number(more.most as u64)) } }
            }
            p class="extent" { (remembered(extent)) }
        }
    }
}

fn nothing(question: &Question, extent: Extent) -> Markup {
    html! {
        p class="empty" {
            @if question.is_filtered() { "Nothing of what is remembered is like that. " a href="/" { "Show all" } }
            @else if extent.capacity == 0 { "Nothing is remembered: HISTORY_BYTES is 0." }
            @else { "Nothing yet. The next pod that starts on this node appears here." }
        }
    }
}

fn remembered(extent: Extent) -> Markup {
    let traces = count(extent.traces, "trace");
    html! {
        (traces) " remembered, " (bytes(extent.bytes as f64)) " of " (bytes(extent.capacity as f64))
        @if extent.forgotten_traces > 0 { "; " (number(extent.forgotten_traces)) " older ones are forgotten here" }
        "."
    }
}

fn of_a_day(traces: &[Summary]) -> Markup {
    let day = traces.first().map(|trace| day(trace.ended_ns)).unwrap_or_default();
    html! {
        h3 class="day" data-key={ "day-" (day) } { (day) }
        ol class="traces" data-key=(day) { @for trace in traces { (row(trace)) } }
    }
}

fn row(trace: &Summary) -> Markup {
    let id = trace.trace.to_hex();
    let (mark, result) = verdict(trace);
    html! {
        li data-key=(id) class={ "trace " (mark.class()) } {
            span class="result" { (pill(mark, &result)) }
            a class="title" href={ "/traces/" (id) } { (shown(&trace.title, TITLE)) }
            span class="kinds" { @for kind in &trace.kinds { span class="kind" { (word(*kind)) } } }
            time class="when" datetime=(instant(trace.ended_ns)) title=(instant(trace.ended_ns)) { (clock(trace.ended_ns)) }
            span class="long" { span class="hidden" { "took " } (duration(trace.ended_ns.saturating_sub(trace.began_ns))) }
            @if let Some(message) = trace.message.as_deref().filter(|message| !message.is_empty()) {
                p class="message" { (shown(message, MESSAGE)) }
            }
        }
    }
}

/// What a trace came to: its mark and its word.
pub(super) fn verdict(trace: &Summary) -> (Mark, String) {
    match &trace.error {
        None => (Mark::Good, "ok".to_owned()),
        Some(error) if error.is_empty() => (Mark::Bad, "failed".to_owned()),
        Some(error) => (Mark::Bad, shown(error, 60)),
    }
}

/// A kind as people say it.
pub(super) const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Add => "ADD",
        Kind::Del => "DEL",
        Kind::Check => "CHECK",
        Kind::Install => "install",
        Kind::Repair => "repair",
        Kind::Validation => "validation",
        Kind::Startup => "startup",
        Kind::Other => "other",
    }
}
