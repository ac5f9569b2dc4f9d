//! The spool: where a plugin without an agent leaves its telemetry, one file for each request, and
//! from where the agent takes it. Files appear whole (temporary name, then rename), the directory
//! is bounded in files and bytes, and what does not fit is counted in the directory itself.

use super::held_file::HeldFile;
use super::spool_lost;
use crate::telemetry::story::Lost;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The directory's name in the run directory.
pub const DIRECTORY: &str = "spool";
/// The most files and bytes that wait, unfinished files included.
const BOUNDS: Bounds = Bounds { files: 1024, bytes: 16 << 20 };
/// Up to here an agent puts telemetry back, so that plugins find room besides.
const SHARE: Bounds = Bounds { files: BOUNDS.files / 2, bytes: BOUNDS.bytes / 2 };
/// A file with this name's ending is whole.
const WHOLE: &str = ".spool";
/// The ending once an agent has taken samples and shown lines of what is in it.
const TOLD: &str = ".told.spool";
/// A file that begins so is being written, or its writer was killed.
const UNFINISHED: &str = ".unfinished-";
/// The ending of a file that says how much a process holds in memory.
const HELD: &str = ".held";
/// The most such files; there is one for each agent that lives, or was killed lately.
const MOST_HELD: usize = 64;
/// How long an unfinished file may be young enough to have a writer.
const STALE: Duration = Duration::from_secs(60);
/// Holds the numbers of lost spans and log records.
const LOST: &str = "lost";
/// Tells files of one process apart.
static WRITTEN: AtomicU32 = AtomicU32::new(0);

/// Why telemetry was not spooled.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("the spool {} is full: it has {files} files or {bytes} bytes", .directory.display())]
    Full { directory: PathBuf, files: usize, bytes: u64 },
    #[error("the spool {} cannot be written: {source}", .directory.display())]
    Io { directory: PathBuf, source: io::Error },
}

/// One file that waits: a request's telemetry, or what an agent could not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub path: PathBuf,
    pub bytes: u64,
    /// Whether samples were taken of it already; then it only has to be sent.
    pub told: bool,
}

#[derive(Clone, Copy)]
struct Bounds {
    files: usize,
    bytes: u64,
}

/// The spool of one run directory.
#[derive(Clone, Debug)]
pub struct Spool {
    directory: PathBuf,
}

impl Spool {
    /// The spool in this run directory; nothing is made before it is needed.
    pub fn in_run_dir(run_dir: &Path) -> Spool {
        Spool { directory: run_dir.join(DIRECTORY) }
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Leaves the bytes as a file of their own. What cannot be left is counted as lost, if at
    /// least that works; `items` says how much it is.
    pub fn leave(&self, bytes: &[u8], items: Lost) -> Result<(), SpoolError> {
        self.write(bytes, WHOLE, BOUNDS).inspect_err(|_| {
            // The error that is told is that of the telemetry; its count is the best that is left.
            let _ = self.add_lost(items);
        })
    }

    /// Puts back what an agent has told and cannot send now.
    pub fn put_back(&self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.write(bytes, TOLD, SHARE)
    }

    /// Counts items as lost, for the next one who takes the count.
    pub fn add_lost(&self, items: Lost) -> io::Result<()> {
        spool_lost::add(&self.directory.join(LOST), items)
    }

    /// The path of this file once it is told.
    pub fn told(path: &Path) -> PathBuf {
        let name = path.as_os_str().to_string_lossy();
        match name.strip_suffix(WHOLE) {
            Some(stem) if !name.ends_with(TOLD) => PathBuf::from(format!("{stem}{TOLD}")),
            _ => path.to_owned(),
        }
    }

    /// What waits, the oldest first. Takes away what killed writers have left unfinished.
    pub fn waiting(&self) -> io::Result<Vec<Waiting>> {
        let mut waiting = Vec::new();
        for entry in entries(&self.directory)? {
            let (entry, name) = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if name.ends_with(WHOLE) && meta.is_file() {
                let told = name.ends_with(TOLD);
                waiting.push(Waiting { path: entry.path(), bytes: meta.len(), told });
            } else if name.starts_with(UNFINISHED) && is_stale(&meta) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        waiting.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(waiting)
    }

    /// Takes the count of what was lost; it begins again at nothing.
    pub fn take_lost(&self) -> io::Result<Lost> {
        spool_lost::take(&self.directory.join(LOST))
    }

    /// Makes the file in which this process notes how much it holds in memory.
    pub fn make_held(&self) -> io::Result<HeldFile> {
        self.make_directory()?;
        if self.held()?.len() >= MOST_HELD {
            return Err(io::Error::other(format!("there are {MOST_HELD} such files already")));
        }
        let name = new_name();
        let unfinished = self.directory.join(format!("{UNFINISHED}{name}{HELD}"));
        HeldFile::make(&unfinished, self.directory.join(format!("{name}{HELD}")))
    }

    /// Such files of all processes, dead or alive.
    pub fn held(&self) -> io::Result<Vec<PathBuf>> {
        let is_held = |name: &str| name.ends_with(HELD) && !name.starts_with(UNFINISHED);
        let paths = entries(&self.directory)?.filter_map(|entry| match entry {
            Ok((entry, name)) => is_held(&name).then(|| Ok(entry.path())),
            Err(error) => Some(Err(error)),
        });
        paths.collect()
    }

    fn write(&self, bytes: &[u8], ending: &str, bounds: Bounds) -> Result<(), SpoolError> {
        let io = |source| SpoolError::Io { directory: self.directory.clone(), source };
        self.make_directory().map_err(io)?;
        if self.is_full(bytes.len() as u64, bounds).map_err(io)? {
            let Bounds { files, bytes } = bounds;
            return Err(SpoolError::Full { directory: self.directory.clone(), files, bytes });
        }
        let name = new_name();
        let unfinished = self.directory.join(format!("{UNFINISHED}{name}"));
        let written = write_new(&unfinished, bytes)
            .and_then(|()| std::fs::rename(&unfinished, self.directory.join(format!("{name}{ending}"))));
        written.map_err(|error| {
            let _ = std::fs::remove_file(&unfinished);
            io(error)
        })
    }

    fn make_directory(&self) -> io::Result<()> {
        let make = || DirBuilder::new().mode(0o700).create(&self.directory);
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = self.directory.parent().unwrap_or(Path::new(""));
                DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
                make()
            }
            made => made,
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn is_full(&self, more: u64, bounds: Bounds) -> io::Result<bool> {
        let (mut files, mut bytes) = (0, more);
        for entry in entries(&self.directory)? {
            let (entry, name) = entry?;
            if name.ends_with(HELD) {
                continue;
            }
            files += 1;
            bytes += entry.metadata().map_or(0, |meta| meta.len());
            if files >= bounds.files || bytes > bounds.bytes {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A name that no other file has; names are in the order of time.
fn new_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    format!("{now:020}-{}-{number}", std::process::id())
}

fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<(std::fs::DirEntry, String)>>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let named = |entry: io::Result<std::fs::DirEntry>| {
        entry.map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (entry, name)
        })
    };
    Ok(entries.into_iter().flatten().map(named))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

fn is_stale(meta: &std::fs::Metadata) -> bool {
    let age = meta.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age > STALE)
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
