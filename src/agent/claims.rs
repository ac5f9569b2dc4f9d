//! The spool's files that this agent has claimed: their content waits in the queues, or is on its
//! way to the collector.

use crate::host::spool_claim::Claim;
use crate::telemetry::receipt::{Outcome, Receipt};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The most files at once; each has a descriptor.
const MOST: usize = 128;

/// The claims, shared with the receipts that end them.
#[derive(Default)]
pub struct Claims {
    state: Mutex<State>,
    released: Notify,
}

#[derive(Default)]
struct State {
    held: BTreeSet<PathBuf>,
    /// Whether the last one that ended could not be sent.
    failing: bool,
    /// What could not be removed, and why.
    stuck: Vec<(PathBuf, String)>,
}

impl Claims {
    /// Whether one more may be claimed. While the collector takes nothing, one file at a time finds
    /// out when it does again.
    pub fn have_room(&self) -> bool {
        let state = self.lock();
        state.held.len() < if state.failing { 1 } else { MOST }
    }

    /// Whether this file is claimed.
    pub fn hold(&self, path: &Path) -> bool {
        self.lock().held.contains(path)
    }

    /// Holds a claim until everything behind the receipt is done with; the file goes then, unless
    /// something of it could not be sent.
    pub fn receipt(self: &Arc<Self>, claim: Claim) -> Receipt {
        self.lock().held.insert(claim.path().to_owned());
        let claims = Arc::clone(self);
        Receipt::new(move |outcome| claims.release(claim, outcome))
    }

    /// Waits until a claim has ended, since this was last asked.
    pub async fn released(&self) {
        self.released.notified().await;
    }

    /// What could not be removed since this was last asked.
    pub fn take_stuck(&self) -> Vec<(PathBuf, String)> {
        std::mem::take(&mut self.lock().stuck)
    }

    fn release(&self, claim: Claim, outcome: Outcome) {
        let path = claim.path().to_owned();
        let removed = match outcome {
            Outcome::Settled => claim.remove(),
            Outcome::Kept => {
                drop(claim);
                Ok(())
            }
        };
        let mut state = self.lock();
        state.failing = outcome == Outcome::Kept;
        state.held.remove(&path);
        if let Err(error) = removed {
            state.stuck.push((path, error.to_string()));
        }
        drop(state);
        self.released.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::spool::Spool;
    use crate::host::spool_claim::claim;

    #[test]
    fn one_failure_leaves_one_attempt_at_a_time_until_one_succeeds() {
        let run_dir = tempfile::tempdir().unwrap();
        let spool = Spool::in_run_dir(run_dir.path());
        (0..3).for_each(|_| spool.put_back(b"x").unwrap());
        let claims = Arc::new(Claims::default());
        let receipt = |n: usize| claims.receipt(claim(&spool.waiting().unwrap()[n]).unwrap().unwrap());
        let (first, second, third) = (receipt(0), receipt(1), receipt(2));
        assert!(claims.have_room());
        drop(first);
        assert!(!claims.have_room(), "two are under way");
        second.settle();
        assert!(claims.have_room());
        drop(third);
        assert!(claims.have_room());
        let files = spool.waiting().unwrap();
        assert_eq!(files.len(), 2);
        let again = receipt(0);
        assert!(claims.hold(&files[0].path) && !claims.hold(&files[1].path) && !claims.have_room());
        again.settle();
        assert!(claims.have_room() && claims.take_stuck().is_empty());
    }

    #[test]
    fn what_cannot_be_removed_is_told() {
        let run_dir = tempfile::tempdir().unwrap();
        let spool = Spool::in_run_dir(run_dir.path());
        spool.put_back(b"x").unwrap();
        let claims = Arc::new(Claims::default());
        let waiting = spool.waiting().unwrap().remove(0);
        let receipt = claims.receipt(claim(&waiting).unwrap().unwrap());
        std::fs::remove_file(&waiting.path).unwrap();
        std::fs::create_dir(&waiting.path).unwrap();
        receipt.settle();
        let [(path, problem)] = &claims.take_stuck()[..] else { panic!("nothing is stuck") };
        assert_eq!(path, &waiting.path);
        assert!(problem.contains("irectory"), "{problem}");
    }
}
