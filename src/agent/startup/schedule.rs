//! When which pod is looked at next.

use super::Pod;
use crate::domain::startup::Outcome;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;

/// How long a pod waits for room: an API server that is slow must not make them pile up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be told then.
#[derive(Debug)]
pub enum Due {
    /// The start of this pod, which has come to this.
    Over(Pod, Outcome),
    /// That of this one, if it is not over by then. The pod is as it was when it was seen first.
    Late(Named),
}

/// A pod by its names alone: its object changes meanwhile.
#[derive(Clone, Debug)]
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

impl Schedule {
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
    pub fn due(&mut self, now: Instant, has_room: impl FnOnce() -> bool) -> Option<Due> {
        let key = self.all.first_key_value().map(|(key, _)| *key)?;
        if key.0 > now || (!has_room() && now < key.0 + PATIENCE) {
            return None;
        }
        let due = self.all.remove(&key)?;
        if let Due::Late(pod) = &due {
            self.late.remove(&pod.uid);
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(uid: &str) -> Due {
        Due::Late(Named { namespace: "shop".into(), name: "web-0".into(), uid: uid.into() })
    }

    fn uid(due: Option<Due>) -> Option<String> {
        due.map(|due| match due {
            Due::Late(pod) => pod.uid,
            Due::Over(pod, _) => pod.uid.clone(),
        })
    }

    #[test]
    fn a_pod_that_is_over_is_not_kept_until_it_would_be_late() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.put(now, late("a"));
        schedule.put(now, late("b"));
        schedule.is_over("a");
        schedule.is_over("never seen");
        assert_eq!(uid(schedule.due(now, || true)).as_deref(), Some("b"));
        assert!(schedule.all.is_empty() && schedule.late.is_empty());
    }

    #[test]
    fn whoever_waited_long_for_room_waits_no_more() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        schedule.put(now, Due::Over(Pod::default(), Outcome::Ready));
        assert!(schedule.due(now + PATIENCE / 2, || false).is_none());
        assert!(schedule.due(now + PATIENCE, || false).is_some());
    }
}
