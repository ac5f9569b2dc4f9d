//! Holds deletions back once there were too many in a minute, and knows whom it holds, so that the
//! beginning and the end of it are told once.

use crate::domain::repair_limit::Limit;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// The brake.
#[derive(Debug)]
pub struct Brake {
    limit: Limit,
    /// The pods that wait, by UID.
    held: HashSet<String>,
}

/// Whether a pod may be deleted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Granted,
    /// Not before this time; whether this pod is told so for the first time.
    Refused {
        wait: Duration,
        news: bool,
    },
}

impl Brake {
    /// So many deletions in a minute; 0 is any number.
    pub fn new(per_minute: u32) -> Brake {
        Brake { limit: Limit::new(per_minute), held: HashSet::new() }
    }

    /// Asks for leave to delete a pod.
    pub fn ask(&mut self, uid: &str, now: Instant) -> Leave {
        match self.limit.take(now) {
            Ok(()) => {
                self.held.remove(uid);
                Leave::Granted
            }
            Err(wait) => Leave::Refused { wait, news: self.held.insert(uid.to_owned()) },
        }
    }

    /// Nothing came of the last leave.
    pub fn give_back(&mut self) {
        self.limit.give_back();
    }

    /// A pod does not wait any more.
    pub fn release(&mut self, uid: &str) {
        self.held.remove(uid);
    }

    /// The pods that wait, by UID.
    pub fn waiting(&self) -> Vec<String> {
        self.held.iter().cloned().collect()
    }

    /// How many pods wait.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_too_late_is_held_until_there_is_room_or_it_is_gone() {
        let (mut brake, start) = (Brake::new(1), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(brake.ask("a", at(0)), Leave::Granted);
        let wait = Duration::from_secs(50);
        assert_eq!(brake.ask("b", at(10)), Leave::Refused { wait, news: true });
        assert_eq!(brake.ask("c", at(10)), Leave::Refused { wait, news: true });
        assert_eq!(brake.ask("b", at(10)), Leave::Refused { wait, news: false });
        assert_eq!(brake.held(), 2);
        brake.release("c");
        assert_eq!(brake.ask("b", at(60)), Leave::Granted);
        assert_eq!(brake.held(), 0);
        brake.give_back();
        assert_eq!(brake.ask("d", at(61)), Leave::Granted);
    }
}
