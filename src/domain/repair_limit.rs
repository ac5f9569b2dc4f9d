//! How many pods may be taken off a node in a minute. Without a bound a node on which every pod
//! breaks would evict its pods over and over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// So many in any 60 seconds.
#[derive(Debug)]
pub struct Limit {
    most: usize,
    /// When the last ones were, at most as many as may be.
    taken: VecDeque<Instant>,
}

impl Limit {
    /// So many in a minute; 0 is any number.
    pub fn new(per_minute: u32) -> Limit {
        Limit { most: usize::try_from(per_minute).unwrap_or(usize::MAX), taken: VecDeque::new() }
    }

    /// Takes one, or says how long it is until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        if self.most == 0 {
            return Ok(());
        }
        while self.taken.front().is_some_and(|first| now.saturating_duration_since(*first) >= MINUTE) {
            self.taken.pop_front();
        }
        match self.taken.front() {
            Some(first) if self.taken.len() >= self.most => {
                Err(MINUTE.saturating_sub(now.saturating_duration_since(*first)))
            }
            _ => {
                self.taken.push_back(now);
                Ok(())
            }
        }
    }

    /// Gives the last one back: nothing came of it.
    pub fn give_back(&mut self) {
        self.taken.pop_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_sees_more_than_the_limit() {
        let start = Instant::now();
        let mut limit = Limit::new(3);
        let mut at = |seconds: u64| limit.take(start + Duration::from_secs(seconds)).map_err(|left| left.as_secs());
        assert_eq!([0, 10, 20, 30, 59].map(&mut at), [Ok(()), Ok(()), Ok(()), Err(30), Err(1)]);
        assert_eq!([60, 61, 70, 71, 80].map(&mut at), [Ok(()), Err(9), Ok(()), Err(9), Ok(())]);
    }

    #[test]
    fn what_came_to_nothing_does_not_count() {
        let now = Instant::now();
        let mut limit = Limit::new(1);
        limit.take(now).unwrap();
        limit.give_back();
        limit.take(now).unwrap();
        assert_eq!(limit.take(now), Err(MINUTE));
    }

    #[test]
    fn zero_is_no_limit() {
        let mut limit = Limit::new(0);
        assert!((0..1000).all(|_| limit.take(Instant::now()).is_ok()));
        limit.give_back();
    }
}
