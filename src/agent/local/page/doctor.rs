//! What an examination of the node found: what is wrong comes first, with what to do about it.

use super::Page;
use super::layout::{Mark, document, pill};
use super::words::{TEXT, count, shown};
use crate::agent::doctor::BROKE_OFF;
use crate::domain::finding::{Finding, Report, Status};
use crate::domain::runbook::Runbook;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

/// The page, for which the node is examined.
pub(super) async fn page(page: &Page) -> Response {
    let report = page.findings.report().await;
    let frame = page.frame().await;
    let content = match &report {
        Some(report) => content(report),
        None => nothing(),
    };
    document(&frame, StatusCode::OK, "Doctor", &content)
}

/// How long a page that is kept up to date leaves the node in peace, in milliseconds.
const PAUSE_MS: u32 = 5_000;

/// Nothing came back; the page asks again, as with findings.
fn nothing() -> Markup {
    html! {
        div id="findings" data-live="" data-pause=(PAUSE_MS) {
            section class="card" { h1 { "Doctor" } p { "There are no findings: " (BROKE_OFF) "." } }
        }
    }
}

fn content(report: &Report) -> Markup {
    let (wrong, rest): (Vec<&Finding>, Vec<&Finding>) = report.findings.iter().partition(|it| it.status.is_finding());
    let (mark, sentence) = match wrong.len() {
        0 => (Mark::Good, "Nothing is wrong with this node, as far as it can be found out.".to_owned()),
        1 => (mark(report.worst()), "1 finding to look at.".to_owned()),
        found => (
            mark(report.worst()),
            format!("{} to look at, the first of which may explain the others.", count(found, "finding")),
        ),
    };
    html! {
        nav class="crumbs" aria-label="Where this is" { a href="/" { "What happened lately" } }
        div id="findings" data-live="" data-pause=(PAUSE_MS) {
            section class={ "banner " (mark.class()) } role="status" aria-label="In short" {
                (mark.shape())
                div { h1 { "Doctor" } p { (sentence) " " a href="/doctor" { "Look again" } } }
            }
            @if !wrong.is_empty() {
                ol class="findings" data-key="wrong" { @for (key, finding) in keyed(&wrong) { (one(finding, &key, true)) } }
            }
            section class="card" aria-labelledby="rest" data-key="besides" {
                h2 id="rest" { @if wrong.is_empty() { "What was looked at" } @else { "What was looked at besides" } }
                ol class="findings plain" { @for (key, finding) in keyed(&rest) { (one(finding, &key, false)) } }
            }
        }
    }
}

/// Findings by what they are told apart with when the page is made anew: the check, and which of its findings.
fn keyed<'f>(findings: &[&'f Finding]) -> Vec<(String, &'f Finding)> {
    let earlier = |at: usize, check: &str| findings.iter().take(at).filter(|it| it.check == check).count();
    findings
        .iter()
        .enumerate()
        .map(|(at, it)| (format!("{}-{}", shown(&it.check, 80), earlier(at, &it.check)), *it))
        .collect()
}

fn mark(status: Status) -> Mark {
    match status {
        Status::Unknown => Mark::Neutral,
        Status::Ok => Mark::Good,
        Status::Warning => Mark::Doubtful,
        Status::Problem => Mark::Bad,
    }
}

fn one(finding: &Finding, key: &str, card: bool) -> Markup {
    html! {
        li class={ "finding" @if card { " card" } } data-key=(key) {
            p class="of" { (pill(mark(finding.status), finding.status.name())) " " code { (shown(&finding.check, 80)) } }
            div {
            p class="what" { (shown(&finding.what, TEXT)) }
            @if !finding.next.is_empty() { p class="next" { span class="shape" aria-hidden="true" { "→" } (shown(&finding.next, TEXT)) } }
            @if !finding.evidence.is_empty() {
                details open[card] {
                    summary { "What was seen" span class="hidden" { " by " (shown(&finding.check, 80)) } }
                    ul class="evidence" { @for line in &finding.evidence { li { (shown(line, TEXT)) } } }
                }
            }
            @if let Some(runbook) = Runbook::named(&finding.runbook) {
                p class="note" { "Runbook: " a href={ "/runbooks/" (runbook.name) } { (runbook.title()) } }
            }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Check;

    #[test]
    fn what_is_wrong_comes_first_and_whatever_was_seen_is_text() {
        let fine = Finding::ok(Check::Backend, "the kernel has it");
        let wrong = Finding::problem(Check::AgentReady, "not ready: <b>", "wait").with("<script>");
        let page = content(&Report { findings: vec![fine, wrong], ..Report::default() }).into_string();
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text:?} in {page}"));
        assert!(at("1 finding to look at") < at("not ready: &lt;b&gt;") && at("agent.ready") < at("the kernel has it"));
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
    }

    #[test]
    fn when_nothing_comes_back_it_says_where_to_look_as_the_json_does() {
        let page = nothing().into_string();
        assert!(page.contains(BROKE_OFF) && BROKE_OFF.contains("disk hangs"), "{page}");
        assert!(page.contains("data-live") && !page.contains("defect"), "{page}");
    }

    #[test]
    fn a_node_without_findings_is_said_to_be_fine() {
        let unknown = Finding::unknown(Check::RuntimeDirectory, "nobody says", "mount it");
        let page = content(&Report { findings: vec![unknown], ..Report::default() }).into_string();
        assert!(page.contains("Nothing is wrong") && page.contains("unknown"));
    }
}
