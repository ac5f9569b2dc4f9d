//! The plugin's calls, validations and repairs of a pod, from their spans.

use super::few::Few;
use super::moments::at;
use super::problems::of_span;
use super::spans::{Told, failure, number, text, took};
use crate::domain::validation_run::{POD_INIT, VALIDATE};
use crate::telemetry::keys::{self, Key};
use crate::wire::explain::{Call, Repair, Setting, Step, Validation};
use opentelemetry_proto::tonic::trace::v1::Span;

/// How many of each are told of: the first, and the newest.
const MOST: usize = 50;

/// What a step says that it did, in words.
const DID: &[(Key, &str)] = &[
    (keys::AGENT, "agent"),
    (keys::POD_SOURCE, "source"),
    (keys::POD_ATTEMPTS, "attempts"),
    (keys::DECISION, "decision"),
    (keys::REASON, "reason"),
    (keys::NETNS_SOURCE, "found"),
    (keys::RULES_COUNT, "rules"),
    (keys::RULES_IPV6, "ipv6"),
    (keys::RULES_BACKEND, "backend"),
    (keys::RULES_CHANGED, "changed"),
    (keys::RULES_DIFFERENCES, "differences"),
];

/// The calls, by time.
pub fn calls(told: &Told) -> Few<Call> {
    let whole = told.spans.iter().filter(|span| span.name.starts_with("cni."));
    let whole = whole.map(|span| (span.start_time_unix_nano, call(told, span)));
    let mut all: Vec<(u64, Call)> =
        whole.chain(told.orphans().iter().filter_map(|steps| unfinished(told, steps))).collect();
    all.sort_by_key(|(ns, _)| *ns);
    Few::of(all.into_iter().map(|(_, call)| call).collect(), MOST, 1)
}

fn call(told: &Told, span: &Span) -> Call {
    Call {
        command: span.name.trim_start_matches("cni.").to_owned(),
        at: at(span.start_time_unix_nano),
        took_ns: took(span),
        outcome: text(span, keys::OUTCOME),
        reason: Some(text(span, keys::REASON)).filter(|reason| !reason.is_empty()),
        path: text(span, keys::PATH),
        container_id: text(span, keys::CONTAINER_ID),
        netns: text(span, keys::NETNS),
        error: of_span(span),
        steps: told.below(span).into_iter().map(|(depth, span)| step(depth, span)).collect(),
    }
}

/// A call that the plugin did not live to tell of.
fn unfinished(told: &Told, steps: &[&Span]) -> Option<(u64, Call)> {
    let (began, ended) = (steps.first()?.start_time_unix_nano, steps.iter().map(|span| span.end_time_unix_nano).max()?);
    let mut all = Vec::new();
    for span in steps {
        all.push(step(0, span));
        all.extend(told.below(span).into_iter().map(|(depth, span)| step(depth + 1, span)));
    }
    let error = steps.iter().find_map(|span| of_span(span));
    Some((began, Call { at: at(began), took_ns: ended.saturating_sub(began), error, steps: all, ..Call::default() }))
}

fn step(depth: u32, span: &Span) -> Step {
    let did = DID.iter().filter_map(|(key, name)| {
        let value = text(span, *key);
        (!value.is_empty()).then(|| Setting { name: (*name).to_owned(), value })
    });
    Step {
        name: span.name.clone(),
        at: at(span.start_time_unix_nano),
        took_ns: took(span),
        depth,
        outcome: if failure(span).is_some() { "failed" } else { "ok" }.to_owned(),
        did: did.collect(),
        error: of_span(span),
    }
}

/// The validations, by time: each run of the container as the API server tells it, or what the validator
/// told itself where that is all there is.
pub fn validations(told: &Told) -> Few<Validation> {
    let is_run = |span: &&Span| {
        let below = told.below(span);
        span.name.starts_with(POD_INIT)
            && (!text(span, keys::VALIDATION_RESULT).is_empty()
                || below.iter().any(|(_, inner)| inner.name == VALIDATE))
    };
    let runs: Vec<&Span> = told.spans.iter().filter(is_run).collect();
    let is_in_a_run = |span: &Span| runs.iter().any(|run| run.span_id == span.parent_span_id);
    let alone = told.spans.iter().filter(|span| span.name == VALIDATE && !is_in_a_run(span));
    let mut all: Vec<&Span> = runs.iter().copied().chain(alone).collect();
    all.sort_by_key(|span| span.start_time_unix_nano);
    Few::of(all.into_iter().map(|span| validation(told, span)).collect(), MOST, 1)
}

fn validation(told: &Told, span: &Span) -> Validation {
    let inner = told.below(span).into_iter().map(|(_, inner)| inner).find(|inner| inner.name == VALIDATE);
    let error = inner.and_then(of_span).or_else(|| of_span(span));
    let result = inner.map(|inner| text(inner, keys::VALIDATION_RESULT)).filter(|result| !result.is_empty());
    let result = result.unwrap_or_else(|| text(span, keys::VALIDATION_RESULT));
    let word = if error.is_some() { "failed" } else { "passed" };
    Validation {
        at: at(span.start_time_unix_nano),
        took_ns: took(span),
        container: text(span, keys::CONTAINER_NAME),
        restarts: number(span, keys::CONTAINER_RESTARTS)
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or_default(),
        exit_code: number(span, keys::EXIT_CODE),
        result: if result.is_empty() { word.to_owned() } else { result },
        error,
    }
}

/// The attempts at a repair, by time.
pub fn repairs(told: &Told) -> Few<Repair> {
    let repair = |span: &Span| Repair {
        at: at(span.start_time_unix_nano),
        took_ns: took(span),
        mode: text(span, keys::REPAIR_MODE),
        attempt: number(span, keys::REPAIR_ATTEMPT).and_then(|count| u64::try_from(count).ok()).unwrap_or_default(),
        result: text(span, keys::REPAIR_RESULT),
        cause: text(span, keys::REPAIR_CAUSE),
        error: of_span(span),
        steps: told.below(span).into_iter().map(|(depth, span)| step(depth, span)).collect(),
    };
    Few::of(told.spans.iter().filter(|span| span.name == "repair.pod").map(repair).collect(), MOST, 1)
}
