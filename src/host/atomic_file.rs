//! Files that appear whole: written beside their place under a name that nobody looks for, made durable, and renamed
//! over it. Whoever reads sees the old file or the new one, also when this process is killed or the node loses power.

use super::file_error::{Action, FileError};
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// What stands in the name of a temporary file, behind the name of the file that it becomes.
const OURS: &str = ".istio-cni-";
/// How a temporary file's name ends: no runtime takes it for a configuration.
const ENDING: &str = ".tmp";
/// The digits between them.
const RANDOM: usize = 16;
/// How often a write begins again whose temporary file somebody took for left over.
const ATTEMPTS: usize = 3;
/// The most entries of a directory that are looked through for left-over files.
const LOOKED_THROUGH: usize = 65_536;

/// The mode and owner of a new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// This mode, and the agent as its owner.
    Mode(u32),
    /// Those of this file, as far as the owner can be given away; if it is not there, this mode.
    Like(PathBuf, u32),
}

/// Replaces the file at `path`, or makes it. A link stays, and the file that it leads to is replaced.
pub fn replace(path: &Path, content: &[u8], permissions: &Permissions) -> Result<(), FileError> {
    replace_if(path, content, permissions, || true)
}

/// As [`replace`], for a place in a directory of everybody's, such as `/tmp`: a link there may be somebody's trap, and is
/// refused; one that comes later is itself replaced, and never followed.
pub fn replace_no_link(path: &Path, content: &[u8], permissions: &Permissions) -> Result<(), FileError> {
    let failed = |source| FileError::new(path, Action::Write, source);
    let what = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
        Ok(found) if found.file_type().is_symlink() => Some("a link"),
        Ok(found) => other_than_file(&found),
    };
    match what {
        Some(what) => Err(FileError::NoFile { path: path.to_owned(), action: Action::Write, what }),
        None => put_at(path, permissions, |file| file.write_all(content), || true),
    }
}

/// As [`replace`], with the content that `write` puts into the file; it may be asked to do so again.
pub fn replace_with(
    path: &Path,
    permissions: &Permissions,
    write: impl Fn(&mut File) -> io::Result<()>,
) -> Result<(), FileError> {
    put(path, permissions, write, || true)
}

/// As [`replace`], if at the last moment `unchanged` says that what it was made from is still so.
pub fn replace_if(
    path: &Path,
    content: &[u8],
    permissions: &Permissions,
    unchanged: impl Fn() -> bool,
) -> Result<(), FileError> {
    put(path, permissions, |file| file.write_all(content), unchanged)
}

fn put(
    path: &Path,
    permissions: &Permissions,
    write: impl Fn(&mut File) -> io::Result<()>,
    unchanged: impl Fn() -> bool,
) -> Result<(), FileError> {
    put_at(&place_of(path)?, permissions, write, unchanged)
}

fn put_at(
    place: &Path,
    permissions: &Permissions,
    write: impl Fn(&mut File) -> io::Result<()>,
    unchanged: impl Fn() -> bool,
) -> Result<(), FileError> {
    let failed = |source| FileError::new(place, Action::Write, source);
    sweep(directory_of(place));
    for attempt in 1.. {
        let written = Temporary::beside(place).and_then(|temporary| temporary.fill(&write, permissions));
        let temporary = written.map_err(failed)?;
        if !unchanged() {
            return Err(FileError::Changed { path: place.to_owned(), action: Action::Write });
        }
        match temporary.take_place(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
            Err(error) => return Err(failed(error)),
            Ok(()) => break,
        }
    }
    sync_directory(place).map_err(failed)
}

/// Whether a path is that of a file on its way to its place.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = name.strip_prefix('.').and_then(|name| name.strip_suffix(ENDING)?.rsplit_once(OURS));
    random.is_some_and(|(_, random)| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Removes a file; that it is not there is fine too. A link is removed itself. Says whether there was something.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(FileError::new(path, Action::Remove, error)),
    }
    sync_directory(path).map_err(|error| FileError::new(path, Action::Remove, error))?;
    Ok(true)
}

/// Reads a file of at most `limit` bytes. Never waits for a writer, as opening a pipe would.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound if path.is_symlink() => {
            FileError::Link { path: path.to_owned(), action: Action::Read, source }
        }
        _ => FileError::new(path, Action::Read, source),
    };
    // Opening a device can do something, so it is looked at before.
    check_readable(path, &std::fs::metadata(path).map_err(failed)?, limit)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = file.map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    check_readable(path, &found, limit)?;
    let mut content = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default());
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
    match content.len() as u64 {
        bytes if bytes > limit => Err(too_large(path, bytes, limit)),
        _ => Ok(content),
    }
}

fn check_readable(path: &Path, found: &Metadata, limit: u64) -> Result<(), FileError> {
    if let Some(what) = other_than_file(found) {
        return Err(FileError::NoFile { path: path.to_owned(), action: Action::Read, what });
    }
    if found.len() > limit { Err(too_large(path, found.len(), limit)) } else { Ok(()) }
}

fn too_large(path: &Path, bytes: u64, limit: u64) -> FileError {
    FileError::TooLarge { path: path.to_owned(), action: Action::Read, bytes, limit }
}

/// What it is, if it is no regular file.
fn other_than_file(found: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    let kind = found.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a pipe"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

/// Where the file is written: where links lead.
fn place_of(path: &Path) -> Result<PathBuf, FileError> {
    let failed = |source| FileError::new(path, Action::Write, source);
    let link = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type().is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(error) => return Err(failed(error)),
    };
    let place = if link { std::fs::canonicalize(path) } else { Ok(path.to_owned()) };
    let place = place.map_err(|source| FileError::Link { path: path.to_owned(), action: Action::Write, source })?;
    match other_than_file(&std::fs::symlink_metadata(&place).map_err(failed)?) {
        Some(what) => Err(FileError::NoFile { path: path.to_owned(), action: Action::Write, what }),
        None => Ok(place),
    }
}

/// A file on its way to its place. Until then its writer has it locked, and it goes with its writer.
struct Temporary {
    path: PathBuf,
    file: File,
    done: bool,
}

impl Temporary {
    fn beside(place: &Path) -> io::Result<Temporary> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let mut name = OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(format!("{OURS}{random:0RANDOM$x}{ENDING}"));
        let path = place.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let temporary = Temporary { path, file, done: false };
        match temporary.file.try_lock() {
            // Some file systems know no locks. Then this file may be taken for left over, and is written again.
            Ok(()) | Err(TryLockError::Error(_) | TryLockError::WouldBlock) => Ok(temporary),
        }
    }

    fn fill(mut self, write: impl Fn(&mut File) -> io::Result<()>, permissions: &Permissions) -> io::Result<Temporary> {
        write(&mut self.file)?;
        let mode = match permissions {
            Permissions::Mode(mode) => *mode,
            Permissions::Like(model, otherwise) => match std::fs::metadata(model) {
                Ok(model) => {
                    // Only root can give files away; others keep what they write.
                    let _ = fchown(&self.file, Some(model.uid()), Some(model.gid()));
                    model.mode()
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => *otherwise,
                Err(error) => return Err(error),
            },
        };
        self.file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777))?;
        self.file.sync_all()?;
        Ok(self)
    }

    fn take_place(mut self, place: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, place)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes what killed writers left in this directory, for whichever file. What living ones write is locked. What
/// cannot be removed is no reason not to go on, and the next one tries again.
pub fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(or_here(directory)) else { return };
    let ours = entries.take(LOOKED_THROUGH).flatten().filter(|entry| is_temporary(&entry.path()));
    ours.for_each(|entry| remove_left_over(&entry.path()));
}

fn remove_left_over(path: &Path) {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path);
    if open.is_ok_and(|file| file.try_lock().is_ok()) {
        let _ = std::fs::remove_file(path);
    }
}

/// Makes the directory's entries durable.
fn sync_directory(place: &Path) -> io::Result<()> {
    let directory = File::open(directory_of(place))?;
    match directory.sync_all() {
        // Some file systems have nothing to do for a directory, and say so.
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
        synced => synced,
    }
}

fn directory_of(place: &Path) -> &Path {
    or_here(place.parent().unwrap_or(Path::new("")))
}

fn or_here(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}
