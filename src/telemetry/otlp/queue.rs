//! The bounded queue in front of an exporter. Putting something in never waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Items that wait to be sent.
#[derive(Debug)]
pub struct Queue<T> {
    capacity: usize,
    batch: usize,
    state: Mutex<State<T>>,
    filled: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// Why items were not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// So many found no room.
    Full(usize),
    /// These came after the end.
    Closed(Vec<T>),
}

impl<T> Queue<T> {
    /// A queue for `capacity` items that wakes its reader when `batch` of them wait.
    pub fn new(capacity: usize, batch: usize) -> Queue<T> {
        let state = State { items: VecDeque::new(), closed: false };
        Queue { capacity, batch, state: Mutex::new(state), filled: Notify::new() }
    }

    /// Takes as many of the items as there is room for, and says how many it did not take.
    pub fn push(&self, items: Vec<T>) -> Result<(), Refused<T>> {
        let given = items.len();
        let mut state = self.lock();
        if state.closed {
            return if given == 0 { Ok(()) } else { Err(Refused::Closed(items)) };
        }
        let room = self.capacity.saturating_sub(state.items.len());
        state.items.extend(items.into_iter().take(room));
        if state.items.len() >= self.batch {
            self.filled.notify_one();
        }
        if given > room { Err(Refused::Full(given - room)) } else { Ok(()) }
    }

    /// Takes all of the items, beyond the capacity too, unless it is closed. For whoever has asked
    /// for room before, and would rather wait than lose something.
    pub fn push_all(&self, items: Vec<T>) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.items.extend(items);
        if state.items.len() >= self.batch {
            self.filled.notify_one();
        }
    }

    /// Takes out up to a batch of items, the oldest first.
    pub fn pop(&self) -> Vec<T> {
        let mut state = self.lock();
        let count = state.items.len().min(self.batch);
        state.items.drain(..count).collect()
    }

    /// Takes no more items, and gives back those that wait.
    pub fn close(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        state.items.drain(..).collect()
    }

    /// Waits until a whole batch is there.
    pub async fn filled(&self) {
        while self.lock().items.len() < self.batch {
            self.filled.notified().await;
        }
    }

    /// Whether half of the queue is free.
    pub fn has_room(&self) -> bool {
        let state = self.lock();
        !state.closed && state.items.len() * 2 <= self.capacity
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_counted() {
        let queue = Queue::new(5, 2);
        assert_eq!(queue.push(vec![1, 2, 3]), Ok(()));
        assert_eq!(queue.push(vec![4, 5, 6, 7]), Err(Refused::Full(2)));
        queue.filled().await;
        assert_eq!(queue.pop(), [1, 2]);
        assert_eq!(queue.close(), [3, 4, 5]);
        assert_eq!(queue.push(vec![8]), Err(Refused::Closed(vec![8])));
    }

    #[test]
    fn room_goes_and_comes_with_what_waits() {
        let queue = Queue::new(4, 2);
        assert!(queue.has_room());
        queue.push_all(vec![1, 2, 3, 4, 5]);
        assert!(!queue.has_room());
        queue.pop();
        assert!(!queue.has_room());
        queue.pop();
        assert!(queue.has_room());
        assert_eq!(queue.close(), [5]);
        assert!(!queue.has_room());
        queue.push_all(vec![6]);
        assert_eq!(queue.pop(), Vec::<i32>::new());
    }
}
