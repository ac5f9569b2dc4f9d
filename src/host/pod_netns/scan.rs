//! One look at the network namespaces of every process of the host: each is entered once, and its
//! addresses are read. Processes that end meanwhile are no error.

use super::identity::NetnsId;
use super::own::Own;
use super::process::Process;
use crate::domain::failure::whole;
use crate::host::netns::{NetnsError, OwnNamespace, enter, open};
use crate::host::routing::Routing;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// What was seen.
#[derive(Debug)]
pub struct Scan {
    /// When it began: what happened before is in it.
    pub began: Instant,
    /// The namespaces other than the host's and the agent's own.
    pub namespaces: Vec<Seen>,
    /// How many could not be looked into, and why the first could not.
    pub refused: usize,
    pub refusal: Option<io::Error>,
    /// Whether it was given up before its end.
    pub cut: bool,
}

/// A network namespace with processes in it.
#[derive(Debug)]
pub struct Seen {
    pub id: NetnsId,
    /// In the order of `/proc`; never empty.
    pub processes: Vec<Process>,
    pub addresses: Vec<IpAddr>,
}

impl Scan {
    /// Looks at all processes below `proc` that are not in one of the `own` namespaces, for at most
    /// `limit`.
    pub fn run(proc: &Path, own: &Own, limit: Duration) -> io::Result<Scan> {
        let began = Instant::now();
        let deadline = began + limit;
        let mut scan = Scan { began, namespaces: Vec::new(), refused: 0, refusal: None, cut: false };
        let mut found: BTreeMap<NetnsId, Vec<Process>> = BTreeMap::new();
        // The first process is the host's own, and may be looked at by fewer than others.
        for process in processes(proc)?.filter(|process| process.pid != 1) {
            if Instant::now() >= deadline {
                scan.cut = true;
                break;
            }
            match process.netns_id().and_then(|id| Ok((id, own.has_process(&process, id)?))) {
                Ok((_, true)) => {}
                Ok((id, false)) => found.entry(id).or_default().push(process),
                Err(error) => scan.note(error),
            }
        }
        for (id, processes) in found {
            if Instant::now() >= deadline {
                scan.cut = true;
                break;
            }
            match look_inside(id, &processes) {
                Ok(Some(addresses)) => scan.namespaces.push(Seen { id, processes, addresses }),
                Ok(None) => {}
                Err(error) => scan.note(error),
            }
        }
        Ok(scan)
    }

    /// The namespaces that have one of these addresses.
    pub fn holding(&self, addresses: &[IpAddr]) -> impl Iterator<Item = &Seen> {
        self.namespaces.iter().filter(|seen| seen.addresses.iter().any(|address| addresses.contains(address)))
    }

    /// A process or a namespace could not be looked at: it has ended, or it may not be looked at.
    fn note(&mut self, error: io::Error) {
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR)) {
            self.refused += 1;
            self.refusal.get_or_insert(error);
        }
    }
}

/// The addresses in a namespace, entered through one of its processes; None when all have ended.
fn look_inside(id: NetnsId, processes: &[Process]) -> io::Result<Option<Vec<IpAddr>>> {
    for process in processes {
        let Some(netns) = reopen(process, id)? else { continue };
        let addresses = enter(netns.as_fd(), || Routing::open()?.addresses());
        return match addresses {
            Ok(Ok(addresses)) => Ok(Some(addresses)),
            Ok(Err(error)) => Err(io::Error::other(whole(&error))),
            Err(NetnsError::Enter { source }) => Err(source.into()),
            Err(error) => Err(io::Error::other(error)),
        };
    }
    Ok(None)
}

/// Opens a process' namespace, if it is still this one.
pub fn reopen(process: &Process, id: NetnsId) -> io::Result<Option<OwnedFd>> {
    match open(&process.netns(), OwnNamespace::Refused) {
        Ok(netns) => Ok((NetnsId::of(netns.as_fd())? == id).then_some(netns)),
        Err(NetnsError::Missing { .. } | NetnsError::Host { .. } | NetnsError::NotNamespace { .. }) => Ok(None),
        Err(NetnsError::Open { source: Errno::ESRCH, .. }) => Ok(None),
        Err(NetnsError::Open { source, .. }) => Err(source.into()),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn processes(proc: &Path) -> io::Result<impl Iterator<Item = Process>> {
    let pid = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<u32>().ok();
    Ok(std::fs::read_dir(proc)?.filter_map(pid).map(|pid| Process::of(proc, pid)))
}
