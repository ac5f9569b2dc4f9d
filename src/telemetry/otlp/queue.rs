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
    drained: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// Why items were not taken; the number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Full(usize),
    Closed(usize),
}

impl<T> Queue<T> {
    /// A queue for `capacity` items that wakes its reader when `batch` of them wait.
    pub fn new(capacity: usize, batch: usize) -> Queue<T> {
        let state = State { items: VecDeque::new(), closed: false };
        Queue { capacity, batch, state: Mutex::new(state), filled: Notify::new(), drained: Notify::new() }
    }

    /// Takes as many of the items as there is room for, and says how many it did not take.
    pub fn push(&self, items: Vec<T>) -> Result<(), Refused> {
        let given = items.len();
        let mut state = self.lock();
        if state.closed {
            return if given == 0 { Ok(()) } else { Err(Refused::Closed(given)) };
        }
        let room = self.capacity.saturating_sub(state.items.len());
        state.items.extend(items.into_iter().take(room));
        if state.items.len() >= self.batch {
            self.filled.notify_one();
        }
        if given > room { Err(Refused::Full(given - room)) } else { Ok(()) }
    }

    /// Takes out up to a batch of items, the oldest first.
    pub fn pop(&self) -> Vec<T> {
        let mut state = self.lock();
        let count = state.items.len().min(self.batch);
        let items = state.items.drain(..count).collect();
        self.drained.notify_waiters();
        items
    }

    /// Takes no more items, and gives back those that wait.
    pub fn close(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        self.drained.notify_waiters();
        state.items.drain(..).collect()
    }

    /// Waits until a whole batch is there.
    pub async fn filled(&self) {
        while self.lock().items.len() < self.batch {
            self.filled.notified().await;
        }
    }

    /// Waits until half of the queue is free, or until it is closed.
    pub async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let state = self.lock();
                if state.closed || state.items.len() * 2 <= self.capacity {
                    return;
                }
            }
            drained.await;
        }
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
        assert_eq!(queue.push(vec![8]), Err(Refused::Closed(1)));
    }

    #[tokio::test]
    async fn room_comes_with_reading() {
        let queue = std::sync::Arc::new(Queue::new(4, 2));
        queue.push(vec![1, 2, 3, 4]).unwrap();
        let waiting = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move { queue.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        queue.pop();
        waiting.await.unwrap();
    }
}
