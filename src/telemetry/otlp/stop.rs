//! The end of the export: first asked for, then due.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Asks for the end.
pub struct Stopper(watch::Sender<Option<Instant>>);

/// Learns of the end. Should the asking side vanish, the end is due at once.
#[derive(Clone)]
pub struct Stop(watch::Receiver<Option<Instant>>);

/// Both sides.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Asks for the end by the deadline.
    pub fn by(&self, deadline: Instant) {
        self.0.send_replace(Some(deadline));
    }
}

impl Stop {
    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Waits until the end is asked for.
    pub async fn requested(&self) -> Instant {
        let mut receiver = self.0.clone();
        match receiver.wait_for(Option::is_some).await {
            Ok(deadline) => deadline.unwrap_or_else(Instant::now),
            Err(_) => Instant::now(),
        }
    }

    /// Waits until the end is due.
    pub async fn due(&self) {
        let deadline = self.requested().await;
        sleep_until(deadline).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_end_is_asked_for_and_then_due() {
        let (stopper, stop) = stop();
        assert!(!stop.is_requested());
        let start = Instant::now();
        let deadline = start + Duration::from_millis(20);
        stopper.by(deadline);
        assert!(stop.is_requested());
        assert_eq!(stop.requested().await, deadline);
        stop.due().await;
        assert!(Instant::now() >= deadline);
    }

    #[tokio::test]
    async fn a_vanished_stopper_is_the_end() {
        let (stopper, stop) = stop();
        drop(stopper);
        assert!(stop.is_requested());
        stop.due().await;
    }
}
