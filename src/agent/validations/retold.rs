//! One run of a validation container as spans and log records: `pod.init NAME`, and below it what
//! the validator said in its termination message, unless it has told that itself. The message is
//! the pod's own and can say anything: its times are believed only as far as the API server's go.

use crate::domain::identity::SpanId;
use crate::domain::pod::PodFacts;
use crate::domain::startup::Precision;
use crate::domain::step::{ErrorType, Step};
use crate::domain::validation::{FamilyResult, Validation};
use crate::domain::validation_run::{POD_INIT, Run, RunResult, VALIDATE};
use crate::telemetry::event::{self, Level};
use crate::telemetry::keys;
use crate::telemetry::past::{Past, Told};
use crate::telemetry::story::{Batch, attribute};
use crate::wire::termination::{self, TerminationError};
use opentelemetry_proto::tonic::common::v1::KeyValue;

/// How much of a message that is not ours is repeated, characters: its end says what went wrong.
const SHOWN: usize = 300;
/// How far a message's times may be beyond the API server's, which are whole seconds.
const BEYOND_NS: u64 = 2_000_000_000;

/// The run as telemetry. Where the API server tells no time there is no span, for nothing is invented;
/// the log record says what is known.
pub fn batch(pod: &PodFacts, run: &Run<'_>, now_ns: u64) -> Batch {
    let mut past = Past::of_pod(&pod.reference());
    let said = termination::decode(run.ended.message.as_bytes());
    let mut outcome = Outcome::of(run, &said);
    let doubt = said.as_ref().ok().and_then(|said| doubt(run, said));
    if let (Some((_, message)), Some(doubt)) = (&mut outcome.failure, doubt) {
        message.push_str("; ");
        message.push_str(doubt);
    }
    let believed = said.as_ref().ok().filter(|_| doubt.is_none());
    let span = run.span(&pod.uid);
    if let Some((start_ns, end_ns)) = times(run, believed) {
        let name = format!("{POD_INIT} {}", run.container);
        let failure = outcome.failure.as_ref().map(|(error_type, message)| (*error_type, message.as_str()));
        let told = Told { name: &name, id: span, parent: Some(past.trace().root_span()), start_ns, end_ns, failure };
        let mut attributes = about(run, outcome.result);
        // At least one of the two times is the API server's.
        attributes.push(attribute(keys::TIME_PRECISION, Precision::Second.name()));
        past.span(&told, attributes);
    }
    if let Some(validation) = believed {
        // What it has told in the pod's trace is there already.
        if validation.told.is_none_or(|told| told.trace_id != past.trace()) {
            retell(&mut past, span, validation, now_ns);
        }
    }
    let ended_ns = believed.map(|said| said.end_ns).or(run.ended.finished_ns).unwrap_or(now_ns);
    let (level, name, mut message) = conclusion(pod, run, &outcome);
    if let (None, Some(doubt)) = (&outcome.failure, doubt) {
        message.push_str("; ");
        message.push_str(doubt);
    }
    past.log((ended_ns, now_ns), (level, name), &message, span, about(run, outcome.result));
    past.into_batch()
}

/// What is to be said of a run.
struct Outcome {
    result: RunResult,
    failure: Option<(ErrorType, String)>,
}

impl Outcome {
    /// The exit code decides, for it is what the kubelet goes by; the message explains it. Whoever kills
    /// a validator once it has spoken changes the exit code, and not what it found.
    fn of(run: &Run<'_>, said: &Result<Validation, TerminationError>) -> Outcome {
        let result = match run.result() {
            RunResult::Broke if said.as_ref().is_ok_and(Validation::found_none) => RunResult::Failed,
            result => result,
        };
        let code = run.ended.exit_code;
        let failure = match (result, said) {
            (RunResult::Passed, _) => None,
            (_, Ok(Validation { failure: Some(failure), .. })) => Some((failure.error_type, failure.message.clone())),
            (_, Ok(_)) => {
                Some((ErrorType::Internal, format!("its message says that it passed, but its exit code is {code}")))
            }
            (_, Err(error)) => {
                let error_type =
                    if result == RunResult::Failed { ErrorType::ValidationFailed } else { ErrorType::Internal };
                Some((error_type, unexplained(run, error)))
            }
        };
        Outcome { result, failure }
    }
}

/// A run that does not explain itself in our words.
fn unexplained(run: &Run<'_>, error: &TerminationError) -> String {
    let code = run.ended.exit_code;
    let what = match run.result() {
        RunResult::Failed => format!("its probes were not redirected (exit code {code})"),
        _ => format!("it ended with exit code {code} ({})", one_line(&run.ended.reason)),
    };
    match error {
        TerminationError::NotOurs if run.ended.message.trim().is_empty() => what,
        TerminationError::NotOurs => format!("{what}; its last words: {}", one_line(&run.ended.message)),
        error => format!("{what}; {}", beginning(&error.to_string())),
    }
}

/// The beginning of a text: an error may quote a message of any length.
fn beginning(text: &str) -> String {
    let cut = text.char_indices().nth(SHOWN).map(|(at, _)| at);
    cut.map_or_else(|| text.to_owned(), |at| format!("{}…", &text[..at]))
}

/// The end of a text on one line.
fn one_line(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SHOWN);
    let ellipsis = if skipped > 0 { "…" } else { "" };
    let line: String = text.chars().skip(skipped).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{ellipsis}{line}")
}

/// Why a message's times are not believed, if so.
fn doubt(run: &Run<'_>, said: &Validation) -> Option<&'static str> {
    let Some((start, end)) = run.ended.started_ns.zip(run.ended.finished_ns) else {
        return Some("nothing shows whether the times in its message are true");
    };
    let within = said.start_ns >= start.saturating_sub(BEYOND_NS) && said.end_ns <= end.saturating_add(BEYOND_NS);
    (!within).then_some("its message has times that cannot be true")
}

/// Begin and end: the API server's seconds, widened to what the validator says more exactly.
fn times(run: &Run<'_>, said: Option<&Validation>) -> Option<(u64, u64)> {
    let start = [run.ended.started_ns, said.map(|said| said.start_ns)].into_iter().flatten().min()?;
    let end = [run.ended.finished_ns, said.map(|said| said.end_ns)].into_iter().flatten().max()?;
    Some((start, end))
}

fn about(run: &Run<'_>, result: RunResult) -> Vec<KeyValue> {
    let mut attributes = vec![
        attribute(keys::CONTAINER_NAME, run.container),
        attribute(keys::CONTAINER_RESTARTS, u64::from(run.number)),
        attribute(keys::EXIT_CODE, i64::from(run.ended.exit_code)),
        attribute(keys::VALIDATION_RESULT, result.name()),
    ];
    if !run.ended.container_id.is_empty() {
        attributes.push(attribute(keys::CONTAINER_ID, run.ended.container_id.as_str()));
    }
    attributes
}

/// The validator's own spans and log records, from its termination message.
fn retell(past: &mut Past, init: SpanId, validation: &Validation, now_ns: u64) {
    let Validation { start_ns, listened_ns, end_ns, families, failure, .. } = validation;
    let child = |name: &str| SpanId::derived(&[&init.to_hex(), name]);
    let failed = failure.as_ref().map(|failure| (failure.error_type, failure.message.as_str()));
    let id = child(VALIDATE);
    let told = Told { name: VALIDATE, id, parent: Some(init), start_ns: *start_ns, end_ns: *end_ns, failure: failed };
    past.span(&told, Vec::new());
    // Without a family, nothing could be listened on, and that is what failed.
    let (listen, connect) = (Step::ValidateListen.name(), Step::ValidateConnect.name());
    let listening = failed.filter(|_| families.is_empty());
    let (start_ns, end_ns) = (*start_ns, *listened_ns);
    past.span(
        &Told { name: listen, id: child(listen), parent: Some(id), start_ns, end_ns, failure: listening },
        Vec::new(),
    );
    // One family is probed after the other, and the sentence is about the first that failed.
    let (mut start_ns, mut sentence) = (end_ns, failed.map(|(_, message)| message));
    for family in families {
        let word = family.family.name();
        let (id, parent, end_ns) = (child(&format!("{connect} {word}")), id, family.end_ns);
        let failure = failed.filter(|_| !family.passed).map(|(error_type, message)| {
            let own = family.errors.last().map_or(message, |run| run.text.as_str());
            (error_type, sentence.take().unwrap_or(own))
        });
        let attributes =
            vec![attribute(keys::NETWORK_TYPE, word), attribute(keys::VALIDATION_ATTEMPTS, u64::from(family.attempts))];
        past.span(&Told { name: connect, id, parent: Some(parent), start_ns, end_ns, failure }, attributes);
        attempts(past, id, family, now_ns);
        start_ns = end_ns;
    }
}

/// The failed attempts, those that failed in the same way as one.
fn attempts(past: &mut Past, span: SpanId, family: &FamilyResult, now_ns: u64) {
    for run in &family.errors {
        let message = match run.count {
            1 => run.text.clone(),
            count => format!("{} ({count} times)", run.text),
        };
        let attributes = vec![
            attribute(keys::NETWORK_TYPE, family.family.name()),
            attribute(keys::VALIDATION_ERROR, run.kind.name()),
            attribute(keys::VALIDATION_ATTEMPTS, u64::from(run.count)),
        ];
        past.log((run.last_ns, now_ns), (Level::Warn, event::VALIDATION_ATTEMPT), &message, span, attributes);
    }
}

fn conclusion(pod: &PodFacts, run: &Run<'_>, outcome: &Outcome) -> (Level, event::EventName, String) {
    let who = format!("{} of pod {pod}", run.container);
    match (&outcome.failure, outcome.result) {
        (None, _) => (Level::Info, event::VALIDATION_PASSED, format!("{who} found its traffic redirected")),
        (Some((_, message)), RunResult::Failed) => {
            let text = format!("{who} failed, as in a pod that was set up before the node was ready: {message}");
            (Level::Error, event::VALIDATION_FAILED, text)
        }
        (Some((_, message)), _) => {
            (Level::Error, event::VALIDATION_FAILED, format!("{who} found out nothing: {message}"))
        }
    }
}
