//! What stands behind items that came out of the spool: their file may go only once each of them
//! has arrived, or is lost for good and counted. An item that merely vanishes (its queue is
//! closed, its task is ended) keeps the file, so that nothing is lost by forgetting it.

use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What became of the items behind a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of them is left to be sent.
    Settled,
    /// Some could not be sent; whoever has them must send them again.
    Kept,
}

/// One share in the receipt; each item has one, made by cloning.
pub struct Receipt(Arc<Shares>);

struct Shares {
    unsettled: AtomicUsize,
    finish: Mutex<Option<Finish>>,
}

/// Told once, when the last share is gone.
type Finish = Box<dyn FnOnce(Outcome) + Send>;

impl Receipt {
    /// A receipt with one share. `finish` runs when the last share is gone, on whatever thread
    /// that happens.
    pub fn new(finish: impl FnOnce(Outcome) + Send + 'static) -> Receipt {
        let finish: Finish = Box::new(finish);
        Receipt(Arc::new(Shares { unsettled: AtomicUsize::new(1), finish: Mutex::new(Some(finish)) }))
    }

    /// Nothing is left to do for this share.
    pub fn settle(self) {
        self.0.unsettled.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Clone for Receipt {
    fn clone(&self) -> Receipt {
        self.0.unsettled.fetch_add(1, Ordering::AcqRel);
        Receipt(Arc::clone(&self.0))
    }
}

impl Debug for Receipt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({} unsettled)", self.0.unsettled.load(Ordering::Acquire))
    }
}

impl Drop for Shares {
    fn drop(&mut self) {
        let outcome = if *self.unsettled.get_mut() == 0 { Outcome::Settled } else { Outcome::Kept };
        if let Some(finish) = self.finish.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            finish(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn receipt() -> (Receipt, Receiver<Outcome>) {
        let (tell, told) = channel();
        (Receipt::new(move |outcome| tell.send(outcome).unwrap()), told)
    }

    #[test]
    fn it_is_settled_when_every_share_is() {
        let (first, told) = receipt();
        let second = first.clone();
        first.settle();
        assert!(told.try_recv().is_err(), "one share is left");
        second.settle();
        assert_eq!(told.recv(), Ok(Outcome::Settled));
    }

    #[test]
    fn one_share_that_vanishes_keeps_all() {
        let (first, told) = receipt();
        drop(first.clone());
        let third = first.clone();
        first.settle();
        third.settle();
        assert_eq!(told.recv(), Ok(Outcome::Kept));
        assert!(told.recv().is_err(), "told once");
    }
}
