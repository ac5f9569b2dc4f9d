//! The numbers that matter, each with what it means.

use super::layout::Mark;
use super::numbers::Numbers;
use super::words::{bytes, number, seconds};
use crate::agent::doctor::STALE;
use maud::{Markup, html};
use std::time::{SystemTime, UNIX_EPOCH};

/// All of them.
pub(super) fn tiles(numbers: &Numbers) -> Markup {
    html! {
        section id="numbers-section" aria-labelledby="numbers-title" {
            h2 id="numbers-title" class="hidden" { "Numbers since the agent started" }
            dl id="numbers" class="tiles" data-live="" {
                (tile("ADDs", &number(total(&numbers.adds)), &shares(&outcomes(numbers), "none yet")))
                (tile("An ADD takes", &numbers.half.map_or("–".into(), seconds), &long(numbers)))
                (tile("Meshed pods", &number(redirected(numbers)), &shares(&pods(numbers), "none looked at yet")))
                (tile("Validations", &number(total(&numbers.validations)), &shares(&validations(numbers), "none yet")))
                (tile("Repairs", &number(total(&numbers.repairs)), &shares(&repairs(numbers), "nothing to repair")))
                (tile("Changed by others", &number(numbers.reverts), &reverts(numbers)))
                (tile("Telemetry lost", &number(total(&numbers.lost)), &shares(&lost(numbers), "nothing")))
                (tile("API server heard", &numbers.watch_age.map_or("never".into(), ago), &watch(numbers)))
            }
        }
    }
}

/// A part of a number: what it is, in a word, and how many.
type Share<'a> = (Mark, &'a str, u64);

fn tile(name: &str, value: &str, more: &Markup) -> Markup {
    html! {
        div class="tile" {
            dt { (name) }
            dd class="value" { (value) }
            dd class="parts" { (more) }
        }
    }
}

/// The parts of a number in words, and as a bar if there is more than one.
fn shares(parts: &[Share<'_>], none: &str) -> Markup {
    let parts: Vec<_> = parts.iter().filter(|(.., count)| *count > 0).collect();
    let total: u64 = parts.iter().map(|(.., count)| count).sum();
    let mut left = 0.0;
    html! {
        @if parts.is_empty() { (none) }
        @if parts.len() > 1 {
            svg class="shares" width="100%" height="6" aria-hidden="true" {
                @for (mark, _, count) in &parts {
                    @let width = *count as f64 * 100.0 / total as f64;
                    rect class=(mark.class()) x=(format!("{left:.2}%")) width=(format!("{width:.2}%")) height="6" {}
                    ({ left += width; "" })
                }
            }
        }
        @for (mark, word, count) in &parts {
            span class={ "part " (mark.class()) } { (mark.shape()) (number(*count)) " " (word) } " "
        }
    }
}

fn total(parts: &[(String, u64)]) -> u64 {
    parts.iter().map(|(_, count)| count).sum()
}

fn outcomes(numbers: &Numbers) -> Vec<Share<'_>> {
    let mark = |outcome: &str| match outcome {
        "enrolled" | "done" => Mark::Good,
        "failed" => Mark::Bad,
        _ => Mark::Neutral,
    };
    numbers.adds.iter().map(|(outcome, count)| (mark(outcome), outcome.as_str(), *count)).collect()
}

fn long(numbers: &Numbers) -> Markup {
    html! {
        @match numbers.most {
            None => { "no ADD yet" },
            Some(most) => { "median; 99 % within " (seconds(most)) },
        }
    }
}

fn redirected(numbers: &Numbers) -> u64 {
    numbers.pods.iter().filter(|(state, _)| *state != "skipped").map(|(_, count)| count).sum()
}

fn pods(numbers: &Numbers) -> Vec<Share<'_>> {
    let mark = |state: &str| match state {
        "redirected" => Mark::Good,
        "broken" => Mark::Bad,
        "unknown" => Mark::Doubtful,
        _ => Mark::Neutral,
    };
    numbers.pods.iter().map(|(state, count)| (mark(state), *state, *count)).collect()
}

fn validations(numbers: &Numbers) -> Vec<Share<'_>> {
    let mark = |result: &str| if result == "passed" { Mark::Good } else { Mark::Bad };
    numbers.validations.iter().map(|(result, count)| (mark(result), result.as_str(), *count)).collect()
}

fn repairs(numbers: &Numbers) -> Vec<Share<'_>> {
    let named = |result: &str| match result {
        "success" => (Mark::Good, "done"),
        "fail" => (Mark::Bad, "failed"),
        _ => (Mark::Neutral, "needed no more"),
    };
    let mut parts: Vec<Share<'_>> = Vec::new();
    for (result, count) in &numbers.repairs {
        let (mark, word) = named(result);
        parts.push((mark, word, *count));
    }
    parts.push((Mark::Doubtful, "pods held back by the limit", numbers.held));
    parts
}

fn lost(numbers: &Numbers) -> Vec<Share<'_>> {
    numbers.lost.iter().map(|(reason, count)| (Mark::Bad, reason.as_str(), *count)).collect()
}

fn reverts(numbers: &Numbers) -> Markup {
    html! {
        @if numbers.reverts == 0 { "nobody touches the installation" }
        @else { span class="part doubtful" { (Mark::Doubtful.shape()) "the installation was changed" } }
    }
}

fn ago(age: f64) -> String {
    if age < 1.0 { "just now".to_owned() } else { format!("{} ago", seconds(age.floor())) }
}

fn watch(numbers: &Numbers) -> Markup {
    let memory = numbers.resident.map(bytes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let running = numbers.started.map(|started| seconds((now - started).max(0.0).floor()));
    html! {
        @if numbers.watch_age.is_some_and(|age| age > STALE.as_secs_f64()) {
            span class="part doubtful" { (Mark::Doubtful.shape()) "the API server is silent" } " "
        }
        @if let (Some(memory), Some(running)) = (memory, running) { "agent up " (running) ", " (memory) }
    }
}
