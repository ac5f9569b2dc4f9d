//! One attempt at a broken pod, as the span `repair.pod` in the pod's trace: its rules are programmed,
//! or it is deleted, evicted or labelled; whatever it comes to stands on the span.

use super::ports::{Applied, BoxedError, Changed, PodChanges};
use crate::domain::failure::{Classify, Failure};
use crate::domain::identity::TraceLink;
use crate::domain::pod::PodFacts;
use crate::domain::repair::{Action, Mode, REPAIR, RepairResult, Why};
use crate::domain::repair_words::Said;
use crate::domain::step::{ErrorType, Step};
use crate::telemetry::event::{self, EventName, Level};
use crate::telemetry::keys;
use crate::telemetry::story::{Open, Story};
use std::time::Duration;

/// What is tried.
pub struct Attempt<'a> {
    pub pod: &'a PodFacts,
    /// What the pod was found broken by.
    pub cause: &'a str,
    /// What is done about broken pods; counted under it.
    pub mode: Mode,
    /// Counted from 1.
    pub number: u32,
    /// The label that broken pods get.
    pub label: &'a (String, String),
    /// The installation pass that is in force, if there was one.
    pub install: Option<TraceLink>,
}

/// Programs the rules of a pod and reads them back, as steps of the story.
pub type Restore<'a> = &'a dyn Fn(&Story, &PodFacts) -> Result<Applied, Failure>;

/// What an attempt came to.
#[derive(Debug)]
pub enum Concluded {
    /// It is done; what the pod's Event says.
    Done(Said),
    /// There was nothing to do; what the pod's Event says, if it says anything.
    Skipped(Option<Said>),
    /// It failed; whether it is certain that nothing was done, and whoever refused may have asked for a
    /// pause.
    Failed { failure: Failure, nothing_done: bool, retry_after: Option<Duration> },
}

/// Tries.
pub fn attempt(
    story: &Story,
    attempt: &Attempt<'_>,
    action: Action,
    changes: &dyn PodChanges,
    restore: Restore<'_>,
) -> Concluded {
    request(story, attempt, || match action {
        Action::Restore => attempt.restored(story, restore),
        Action::Delete => attempt.removed(story, Step::RepairDelete, |pod| changes.delete(pod)),
        Action::Evict => attempt.removed(story, Step::RepairEvict, |pod| changes.evict(pod)),
        Action::Label => attempt.labelled(story, changes),
        Action::Leave(why) => attempt.left(story, why),
    })
}

/// Tells that nothing is done about a pod that was found broken, because it is not any more.
pub fn unneeded(story: &Story, attempt: &Attempt<'_>, why: &str) -> Concluded {
    request(story, attempt, || {
        say(story, Level::Debug, event::REPAIR_SKIPPED, &format!("{} is not repaired: {why}", attempt.pod));
        Concluded::Skipped(None)
    })
}

/// Tells that a pod is not deleted yet because the limit is reached.
pub fn held(story: &Story, attempt: &Attempt<'_>, limit: u32) -> Concluded {
    let message = format!(
        "the limit of {limit} deletions per minute (REPAIR_LIMIT_PER_MINUTE) is reached: it is deleted when there is \
         room again; look at the installation on this node, so many pods do not break otherwise"
    );
    let mut concluded = Concluded::Skipped(None);
    let _ = story.request(REPAIR, |open| {
        attempt.describe(open, RepairResult::Skip);
        let (step, error_type, code) = (Step::RepairDelete, ErrorType::RepairLimit, 0);
        let failure = Failure { step, error_type, code, message, retryable: true };
        say(story, Level::Warn, event::REPAIR_SKIPPED, &format!("{} is left for now: {failure}", attempt.pod));
        concluded = Concluded::Skipped(Some(Said::Left(failure.message.clone())));
        Err::<(), _>(failure)
    });
    concluded
}

fn request(story: &Story, attempt: &Attempt<'_>, run: impl FnOnce() -> Concluded) -> Concluded {
    let mut concluded = Concluded::Skipped(None);
    let _ = story.request(REPAIR, |open| {
        concluded = run();
        let (result, failure) = match &concluded {
            Concluded::Done(_) => (RepairResult::Success, None),
            Concluded::Skipped(_) => (RepairResult::Skip, None),
            Concluded::Failed { failure, .. } => (RepairResult::Fail, Some(failure.clone())),
        };
        attempt.describe(open, result);
        failure.map_or(Ok(()), Err)
    });
    concluded
}

fn say(story: &Story, level: Level, name: EventName, text: &str) {
    story.log(level, name, text, Vec::new());
}

impl Attempt<'_> {
    fn describe(&self, open: &Open, result: RepairResult) {
        open.set(keys::REPAIR_MODE, self.mode.name());
        open.set(keys::REPAIR_ATTEMPT, self.number as usize);
        open.set(keys::REPAIR_RESULT, result.name());
        if !self.cause.is_empty() {
            open.set(keys::REPAIR_CAUSE, self.cause);
        }
        if let Some(install) = &self.install {
            open.link(install);
        }
    }

    fn restored(&self, story: &Story, restore: Restore<'_>) -> Concluded {
        say(story, Level::Info, event::REPAIR_PROGRESS, "Repairing pod...");
        match restore(story, self.pod) {
            Ok(applied) => {
                let what = if applied.changed { "now" } else { "already" };
                let message = format!("pod repaired: its rules were read back and are {what} as they should be");
                say(story, Level::Info, event::REPAIR_DONE, &message);
                Concluded::Done(Said::Done)
            }
            Err(failure) => {
                let message = format!("failed to setup redirection: {failure}");
                say(story, Level::Error, event::REPAIR_FAILED, &message);
                Concluded::Failed { failure, nothing_done: false, retry_after: None }
            }
        }
    }

    fn removed(
        &self,
        story: &Story,
        step: Step,
        remove: impl FnOnce(&PodFacts) -> Result<Changed, BoxedError>,
    ) -> Concluded {
        let key = self.pod;
        // Whoever searches for either wording finds it.
        for words in ["Deleting broken pod", "Pod detected as broken, deleting"] {
            say(story, Level::Info, event::REPAIR_PROGRESS, &format!("{words}: {key}"));
        }
        let said = if step == Step::RepairEvict { Said::Evicted } else { Said::Done };
        self.changed(story, step, remove, said)
    }

    fn labelled(&self, story: &Story, changes: &dyn PodChanges) -> Concluded {
        let (key, (label, value)) = (self.pod, self.label);
        let told = |text: String| say(story, Level::Info, event::REPAIR_PROGRESS, &text);
        told(format!("Pod detected as broken, adding label: {key}"));
        told(format!("Labeling pod {key} with label {label}={value}"));
        let concluded = self.changed(story, Step::RepairLabel, |pod| changes.label(pod, label, value), Said::Done);
        if let Concluded::Failed { failure, .. } = &concluded {
            say(story, Level::Error, event::REPAIR_FAILED, &format!("Failed to update pod: {failure}"));
        }
        concluded
    }

    /// Asks the API server for a change, as a step.
    fn changed(
        &self,
        story: &Story,
        step: Step,
        change: impl FnOnce(&PodFacts) -> Result<Changed, BoxedError>,
        said: Said,
    ) -> Concluded {
        let (mut nothing_done, mut retry_after) = (false, None);
        let changed = story.step(step, |_| {
            change(self.pod)
                .inspect_err(|error| (nothing_done, retry_after) = (error.nothing_done(), error.retry_after()))
        });
        match changed {
            Ok(Changed::Done) => Concluded::Done(said),
            Ok(Changed::Gone) => {
                let message = format!("{} is not repaired: it is gone", self.pod);
                say(story, Level::Info, event::REPAIR_SKIPPED, &message);
                Concluded::Skipped(None)
            }
            Err(failure) => Concluded::Failed { failure, nothing_done, retry_after },
        }
    }

    fn left(&self, story: &Story, why: Why) -> Concluded {
        let (key, (label, _)) = (self.pod, self.label);
        if why == Why::Labelled {
            say(story, Level::Info, event::REPAIR_PROGRESS, &format!("Pod detected as broken, adding label: {key}"));
            let message = format!("Pod {key} already has label with key {label}, skipping");
            say(story, Level::Info, event::REPAIR_SKIPPED, &message);
            return Concluded::Skipped(None);
        }
        say(story, Level::Warn, event::REPAIR_SKIPPED, &format!("{key} is broken and left alone: {}", why.words()));
        Concluded::Skipped(Some(Said::Left(why.words().to_owned())))
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
