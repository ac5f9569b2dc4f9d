//! The namespaces that no pod can have: that of the host's first process, and this process' own. Where
//! it cannot be told which they are, there is nothing to be done for pods: rules in the host's would
//! redirect the whole node.

use super::identity::NetnsId;
use super::process::Process;
use crate::host::netns::{mark, mark_of};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// They, as far as they are to be seen.
#[derive(Debug)]
pub struct Own {
    ids: Vec<NetnsId>,
    /// That of the first process where its id may not be looked at.
    mark: Option<u64>,
}

impl Own {
    /// Asks a host's `/proc`. An error: the host's first process is there, and which namespace it is in
    /// may not be looked at in any way.
    pub fn of_host(proc: &Path) -> io::Result<Own> {
        let ids = ["/proc/1/ns/net", "/proc/self/ns/net"];
        let mut own =
            Own { ids: ids.into_iter().filter_map(|path| NetnsId::at(Path::new(path)).ok()).collect(), mark: None };
        match Process::of(proc, 1).netns_id() {
            Ok(id) => own.ids.push(id),
            Err(error) if is_gone(&error) => {}
            Err(error) => own.mark = Some(mark(&proc.join("1")).map_err(|_| error)?),
        }
        Ok(own)
    }

    /// Whether this process, in the namespace with this id, is in one of them.
    pub fn has_process(&self, process: &Process, id: NetnsId) -> io::Result<bool> {
        if self.ids.contains(&id) {
            return Ok(true);
        }
        let Some(first) = self.mark else { return Ok(false) };
        Ok(process.mark()? == first)
    }

    /// Whether an open namespace with this id is one of them; one that cannot be entered may be.
    pub fn has(&self, netns: &OwnedFd, id: NetnsId) -> bool {
        let is_first = |first| !matches!(mark_of(netns.as_fd()), Ok(Ok(mark)) if mark != first);
        self.ids.contains(&id) || self.mark.is_some_and(is_first)
    }
}

/// Whether nothing is there to be looked at.
fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::ENOENT, Errno::ESRCH, Errno::ENOTDIR];
    error.raw_os_error().is_some_and(|code| gone.contains(&Errno::from_raw(code)))
}
