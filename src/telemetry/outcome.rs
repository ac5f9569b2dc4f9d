//! What a request came to, in the words of its span and of its metrics.

use super::keys;
use super::story::Open;
use crate::domain::failure::Failure;
use crate::domain::request::Answer;

/// How a request ended; also how a step ended (`Done` or `Failed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The pod's rules are in place.
    Enrolled,
    /// The pod gets no rules.
    Skipped,
    /// What was to be done is done.
    Done,
    /// It failed; `error.type` says why.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 4] = [Outcome::Enrolled, Outcome::Skipped, Outcome::Done, Outcome::Failed];

    /// The attribute and label value.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Enrolled => "enrolled",
            Outcome::Skipped => "skipped",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
        }
    }

    /// The outcome with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// The outcome of a request, and the reason for it (empty when there is nothing to explain).
    pub fn of(result: &Result<Answer, Failure>) -> (Outcome, &'static str) {
        match result {
            Ok(Answer::Enrolled { .. }) => (Outcome::Enrolled, ""),
            Ok(Answer::Skipped(reason)) => (Outcome::Skipped, reason.name()),
            Ok(Answer::Done) => (Outcome::Done, ""),
            Err(failure) => (Outcome::Failed, failure.error_type.as_str()),
        }
    }
}

/// Which process did the work of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallPath {
    /// The agent did.
    Agent,
    /// The plugin did it alone, or there was nothing for the agent to do.
    Standalone,
}

impl CallPath {
    /// Every path.
    pub const ALL: [CallPath; 2] = [CallPath::Agent, CallPath::Standalone];

    /// The attribute and label value.
    pub const fn name(self) -> &'static str {
        match self {
            CallPath::Agent => "agent",
            CallPath::Standalone => "standalone",
        }
    }

    /// The path with this name, if there is one.
    pub fn from_name(name: &str) -> Option<CallPath> {
        CallPath::ALL.into_iter().find(|path| path.name() == name)
    }
}

/// Writes what a request came to onto its span. The request's metrics are derived from these
/// attributes, so whoever runs a request calls this at its end.
pub fn describe(open: &Open, result: &Result<Answer, Failure>, path: CallPath) {
    let (outcome, reason) = Outcome::of(result);
    open.set(keys::OUTCOME, outcome.name());
    if !reason.is_empty() {
        open.set(keys::REASON, reason);
    }
    open.set(keys::PATH, path.name());
}
