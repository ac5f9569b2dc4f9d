//! What went wrong, each with what to do about it.

use super::few::Few;
use super::moments::at;
use super::spans::{Told, attribute, body, failure};
use super::subject::Subject;
use crate::domain::advice::advice;
use crate::domain::failure::Failure;
use crate::domain::startup::troubles;
use crate::domain::step::ErrorType;
use crate::telemetry::event;
use crate::telemetry::keys;
use crate::wire::explain::Problem;
use opentelemetry_proto::tonic::trace::v1::Span;

/// How many are told of.
const MOST: usize = 50;

/// What a span failed with, if it did.
pub fn of_span(span: &Span) -> Option<Problem> {
    let (known, error_type, message) = failure(span)?;
    let step = span.name.clone();
    Some(Problem { at: at(span.end_time_unix_nano), step, error_type, message, next: next(known), count: 1 })
}

/// A failure of a look just now.
pub fn of_failure(failure: &Failure, now_ns: u64) -> Problem {
    Problem {
        at: at(now_ns),
        step: failure.step.name().to_owned(),
        error_type: failure.error_type.as_str().to_owned(),
        message: failure.message.clone(),
        next: next(Some(failure.error_type)),
        count: 1,
    }
}

/// All of them, by when they were seen last. An error is told where it was born, and not again by what
/// stands around it.
pub fn problems(subject: &Subject, told: &Told, now_ns: u64) -> Few<Problem> {
    let now: Vec<(u64, Problem)> = of_containers(subject, now_ns).map(|problem| (now_ns, problem)).collect();
    let born_here = |span: &&Span| !told.below(span).iter().any(|(_, inner)| failure(inner).is_some());
    let of_spans =
        told.spans.iter().filter(born_here).filter_map(|span| Some((span.end_time_unix_nano, of_span(span)?)));
    // A start that was told repeats what a container says still.
    let is_said = |(_, problem): &(u64, Problem)| !now.iter().any(|(_, now)| problem.message.ends_with(&now.message));
    let of_logs = told.logs.iter().filter(|log| log.event_name == event::POD_DRIFTED.as_str()).map(|log| {
        let error_type = attribute(&log.attributes, keys::ERROR_TYPE).unwrap_or_default();
        let next = next(ErrorType::from_text(&error_type));
        let (step, message) = ("audit".to_owned(), body(log).to_owned());
        (log.time_unix_nano, Problem { at: at(log.time_unix_nano), step, error_type, message, next, count: 1 })
    });
    let mut all: Vec<(u64, Problem)> = of_spans.chain(of_logs).filter(is_said).collect();
    all.sort_by_key(|(ns, _)| *ns);
    let mut merged: Vec<Problem> = Vec::new();
    for (_, problem) in all.into_iter().chain(now.iter().cloned()) {
        let same = |known: &Problem| {
            (&known.step, &known.error_type, &known.message) == (&problem.step, &problem.error_type, &problem.message)
        };
        let before = merged.iter().position(same).map(|place| merged.remove(place));
        merged.push(Problem { count: before.map_or(0, |before| before.count) + 1, ..problem });
    }
    Few::of(merged, MOST, 0)
}

/// What the pod's containers wait for in vain right now.
fn of_containers(subject: &Subject, now_ns: u64) -> impl Iterator<Item = Problem> {
    let troubles = subject.facts.as_ref().map(|facts| troubles(facts)).unwrap_or_default();
    troubles.into_iter().map(move |trouble| Problem {
        at: at(now_ns),
        step: trouble.span_name(),
        error_type: trouble.error_type.as_str().to_owned(),
        next: next(Some(trouble.error_type)),
        message: trouble.message,
        count: 1,
    })
}

fn next(error: Option<ErrorType>) -> String {
    error.map(advice).unwrap_or("look at the pod's trace, and at kubectl describe pod").to_owned()
}
