//! Who was told: in memory, and in a file of the run directory for the next agent.

use super::Pod;
use super::schedule::Named;
use crate::domain::startup::{Outcome, Scope, was_ready};
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
const OPEN: &str = "open";

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
    /// What the next agent is to know: what was told and is in nobody's memory alone any more.
    saved: Saved,
    /// Whether the watch knows the pod; a file may be of a time long ago.
    seen: bool,
    namespace: String,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It was starting when the agent before ended.
    Before,
    /// It starts.
    Open,
    /// It has taken too long, as far as the watch knows; the API server is being asked.
    Asked,
    /// Its start is over, and is about to be told.
    Waiting,
    /// The same, of a pod that is gone.
    Leaving,
    Told,
    /// It was told that it is late, and not what came of it.
    Late,
    /// Told and gone; it is kept until that is saved.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Saved {
    Open,
    Late,
    Told,
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
    /// It is gone since the agent before ended, which had seen it start; whether it was told as late.
    Vanished { pod: Named, late: bool },
    /// Nothing but to write it down.
    Noted,
}

/// Nobody was told.
pub fn forget_all(run_dir: &Path) {
    // Where it cannot be removed, or is none, the next agent reads what there is.
    let _ = atomic_file::remove(&run_dir.join(FILE));
}

/// What a pod's start came to, also if it is seen only after that.
fn came_to(pod: &Pod) -> Option<Outcome> {
    Outcome::of(pod).or_else(|| was_ready(pod).then_some(Outcome::Ready))
}

impl Entry {
    fn of(pod: &Pod, stage: Stage) -> Entry {
        let saved = if stage == Stage::Told { Saved::Told } else { Saved::Open };
        Entry { stage, saved, seen: true, namespace: pod.namespace.clone(), name: pod.name.clone() }
    }

    /// A line of the file: `UID told`, `UID late NAMESPACE/NAME` or `UID open NAMESPACE/NAME`.
    fn read(line: &str) -> Option<(String, Entry)> {
        let mut words = line.split(' ');
        let (uid, word, names) = (words.next()?, words.next()?, words.next());
        let (stage, saved) = match word {
            TOLD => (Stage::Told, Saved::Told),
            LATE => (Stage::Late, Saved::Late),
            OPEN => (Stage::Before, Saved::Open),
            _ => return None,
        };
        let (namespace, name) = names.and_then(|names| names.split_once('/')).unwrap_or_default();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Some((uid.to_owned(), Entry { stage, saved, seen: false, namespace, name }))
    }

    fn line(&self, uid: &str) -> String {
        let word = match self.saved {
            Saved::Told => return format!("{uid} {TOLD}\n"),
            Saved::Late => LATE,
            Saved::Open => OPEN,
        };
        format!("{uid} {word} {}/{}\n", self.namespace, self.name)
    }
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
        let pods = lines.filter(|_| before.is_some()).filter_map(Entry::read).collect();
        Book { path, scope, limit, continued, listed: false, changed: false, failing: false, pods }
    }

    /// The watch knows this pod, as it is now (nanoseconds since the epoch).
    pub fn look(&mut self, pod: &Pod, now_ns: u64) -> Option<News> {
        let stage = self.pods.get_mut(&pod.uid).map(|entry| {
            entry.seen = true;
            entry.stage
        });
        match (stage, came_to(pod)) {
            (None, _) => self.begin(pod, Outcome::of(pod), now_ns),
            // The agent before has seen it start.
            (Some(Stage::Before), outcome) => self.begin(pod, outcome, now_ns),
            (Some(Stage::Open | Stage::Asked), Some(outcome)) => {
                self.enter(pod, Stage::Waiting);
                Some(News::Over { pod: pod.clone(), outcome })
            }
            (Some(Stage::Late), Some(outcome)) => {
                self.enter(pod, Stage::Told);
                Some(News::AfterAll { pod: pod.clone(), outcome })
            }
            _ => None,
        }
    }

    /// The pod is at this stage; what is saved of it stays.
    fn enter(&mut self, pod: &Pod, stage: Stage) {
        match self.pods.get_mut(&pod.uid) {
            Some(entry) => entry.stage = stage,
            None => _ = self.pods.insert(pod.uid.clone(), Entry::of(pod, stage)),
        }
        self.changed = true;
    }

    fn begin(&mut self, pod: &Pod, outcome: Option<Outcome>, now_ns: u64) -> Option<News> {
        // The kubelet's clock is ours; that of the API server may be another.
        let age = pod.status.life.started_ns.map(|since| Duration::from_nanos(now_ns.saturating_sub(since)));
        let age = age.filter(|_| !self.listed).unwrap_or_default();
        let known = self.pods.contains_key(&pod.uid);
        // It started before there was anybody to tell it; or nobody saw it start, and it is over.
        if !known && ((age >= self.limit && !self.continued) || (outcome.is_none() && was_ready(pod))) {
            self.enter(pod, Stage::Told);
            return None;
        }
        if let Some(outcome) = outcome {
            self.enter(pod, Stage::Waiting);
            return Some(News::Over { pod: pod.clone(), outcome });
        }
        self.enter(pod, Stage::Open);
        Some(News::Begun { pod: Named::of(pod), left: self.limit.saturating_sub(age) })
    }

    /// The pod is gone.
    pub fn gone(&mut self, pod: &Pod) -> Option<News> {
        let entry = self.pods.get_mut(&pod.uid)?;
        let outcome = came_to(pod).unwrap_or(Outcome::Deleted);
        self.changed = true;
        match entry.stage {
            Stage::Before | Stage::Open | Stage::Asked => {
                entry.stage = Stage::Leaving;
                Some(News::Over { pod: pod.clone(), outcome })
            }
            Stage::Waiting | Stage::Leaving => {
                entry.stage = Stage::Leaving;
                None
            }
            Stage::Late => {
                entry.stage = Stage::Gone;
                Some(News::AfterAll { pod: pod.clone(), outcome })
            }
            Stage::Told | Stage::Gone => {
                entry.stage = Stage::Gone;
                if entry.saved == Saved::Told {
                    self.pods.remove(&pod.uid);
                }
                None
            }
        }
    }

    /// All pods were seen; the others are gone. Those of them that the agent before had not told to their ends.
    pub fn listed(&mut self) -> Vec<News> {
        (self.listed, self.changed) = (true, true);
        let mut vanished = Vec::new();
        self.pods.retain(|uid, entry| {
            let (stage, Entry { namespace, name, .. }) = (entry.stage, &*entry);
            let untold = !entry.seen && !name.is_empty() && matches!(stage, Stage::Before | Stage::Late);
            if untold {
                let pod = Named { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() };
                vanished.push(News::Vanished { pod, late: stage == Stage::Late });
                (entry.seen, entry.stage) = (true, Stage::Gone);
            }
            entry.seen
        });
        vanished.push(News::Noted);
        vanished
    }

    /// Whether a pod still starts, so that the API server is to be asked whether it is late.
    pub fn asks(&mut self, uid: &str) -> bool {
        self.moves(uid, Stage::Open, Stage::Asked)
    }

    /// It is not late, or that cannot be found out now. Whether it still starts.
    pub fn is_not_late(&mut self, uid: &str) -> bool {
        self.moves(uid, Stage::Asked, Stage::Open)
    }

    /// It is late, and is told so, unless something was heard of it meanwhile.
    pub fn is_late(&mut self, uid: &str) -> bool {
        self.moves(uid, Stage::Asked, Stage::Late)
    }

    fn moves(&mut self, uid: &str, from: Stage, to: Stage) -> bool {
        let entry = self.pods.get_mut(uid).filter(|entry| entry.stage == from);
        entry.map(|entry| entry.stage = to).is_some()
    }

    /// The pod's start was told, and not as late.
    pub fn told(&mut self, uid: &str) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.stage = if entry.stage == Stage::Leaving { Stage::Gone } else { Stage::Told };
    }

    /// What was told of the pod is in this process' memory alone no more.
    pub fn arrived(&mut self, uid: &str, outcome: Outcome) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.saved = entry.saved.max(if outcome == Outcome::Late { Saved::Late } else { Saved::Told });
        self.changed = true;
        if entry.stage == Stage::Gone && entry.saved == Saved::Told {
            self.pods.remove(uid);
        }
    }

    /// Whether there is something to write.
    pub fn has_changed(&self) -> bool {
        self.changed
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
        self.pods.iter().for_each(|(uid, entry)| text.push_str(&entry.line(uid)));
        Some(move || atomic_file::replace(&path, text.as_bytes(), &Permissions::Mode(0o600)))
    }

    /// It was written.
    pub fn written(&mut self) {
        self.failing = false;
    }

    /// It could not be written, and is to be tried again; whether that is news.
    pub fn failed(&mut self) -> bool {
        self.changed = true;
        !std::mem::replace(&mut self.failing, true)
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
