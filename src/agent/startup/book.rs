//! Who was told: in memory, and in a file of the run directory for the next agent.

use super::Pod;
use super::schedule::Named;
use crate::domain::startup::{Outcome, Scope};
use crate::host::atomic_file::{self, Permissions};
use crate::host::file_error::FileError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file's name in the run directory.
const FILE: &str = "startups";
/// Ten thousand pods are half of this.
const MOST: u64 = 1 << 20;
/// The words of the file.
const SCOPE: &str = "scope";
const TOLD: &str = "told";
const LATE: &str = "late";

/// The pods by their UIDs.
pub struct Book {
    path: PathBuf,
    scope: Scope,
    limit: Duration,
    /// Whether an agent before told all pods of this scope that started in its time. Else those that are
    /// there already are told only if they started lately.
    continued: bool,
    /// Whether all pods of the node were seen.
    listed: bool,
    changed: bool,
    /// Whether it cannot be written, and that was said.
    failing: bool,
    pods: BTreeMap<String, Entry>,
}

struct Entry {
    stage: Stage,
    /// Whether the watch knows the pod; a file may be of a time long ago.
    seen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It starts.
    Open,
    /// Its start is over, or has taken too long, and is about to be told.
    Waiting,
    /// The same, of a pod that is gone.
    Leaving,
    Told,
    /// It was told that it is late, and not what came of it.
    Late,
}

/// What is to be done about a pod.
#[derive(Debug)]
pub enum News {
    /// It starts; so long it may take still.
    Begun { pod: Named, left: Duration },
    /// Its start is over.
    Over { pod: Pod, outcome: Outcome },
    /// What came of one that was late.
    AfterAll { pod: Pod, outcome: Outcome },
    /// All pods were seen; nothing but to write it down.
    Listed,
}

/// Nobody was told.
pub fn forget_all(run_dir: &Path) {
    // Where it cannot be removed, or is none, the next agent reads what there is.
    let _ = atomic_file::remove(&run_dir.join(FILE));
}

impl Book {
    /// What an agent before wrote down. What is no such file is as good as none.
    pub fn read(run_dir: &Path, scope: Scope, limit: Duration) -> Book {
        let path = run_dir.join(FILE);
        let bytes = atomic_file::read_bounded(&path, MOST).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let before = lines.next().and_then(|line| line.strip_prefix(SCOPE)).map(str::trim);
        // Of those whose starts were nobody's business before, nothing is known.
        let continued = before == Some(scope.name()) || before == Some(Scope::All.name());
        let mut pods = BTreeMap::new();
        for line in lines.filter(|_| before.is_some()) {
            let stage = match line.split_once(' ') {
                Some((_, TOLD)) => Stage::Told,
                Some((_, LATE)) => Stage::Late,
                _ => continue,
            };
            let uid = line.split(' ').next().unwrap_or_default();
            pods.insert(uid.to_owned(), Entry { stage, seen: false });
        }
        Book { path, scope, limit, continued, listed: false, changed: false, failing: false, pods }
    }

    /// The watch knows this pod, as it is now (nanoseconds since the epoch).
    pub fn look(&mut self, pod: &Pod, now_ns: u64) -> Option<News> {
        let outcome = Outcome::of(pod);
        let Some(entry) = self.pods.get_mut(&pod.uid) else { return self.begin(pod, outcome, now_ns) };
        entry.seen = true;
        match (entry.stage, outcome) {
            (Stage::Open, Some(outcome)) => {
                entry.stage = Stage::Waiting;
                Some(News::Over { pod: pod.clone(), outcome })
            }
            (Stage::Late, Some(outcome)) => {
                (entry.stage, self.changed) = (Stage::Told, true);
                Some(News::AfterAll { pod: pod.clone(), outcome })
            }
            _ => None,
        }
    }

    fn begin(&mut self, pod: &Pod, outcome: Option<Outcome>, now_ns: u64) -> Option<News> {
        // The kubelet's clock is ours; that of the API server may be another.
        let age = pod.status.life.started_ns.map(|since| Duration::from_nanos(now_ns.saturating_sub(since)));
        let age = age.filter(|_| !self.listed).unwrap_or_default();
        let mut enter = |stage| self.pods.insert(pod.uid.clone(), Entry { stage, seen: true });
        if age >= self.limit && !self.continued {
            // It started before there was anybody to tell it.
            enter(Stage::Told);
            self.changed = true;
            return None;
        }
        if let Some(outcome) = outcome {
            enter(Stage::Waiting);
            return Some(News::Over { pod: pod.clone(), outcome });
        }
        enter(Stage::Open);
        let named = Named { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() };
        Some(News::Begun { pod: named, left: self.limit.saturating_sub(age) })
    }

    /// The pod is gone.
    pub fn gone(&mut self, pod: &Pod) -> Option<News> {
        let entry = self.pods.get_mut(&pod.uid)?;
        match entry.stage {
            Stage::Open => {
                entry.stage = Stage::Leaving;
                let outcome = Outcome::of(pod).unwrap_or(Outcome::Deleted);
                Some(News::Over { pod: pod.clone(), outcome })
            }
            Stage::Waiting | Stage::Leaving => {
                entry.stage = Stage::Leaving;
                None
            }
            Stage::Told | Stage::Late => {
                let late = entry.stage == Stage::Late;
                self.pods.remove(&pod.uid);
                self.changed = true;
                late.then(|| News::AfterAll { pod: pod.clone(), outcome: Outcome::Deleted })
            }
        }
    }

    /// All pods were seen; the others are gone.
    pub fn listed(&mut self) -> News {
        (self.listed, self.changed) = (true, true);
        self.pods.retain(|_, entry| entry.seen);
        News::Listed
    }

    /// Whether a pod still starts; from now on it is about to be told.
    pub fn is_late(&mut self, uid: &str) -> bool {
        let Some(entry) = self.pods.get_mut(uid).filter(|entry| entry.stage == Stage::Open) else { return false };
        entry.stage = Stage::Waiting;
        true
    }

    /// The pod's start was told.
    pub fn told(&mut self, uid: &str, outcome: Outcome) {
        self.changed = true;
        let Some(entry) = self.pods.get_mut(uid) else { return };
        match entry.stage {
            Stage::Leaving => _ = self.pods.remove(uid),
            _ if outcome == Outcome::Late => entry.stage = Stage::Late,
            _ => entry.stage = Stage::Told,
        }
    }

    /// Writes the file, whenever it is called, as it would be now; nothing if it is so already, or if it
    /// is not known yet who is there.
    pub fn writing(&mut self) -> Option<impl FnOnce() -> Result<(), FileError> + Send + 'static> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let path = self.path.clone();
        // Until all were seen it is not all of this scope that was told.
        let mut text = match self.listed || self.continued {
            true => format!("{SCOPE} {}\n", self.scope.name()),
            false => format!("{SCOPE} {}\n", Scope::Off.name()),
        };
        for (uid, entry) in &self.pods {
            let word = match entry.stage {
                Stage::Told => TOLD,
                Stage::Late => LATE,
                Stage::Open | Stage::Waiting | Stage::Leaving => continue,
            };
            text.push_str(&format!("{uid} {word}\n"));
        }
        Some(move || atomic_file::replace(&path, text.as_bytes(), &Permissions::Mode(0o600)))
    }

    /// It could not be written; whether that is news.
    pub fn failed(&mut self) -> bool {
        !std::mem::replace(&mut self.failing, true)
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
