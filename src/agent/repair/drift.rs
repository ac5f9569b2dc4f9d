//! Pods whose rules were right, and are not any more, without any validation having failed: the audit
//! finds them, and where rules are programmed, they are repaired like all others.

use super::queue::{After, Key};
use super::{Found, Repair};
use crate::domain::failure::Failure;
use crate::domain::pod::PodFacts;
use crate::domain::repair::{Action, Mode};
use crate::ops::attempt::{Concluded, attempt};
use crate::ops::repair::restore;

impl Found {
    /// Has this pod repaired soon, if rules are programmed at all.
    pub fn drifted(&self, pod: &PodFacts, problem: &Failure) {
        if self.policy.mode != Mode::Repair || !self.settings.detector.selects(pod, &self.node) {
            return;
        }
        let (namespace, name, uid) = (pod.namespace.clone(), pod.name.clone(), pod.uid.clone());
        let mut state = self.lock();
        state.drifted.insert(uid.clone(), problem.message.clone());
        state.queue.offer(Key { namespace, name, uid });
        drop(state);
        self.bell.notify_one();
    }
}

impl Repair {
    /// Repairs a pod that the audit found. What fails is offered again by the audit's next round.
    pub(super) fn drifted(&self, pod: &PodFacts, cause: &str) -> After {
        self.telling(pod, Mode::Repair, |turn| {
            let concluded = attempt(
                turn.story,
                &self.attempt(turn, cause, 1),
                Action::Restore,
                &self.hands.changes,
                &|story, pod| self.hands.site.with(|site| restore(story, pod, site)),
            );
            if matches!(concluded, Concluded::Done(_)) {
                (self.hands.repaired)(&pod.reference());
            }
            concluded
        });
        After::Done
    }
}
