//! The plugin's executables on the node: compared with those of the image, copied, removed. Equal
//! means equal in every byte; a file whose identity and times are those of the last comparison is
//! not read again.

use super::atomic_file::{self, Permissions};
use super::file_error::FileError;
use crate::domain::cni_files::PLUGIN_TYPE as PLUGIN;
use crate::domain::failure::{Classify, whole};
use crate::domain::install::{Finding, Wrong};
use crate::domain::step::ErrorType;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The executables.
pub struct Binaries {
    source: PathBuf,
    targets: Vec<PathBuf>,
    /// Pairs of files that were the same when they looked like this.
    same: Mutex<HashMap<PathBuf, (Stamp, Stamp)>>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    mode: u32,
}

/// The executables cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum BinariesError {
    #[error("the image's {} cannot be read; set CNI_BIN_SOURCE_DIR to where the plugin is", path.display())]
    Source { path: PathBuf, source: io::Error },
    #[error("there is no plugin {PLUGIN} in {}; set CNI_BIN_SOURCE_DIR to where it is", path.display())]
    NoPlugin { path: PathBuf },
    #[error("there is no directory {} to put the plugin in; mount the node's (the chart's value cni.cniBinDir), or name it with CNI_BIN_TARGET_DIRS", path.display())]
    NoTarget { path: PathBuf },
    #[error("failed file copy of {} to {}", from.display(), to.display())]
    Copy { from: PathBuf, to: PathBuf, source: FileError },
    #[error("{} cannot be removed", path.display())]
    Remove { path: PathBuf, source: FileError },
}

impl Classify for BinariesError {
    fn error_type(&self) -> ErrorType {
        match self {
            BinariesError::Source { .. } | BinariesError::NoPlugin { .. } => ErrorType::BinaryMissing,
            BinariesError::NoTarget { .. } => ErrorType::Io,
            BinariesError::Copy { source, .. } | BinariesError::Remove { source, .. } => source.error_type(),
        }
    }

    fn retryable(&self) -> bool {
        true
    }
}

impl Binaries {
    /// Every file in `source` belongs into each of `targets`.
    pub fn new(source: &Path, targets: &[PathBuf]) -> Binaries {
        Binaries { source: source.to_owned(), targets: targets.to_vec(), same: Mutex::default() }
    }

    /// The directories that they are in.
    pub fn directories(&self) -> Vec<PathBuf> {
        [&self.source].into_iter().chain(&self.targets).cloned().collect()
    }

    /// Looks whether each is where it belongs.
    pub fn look(&self) -> Finding {
        let wrong = |error_type, why| Finding::Wrong(Wrong { error_type, why, reverted: false });
        let names = match self.names() {
            Ok(names) => names,
            Err(error) => return wrong(error.error_type(), whole(&error)),
        };
        if let Err(error) = self.check_targets() {
            return wrong(error.error_type(), whole(&error));
        }
        let pairs = self.targets.iter().flat_map(|target| names.iter().map(move |name| target.join(name)));
        for to in pairs {
            let from = self.source.join(to.file_name().unwrap_or_default());
            match self.is_same(&from, &to) {
                Ok(true) => {}
                Ok(false) => return wrong(ErrorType::InstallDrifted, format!("{} is not the image's", to.display())),
                Err(error) => {
                    return wrong(ErrorType::InstallDrifted, format!("{} cannot be run: {error}", to.display()));
                }
            }
        }
        Finding::Right
    }

    /// Copies those that are not where they belong; gives them.
    pub fn put(&self) -> Result<Vec<String>, BinariesError> {
        let mut copied = Vec::new();
        let names = self.names()?;
        self.check_targets()?;
        self.targets.iter().for_each(|target| sweep(target, &names));
        for name in names {
            for target in &self.targets {
                let (from, to) = (self.source.join(&name), target.join(&name));
                if self.is_same(&from, &to).unwrap_or(false) {
                    continue;
                }
                copy(&from, &to)?;
                copied.push(to.display().to_string());
            }
        }
        Ok(copied)
    }

    /// Removes the plugin; whatever else the image brought may be of use to others.
    pub fn remove(&self) -> Result<Vec<String>, BinariesError> {
        let mut removed = Vec::new();
        self.targets.iter().for_each(|target| sweep(target, &[PathBuf::from(PLUGIN)]));
        for path in self.targets.iter().map(|target| target.join(PLUGIN)) {
            let gone = atomic_file::remove(&path);
            if gone.map_err(|source| BinariesError::Remove { path: path.clone(), source })? {
                removed.push(path.display().to_string());
            }
        }
        Ok(removed)
    }

    fn check_targets(&self) -> Result<(), BinariesError> {
        let missing = self.targets.iter().find(|target| !target.is_dir());
        missing.map_or(Ok(()), |path| Err(BinariesError::NoTarget { path: path.clone() }))
    }

    /// The files of the image, the plugin last: what it may need is there before it. A link that leads nowhere is no
    /// file, and keeps nothing else from being installed.
    fn names(&self) -> Result<Vec<PathBuf>, BinariesError> {
        let failed = |source| BinariesError::Source { path: self.source.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.source).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if fs::metadata(entry.path()).is_ok_and(|found| found.is_file()) {
                names.push(PathBuf::from(entry.file_name()));
            }
        }
        names.sort_by_key(|name| (name == Path::new(PLUGIN), name.clone()));
        match names.last().is_some_and(|name| name == Path::new(PLUGIN)) {
            true => Ok(names),
            false => Err(BinariesError::NoPlugin { path: self.source.clone() }),
        }
    }

    fn is_same(&self, from: &Path, to: &Path) -> io::Result<bool> {
        let stamps = |one: &Metadata, other: &Metadata| (Stamp::of(one), Stamp::of(other));
        let (one, other) = (fs::metadata(from)?, fs::metadata(to)?);
        if !other.is_file() || one.len() != other.len() || (one.mode() ^ other.mode()) & 0o777 != 0 {
            return Ok(false);
        }
        let now = stamps(&one, &other);
        if self.same.lock().unwrap_or_else(PoisonError::into_inner).get(to) == Some(&now) {
            return Ok(true);
        }
        let same = have_same_bytes(&File::open(from)?, &File::open(to)?)?;
        if same {
            self.same.lock().unwrap_or_else(PoisonError::into_inner).insert(to.to_owned(), now);
        }
        Ok(same)
    }
}

impl Stamp {
    fn of(found: &Metadata) -> Stamp {
        Stamp {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            mode: found.permissions().mode(),
        }
    }
}

/// Removes what writers left that were killed: our own, and Istio's, which calls its temporary files
/// `istio-cni.tmp.123`. What cannot be removed harms nobody.
fn sweep(target: &Path, names: &[PathBuf]) {
    const ENTRIES: usize = 65_536;
    atomic_file::sweep(target);
    let Ok(entries) = fs::read_dir(target) else { return };
    for path in entries.take(ENTRIES).flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let left = name.rsplit_once(".tmp.").is_some_and(|(name, _)| names.contains(&PathBuf::from(name)));
        if left {
            let _ = fs::remove_file(&path);
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), BinariesError> {
    let failed = |source| BinariesError::Source { path: from.to_owned(), source };
    let mode = fs::metadata(from).map_err(failed)?.permissions().mode() & 0o777;
    // Also finds out, before anything is written, that it cannot be read.
    File::open(from).map_err(failed)?;
    let copied = atomic_file::replace_with(to, &Permissions::Mode(mode), |file| {
        let mut source = File::open(from)?;
        io::copy(&mut source, file)?;
        file.sync_data()?;
        forget(&source);
        forget(file);
        Ok(())
    });
    copied.map_err(|source| BinariesError::Copy { from: from.to_owned(), to: to.to_owned(), source })
}

/// Lets the kernel drop what it keeps of the file's content: it would count as the agent's memory, and is read again
/// only when the file changes. What a running plugin uses stays.
pub(super) fn forget(file: &File) {
    // It is only advice.
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

fn have_same_bytes(one: &File, other: &File) -> io::Result<bool> {
    let same = compare(one, other);
    forget(one);
    forget(other);
    same
}

fn compare(mut one: impl Read, mut other: impl Read) -> io::Result<bool> {
    const PIECE: usize = 64 << 10;
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let length = fill(&mut one, &mut left)?;
        if fill(&mut other, &mut right)? != length || left[..length] != right[..length] {
            return Ok(false);
        }
        if length < PIECE {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the end is reached.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
#[path = "binaries_tests.rs"]
mod tests;
