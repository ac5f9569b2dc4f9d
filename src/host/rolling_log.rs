//! The plugin's log file in the run directory, for when there is no agent to show its lines:
//! appended to, rolled over at 10 MB, with one older file that is kept for two days.

use crate::telemetry::timestamp::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The file's name.
pub const FILE_NAME: &str = "istio-cni.log";
/// Names of older files: this, the time in UTC, `.log`.
const BACKUP_PREFIX: &str = "istio-cni-";
const MAX_BYTES: u64 = 10 * 1024 * 1024;
const MAX_AGE: Duration = Duration::from_secs(2 * 24 * 3600);
const MAX_BACKUPS: usize = 1;

/// Appends whole lines in one write. Writers at once do not mix their lines (`O_APPEND`).
pub fn append(run_dir: &Path, lines: &[u8]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = run_dir.join(FILE_NAME);
    let mut file = open(&path)?;
    if file.metadata()?.len() + lines.len() as u64 > MAX_BYTES {
        file = roll_over(&path, file)?;
    }
    file.write_all(lines)
}

fn open(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(Path::new(""));
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
            open()
        }
        opened => opened,
    }
}

/// Moves the full file aside and opens a new one. Of two that try at once one does it; the other
/// goes on with the file that it has.
fn roll_over(path: &Path, full: File) -> io::Result<File> {
    let locked = match Flock::lock(full, FlockArg::LockExclusiveNonblock) {
        Ok(locked) => locked,
        Err((file, _)) => return Ok(file),
    };
    // Somebody may have moved it between our opening and our lock.
    if std::fs::metadata(path)?.ino() == locked.metadata()?.ino() {
        let directory = path.parent().unwrap_or(Path::new(""));
        std::fs::rename(path, directory.join(backup_name(SystemTime::now())))?;
        remove_old(directory)?;
    }
    open(path)
}

/// `istio-cni-2026-08-22T15-00-18.123.log`.
fn backup_name(now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let stamp = Timestamp(u64::try_from(now).unwrap_or(u64::MAX)).to_string().replace(':', "-");
    let millis = stamp.get(..stamp.len().saturating_sub("456Z".len())).unwrap_or(&stamp);
    format!("{BACKUP_PREFIX}{millis}.log")
}

fn remove_old(directory: &Path) -> io::Result<()> {
    let mut backups: Vec<PathBuf> = std::fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(BACKUP_PREFIX) && name.ends_with(".log")
        })
        .collect();
    backups.sort();
    backups.reverse();
    for (position, path) in backups.iter().enumerate() {
        let age = std::fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        if position >= MAX_BACKUPS || age.is_some_and(|age| age > MAX_AGE) {
            // It may be gone already; then that is all that was wanted.
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn lines_are_appended_to_a_private_file_in_a_directory_that_is_made() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let run_dir = directory.path().join("run");
        append(&run_dir, b"one\n").unwrap();
        append(&run_dir, b"").unwrap();
        append(&run_dir, b"two\n").unwrap();
        let path = run_dir.join(FILE_NAME);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_file_is_moved_aside_and_only_the_last_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let full = || std::fs::write(directory.path().join(FILE_NAME), vec![b'x'; MAX_BYTES as usize]).unwrap();
        full();
        append(directory.path(), b"after\n").unwrap();
        let first = names(directory.path());
        assert!(first[0].starts_with("istio-cni-20") && first[0].ends_with(".log"), "{first:?}");
        assert_eq!(first[1..], ["istio-cni.log"]);
        assert_eq!(std::fs::read_to_string(directory.path().join(FILE_NAME)).unwrap(), "after\n");
        full();
        std::fs::write(directory.path().join("istio-cni-kubeconfig"), "not ours").unwrap();
        append(directory.path(), b"after\n").unwrap();
        let second = names(directory.path());
        assert_eq!(second.len(), 3, "{second:?}");
        assert!(second.contains(&"istio-cni-kubeconfig".to_owned()));
    }

    #[test]
    fn a_backup_is_named_after_its_time() {
        let at = UNIX_EPOCH + Duration::from_millis(1_787_410_818_123);
        assert_eq!(backup_name(at), "istio-cni-2026-08-22T15-00-18.123.log");
    }
}
