//! How much telemetry a process holds in memory: two numbers in a file of its own in the spool's
//! directory, locked as long as the process lives. Once the lock is free the process is dead, and
//! what the file says went with it.

use crate::telemetry::story::Lost;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A process' own file.
#[derive(Debug)]
pub struct HeldFile {
    file: Flock<File>,
    path: PathBuf,
}

impl HeldFile {
    /// Makes the file, which says that nothing is held. It is locked before it has its name, so
    /// that nobody takes it for a dead process'.
    pub fn make(unfinished: &Path, path: PathBuf) -> io::Result<HeldFile> {
        let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(unfinished)?;
        let named = Flock::lock(made, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error.into());
        let named = named.and_then(|file| {
            let held = HeldFile { file, path };
            held.write(Lost::default())?;
            std::fs::rename(unfinished, &held.path).map(|()| held)
        });
        named.inspect_err(|_| {
            // The error is that of the making; what is left here goes once it is old.
            let _ = std::fs::remove_file(unfinished);
        })
    }

    /// Whether it still has its name: otherwise nobody will find it.
    pub fn is_there(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() > 0)
    }

    /// Replaces the numbers: one write, always of the same length.
    pub fn write(&self, held: Lost) -> io::Result<()> {
        self.file.write_all_at(text(held).as_bytes(), 0)
    }

    /// Removes it.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// A dead process' file, which nobody else takes while this lives.
#[derive(Debug)]
pub struct Dead {
    /// Locked as long as it is looked at.
    _file: Flock<File>,
    path: PathBuf,
    /// What went with the process; `None` if the file does not say.
    pub held: Option<Lost>,
}

/// Claims a file. `None` when its process lives, or somebody else has claimed or removed it.
pub fn claim(path: &Path) -> io::Result<Option<Dead>> {
    // A pipe of that name must hold nobody up.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let opened = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let Ok(file) = Flock::lock(opened, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
    // Whoever had the lock before may have removed it.
    if file.metadata()?.nlink() == 0 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    (&*file).take(64).read_to_end(&mut bytes)?;
    Ok(Some(Dead { held: read(&bytes), _file: file, path: path.to_owned() }))
}

impl Dead {
    /// Removes it, so that it is counted once.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn text(held: Lost) -> String {
    // Nobody holds as much as the highest number.
    let [spans, logs] = [held.spans, held.logs].map(|items| u32::try_from(items).unwrap_or(u32::MAX));
    format!("{spans:010} {logs:010}\n")
}

/// Reads what [`text`] writes, and nothing else.
fn read(bytes: &[u8]) -> Option<Lost> {
    let (spans, logs) = std::str::from_utf8(bytes).ok()?.trim_end().split_once(' ')?;
    let [spans, logs] = [spans, logs].map(|number| number.parse::<u32>().ok().map(u64::from));
    let held = Lost { spans: spans?, logs: logs? };
    (text(held).as_bytes() == bytes).then_some(held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn make(directory: &Path) -> (HeldFile, PathBuf) {
        let path = directory.join("1.held");
        (HeldFile::make(&directory.join(".unfinished-1"), path.clone()).unwrap(), path)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_living_process_file_is_its_own_and_a_dead_one_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let (held, path) = make(directory.path());
        held.write(Lost { spans: 12, logs: 3 }).unwrap();
        assert_eq!(names(directory.path()), ["1.held"]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(claim(&path).unwrap().is_none(), "its process lives");
        // The kernel lets go of the lock when the process dies, however it dies.
        drop(held);
        let dead = claim(&path).unwrap().unwrap();
        assert_eq!(dead.held, Some(Lost { spans: 12, logs: 3 }));
        assert!(claim(&path).unwrap().is_none(), "it is claimed");
        dead.remove().unwrap();
        assert!(claim(&path).unwrap().is_none(), "it is gone");
        assert_eq!(names(directory.path()), Vec::<String>::new());
    }

    #[test]
    fn one_of_two_claims_at_once_gets_it() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..50 {
            let path = make(directory.path()).1;
            let take = || claim(&path).unwrap().map(|dead| dead.remove().unwrap());
            let taken: Vec<_> = std::thread::scope(|scope| {
                let both = [scope.spawn(take), scope.spawn(take)];
                both.into_iter().filter_map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(taken.len(), 1);
        }
    }

    #[test]
    fn one_that_somebody_removed_knows_it() {
        let directory = tempfile::tempdir().unwrap();
        let (held, path) = make(directory.path());
        assert!(held.is_there());
        std::fs::remove_file(path).unwrap();
        assert!(!held.is_there());
    }

    #[test]
    fn an_orderly_end_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        make(directory.path()).0.remove().unwrap();
        assert_eq!(names(directory.path()), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_cannot_be_made_leaves_nothing_and_takes_nothing_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let unfinished = directory.path().join(".unfinished-1");
        assert!(HeldFile::make(&unfinished, directory.path().join("not/there.held")).is_err());
        assert_eq!(names(directory.path()), Vec::<String>::new());
        std::fs::write(&unfinished, "of somebody else").unwrap();
        assert!(HeldFile::make(&unfinished, directory.path().join("1.held")).is_err());
        assert_eq!(names(directory.path()), [".unfinished-1"]);
    }

    #[test]
    fn garbage_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.held");
        let whole = text(Lost { spans: 1, logs: 2 });
        for bytes in [
            &b""[..],
            b"\xff\xfe",
            b"0000000001",
            b"0000000001 0000000002",
            b"1 2\n",
            b"+000000001 0000000002\n",
            b"99999999999999999999 00000000000000000000\n",
            b"0000000001 9999999999\n",
            format!("{whole}{whole}").as_bytes(),
            &whole.as_bytes()[..21],
            &[b'0'; 1000],
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(claim(&path).unwrap().unwrap().held, None, "{bytes:?}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(claim(&path).unwrap().unwrap().held, Some(Lost { spans: 1, logs: 2 }));
    }

    #[test]
    fn what_is_no_file_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.held");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(claim(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(claim(&path).unwrap().unwrap().held, None);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(claim(&path).is_err());
    }
}
