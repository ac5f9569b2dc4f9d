//! How a pod is looked for at the API server, whoever asks: again and again within the request's
//! bounds, for the server or the pod may be a moment late. The agent and the plugin differ only in
//! what they ask with ([`Ways`]).

use crate::domain::failure::{Classify, whole};
use crate::domain::pod::{PodFacts, PodRef};
use crate::domain::request::Bounds;
use crate::domain::step::ErrorType;
use crate::ops::ports::{BoxedError, Lookup};
use std::time::{Duration, Instant};

/// How long a pod of the right name and another UID is believed to be an old view. A GET without a
/// resource version is answered from etcd, so mostly the pod was replaced indeed, and its successor
/// gets an ADD of its own; but an API server may stand behind a cache.
const REPLACED_PATIENCE: Duration = Duration::from_secs(2);
/// How soon such an answer is asked for again, if not sooner by the bounds.
const REPLACED_PAUSE: Duration = Duration::from_millis(500);

/// What one process asks with.
pub(super) trait Ways {
    /// Asks the API server once, within `limit`.
    fn ask(&self, pod: &PodRef, limit: Duration) -> Result<PodFacts, BoxedError>;

    /// Waits until `until`; gives the pod if it comes meanwhile from elsewhere.
    fn pause(&self, pod: &PodRef, until: Instant) -> Option<PodFacts>;

    /// The time; a test's own need not pass.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Whether the process is about to end, so that nobody should wait any more.
    fn is_stopping(&self) -> bool {
        false
    }

    /// Hears of a failed attempt that was not hopeless.
    fn attempt_failed(&self, _attempt: u32, _pod: &PodRef, _error: &LookupError) {}
}

/// Where a search begins.
pub(super) struct Start {
    /// When the lookup began.
    pub at: Instant,
    /// How often the pod was looked for elsewhere already.
    pub looked: u32,
    /// How long that was meant to take, on top of the bounds.
    pub grace: Duration,
    /// When the last request must have ended, whatever the bounds are.
    pub end: Option<Instant>,
}

/// Asks until the pod is there, within the bounds.
pub(super) fn search(ways: &impl Ways, pod: &PodRef, bounds: &Bounds, start: &Start) -> Lookup {
    let last_start = start.at + longest(bounds, start);
    let mut asked = 0;
    let mut replaced_since = None;
    loop {
        let answer = |found, source| Lookup { source, attempts: start.looked + asked, found };
        if ways.is_stopping() {
            let source = if asked == 0 { "cache" } else { "api" };
            return answer(Err(BoxedError::new(LookupError::Stopping)), source);
        }
        asked += 1;
        let left = start.end.map(|end| end.saturating_duration_since(ways.now()));
        let limit = left.map_or(bounds.api_timeout, |left| bounds.api_timeout.min(left));
        let answer = |found, source| Lookup { source, attempts: start.looked + asked, found };
        let error = match ways.ask(pod, limit) {
            Ok(facts) if facts.is(pod) => return answer(Ok(facts), "api"),
            Ok(facts) => LookupError::replaced(pod, facts.uid),
            Err(source) if !source.retryable() => return answer(Err(source), "api"),
            Err(source) => LookupError::not_got(pod, source),
        };
        let error = error.after(asked, ways.now().saturating_duration_since(start.at));
        ways.attempt_failed(asked, pod, &error);
        let (pause, end) = if error.may_be_old_view() {
            let since = *replaced_since.get_or_insert_with(|| ways.now());
            (bounds.pod_interval.min(REPLACED_PAUSE), last_start.min(since + REPLACED_PATIENCE))
        } else {
            (bounds.pod_interval, last_start)
        };
        if asked >= bounds.pod_attempts || ways.now() + pause >= end {
            return answer(Err(BoxedError::new(error)), "api");
        }
        if let Some(facts) = ways.pause(pod, ways.now() + pause) {
            return answer(Ok(facts), "cache");
        }
    }
}

/// How long after the beginning an attempt may still begin: all attempts and their pauses, and two
/// requests that hang; attempts that hang for as long as they may must not add up to minutes.
fn longest(bounds: &Bounds, start: &Start) -> Duration {
    let attempts = bounds.pod_interval.saturating_mul(bounds.pod_attempts);
    let whole = attempts.saturating_add(bounds.api_timeout.saturating_mul(2)).saturating_add(start.grace);
    start.end.map_or(whole, |end| whole.min(end.saturating_duration_since(start.at)))
}

/// Why a pod was not found.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error(
        "pod {pod} could not be looked up: {} (asked {asked} times in {:.1} s)", whole(.source), .after.as_secs_f32()
    )]
    NotGot { pod: String, asked: u32, after: Duration, source: BoxedError },
    #[error(
        "pod {pod} has UID {found} at the API server, but the runtime sets up the one with UID {wanted}: it was replaced meanwhile, and the runtime will call again for the new one (asked {asked} times in {:.1} s)",
        .after.as_secs_f32()
    )]
    Replaced { pod: String, wanted: String, found: String, asked: u32, after: Duration },
    #[error("the node agent is stopping; the request can be made again")]
    Stopping,
}

impl LookupError {
    fn replaced(wanted: &PodRef, found: String) -> LookupError {
        let pod = wanted.to_string();
        let wanted = wanted.uid.clone().unwrap_or_default();
        LookupError::Replaced { pod, wanted, found, asked: 1, after: Duration::ZERO }
    }

    fn not_got(wanted: &PodRef, source: BoxedError) -> LookupError {
        let pod = wanted.to_string();
        LookupError::NotGot { pod, asked: 1, after: Duration::ZERO, source }
    }

    /// The error with all the attempts that were made.
    fn after(mut self, times: u32, time: Duration) -> LookupError {
        if let LookupError::NotGot { asked, after, .. } | LookupError::Replaced { asked, after, .. } = &mut self {
            (*asked, *after) = (times, time);
        }
        self
    }

    /// Whether the answer is wrong only if the server's view is old. A static pod's mirror in
    /// contrast is made a while after the pod itself, so that is waited for. The runtime knows a
    /// static pod by the hash of its configuration, which has no dashes.
    fn may_be_old_view(&self) -> bool {
        matches!(self, LookupError::Replaced { wanted, .. } if wanted.contains('-'))
    }
}

impl Classify for LookupError {
    fn error_type(&self) -> ErrorType {
        match self {
            LookupError::NotGot { source, .. } => source.error_type(),
            LookupError::Replaced { .. } => ErrorType::PodReplaced,
            LookupError::Stopping => ErrorType::AgentBusy,
        }
    }

    fn retryable(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
