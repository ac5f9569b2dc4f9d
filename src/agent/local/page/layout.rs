//! What is around every page: its head, who it is about, whether the node is ready, and the footer.

use super::assets::{ICON, SCRIPT, STYLE};
use super::words::{TEXT, shown};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

/// What every page tells, whatever its content.
pub(super) struct Frame<'a> {
    pub(super) node: &'a str,
    /// What stands in the way of being ready; nothing when it is.
    pub(super) waiting_for: Vec<String>,
    /// What is shown: it changes when there is something new.
    pub(super) version: String,
}

/// A status: its colour comes with a shape and a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Good,
    Bad,
    Doubtful,
    Neutral,
}

impl Mark {
    /// The style's class.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Mark::Good => "good",
            Mark::Bad => "bad",
            Mark::Doubtful => "doubtful",
            Mark::Neutral => "neutral",
        }
    }

    /// The shape, which says nothing to those who hear the page.
    pub(super) fn shape(self) -> Markup {
        let shape = match self {
            Mark::Good => "✓",
            Mark::Bad => "✕",
            Mark::Doubtful => "▲",
            Mark::Neutral => "–",
        };
        html! { span class="shape" aria-hidden="true" { (shape) } }
    }
}

/// A status in one word.
pub(super) fn pill(mark: Mark, word: &str) -> Markup {
    html! { span class={ "pill " (mark.class()) } { (mark.shape()) (word) } }
}

/// A whole page.
pub(super) fn document(frame: &Frame<'_>, status: StatusCode, title: &str, content: &Markup) -> Response {
    let node = shown(frame.node, TEXT);
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (node) " · istio-cni" }
                link rel="icon" type="image/svg+xml" href=(ICON.url());
                link rel="stylesheet" href=(STYLE.url());
                script defer src=(SCRIPT.url()) {}
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                (header(frame, &node))
                main id="main" tabindex="-1" { (content) }
                (footer())
            }
        }
    };
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], document.into_string()).into_response()
}

fn header(frame: &Frame<'_>, node: &str) -> Markup {
    let ready = frame.waiting_for.is_empty();
    html! {
        header class="top" {
            div class="wrap" {
                a class="brand" href="/" aria-label="istio-cni: what happened on this node" {
                    img src=(ICON.url()) alt="" width="24" height="24";
                    span { "istio-cni" }
                }
                span class="node" title="The node" { (node) }
                nav aria-label="Pages" { a href="/doctor" { "Doctor" } }
                // Filled by the script, which keeps what is shown up to date.
                span id="live" class="live" hidden {}
                span id="state" class="state" data-live="" data-version=(frame.version) {
                    @if ready { (pill(Mark::Good, "ready")) } @else { (pill(Mark::Bad, "not ready")) }
                }
            }
        }
    }
}

fn footer() -> Markup {
    html! {
        footer {
            div class="wrap" {
                p {
                    "istio-cni-otel " (env!("CARGO_PKG_VERSION")) " · times are in UTC · as JSON: "
                    a href="/api/v1/traces" { "traces" }
                    ", " a href="/api/v1/doctor" { "findings" }
                }
                noscript { p { "Without JavaScript this page shows what there was when it was loaded: reload it to see more." } }
            }
        }
    }
}
