//! Taking a file out of the spool: read, handed over, then removed; by one process only, should two
//! agents drain the same spool for a moment.

use super::spool::Waiting;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// More of a file is not read: one request's telemetry is at most a megabyte.
const MOST: u64 = 2 << 20;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was handed over and is gone.
    All,
    /// Another process takes it, or has taken it.
    BySomebodyElse,
}

/// Reads a file, hands its bytes over and removes it. Killed in between, the file is still there.
/// An error after the hand-over means that it could not be removed.
pub fn take(file: &Waiting, hand_over: impl FnOnce(&[u8])) -> io::Result<Taken> {
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&file.path);
    let opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::BySomebodyElse),
        opened => opened?,
    };
    let Ok(locked) = Flock::lock(opened, FlockArg::LockExclusiveNonblock) else { return Ok(Taken::BySomebodyElse) };
    if is_gone(&locked)? {
        return Ok(Taken::BySomebodyElse);
    }
    let mut bytes = Vec::new();
    (&*locked).take(MOST).read_to_end(&mut bytes)?;
    hand_over(&bytes);
    std::fs::remove_file(&file.path)?;
    Ok(Taken::All)
}

/// Whether it was removed between being opened and being locked.
fn is_gone(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_handed_over_once_and_then_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.spool");
        std::fs::write(&path, "told").unwrap();
        let file = Waiting { path: path.clone(), bytes: 4 };
        let mut heard = Vec::new();
        assert_eq!(take(&file, |bytes| heard.extend_from_slice(bytes)).unwrap(), Taken::All);
        assert_eq!(heard, b"told");
        assert!(!path.exists());
        assert_eq!(take(&file, |_| panic!("handed over twice")).unwrap(), Taken::BySomebodyElse);
    }

    #[test]
    fn a_file_that_another_process_takes_is_left_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.spool");
        std::fs::write(&path, "told").unwrap();
        let other = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        let file = Waiting { path: path.clone(), bytes: 4 };
        assert_eq!(take(&file, |_| panic!("taken from its taker")).unwrap(), Taken::BySomebodyElse);
        drop(other);
        assert!(path.exists());
    }
}
