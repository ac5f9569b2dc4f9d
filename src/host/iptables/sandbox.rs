//! What a tool's process changes about itself before it becomes the tool: it keeps the namespace's
//! lock, joins the user namespace that owns the pod's network namespace, and shuts out the host's
//! name services and lock.

use nix::sys::stat::fstat;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The surroundings of the tools for one namespace.
#[derive(Debug)]
pub struct Sandbox<'a> {
    /// The namespace's lock. A tool that outlives us keeps it until its own end, so that nobody
    /// works on what is half done.
    lock: BorrowedFd<'a>,
    /// Set when another user namespace than ours owns the network namespace (`hostUsers: false`).
    owner: Option<OwnedFd>,
}

impl<'a> Sandbox<'a> {
    /// The surroundings for the network namespace that the calling thread is in.
    pub fn of_current_namespace(lock: BorrowedFd<'a>) -> Sandbox<'a> {
        Sandbox { lock, owner: foreign_owner().unwrap_or_default() }
    }

    /// Whether another user namespace than ours owns the network namespace.
    pub fn is_foreign(&self) -> bool {
        self.owner.is_some()
    }

    /// Makes the command run in these surroundings.
    pub fn wrap(&self, command: &mut Command) {
        let owner = self.owner.as_ref().map(AsRawFd::as_raw_fd);
        let lock = self.lock.as_raw_fd();
        let enter = move || {
            keep_over_exec(lock)?;
            if let Some(owner) = owner {
                join_user_namespace(owner)?;
            }
            hide_host_files();
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made, on constants and copied
        // descriptors that outlive the spawn; nothing is allocated and no lock is taken.
        unsafe { command.pre_exec(enter) };
    }
}

/// In the tool's process alone: no other child of ours may inherit the lock.
fn keep_over_exec(descriptor: i32) -> io::Result<()> {
    // SAFETY: a plain system call on a number (man 2 fcntl).
    match unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The user namespace that owns the calling thread's network namespace, unless it is ours.
fn foreign_owner() -> io::Result<Option<OwnedFd>> {
    let netns = File::open("/proc/thread-self/ns/net")?;
    // SAFETY: NS_GET_USERNS takes no argument and returns a new descriptor (man 2 ioctl_nsfs).
    let owner = unsafe {
        let fd = ns_get_userns(netns.as_raw_fd())?;
        OwnedFd::from_raw_fd(fd)
    };
    let own = nix::sys::stat::stat("/proc/self/ns/user")?;
    let found = fstat(&owner)?;
    Ok(((own.st_dev, own.st_ino) != (found.st_dev, found.st_ino)).then_some(owner))
}

nix::ioctl_none_bad!(ns_get_userns, libc::NS_GET_USERNS);

/// The owner match is only accepted from a process of the owning user namespace.
fn join_user_namespace(owner: i32) -> io::Result<()> {
    // SAFETY: plain system calls on numbers (man 2 setns, setgroups, setresgid, setresuid); the
    // process is single-threaded after fork, as CLONE_NEWUSER asks.
    unsafe {
        if libc::setns(owner, libc::CLONE_NEWUSER) != 0 {
            return Err(io::Error::last_os_error());
        }
        // The user namespace may forbid setgroups; the groups of a host's root then do no harm.
        libc::setgroups(0, std::ptr::null());
        if libc::setresgid(0, 0, 0) != 0 || libc::setresuid(0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// In a mount namespace of its own the tool sees an empty name service configuration (its look-up
/// of numeric users must not wait for a directory server) and, where it is of a version before
/// 1.8.6, no host-wide lock. What cannot be hidden is used as it is.
fn hide_host_files() {
    // SAFETY: plain system calls on constant strings (man 2 unshare, mount).
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0 {
            return;
        }
        let nothing = std::ptr::null();
        let none = std::ptr::null();
        if libc::mount(nothing, c"/".as_ptr(), nothing, libc::MS_REC | libc::MS_PRIVATE, none) != 0
            && libc::mount(nothing, c"/".as_ptr(), nothing, libc::MS_REC | libc::MS_SLAVE, none) != 0
        {
            return;
        }
        libc::mount(c"/dev/null".as_ptr(), c"/etc/nsswitch.conf".as_ptr(), nothing, libc::MS_BIND, none);
        libc::mount(c"/dev/null".as_ptr(), c"/run/xtables.lock".as_ptr(), nothing, libc::MS_BIND, none);
    }
}
