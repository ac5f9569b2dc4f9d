//! Why a file of the node could not be written, removed or read, and what to do about it.

use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use nix::errno::Errno;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What was to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Write,
    Remove,
    Read,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Write => "written",
            Action::Remove => "removed",
            Action::Read => "read",
        })
    }
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} cannot be {action}: its file system is read-only; mount the node's directory writable, or choose the one of this platform with the chart's value global.platform (gke, k3s, k3d, microk8s, minikube, openshift) or cni.cniBinDir and cni.cniConfDir", .path.display())]
    ReadOnly { path: PathBuf, action: Action, source: io::Error },
    #[error("{} cannot be {action}: {} is immutable; see it with lsattr, and let it be changed with chattr -i", .path.display(), .immutable.display())]
    Immutable { path: PathBuf, action: Action, immutable: PathBuf, source: io::Error },
    #[error("{} cannot be {action}: its file system has no room left; make room on the node", .path.display())]
    NoSpace { path: PathBuf, action: Action, source: io::Error },
    #[error("{} cannot be {action}: permission denied; the agent has to be root with CAP_DAC_OVERRIDE, and the node's SELinux or AppArmor must let it", .path.display())]
    PermissionDenied { path: PathBuf, action: Action, source: io::Error },
    #[error("{} cannot be {action}: it is busy, as a file is that is mounted over; mount its directory instead", .path.display())]
    Busy { path: PathBuf, action: Action, source: io::Error },
    #[error("{} cannot be {action}: it is a link that leads nowhere that the agent sees; mount what it leads to, or replace it by a file", .path.display())]
    Link { path: PathBuf, action: Action, source: io::Error },
    #[error("{} cannot be {action}: it is {what}, and no file; move it out of the way, or put a file in its place", .path.display())]
    NoFile { path: PathBuf, action: Action, what: &'static str },
    #[error("{} is not {action}: its {bytes} bytes are more than the {limit} allowed; put a smaller one in its place, or remove it", .path.display())]
    TooLarge { path: PathBuf, action: Action, bytes: u64, limit: u64 },
    #[error("{} is not {action}: somebody else has changed it meanwhile, and what they wrote would be lost; it is looked at anew", .path.display())]
    Changed { path: PathBuf, action: Action },
    #[error("{} cannot be {action}: {source}; check on the node that its directory is there and that its disk is in order, it is tried again", .path.display())]
    Io { path: PathBuf, action: Action, source: io::Error },
}

impl FileError {
    /// The error about `path` that this errno is.
    pub fn new(path: &Path, action: Action, source: io::Error) -> FileError {
        let path = path.to_owned();
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EROFS) => FileError::ReadOnly { path, action, source },
            Some(Errno::ENOSPC | Errno::EDQUOT) => FileError::NoSpace { path, action, source },
            Some(Errno::EPERM | Errno::EACCES) => match immutable(&path) {
                Some(immutable) if action != Action::Read => FileError::Immutable { path, action, immutable, source },
                _ => FileError::PermissionDenied { path, action, source },
            },
            Some(Errno::EBUSY | Errno::ETXTBSY) => FileError::Busy { path, action, source },
            Some(Errno::ELOOP) => FileError::Link { path, action, source },
            _ => FileError::Io { path, action, source },
        }
    }

    /// Whether it is about a file that is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Classify for FileError {
    fn error_type(&self) -> ErrorType {
        match self {
            FileError::ReadOnly { .. } | FileError::Immutable { .. } => ErrorType::ReadOnly,
            FileError::NoSpace { .. } => ErrorType::NoSpace,
            FileError::PermissionDenied { .. } => ErrorType::PermissionDenied,
            FileError::Busy { .. }
            | FileError::Link { .. }
            | FileError::NoFile { .. }
            | FileError::TooLarge { .. }
            | FileError::Changed { .. }
            | FileError::Io { .. } => ErrorType::Io,
        }
    }

    fn retryable(&self) -> bool {
        matches!(
            self,
            FileError::NoSpace { .. } | FileError::Busy { .. } | FileError::Changed { .. } | FileError::Io { .. }
        )
    }
}

/// Which of the file and its directory nobody may change.
fn immutable(path: &Path) -> Option<PathBuf> {
    let both = [Some(path), path.parent()];
    both.into_iter().flatten().find(|path| is_immutable(path)).map(Path::to_owned)
}

fn is_immutable(path: &Path) -> bool {
    let Ok(name) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: `name` ends in NUL and `found` has room for a statx, of which all zeroes is one, so it is initialised
    // whether or not the call succeeds (man 2 statx).
    let (status, found) = unsafe {
        let status = libc::statx(libc::AT_FDCWD, name.as_ptr(), 0, libc::STATX_BASIC_STATS, found.as_mut_ptr());
        (status, found.assume_init())
    };
    let marks = u64::from(libc::STATX_ATTR_IMMUTABLE.unsigned_abs() | libc::STATX_ATTR_APPEND.unsigned_abs());
    status == 0 && found.stx_attributes & marks != 0
}
