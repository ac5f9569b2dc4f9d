//! Claiming a file of the spool: by one process only, should two agents drain the same spool for a
//! moment. A file that is claimed is still there; it goes when what it holds has arrived.

use super::spool::{Spool, Waiting};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// More of a file is not read: one request's telemetry is at most a megabyte.
const MOST: u64 = 2 << 20;

/// A file that nobody else takes while this lives.
#[derive(Debug)]
pub struct Claim {
    file: Flock<File>,
    path: PathBuf,
}

/// Claims a file, and marks it as told from now on: samples are taken of it at most once, even by
/// an agent that is killed. `None` when another process has it, or has done with it.
pub fn claim(waiting: &Waiting) -> io::Result<Option<Claim>> {
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&waiting.path);
    let Some(opened) = found(opened)? else { return Ok(None) };
    let Ok(file) = Flock::lock(opened, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
    // It may have been removed between being opened and being locked.
    if file.metadata()?.nlink() == 0 {
        return Ok(None);
    }
    let path = Spool::told(&waiting.path);
    if path == waiting.path {
        return Ok(Some(Claim { file, path }));
    }
    let marked = found(std::fs::rename(&waiting.path, &path))?;
    Ok(marked.map(|()| Claim { file, path }))
}

impl Claim {
    /// Where it is now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&*self.file).take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes it.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// What is gone is no error.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(path: &Path) -> Waiting {
        Waiting { path: path.to_owned(), bytes: 4, told: false }
    }

    #[test]
    fn a_claimed_file_is_marked_and_stays_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, told) = (directory.path().join("1.spool"), directory.path().join("1.told.spool"));
        std::fs::write(&path, "told").unwrap();
        let claimed = claim(&waiting(&path)).unwrap().unwrap();
        assert_eq!((claimed.path(), claimed.read().unwrap()), (told.as_path(), b"told".to_vec()));
        assert!(!path.exists() && told.exists());
        assert!(claim(&waiting(&path)).unwrap().is_none(), "it has another name now");
        assert!(claim(&waiting(&told)).unwrap().is_none(), "it is claimed");
        drop(claimed);
        let again = claim(&waiting(&told)).unwrap().unwrap();
        assert_eq!(again.read().unwrap(), b"told");
        again.remove().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(claim(&waiting(&told)).unwrap().is_none());
    }

    #[test]
    fn a_file_that_another_process_takes_is_left_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.spool");
        std::fs::write(&path, "told").unwrap();
        let other = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        assert!(claim(&waiting(&path)).unwrap().is_none());
        drop(other);
        assert!(path.exists());
    }
}
