//! The plugin's entry in the node's network configuration as a part of the installation.

use super::network_error::NetworkError;
use super::said::Said;
use crate::agent::config::install::InstallSettings;
use crate::domain::cni_files::{ConfFile, Decision, Placement, Reason as Fault, Removal, Skipped, Verdict, Write};
use crate::domain::failure::{Classify, whole};
use crate::domain::install::{Finding, Reason, Wrong};
use crate::domain::step::ErrorType;
use crate::host::atomic_file;
use crate::host::conf_dir::{ConfDir, ConfDirError};
use crate::host::file_error::FileError;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use crate::wire::conflist::{self, PluginEntry};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often an entry is put in anew because somebody else wrote the same file meanwhile.
const ATTEMPTS: u32 = 4;

/// The plugin in the node's network configuration.
pub struct Network {
    pub settings: InstallSettings,
    pub telemetry: Telemetry,
    pub known: Mutex<Known>,
}

/// What is known from looking before.
#[derive(Default)]
pub struct Known {
    /// The file in which the entry stood, with the entry.
    placed: Option<(String, PluginEntry)>,
    skipped: Said,
    warnings: Said,
}

/// A decision, with what it was made from.
struct Decided {
    files: Vec<ConfFile>,
    decision: Decision,
    /// The copy of an earlier installation, which was left out.
    copy: Option<ConfFile>,
}

impl Network {
    /// Looks whether the entry stands where it should.
    pub fn look(&self, entry: &PluginEntry) -> Finding {
        let Decided { decision, copy, .. } = match self.decide(entry) {
            Ok(decided) => decided,
            Err(error @ ConfDirError::Missing { .. }) => return Finding::Waiting(whole(&error)),
            Err(error) => return wrong(error.error_type(), whole(&error), false),
        };
        match decision.verdict {
            Verdict::Valid { file } => {
                self.known().placed = Some((file, entry.clone()));
                match (copy, decision.bypassed) {
                    (Some(copy), _) => wrong(ErrorType::InstallDrifted, Network::copy_is_in_the_way(&copy.name), false),
                    (None, bypassed) => bypassed.map_or(Finding::Right, Finding::Waiting),
                }
            }
            Verdict::Wait { sentence, .. } => Finding::Waiting(with_skipped(sentence, &decision.skipped)),
            Verdict::Write(write) => self.judge(&write, entry),
        }
    }

    /// What it means that something has to be written.
    fn judge(&self, write: &Write, entry: &PluginEntry) -> Finding {
        let known = self.known();
        let same_entry = known.placed.as_ref().is_some_and(|(_, placed)| placed == entry);
        match write.why {
            // The entry that stands there is the one that we put there.
            Fault::EntryDiffers if known.placed.is_some() && !same_entry => Finding::Stale(Reason::SettingsChanged),
            // The copy comes first, so pods still get the plugin, with the network as it was.
            Fault::PrimaryChanged if matches!(self.settings.placement, Placement::Owned { .. }) => {
                Finding::Stale(Reason::ConflistChanged)
            }
            fault => {
                let undone = matches!(fault, Fault::EntryDiffers | Fault::PrimaryChanged) || fault.is_revert();
                let reverted = known.placed.is_some() && undone;
                wrong(ErrorType::InstallDrifted, write.sentence.clone(), reverted)
            }
        }
    }

    /// Puts the entry where it should stand; gives the files that had to be changed.
    pub fn put(&self, entry: &PluginEntry) -> Result<Vec<String>, NetworkError> {
        atomic_file::sweep(&self.settings.net_dir);
        for _ in 1..ATTEMPTS {
            match self.put_once(entry) {
                // Somebody wrote between reading and writing: what is there now is another question.
                Err(NetworkError::Write(FileError::Changed { .. })) => {}
                put => return put,
            }
        }
        self.put_once(entry)
    }

    fn put_once(&self, entry: &PluginEntry) -> Result<Vec<String>, NetworkError> {
        let Decided { files, decision, copy } = self.decide(entry).map_err(NetworkError::Directory)?;
        let mut changed = match decision.verdict {
            Verdict::Valid { .. } => Vec::new(),
            Verdict::Wait { why, sentence } => {
                return Err(NetworkError::Waits { why, sentence: with_skipped(sentence, &decision.skipped) });
            }
            Verdict::Write(write) => {
                self.directory().write(&write, &files, self.settings.conf_mode).map_err(NetworkError::Write)?;
                vec![self.shown(&write.file)]
            }
        };
        if let Some(copy) = copy {
            changed.push(self.remove_copy(copy)?);
        }
        Ok(changed)
    }

    /// Takes the entry out of every file that it is in; one that resists keeps it in no other.
    pub fn remove(&self) -> Result<Vec<String>, NetworkError> {
        let (directory, placement) = (self.directory(), &self.settings.placement);
        let files = match directory.list(placement) {
            Err(ConfDirError::Missing { .. }) => return Ok(Vec::new()),
            listed => listed.map_err(NetworkError::Directory)?,
        };
        let (mut removed, mut failures) = (Vec::new(), Vec::new());
        for removal in self.removals_with_copy(&files) {
            match directory.remove(&removal, &files) {
                Ok(()) => removed.push(self.shown_removal(&removal)),
                Err(failure) => failures.push(failure),
            }
        }
        atomic_file::sweep(&self.settings.net_dir);
        if failures.is_empty() { Ok(removed) } else { Err(NetworkError::Remains { failures }) }
    }

    /// Where the entry stands, as far as is known.
    pub fn file(&self) -> Option<String> {
        self.known().placed.as_ref().map(|(file, _)| self.shown(file))
    }

    /// The names by which whoever writes there may be known.
    pub fn names(&self) -> Vec<String> {
        let rewritten = self.known().placed.as_ref().map(|(file, _)| file.clone());
        let directory = self.directory();
        // What cannot be listed has told why elsewhere.
        let files = directory.list(&self.settings.placement).unwrap_or_default();
        conflist::names(&files, rewritten.as_deref(), directory.names())
    }

    pub fn directory(&self) -> ConfDir {
        ConfDir::new(&self.settings.net_dir)
    }

    fn decide(&self, entry: &PluginEntry) -> Result<Decided, ConfDirError> {
        let (directory, placement) = (&self.settings.net_dir, &self.settings.placement);
        let mut files = self.directory().list(placement)?;
        let copy = self.take_copy(&mut files);
        let mut known = self.known();
        let before = known.placed.as_ref().map(|(file, _)| file.clone());
        let decision = conflist::decide(&files, placement, entry, before.as_deref());
        let skipped = decision.skipped.iter().map(|skipped| (self.shown(&skipped.file), skipped.problem.clone()));
        let skipped = known.skipped.news(skipped);
        let warnings = decision.warnings.iter().map(|warning| (directory.display().to_string(), warning.clone()));
        let warnings = known.warnings.news(warnings);
        drop(known);
        for (path, problem) in skipped {
            self.telemetry.event(AgentEvent::ConfigSkipped { path, problem });
        }
        for (path, problem) in warnings {
            self.telemetry.event(AgentEvent::InstallDoubtful { path, problem });
        }
        Ok(Decided { files, decision, copy })
    }

    fn shown_removal(&self, removal: &Removal) -> String {
        let path = self.shown(removal.file());
        match removal {
            Removal::Rewrite { .. } => format!("the plugin's entry in {path}"),
            Removal::Delete { .. } => path,
        }
    }

    fn shown(&self, file: &str) -> String {
        self.settings.net_dir.join(file).display().to_string()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is waited for, with the files that would have done if they were valid; the first of them.
fn with_skipped(mut sentence: String, skipped: &[Skipped]) -> String {
    const SHOWN: usize = 3;
    for Skipped { file, problem } in skipped.iter().take(SHOWN) {
        sentence.push_str(&format!("; {file} is passed over: {problem}"));
    }
    sentence
}

fn wrong(error_type: ErrorType, why: String, reverted: bool) -> Finding {
    Finding::Wrong(Wrong { error_type, why, reverted })
}
