//! The namespace that a record names, if it is still that one.

use super::identity::NetnsId;
use super::own::Own;
use super::record::Record;
use crate::host::netns::{OwnNamespace, check, enter, open};
use crate::host::routing::Routing;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open as open_file, openat2};
use nix::sys::stat::Mode;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Opens it; None when it is not there, cannot be reached from here, is another one by now or one of the
/// `own` ones.
pub fn open_recorded(record: &Record, addresses: &[IpAddr], proc: &Path, own: &Own) -> Option<OwnedFd> {
    let of_process = record.netns.strip_prefix("/proc").ok();
    let ways: [&dyn Fn() -> Option<OwnedFd>; 2] = [
        &|| open(&record.netns, OwnNamespace::Refused).ok(),
        // In the agent's pod the runtime's directory may not be mounted.
        &|| match of_process {
            Some(rest) => open(&proc.join(rest), OwnNamespace::Refused).ok(),
            None => below_root(&proc.join("1/root"), &record.netns),
        },
    ];
    let is_it = |netns: &OwnedFd| {
        let same = NetnsId::of(netns.as_fd()).is_ok_and(|id| id == record.id && !own.has(netns, id));
        // The inode of a namespace that has ended is given to another one, and so are paths: runtimes
        // number them, or they are those of a process.
        same && match of_process {
            None => addresses.is_empty() || holds(netns, addresses),
            Some(_) => holds(netns, addresses),
        }
    };
    ways.into_iter().find_map(|open| open().filter(is_it))
}

/// Opens a path as the host's first process sees it. Its absolute links, such as `/var/run`, lead to
/// its root and not to ours.
fn below_root(root: &Path, path: &Path) -> Option<OwnedFd> {
    let root = open_file(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let netns = openat2(&root, path, how).ok()?;
    check(netns.as_fd(), path, OwnNamespace::Refused).is_ok().then_some(netns)
}

fn holds(netns: &OwnedFd, addresses: &[IpAddr]) -> bool {
    let found = enter(netns.as_fd(), || Routing::open()?.addresses());
    matches!(found, Ok(Ok(found)) if found.iter().any(|address| addresses.contains(address)))
}
