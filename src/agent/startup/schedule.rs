//! When which pod is looked at next.

use super::Pod;
use super::asking::Case;
use crate::domain::startup::Outcome;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::time::Instant;

/// How long a pod waits for room: an API server that is slow must not make them pile up.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited before a start that is over is told: the Events on the pod may come after its status, and pods
/// that start together are asked about together.
pub const SETTLE: Duration = Duration::from_secs(1);
/// How much longer at the most: the pods of one rollout become ready on all nodes at once, and their agents should
/// not ask at once.
const JITTER: Duration = Duration::from_secs(1);

/// What is to be told then.
#[derive(Debug)]
pub enum Due {
    /// The start of this pod, which has come to this.
    Over(Case),
    /// That of this one, if it is not over by then. The pod is as it was when it was seen first.
    Late(Named),
}

/// A pod by its names alone: its object changes meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// Pods by the time at which they are due.
#[derive(Default)]
pub struct Schedule {
    all: BTreeMap<Key, Due>,
    /// Where those are that may be late, by UID.
    late: HashMap<String, Key>,
    /// Tells apart those that are due at the same time.
    number: u64,
}

type Key = (Instant, u64);

impl Named {
    /// The names of a pod.
    pub fn of(pod: &Pod) -> Named {
        Named { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() }
    }
}

/// A part of [`JITTER`] that is another for each pod.
fn jitter(uid: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    JITTER.mul_f64((hasher.finish() % 1000) as f64 / 1000.0)
}

impl Schedule {
    /// A pod's start is over since now.
    pub fn settle(&mut self, now: Instant, pod: Pod, outcome: Outcome, seen_ns: u64) {
        self.is_over(&pod.uid);
        let at = now + SETTLE + jitter(&pod.uid);
        self.put(at, Due::Over(Case { pod, outcome, seen_ns }));
    }

    pub fn put(&mut self, at: Instant, due: Due) {
        self.number += 1;
        let key = (at, self.number);
        if let Due::Late(pod) = &due {
            self.late.insert(pod.uid.clone(), key);
        }
        self.all.insert(key, due);
    }

    /// A pod cannot be late any more.
    pub fn is_over(&mut self, uid: &str) {
        if let Some(key) = self.late.remove(uid) {
            self.all.remove(&key);
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.all.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next one that is due now, if there is room for it or it has waited for that long enough.
    pub fn due(&mut self, now: Instant, mut has_room: impl FnMut(&Due) -> bool) -> Option<Due> {
        let mut due = self.all.range(..=(now, u64::MAX));
        let key = due.find(|((at, _), due)| now >= *at + PATIENCE || has_room(due)).map(|(key, _)| *key)?;
        let due = self.all.remove(&key)?;
        if let Due::Late(pod) = &due {
            self.late.remove(&pod.uid);
        }
        Some(due)
    }

    /// All others of this namespace whose starts are over and that have settled, at most so many: one answer is for
    /// all of them.
    pub fn with(&mut self, now: Instant, namespace: &str, most: usize) -> Vec<Case> {
        let settled = |(at, _): &Key, pod: &Pod| *at <= now + jitter(&pod.uid);
        let keys: Vec<Key> = self
            .all
            .range(..=(now + JITTER, u64::MAX))
            .filter(|(key, due)| matches!(due, Due::Over(it) if it.pod.namespace == namespace && settled(key, &it.pod)))
            .map(|(key, _)| *key)
            .take(most)
            .collect();
        let taken = keys.into_iter().filter_map(|key| self.all.remove(&key));
        taken.filter_map(|due| if let Due::Over(case) = due { Some(case) } else { None }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod::PodFacts;
    use std::sync::Arc;

    fn late(uid: &str) -> Due {
        Due::Late(Named { namespace: "shop".into(), name: "web-0".into(), uid: uid.into() })
    }

    fn pod(namespace: &str, uid: &str) -> Pod {
        Arc::new(PodFacts { namespace: namespace.into(), uid: uid.into(), ..PodFacts::default() })
    }

    fn uid(due: Option<Due>) -> Option<String> {
        due.map(|due| match due {
            Due::Late(pod) => pod.uid,
            Due::Over(case) => case.pod.uid.clone(),
        })
    }

    #[test]
    fn a_pod_that_is_over_is_not_kept_until_it_would_be_late() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.put(now, late("a"));
        schedule.put(now, late("b"));
        schedule.is_over("a");
        schedule.is_over("never seen");
        assert_eq!(uid(schedule.due(now, |_| true)).as_deref(), Some("b"));
        assert!(schedule.all.is_empty() && schedule.late.is_empty());
    }

    #[test]
    fn whoever_waited_long_for_room_waits_no_more() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.settle(now, pod("shop", "a"), Outcome::Ready, 0);
        let at = schedule.next().unwrap();
        assert!(schedule.due(at + PATIENCE / 2, |_| false).is_none());
        assert!(schedule.due(at + PATIENCE, |_| false).is_some());
    }

    #[test]
    fn pods_settle_each_for_a_time_of_its_own_and_whoever_has_settled_goes_with_the_first_of_its_namespace() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let uids: Vec<String> = (0..20).map(|number| format!("u-{number}")).collect();
        uids.iter().for_each(|uid| schedule.settle(now, pod("shop", uid), Outcome::Ready, 0));
        schedule.settle(now, pod("other", "o"), Outcome::Ready, 0);
        let (first, last) = (schedule.next().unwrap(), schedule.all.last_key_value().unwrap().0.0);
        assert!(first >= now + SETTLE && last <= now + SETTLE + JITTER && last - first > JITTER / 2);
        assert!(schedule.due(now + SETTLE - Duration::from_millis(1), |_| true).is_none());
        schedule.settle(now + SETTLE, pod("shop", "young"), Outcome::Ready, 0);
        let due = schedule.due(first, |due| matches!(due, Due::Over(case) if case.pod.namespace == "shop"));
        assert!(due.is_some());
        let with = schedule.with(first, "shop", 100);
        assert_eq!(with.len(), 19, "not the one of another namespace, nor the young one");
        assert_eq!(schedule.all.len(), 2);
    }
}
