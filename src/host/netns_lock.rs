//! One writer per network namespace, over all processes of the node: an advisory lock on the
//! namespace's own inode. The kernel releases it when its holder ends, however it ends.

use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Pauses between two tries: an uncontended ADD holds the lock for about a millisecond.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// The lock of a namespace; dropping it lets the next one in.
#[derive(Debug)]
pub struct NetnsLock {
    held: Flock<OwnedFd>,
}

impl AsFd for NetnsLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }
}

/// The namespace's lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error(
        "another process has been changing this pod's network namespace for more than {} ms: the runtime tries again; if this lasts, find out with `lsof` on the namespace who it is",
        .waited.as_millis()
    )]
    Timeout { waited: Duration },
    /// The kernel does not lock it.
    #[error(
        "cannot lock the pod's network namespace ({source}): the runtime tries again; if this lasts, check the node's memory and its kernel's log"
    )]
    Unavailable { source: Errno },
}

impl Classify for LockError {
    fn error_type(&self) -> ErrorType {
        match self {
            LockError::Timeout { .. } => ErrorType::LockTimeout,
            LockError::Unavailable { source: Errno::EPERM | Errno::EACCES } => ErrorType::PermissionDenied,
            LockError::Unavailable { .. } => ErrorType::Io,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, LockError::Timeout { .. })
    }
}

/// Waits for the namespace's lock, at most for `limit`.
pub fn acquire(netns: BorrowedFd<'_>, limit: Duration) -> Result<NetnsLock, LockError> {
    // An open file description of its own: the lock belongs to the description, and the caller's
    // may be shared with the process that it came from.
    let own = open(
        format!("/proc/self/fd/{}", netns.as_raw_fd()).as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    );
    let mut file = own.map_err(|source| LockError::Unavailable { source })?;
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(NetnsLock { held }),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, source)) => return Err(LockError::Unavailable { source }),
        };
        let waited = start.elapsed();
        if waited >= limit {
            return Err(LockError::Timeout { waited });
        }
        // flock(2) knows no deadline, and a signal to interrupt it would not be ours to send.
        std::thread::sleep(pause.min(limit.saturating_sub(waited)));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
