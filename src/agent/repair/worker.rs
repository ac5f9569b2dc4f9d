//! One pod's turn: what is to be done about it now, the attempt, who is told of it, and when it is
//! looked at again.

use super::brake::Leave;
use super::memory::Next;
use super::queue::{After, Key};
use super::{Repair, State};
use crate::domain::failure::Failure;
use crate::domain::identity::TraceId;
use crate::domain::notice::{Notice, ObjectRef, REPAIR, Severity};
use crate::domain::pod::PodFacts;
use crate::domain::repair::{Action, Broken, Mode};
use crate::domain::repair_words::{Said, notice};
use crate::domain::step::ErrorType;
use crate::ops::attempt::{Attempt, Concluded, attempt, held, unneeded};
use crate::ops::repair::restore;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::event::{self, Level};
use crate::telemetry::resource::Origin;
use crate::telemetry::story::{Clock, Story};
use std::time::{Duration, Instant};

/// The pause after the first failure; each further one is four times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The pause after an eviction that a budget forbade, unless the server names one; each further one
/// is twice as long.
const BLOCKED_PAUSE: Duration = Duration::from_secs(10);
/// The longest of those.
const LONGEST_BLOCKED: Duration = Duration::from_secs(300);
/// The longest pause that a server may ask for after any other refusal.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// The pause after so many failures that it is left until there is news, if there is none.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(300);

/// One turn of one pod.
pub(super) struct Turn<'a> {
    pub(super) story: &'a Story,
    pod: &'a PodFacts,
    mode: Mode,
}

impl Repair {
    /// Does what is to be done about a pod now.
    pub(super) fn work(&self, key: &Key) -> After {
        if self.cache.is_closed() {
            return After::Done;
        }
        if (self.hands.superseded)() {
            let (namespace, name) = (key.namespace.clone(), key.name.clone());
            self.telemetry.event(AgentEvent::RepairSuperseded { namespace, name });
            let mut state = self.found.lock();
            state.brake.release(&key.uid);
            self.tell_held(&state);
            return After::Done;
        }
        let known = self.cache.named(&key.namespace, &key.name).filter(|pod| pod.uid == key.uid);
        let broken = known.as_ref().and_then(|pod| self.found.broken(pod));
        let mut state = self.found.lock();
        let drifted = state.drifted.remove(&key.uid);
        let repaired = broken.as_ref().is_none_or(|broken| state.memory.is_repaired(&key.uid, broken));
        drop(state);
        match (&known, broken, drifted) {
            // Also a pod whose validation has yet to run again may lose its rules after their repair.
            (Some(pod), _, Some(cause)) if repaired && !pod.status.deleting => self.drifted(pod, &cause),
            (Some(pod), Some(broken), _) => self.turn(pod, broken),
            (Some(pod), None, _) => self.not_needed(pod, "it is not broken any more, or is being deleted"),
            (None, ..) => {
                let (namespace, name, uid) = (key.namespace.clone(), key.name.clone(), key.uid.clone());
                self.not_needed(&PodFacts { namespace, name, uid, ..PodFacts::default() }, "it is gone")
            }
        }
    }

    /// The pod was found broken, and is not any more.
    fn not_needed(&self, pod: &PodFacts, why: &str) -> After {
        let mut state = self.found.lock();
        state.brake.release(&pod.uid);
        self.tell_held(&state);
        let settled = state.memory.is_settled(&pod.uid);
        drop(state);
        if !settled {
            let mode = self.found.policy.mode;
            self.telling(pod, mode, |turn| unneeded(turn.story, &self.attempt(turn, "", 1), why));
        }
        After::Done
    }

    fn turn(&self, pod: &PodFacts, broken: Broken) -> After {
        let (mut mode, mut action) = self.found.policy.action(pod, &broken);
        let next = self.found.lock().memory.next(&pod.uid, &broken);
        let (number, in_vain) = match next {
            Next::Try { number, in_vain } => (number, in_vain),
            Next::GiveUp { number, in_vain } => {
                if action == Action::Restore {
                    (mode, action) = self.found.policy.last_resort(pod);
                }
                (number, in_vain)
            }
            Next::Settled => {
                self.telling(pod, mode, |turn| {
                    turn.say(Level::Debug, "Skipping pod, already repaired");
                    Concluded::Skipped(None)
                });
                return After::Done;
            }
        };
        if matches!(action, Action::Delete | Action::Evict)
            && let Some(pause) = self.held_back(pod, mode, &broken, number)
        {
            return After::Again { pause, prompt: false };
        }
        let mut after = After::Done;
        self.telling(pod, mode, |turn| {
            if in_vain > 0 {
                turn.say(Level::Warn, &format!("its validation failed again after {in_vain} repairs"));
            }
            let site = |story: &Story, pod: &PodFacts| self.hands.site.with(|site| restore(story, pod, site));
            let cause = broken.cause();
            let concluded =
                attempt(turn.story, &self.attempt(turn, &cause, number), action, &self.hands.changes, &site);
            after = self.concluded(turn, action, &concluded, broken);
            concluded
        });
        after
    }

    /// Whether the pod may not be deleted now, and for how long.
    fn held_back(&self, pod: &PodFacts, mode: Mode, broken: &Broken, number: u32) -> Option<Duration> {
        let mut state = self.found.lock();
        let leave = state.brake.ask(&pod.uid, Instant::now());
        self.tell_held(&state);
        drop(state);
        let Leave::Refused { wait, news } = leave else { return None };
        if news {
            let limit = self.found.settings.limit_per_minute;
            self.telling(pod, mode, |turn| held(turn.story, &self.attempt(turn, &broken.cause(), number), limit));
        }
        Some(wait)
    }

    /// Makes metric and readiness what the brake says; tells the log and the node where that begins or ends.
    fn tell_held(&self, state: &State) {
        let Some(allowed) = &self.hands.allowed else { return };
        let (held, limit) = (state.brake.held(), u64::from(self.found.settings.limit_per_minute));
        let before = self.telemetry.metrics().repair_held(held);
        match (before, held) {
            (0, 1..) => {
                let limited = AgentEvent::RepairLimited { limit };
                let (about, message) = (ObjectRef::node(&self.found.node, None), limited.message());
                let (severity, reason) = (Severity::Warning, "CNIRepairLimited");
                self.hands.node.say(Notice { component: REPAIR, about, severity, reason, message });
                self.telemetry.event(limited);
                allowed.unmet(&format!(
                    "{limit} broken pods were deleted within a minute, which is the limit; pods start without the \
                     plugin: look at the installation"
                ));
            }
            (1.., 0) => {
                self.telemetry.event(AgentEvent::RepairResumed { limit });
                allowed.met();
            }
            _ => {}
        }
    }

    /// Remembers what an attempt came to, and says when there is another one.
    fn concluded(&self, turn: &Turn<'_>, action: Action, concluded: &Concluded, broken: Broken) -> After {
        let uid = &turn.pod.uid;
        let mut state = self.found.lock();
        let (failure, retry_after) = match concluded {
            Concluded::Done(_) if action == Action::Restore => {
                state.memory.repaired(uid, broken, Clock::start().start_ns());
                drop(state);
                (self.hands.repaired)(&turn.pod.reference());
                return After::Done;
            }
            Concluded::Done(_) => {
                if matches!(action, Action::Delete | Action::Evict) {
                    state.repeats.add(&turn.pod.namespace, &turn.pod.name, Instant::now());
                }
                state.memory.finished(uid);
                return After::Done;
            }
            Concluded::Skipped(_) => {
                if matches!(action, Action::Delete | Action::Evict) {
                    state.brake.give_back();
                }
                state.memory.finished(uid);
                return After::Done;
            }
            Concluded::Failed { failure, nothing_done, retry_after } => {
                if *nothing_done && matches!(action, Action::Delete | Action::Evict) {
                    state.brake.give_back();
                }
                (failure, *retry_after)
            }
        };
        if failure.error_type == ErrorType::EvictionBlocked {
            let times = state.memory.blocked(uid);
            let first = retry_after.unwrap_or(BLOCKED_PAUSE);
            let pause = first.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_BLOCKED);
            return After::Again { pause, prompt: false };
        }
        let failed = if is_final(failure) { None } else { state.memory.failed(uid) };
        drop(state);
        turn.again(failed, failure, retry_after)
    }

    /// Runs something as the pod's story, and hands on what was told: to the collector, to the log,
    /// and as an Event on the pod.
    pub(super) fn telling(&self, pod: &PodFacts, mode: Mode, run: impl FnOnce(&Turn<'_>) -> Concluded) {
        let trace = TraceId::of_pod(&pod.uid);
        let root = Some(trace.root_span());
        let story = Story::begin(Clock::start(), trace, root, pod.reference(), self.telemetry.level(), None);
        let concluded = run(&Turn { story: &story, pod, mode });
        let said = match concluded {
            Concluded::Done(said) => Some(said),
            Concluded::Skipped(said) => said,
            Concluded::Failed { failure, .. } => Some(Said::Failed(failure.message)),
        };
        if let Some(said) = said {
            self.hands.pods.say(notice(pod, mode, &said));
        }
        self.telemetry.ingest(story.into_batch(), Origin::Agent);
    }

    pub(super) fn attempt<'a>(&'a self, turn: &Turn<'a>, cause: &'a str, number: u32) -> Attempt<'a> {
        let (Turn { pod, mode, .. }, label) = (turn, &self.found.policy.label);
        Attempt { pod, cause, mode: *mode, number, label, install: (self.hands.install)() }
    }
}

impl Turn<'_> {
    fn say(&self, level: Level, text: &str) {
        self.story.log(level, event::REPAIR_PROGRESS, text, Vec::new());
    }

    /// After a failure: says, in the reference's words, whether there is another attempt.
    fn again(&self, failed: Option<u32>, failure: &Failure, asked: Option<Duration>) -> After {
        let key = self.pod;
        let text = match failed {
            Some(count) => format!("error handling {key}, retrying (retry count: {count}): {failure}"),
            None => format!("error handling {key}, and retry budget exceeded: {failure}"),
        };
        self.story.log(Level::Error, event::REPAIR_FAILED, &text, Vec::new());
        after_failure(failed, failure, asked)
    }
}

/// What happens after a failure, of which there were so many in a row, or too many by now; whoever
/// refused may have asked for a pause.
fn after_failure(failed: Option<u32>, failure: &Failure, asked: Option<Duration>) -> After {
    let at_least = asked.unwrap_or_default().min(LONGEST_ASKED);
    match failed {
        Some(count) => {
            let pause = FIRST_PAUSE.saturating_mul(1 << (2 * (count - 1)).min(10)).min(LONGEST_PAUSE);
            // Once the watch has brought what the conflict was about, there is no need to wait.
            let prompt = failure.error_type == ErrorType::ApiConflict;
            After::Again { pause: pause.max(at_least), prompt }
        }
        None if is_final(failure) => After::Done,
        // A pod whose validation never runs again has no news any more.
        None => After::Again { pause: EXHAUSTED_PAUSE, prompt: true },
    }
}

/// Whether no further attempt can help: somebody has to change the pod or a setting.
fn is_final(failure: &Failure) -> bool {
    matches!(failure.error_type, ErrorType::AnnotationInvalid | ErrorType::EnvironmentInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::CODE_ISTIO;
    use crate::domain::step::Step;

    fn after(failed: Option<u32>, error_type: ErrorType, asked: u64) -> After {
        let (step, code, message) = (Step::RepairDelete, CODE_ISTIO, String::new());
        let failure = Failure { step, error_type, code, message, retryable: true };
        after_failure(failed, &failure, (asked > 0).then(|| Duration::from_secs(asked)))
    }

    fn later(millis: u64, prompt: bool) -> After {
        After::Again { pause: Duration::from_millis(millis), prompt }
    }

    #[test]
    fn pauses_grow_and_are_never_shorter_than_the_server_asks() {
        assert_eq!(
            [1, 2, 3, 9].map(|count| after(Some(count), ErrorType::ApiError, 0)),
            [250, 1000, 4000, 60_000].map(|millis| later(millis, false))
        );
        assert_eq!(after(Some(1), ErrorType::ApiError, 7), later(7000, false));
        assert_eq!(after(Some(9), ErrorType::ApiError, 7), later(60_000, false));
        assert_eq!(after(Some(1), ErrorType::ApiError, 1 << 40), later(300_000, false));
        assert_eq!(after(Some(1), ErrorType::ApiConflict, 0), later(250, true));
    }

    #[test]
    fn whoever_failed_too_often_is_tried_again_after_a_long_pause_or_at_once_when_there_is_news() {
        assert_eq!(after(None, ErrorType::ApiForbidden, 0), later(300_000, true));
        assert_eq!(after(None, ErrorType::AnnotationInvalid, 0), After::Done, "only a change can help");
    }
}
