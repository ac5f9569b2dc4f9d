//! What the runtime said at ADD of a pod's network namespace, in one small file per pod below the run
//! directory: whoever did the work writes it, so that an agent that starts later knows, too.
//!
//! A record is a hint and nothing more: it is believed only where the path still leads to the
//! namespace with the same identity. So nothing waits for it to reach a disk; a node that loses its
//! power loses its pods' namespaces with it.

use super::identity::NetnsId;
use crate::domain::outbound::{Outbound, OwnerGroups};
use crate::domain::request::Request;
use crate::host::atomic_file::read_bounded;
use crate::host::file_error::FileError;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The directory's name in the run directory.
const DIRECTORY: &str = "netns";
/// The longest record; a usual one has 300 bytes.
const LONGEST: u64 = 16 << 10;
/// The most records; a node has fewer pods.
const MOST: usize = 4096;
/// A younger record may be of a pod that the watch is about to bring.
const YOUNG: Duration = Duration::from_secs(120);

/// A pod's namespace as it was at its ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The pod's UID in the API.
    pub pod: String,
    /// The sandbox' container id, `CNI_CONTAINERID`.
    pub container: String,
    /// The namespace's path on the host, `CNI_NETNS`.
    pub netns: PathBuf,
    /// Which namespace was there.
    pub id: NetnsId,
    /// What the node said about outbound traffic.
    pub outbound: Outbound,
}

impl Record {
    /// What a successful ADD says of its pod's namespace. Nothing is recorded of the host's own, nor of
    /// a path that leads nowhere from elsewhere.
    pub fn of_add(request: &Request, pod: &str, netns: &impl AsFd) -> Option<Record> {
        let path = PathBuf::from(&request.netns);
        if request.own_netns || !path.is_absolute() {
            return None;
        }
        Some(Record {
            pod: pod.to_owned(),
            container: request.container_id.clone(),
            netns: path,
            id: NetnsId::of(netns.as_fd()).ok()?,
            outbound: request.outbound.clone().ok()?,
        })
    }
}

/// A record that could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file or its directory.
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot write the record {} of a pod's network namespace", .path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Something else is in it.
    #[error("{} is no record of a pod's network namespace", .path.display())]
    Garbage { path: PathBuf, source: serde_json::Error },
    /// It is another pod's.
    #[error("{} is the record of the pod with UID {pod:?}", .path.display())]
    OtherPod { path: PathBuf, pod: String },
    #[error("{} has more than {MOST} records of pods' network namespaces already", .directory.display())]
    TooMany { directory: PathBuf },
}

impl RecordError {
    /// Whether what is there will never be the pod's record.
    pub fn is_no_record(&self) -> bool {
        let no_file = |error: &FileError| {
            matches!(error, FileError::NoFile { .. } | FileError::TooLarge { .. } | FileError::Link { .. })
        };
        match self {
            RecordError::Garbage { .. } | RecordError::OtherPod { .. } => true,
            RecordError::File(error) => no_file(error),
            RecordError::Write { .. } | RecordError::TooMany { .. } => false,
        }
    }
}

/// The records of a node.
#[derive(Clone, Debug)]
pub struct Records {
    directory: PathBuf,
}

impl Records {
    /// Those below a run directory.
    pub fn new(run_dir: &Path) -> Records {
        Records { directory: run_dir.join(DIRECTORY) }
    }

    /// Keeps a record, in place of whatever the pod had. One with a UID that is no name is left out.
    pub fn keep(&self, record: &Record) -> Result<(), RecordError> {
        let Some(path) = self.path(&record.pod) else { return Ok(()) };
        let failed = |source| RecordError::Write { path: path.clone(), source };
        match std::fs::read_dir(&self.directory) {
            Ok(entries) => {
                if entries.take(MOST).count() == MOST {
                    return Err(RecordError::TooMany { directory: self.directory.clone() });
                }
            }
            Err(_) => DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(failed)?,
        }
        let content = serde_json::to_vec(&Stored::from(record)).map_err(|error| failed(error.into()))?;
        let beside = self.directory.join(format!(".{}-{}", record.pod, std::process::id()));
        let written = write_new(&beside, &content).and_then(|()| std::fs::rename(&beside, &path));
        written.map_err(|source| {
            // What cannot be removed is swept by the agent.
            let _ = std::fs::remove_file(&beside);
            failed(source)
        })
    }

    /// The record of a pod, if there is one.
    pub fn of(&self, pod: &str) -> Result<Option<Record>, RecordError> {
        let Some(path) = self.path(pod) else { return Ok(None) };
        let content = match read_bounded(&path, LONGEST) {
            Ok(content) => content,
            Err(error) if !path.exists() => return if path.is_symlink() { Err(error.into()) } else { Ok(None) },
            Err(error) => return Err(error.into()),
        };
        let stored: Stored =
            serde_json::from_slice(&content).map_err(|source| RecordError::Garbage { path: path.clone(), source })?;
        let record = Record::from(stored);
        if record.pod != pod {
            return Err(RecordError::OtherPod { path, pod: record.pod });
        }
        Ok(Some(record))
    }

    /// Removes the record of a pod's sandbox that goes; a later sandbox of the pod keeps its own. Says
    /// whether there was one.
    pub fn forget(&self, pod: &str, container: &str) -> bool {
        let same = matches!(self.of(pod), Ok(Some(record)) if record.container == container);
        same && self.discard(pod)
    }

    /// Removes whatever is in the place of a pod's record.
    pub fn discard(&self, pod: &str) -> bool {
        self.path(pod).is_some_and(|path| std::fs::remove_file(path).is_ok())
    }

    /// Removes the records of pods that are gone, and what killed writers left; says how many.
    pub fn sweep(&self, here: impl Fn(&str) -> bool) -> usize {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return 0 };
        let old = |entry: &std::fs::DirEntry| {
            let age = entry.metadata().and_then(|found| found.modified()).ok();
            age.is_none_or(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age >= YOUNG))
        };
        let gone = |entry: &std::fs::DirEntry| !entry.file_name().to_str().is_some_and(&here) && old(entry);
        entries.flatten().filter(gone).filter(|entry| std::fs::remove_file(entry.path()).is_ok()).count()
    }

    /// Where a pod's record is; None for a UID that cannot be a file's name.
    fn path(&self, pod: &str) -> Option<PathBuf> {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (!pod.is_empty() && pod.len() <= 128 && pod.bytes().all(name)).then(|| self.directory.join(pod))
    }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)
}

/// The file's content.
#[derive(Deserialize, Serialize)]
struct Stored {
    pod: String,
    container: String,
    netns: PathBuf,
    device: u64,
    inode: u64,
    /// The groups whose traffic is captured, where not all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups_excluded: Vec<u32>,
    #[serde(with = "as_text")]
    loopback: Ipv4Net,
}

/// A range as people write it.
mod as_text {
    use ipnet::Ipv4Net;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(range: &Ipv4Net, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(range)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ipv4Net, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl From<&Record> for Stored {
    fn from(record: &Record) -> Stored {
        let Record { pod, container, netns, id, outbound } = record.clone();
        let (groups, groups_excluded) = match outbound.groups {
            OwnerGroups::Only(groups) => (Some(groups), Vec::new()),
            OwnerGroups::AllBut(excluded) => (None, excluded),
        };
        let NetnsId { device, inode } = id;
        Stored { pod, container, netns, device, inode, groups, groups_excluded, loopback: outbound.loopback }
    }
}

impl From<Stored> for Record {
    fn from(stored: Stored) -> Record {
        let Stored { pod, container, netns, device, inode, groups, groups_excluded, loopback } = stored;
        let groups = groups.map_or(OwnerGroups::AllBut(groups_excluded), OwnerGroups::Only);
        Record { pod, container, netns, id: NetnsId { device, inode }, outbound: Outbound { groups, loopback } }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
