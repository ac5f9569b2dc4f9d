//! What `/proc` says of one process: which network namespace it is in, since when it runs, and
//! which pod its cgroup belongs to.

use super::identity::NetnsId;
use crate::host::netns::mark;
use std::io;
use std::path::{Path, PathBuf};

/// How many bytes of a file of `/proc` are read; the ones read here are much shorter.
const LONGEST: usize = 64 << 10;

/// A process in one listing of `/proc`; it may have ended since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Where it is: `/proc/17`.
    directory: PathBuf,
}

impl Process {
    /// The process with this number below a `/proc`.
    pub fn of(proc: &Path, pid: u32) -> Process {
        Process { pid, directory: proc.join(pid.to_string()) }
    }

    /// The file that stands for its network namespace.
    pub fn netns(&self) -> PathBuf {
        self.directory.join("ns/net")
    }

    /// The network namespace that it is in.
    pub fn netns_id(&self) -> io::Result<NetnsId> {
        NetnsId::at(&self.netns())
    }

    /// What tells that namespace from others where its id may not be looked at.
    pub fn mark(&self) -> io::Result<u64> {
        Ok(mark(&self.directory)?)
    }

    /// When it was started, in clock ticks since the machine was; None when that cannot be read.
    pub fn started(&self) -> Option<u64> {
        started(&self.read("stat")?)
    }

    /// The pod that its cgroup belongs to, as [`plain`] UID; None when that is not to be seen.
    pub fn pod(&self) -> Option<String> {
        pod_of_cgroup(&self.read("cgroup")?)
    }

    fn read(&self, file: &str) -> Option<String> {
        let bytes = std::fs::read(self.directory.join(file)).ok()?;
        // A command's name is whatever bytes its process likes.
        Some(String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(&bytes)).into_owned())
    }
}

/// A pod's UID without punctuation, in lower case: cgroups have dashes, underscores or neither.
pub fn plain(uid: &str) -> String {
    uid.chars().filter(|letter| !matches!(letter, '-' | '_')).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Field 22 of `/proc/PID/stat`. The name in field 2 may hold blanks and parentheses.
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The UID in a path such as `0::/kubepods.slice/kubepods-pod1b4e28ba_2fa1_11d2_883f_b9a761bde3fb.slice/x.scope`.
fn pod_of_cgroup(cgroup: &str) -> Option<String> {
    cgroup.lines().flat_map(|line| line.split('/')).find_map(|segment| {
        let segment = segment.strip_suffix(".slice").unwrap_or(segment);
        segment.match_indices("pod").map(|(at, word)| plain(&segment[at + word.len()..])).find(|uid| is_uid(uid))
    })
}

fn is_uid(plain: &str) -> bool {
    plain.len() == 32 && plain.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "1b4e28ba2fa111d2883fb9a761bde3fb";

    #[test]
    fn the_start_is_found_behind_any_name() {
        let stat = |name: &str| format!("17 ({name}) S 1 17 17 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 1 1");
        for name in ["pause", "a b", "evil) S 1 2", "((", ""] {
            assert_eq!(started(&stat(name)), Some(4711), "{name:?}");
        }
        for garbage in ["", "17", "17 (x)", "17 (x) S 1 2", &stat("x").replace("4711", "soon")] {
            assert_eq!(started(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn the_pod_is_found_in_the_cgroups_of_every_driver() {
        for cgroup in [
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1b4e28ba_2fa1_11d2_883f_b9a761bde3fb.slice/cri-containerd-12ab.scope\n",
            "0::/kubepods/besteffort/pod1b4e28ba-2fa1-11d2-883f-b9a761bde3fb/12ab\n",
            "0::/../../../kubepods-pod1B4E28BA_2FA1_11D2_883F_B9A761BDE3FB.slice/x\n",
            "12:cpu,cpuacct:/\n11:memory:/kubepods/pod1b4e28ba2fa111d2883fb9a761bde3fb/12ab\n0::/\n",
        ] {
            assert_eq!(pod_of_cgroup(cgroup).as_deref(), Some(UID), "{cgroup}");
        }
        for cgroup in ["", "0::/\n", "0::/system.slice/podman.service\n", "0::/kubepods.slice/kubepods-pod1234.slice\n"]
        {
            assert_eq!(pod_of_cgroup(cgroup), None, "{cgroup}");
        }
    }
}
