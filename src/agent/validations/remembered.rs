//! Which runs were told: in memory, and in a file of the run directory for the next agent.

use crate::domain::identity::SpanId;
use crate::host::atomic_file::{self, Permissions};
use crate::host::file_error::FileError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The file's name in the run directory.
const FILE: &str = "validations";
/// Two runs each of a thousand pods are a fifth of this.
const MOST: u64 = 1 << 20;

/// The runs by their pods' UIDs.
pub struct Remembered {
    path: PathBuf,
    pods: BTreeMap<String, Runs>,
}

#[derive(Default)]
struct Runs {
    told: BTreeSet<[u8; 8]>,
    /// Those that somebody is about to tell.
    waiting: BTreeSet<[u8; 8]>,
    /// Whether the watch knows the pod; a file may be of a time long ago.
    seen: bool,
}

impl Remembered {
    /// What an agent before remembered. What is no line of such a file is passed over: the worst
    /// is that a run is told again.
    pub fn read(run_dir: &Path) -> Remembered {
        let path = run_dir.join(FILE);
        let bytes = atomic_file::read_bounded(&path, MOST).unwrap_or_default();
        let mut pods: BTreeMap<String, Runs> = BTreeMap::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            let mut words = line.split_ascii_whitespace();
            let Some(uid) = words.next() else { continue };
            let told: BTreeSet<_> = words.filter_map(SpanId::from_hex).map(|id| id.0).collect();
            if !told.is_empty() {
                pods.insert(uid.to_owned(), Runs { told, ..Runs::default() });
            }
        }
        Remembered { path, pods }
    }

    /// The watch knows this pod.
    pub fn see(&mut self, uid: &str) {
        if let Some(runs) = self.pods.get_mut(uid) {
            runs.seen = true;
        }
    }

    /// Whether there is anything to forget of this pod.
    pub fn has(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// Whether a run was told.
    #[cfg(test)]
    fn knows(&self, uid: &str, run: SpanId) -> bool {
        self.pods.get(uid).is_some_and(|runs| runs.told.contains(&run.0))
    }

    /// Whether a run was neither told nor waits to be; from now on it waits.
    pub fn wait(&mut self, uid: &str, run: SpanId) -> bool {
        let runs = self.pods.entry(uid.to_owned()).or_default();
        runs.seen = true;
        !runs.told.contains(&run.0) && runs.waiting.insert(run.0)
    }

    /// Whether a run is still to be told; from now on it was.
    pub fn tell(&mut self, uid: &str, run: SpanId) -> bool {
        let runs = self.pods.entry(uid.to_owned()).or_default();
        runs.seen = true;
        runs.waiting.remove(&run.0);
        runs.told.insert(run.0)
    }

    /// Of this pod, no other runs than these can come again.
    pub fn keep(&mut self, uid: &str, runs: &[SpanId]) {
        if let Some(known) = self.pods.get_mut(uid) {
            known.told.retain(|run| runs.contains(&SpanId(*run)));
        }
    }

    /// The pod is gone.
    pub fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    /// All pods were seen; the others are gone.
    pub fn forget_unseen(&mut self) {
        self.pods.retain(|_, runs| runs.seen);
    }

    /// Writes the file, whenever it is called, as it would be now.
    pub fn writing(&self) -> impl FnOnce() -> Result<(), FileError> + Send + 'static {
        let path = self.path.clone();
        let mut text = String::new();
        for (uid, runs) in &self.pods {
            text.push_str(uid);
            for run in &runs.told {
                text.push(' ');
                text.push_str(&SpanId(*run).to_hex());
            }
            text.push('\n');
        }
        move || atomic_file::replace(&path, text.as_bytes(), &Permissions::Mode(0o600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> SpanId {
        SpanId([byte; 8])
    }

    #[test]
    fn what_was_told_is_known_to_the_next_agent_too() {
        let directory = tempfile::tempdir().unwrap();
        let mut remembered = Remembered::read(directory.path());
        assert!(remembered.tell("u-1", id(1)) && remembered.tell("u-1", id(2)) && remembered.tell("u-2", id(3)));
        assert!(!remembered.tell("u-1", id(1)));
        remembered.writing()().unwrap();
        let mut next = Remembered::read(directory.path());
        assert!(next.knows("u-1", id(1)) && next.knows("u-1", id(2)) && !next.knows("u-2", id(1)));
        next.see("u-1");
        next.forget_unseen();
        assert!(!next.knows("u-2", id(3)), "its pod has gone meanwhile");
        next.keep("u-1", &[id(2)]);
        assert!(!next.knows("u-1", id(1)) && next.knows("u-1", id(2)));
        next.forget("u-1");
        assert!(!next.knows("u-1", id(2)));
    }

    #[test]
    fn a_run_that_waits_does_not_wait_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut remembered = Remembered::read(directory.path());
        assert!(remembered.wait("u-1", id(1)) && remembered.wait("u-1", id(2)) && remembered.wait("u-2", id(1)));
        assert!(!remembered.wait("u-1", id(1)));
        assert!(remembered.tell("u-1", id(1)));
        assert!(!remembered.wait("u-1", id(1)) && !remembered.wait("u-1", id(2)));
        remembered.writing()().unwrap();
        let mut next = Remembered::read(directory.path());
        assert!(next.knows("u-1", id(1)) && next.wait("u-1", id(2)), "what only waited is told by the next agent");
    }

    #[test]
    fn a_file_that_is_no_such_file_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["\u{0}\u{1}\n\n", "u-1\n", "u-1 xyz 00\n", "{\"a\": 1}\n"] {
            std::fs::write(directory.path().join(FILE), text).unwrap();
            assert!(Remembered::read(directory.path()).pods.is_empty(), "{text:?}");
        }
        std::fs::write(directory.path().join(FILE), format!("garbage\nu-1 {} junk\n", id(7).to_hex())).unwrap();
        assert!(Remembered::read(directory.path()).knows("u-1", id(7)));
    }
}
