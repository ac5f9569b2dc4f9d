//! How an error travels: each I/O error classifies itself, and becomes a `Failure` that names the
//! step it ended. A failure crosses the agent's socket and ends up in the CNI error.

use super::step::{ErrorType, Step};
use std::fmt;
use std::time::Duration;

/// CNI error code of everything that is ours to report (the reference uses it for all of its own).
pub const CODE_ISTIO: u32 = 999;
/// CNI error code for a namespace that is the caller's own.
pub const CODE_NETNS: u32 = 8;

/// An error that knows its `error.type` and whether trying again could help.
pub trait Classify: std::error::Error {
    /// The closed-list type of this error.
    fn error_type(&self) -> ErrorType;

    /// Whether the same call may succeed a moment later.
    fn retryable(&self) -> bool {
        false
    }

    /// How long whoever refused asks to wait before the next try.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Whether it is certain that what was asked for was not done, not even in part.
    fn nothing_done(&self) -> bool {
        false
    }

    /// The CNI error code; 999 unless the specification has a number for it.
    fn code(&self) -> u32 {
        CODE_ISTIO
    }
}

/// Why a request ended: the step, the type, and one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// The closed-list type.
    pub error_type: ErrorType,
    /// The CNI error code.
    pub code: u32,
    /// What failed, with which value, what is allowed, what to do.
    pub message: String,
    /// Whether the same request may succeed a moment later.
    pub retryable: bool,
}

impl Failure {
    /// Takes over the classification and the whole text (with sources) of an error.
    pub fn from_error(step: Step, error: &dyn Classify) -> Failure {
        let message = whole(error);
        Failure { step, error_type: error.error_type(), code: error.code(), message, retryable: error.retryable() }
    }
}

/// An error and all its sources in one line.
pub fn whole<E: std::error::Error + ?Sized>(error: &E) -> String {
    with_sources(error.to_string(), error)
}

/// Words about an error, followed by its sources; what is said already is not said again.
pub fn with_sources<E: std::error::Error + ?Sized>(mut message: String, error: &E) -> String {
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = inner.source();
    }
    message
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Classify for Failure {
    fn error_type(&self) -> ErrorType {
        self.error_type
    }

    fn retryable(&self) -> bool {
        self.retryable
    }

    fn code(&self) -> u32 {
        self.code
    }
}
