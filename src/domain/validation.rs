//! What a validation found: by address family, whether a probe came back with its original
//! destination, and how the attempts before went. The validator makes the value, its termination
//! message carries it, and the agent reads it there.

use super::identity::{SpanId, TraceId};
use super::ruleset::Family;
use super::step::ErrorType;

/// The most runs of equal errors that a family keeps: the first ones and the last.
pub const MAX_RUNS: usize = 4;

/// One run of the validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// Its beginning, nanoseconds of the Unix epoch.
    pub start_ns: u64,
    /// When it listened, or knew that it could not.
    pub listened_ns: u64,
    /// Its end.
    pub end_ns: u64,
    /// The families that were probed, in their order; none when nothing could be listened on.
    pub families: Vec<FamilyResult>,
    /// What failed; `None` when every family passed.
    pub failure: Option<ValidationFailure>,
    /// Where the collector has the validator's own spans, if they have arrived there.
    pub told: Option<Told>,
}

impl Validation {
    /// Whether the redirection is in place.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// Why a validation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationFailure {
    /// The type; of a validator that is newer than its reader it may be a type unknown here, then
    /// `Internal`.
    pub error_type: ErrorType,
    /// One sentence.
    pub message: String,
}

/// The span `validate` that has arrived at a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its trace: the pod's where the validator knew the pod, else one of its own.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
}

/// What came of the probes of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyResult {
    /// The family.
    pub family: Family,
    /// Whether a probe came back with its original destination.
    pub passed: bool,
    /// How many probes were sent.
    pub attempts: u32,
    /// The end of its probes, nanoseconds of the Unix epoch.
    pub end_ns: u64,
    /// The failed attempts in their order, equal ones together; at most [`MAX_RUNS`], of more the
    /// middle is left out.
    pub errors: Vec<ErrorRun>,
}

impl FamilyResult {
    /// Before the first probe.
    pub fn new(family: Family, now_ns: u64) -> FamilyResult {
        FamilyResult { family, passed: false, attempts: 0, end_ns: now_ns, errors: Vec::new() }
    }

    /// Takes down an attempt that failed. Returns whether it failed as the one before.
    pub fn failed(&mut self, kind: AttemptError, text: &str, now_ns: u64) -> bool {
        if let Some(last) = self.errors.last_mut().filter(|last| last.kind == kind && last.text == text) {
            last.count = last.count.saturating_add(1);
            last.last_ns = now_ns;
            return true;
        }
        if self.errors.len() == MAX_RUNS {
            self.errors.remove(MAX_RUNS / 2);
        }
        self.errors.push(ErrorRun { kind, text: text.to_owned(), count: 1, first_ns: now_ns, last_ns: now_ns });
        false
    }
}

/// Attempts, one after the other, that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRun {
    /// In what way.
    pub kind: AttemptError,
    /// The log line; may be cut.
    pub text: String,
    /// How many.
    pub count: u32,
    /// When the first of them failed, nanoseconds of the Unix epoch.
    pub first_ns: u64,
    /// When the last of them failed.
    pub last_ns: u64,
}

/// How an attempt failed: a closed list, for whoever counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptError {
    /// Nobody listens where the probe went: it was not redirected.
    Refused,
    /// There is no route or no address to probe from or to.
    Unreachable,
    /// The connection was not made in time.
    TimedOut,
    /// The probe was taken by somebody else than our listeners.
    Elsewhere,
    /// It came back, with another destination than the probe's.
    WrongDestination,
    /// Its original destination could not be asked for.
    NoDestination,
    /// Anything else.
    Other,
}

impl AttemptError {
    /// Every kind.
    pub const ALL: [AttemptError; 7] = [
        AttemptError::Refused,
        AttemptError::Unreachable,
        AttemptError::TimedOut,
        AttemptError::Elsewhere,
        AttemptError::WrongDestination,
        AttemptError::NoDestination,
        AttemptError::Other,
    ];

    /// The word in the termination message and on log events.
    pub const fn name(self) -> &'static str {
        match self {
            AttemptError::Refused => "refused",
            AttemptError::Unreachable => "unreachable",
            AttemptError::TimedOut => "timed_out",
            AttemptError::Elsewhere => "elsewhere",
            AttemptError::WrongDestination => "wrong_destination",
            AttemptError::NoDestination => "no_destination",
            AttemptError::Other => "other",
        }
    }

    /// The kind with this name; one that is not known is `Other`.
    pub fn from_name(name: &str) -> AttemptError {
        AttemptError::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(AttemptError::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_failures_are_one_run() {
        let mut result = FamilyResult::new(Family::V4, 1);
        assert!(!result.failed(AttemptError::Refused, "refused", 2));
        assert!(result.failed(AttemptError::Refused, "refused", 5));
        assert!(!result.failed(AttemptError::TimedOut, "timed out", 9));
        let runs: Vec<_> = result.errors.iter().map(|run| (run.count, run.first_ns, run.last_ns)).collect();
        assert_eq!(runs, [(2, 2, 5), (1, 9, 9)]);
    }

    #[test]
    fn of_many_runs_the_first_and_the_last_are_kept() {
        let mut result = FamilyResult::new(Family::V4, 0);
        for index in 0..100 {
            result.failed(AttemptError::Other, &index.to_string(), index);
        }
        let texts: Vec<_> = result.errors.iter().map(|run| run.text.as_str()).collect();
        assert_eq!(texts, ["0", "1", "98", "99"]);
    }

    #[test]
    fn names_read_back() {
        for kind in AttemptError::ALL {
            assert_eq!(AttemptError::from_name(kind.name()), kind);
        }
        assert_eq!(AttemptError::from_name("eaten"), AttemptError::Other);
    }
}
