//! Counts the requests under way: no more than a limit at once, and stopping waits for them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The requests under way.
pub struct InFlight {
    count: Mutex<usize>,
    left: Condvar,
    limit: usize,
}

/// One request under way; it is over when this is dropped.
pub struct Slot(Arc<InFlight>);

impl InFlight {
    /// Lets at most `limit` in at once.
    pub fn new(limit: usize) -> Arc<InFlight> {
        Arc::new(InFlight { count: Mutex::new(0), left: Condvar::new(), limit })
    }

    /// Lets one more in, if there is room.
    pub fn enter(self: &Arc<Self>) -> Option<Slot> {
        let mut count = self.lock();
        (*count < self.limit).then(|| {
            *count += 1;
            Slot(self.clone())
        })
    }

    /// Waits until nothing is under way, at most for `limit`; how much is left then.
    pub fn drained(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        let mut count = self.lock();
        while *count > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return *count;
            }
            count = self.left.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        0
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_draining_waits() {
        let under_way = InFlight::new(2);
        let one = under_way.enter().unwrap();
        let two = under_way.enter().unwrap();
        assert!(under_way.enter().is_none());
        drop(one);
        assert_eq!(under_way.drained(Duration::from_millis(1)), 1);
        let waiting = {
            let under_way = under_way.clone();
            std::thread::spawn(move || under_way.drained(Duration::from_secs(60)))
        };
        drop(two);
        assert_eq!(waiting.join().unwrap(), 0);
    }
}
