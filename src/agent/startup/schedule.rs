//! When which pod is looked at next.

use super::Pod;
use crate::domain::startup::Outcome;
use std::collections::BTreeMap;
use tokio::time::Instant;

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
    all: BTreeMap<(Instant, u64), Due>,
    /// Tells apart those that are due at the same time.
    number: u64,
}

impl Schedule {
    pub fn put(&mut self, at: Instant, due: Due) {
        self.number += 1;
        self.all.insert((at, self.number), due);
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.all.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next one that is due now, if there is room for it.
    pub fn due(&mut self, now: Instant, has_room: impl FnOnce() -> bool) -> Option<Due> {
        let (at, number) = self.all.first_key_value().map(|(key, _)| *key)?;
        if at > now || !has_room() { None } else { self.all.remove(&(at, number)) }
    }
}
