//! Network namespaces: opening the path that the runtime names, and running code inside.
//!
//! A thread that has entered a namespace never comes back out: it ends there, so that no later
//! work can run in the wrong namespace by mistake.

use crate::domain::failure::{CODE_ISTIO, CODE_NETNS, Classify};
use crate::domain::step::ErrorType;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_file};
use nix::sched::CloneFlags;
use nix::sys::stat::{FileStat, Mode, fstat, stat};
use nix::sys::statfs::{NSFS_MAGIC, PROC_SUPER_MAGIC, fstatfs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Rules need no deep stack; a small one keeps many concurrent requests cheap.
const STACK: usize = 256 * 1024;

/// Whether the host's own namespace, or the one this process is in, may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnNamespace {
    /// An error: rules there would redirect the whole node.
    Refused,
    /// Allowed, as `CNI_NETNS_OVERRIDE` asks for.
    Allowed,
}

/// A namespace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// Nothing is there.
    #[error(
        "the network namespace {} does not exist (any more): the sandbox was removed meanwhile, or CNI_NETNS names the wrong path; the runtime must make a new sandbox",
        .path.display()
    )]
    Missing { path: PathBuf },
    /// Something else than a namespace is there.
    #[error("{} is not a network namespace: CNI_NETNS must be the path of one, such as /var/run/netns/NAME, so check the container runtime, which sets it", .path.display())]
    NotNamespace { path: PathBuf },
    /// It is a namespace of another kind.
    #[error("{} is a namespace, but not a network namespace: CNI_NETNS must be the path of one, such as /var/run/netns/NAME, so check the container runtime, which sets it", .path.display())]
    NotNetwork { path: PathBuf },
    /// It is the node's own.
    #[error(
        "plugin's netns and netns from CNI_NETNS should not be the same: {} is the host's own network namespace, where rules would redirect the whole node; check the container runtime, which must not give a pod with hostNetwork to this plugin, or set CNI_NETNS_OVERRIDE=true if it is meant",
        .path.display()
    )]
    Host { path: PathBuf },
    /// It may be the node's own, for all that is known.
    #[error(
        "whether {} is the host's own network namespace cannot be told, because /proc/1 may not be looked at; rules in the host's would redirect the whole node; give this process the capability SYS_PTRACE in the host's user namespace",
        .path.display()
    )]
    HostUnknown { path: PathBuf, source: Errno },
    /// It cannot be opened.
    #[error("cannot open the network namespace {}: check that the plugin runs as root and sees the host's files", .path.display())]
    Open { path: PathBuf, source: Errno },
    /// It cannot be entered.
    #[error(
        "cannot enter the pod's network namespace, for which this process needs CAP_SYS_ADMIN: run it as root, in a container with the capabilities SYS_ADMIN and NET_ADMIN"
    )]
    Enter { source: Errno },
    /// None can be made to try something in.
    #[error("cannot make a network namespace: {}", making(*source))]
    Make { source: Errno },
    /// There is no thread to enter it with.
    #[error("cannot start a thread for the pod's network namespace: check the limits of processes and memory")]
    Thread { source: std::io::Error },
    /// The work inside did not come to an end of its own.
    #[error("the work inside the pod's network namespace broke off: this is a defect, please report it")]
    Panicked,
}

/// What keeps a network namespace from being made (man 2 unshare), and what to do.
fn making(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM => {
            "this process needs CAP_SYS_ADMIN: run it as root, in a container with the capabilities SYS_ADMIN and NET_ADMIN (securityContext.capabilities.add)"
        }
        Errno::ENOSPC => "there may be no more of them: raise the sysctl user.max_net_namespaces",
        _ => "check that the kernel has network namespaces (CONFIG_NET_NS)",
    }
}

impl Classify for NetnsError {
    fn error_type(&self) -> ErrorType {
        match self {
            NetnsError::Missing { .. } => ErrorType::NetnsMissing,
            NetnsError::NotNamespace { .. } | NetnsError::NotNetwork { .. } => ErrorType::NetnsInvalid,
            NetnsError::Host { .. } => ErrorType::NetnsHost,
            NetnsError::HostUnknown { .. } => ErrorType::PermissionDenied,
            NetnsError::Open { source, .. } | NetnsError::Enter { source } | NetnsError::Make { source } => {
                match source {
                    Errno::EPERM | Errno::EACCES => ErrorType::PermissionDenied,
                    _ => ErrorType::NetnsInvalid,
                }
            }
            NetnsError::Thread { .. } => ErrorType::Io,
            NetnsError::Panicked => ErrorType::Internal,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, NetnsError::Thread { .. })
    }

    fn code(&self) -> u32 {
        if matches!(self, NetnsError::Host { .. }) { CODE_NETNS } else { CODE_ISTIO }
    }
}

impl OwnNamespace {
    /// Allowed where this is true.
    pub fn allowed_if(allowed: bool) -> OwnNamespace {
        if allowed { OwnNamespace::Allowed } else { OwnNamespace::Refused }
    }
}

/// Opens the network namespace at `path` and makes sure that it is one, and whose.
pub fn open(path: &Path, own: OwnNamespace) -> Result<OwnedFd, NetnsError> {
    // Without O_NONBLOCK a FIFO at that path would hold us up for ever.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let fd = open_file(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => NetnsError::Missing { path: path.to_owned() },
        source => NetnsError::Open { path: path.to_owned(), source },
    })?;
    check(fd.as_fd(), path, own)?;
    Ok(fd)
}

/// Makes sure that an open descriptor is a network namespace, and whose. `path` is for messages.
pub fn check(netns: BorrowedFd<'_>, path: &Path, own: OwnNamespace) -> Result<(), NetnsError> {
    let unusable = |source| NetnsError::Open { path: path.to_owned(), source };
    let kind = fstatfs(netns).map_err(unusable)?.filesystem_type();
    // Before Linux 3.19 namespaces were files of procfs itself.
    if kind != NSFS_MAGIC && kind != PROC_SUPER_MAGIC {
        // A runtime that removed the sandbox leaves the plain file over which the namespace was mounted.
        return Err(NetnsError::NotNamespace { path: path.to_owned() });
    }
    // SAFETY: NS_GET_NSTYPE takes no argument and only reads (man 2 ioctl_nsfs).
    match unsafe { ns_get_nstype(netns.as_raw_fd()) } {
        Ok(kind) if kind == CloneFlags::CLONE_NEWNET.bits() => {}
        Ok(_) => return Err(NetnsError::NotNetwork { path: path.to_owned() }),
        // Not a namespace file of procfs, or a kernel before 4.11: entering will tell.
        Err(_) if kind == NSFS_MAGIC => {}
        Err(_) => return Err(NetnsError::NotNamespace { path: path.to_owned() }),
    }
    if own == OwnNamespace::Refused && is_own(netns, path)? {
        return Err(NetnsError::Host { path: path.to_owned() });
    }
    Ok(())
}

/// Whether it is this process' namespace or the first process', where there is one to be seen.
fn is_own(netns: BorrowedFd<'_>, path: &Path) -> Result<bool, NetnsError> {
    let unusable = |source| NetnsError::Open { path: path.to_owned(), source };
    let this = fstat(netns).map_err(unusable)?;
    let is_it = |other: &FileStat| (other.st_dev, other.st_ino) == (this.st_dev, this.st_ino);
    if stat("/proc/self/ns/net").is_ok_and(|own| is_it(&own)) {
        return Ok(true);
    }
    match stat("/proc/1/ns/net") {
        Ok(first) => Ok(is_it(&first)),
        Err(Errno::ENOENT | Errno::ESRCH | Errno::ENOTDIR) => Ok(false),
        Err(source) => {
            let unknown = |_| NetnsError::HostUnknown { path: path.to_owned(), source };
            let first = mark(Path::new("/proc/1")).map_err(unknown)?;
            if mark(Path::new("/proc/self")) == Ok(first) {
                return Ok(false);
            }
            Ok(mark_of(netns)?.map_err(unknown)? == first)
        }
    }
}

/// A number that the network namespace of this process (`/proc/17`) has and no other one. Unlike the
/// namespace's own file, anybody may read it: it is the inode of a file about the network, and the
/// kernel makes those for each namespace anew.
pub fn mark(process: &Path) -> Result<u64, Errno> {
    stat(&process.join("net/dev")).map(|found| found.st_ino)
}

/// The mark of an open namespace, which is entered for it.
pub fn mark_of(netns: BorrowedFd<'_>) -> Result<Result<u64, Errno>, NetnsError> {
    enter(netns, || mark(Path::new("/proc/thread-self")))
}

/// Runs `work` on a fresh thread inside the namespace, and waits for it.
pub fn enter<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    on_fresh_thread(|| {
        enter_for_good(netns)?;
        Ok(work())
    })?
}

/// Moves the calling thread into the namespace for good: it must end with the work it does there.
pub fn enter_for_good(netns: BorrowedFd<'_>) -> Result<(), NetnsError> {
    set_namespace(netns).map_err(|source| NetnsError::Enter { source })
}

/// Runs `work` on a fresh thread in a new, empty network namespace that ends with it.
pub fn enter_scratch<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    on_fresh_thread(|| {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).map_err(|source| NetnsError::Make { source })?;
        Ok(work())
    })?
}

fn on_fresh_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|source| NetnsError::Thread { source })?;
        thread.join().map_err(|_| NetnsError::Panicked)
    })
}

#[expect(clippy::disallowed_methods, reason = "the one place that enters a namespace, on a thread that ends there")]
fn set_namespace(netns: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::sched::setns(netns, CloneFlags::CLONE_NEWNET)
}

nix::ioctl_none_bad!(ns_get_nstype, libc::NS_GET_NSTYPE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_make_or_enter_a_namespace_is_told_what_it_takes() {
        let enter = NetnsError::Enter { source: Errno::EPERM }.to_string();
        let make = NetnsError::Make { source: Errno::EPERM }.to_string();
        for message in [enter, make] {
            assert!(message.contains("this process needs CAP_SYS_ADMIN: run it as root"), "{message}");
            assert!(message.contains("with the capabilities SYS_ADMIN and NET_ADMIN"), "{message}");
        }
        assert_eq!(NetnsError::Make { source: Errno::EPERM }.error_type(), ErrorType::PermissionDenied);
        assert!(NetnsError::Make { source: Errno::ENOSPC }.to_string().contains("user.max_net_namespaces"));
    }
}
