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
use crate::domain::repair::{Action, Broken, Mode, Why};
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
            return After::Done;
        }
        let known = self.cache.named(&key.namespace, &key.name).filter(|pod| pod.uid == key.uid);
        let broken = known.as_ref().and_then(|pod| self.found.settings.detector.look(pod, &self.found.node));
        let mut state = self.found.lock();
        let drifted = state.drifted.remove(&key.uid);
        let repaired = broken.as_ref().is_none_or(|broken| state.memory.is_repaired(&key.uid, broken));
        drop(state);
        let after = match (&known, broken, drifted) {
            // Also a pod whose validation has yet to run again may lose its rules after their repair.
            (Some(pod), _, Some(cause)) if repaired && !pod.status.deleting => self.drifted(pod, &cause),
            (Some(pod), Some(broken), _) => self.turn(pod, broken),
            (Some(pod), None, _) => self.not_needed(pod, "it is not broken any more, or is being deleted"),
            (None, ..) => {
                let (namespace, name, uid) = (key.namespace.clone(), key.name.clone(), key.uid.clone());
                self.not_needed(&PodFacts { namespace, name, uid, ..PodFacts::default() }, "it is gone")
            }
        };
        // What is learnt of a pod that went meanwhile would stay for ever.
        if self.cache.named(&key.namespace, &key.name).is_none_or(|pod| pod.uid != key.uid) {
            self.found.lock().memory.gone(&key.uid);
        }
        after
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
        let (mode, action) = self.found.policy.action(pod, &broken);
        let next = self.found.lock().memory.next(&pod.uid, &broken);
        let (number, in_vain, action) = match next {
            Next::Try { number, in_vain } => (number, in_vain, action),
            Next::GiveUp { in_vain } => (1, in_vain, Action::Leave(Why::InVain)),
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
            Concluded::Failed { failure, retry_after } => (failure, *retry_after),
        };
        if is_refusal(failure.error_type) {
            state.brake.give_back();
        }
        if failure.error_type == ErrorType::EvictionBlocked {
            let times = state.memory.blocked(uid);
            let first = retry_after.unwrap_or(BLOCKED_PAUSE);
            let pause = first.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_BLOCKED);
            return After::Again { pause, prompt: false };
        }
        let failed = if is_final(failure) { None } else { state.memory.failed(uid) };
        drop(state);
        turn.again(failed, failure)
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
    fn again(&self, failed: Option<u32>, failure: &Failure) -> After {
        let key = format!("{}/{}", self.pod.namespace, self.pod.name);
        let (text, after) = match failed {
            Some(count) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << (2 * (count - 1)).min(10)).min(LONGEST_PAUSE);
                // Once the watch has brought what the conflict was about, there is no need to wait.
                let prompt = failure.error_type == ErrorType::ApiConflict;
                (
                    format!("error handling {key}, retrying (retry count: {count}): {failure}"),
                    After::Again { pause, prompt },
                )
            }
            None => (format!("error handling {key}, and retry budget exceeded: {failure}"), After::Done),
        };
        self.story.log(Level::Error, event::REPAIR_FAILED, &text, Vec::new());
        after
    }
}

/// Whether the API server has said that it did nothing.
fn is_refusal(error: ErrorType) -> bool {
    matches!(
        error,
        ErrorType::ApiConflict | ErrorType::EvictionBlocked | ErrorType::ApiForbidden | ErrorType::ApiUnauthorized
    )
}

/// Whether no further attempt can help: somebody has to change the pod or a setting.
fn is_final(failure: &Failure) -> bool {
    matches!(failure.error_type, ErrorType::AnnotationInvalid | ErrorType::EnvironmentInvalid)
}
