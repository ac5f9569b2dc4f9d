//! What makes a network namespace this one and no other: its file's device and inode.

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat, stat};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The device and inode of a namespace's file (man 7 namespaces). The kernel gives an inode to
/// another namespace once this one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId {
    pub device: u64,
    pub inode: u64,
}

impl NetnsId {
    /// That of the namespace at a path, which is followed to it.
    pub fn at(path: &Path) -> io::Result<NetnsId> {
        of(stat(path))
    }

    /// That of an open namespace.
    pub fn of(netns: BorrowedFd<'_>) -> io::Result<NetnsId> {
        of(fstat(netns))
    }
}

fn of(found: Result<FileStat, Errno>) -> io::Result<NetnsId> {
    let found = found?;
    Ok(NetnsId { device: found.st_dev, inode: found.st_ino })
}
