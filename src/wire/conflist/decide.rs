//! The decision: whether our entry stands where the runtime finds it, and if not, what to write. Installing and
//! verifying are the same question, so what was just installed is found valid.

use super::candidates::{Candidate, Directory, sibling};
use super::entry::PluginEntry;
use super::json::same_meaning;
use super::list::List;
use super::{owned, sentence, standalone};
use crate::domain::cni_files::{ConfFile, Decision, Obstacle, Placement, Reason, Verdict, Write};

/// Decides for the directory's files. `before` is the file in which our entry stood when last looked, if this process
/// has looked: it tells a first installation from one that somebody undid.
pub fn decide(files: &[ConfFile], placement: &Placement, entry: &PluginEntry, before: Option<&str>) -> Decision {
    let directory = Directory::read(files);
    let question = Question { directory: &directory, entry, before };
    let (mut warnings, mut bypassed) = (Vec::new(), None);
    let verdict = match placement {
        Placement::Chained { file } => chained(&question, file.as_deref(), &mut warnings),
        Placement::Standalone { file } => standalone::decide(&question, file),
        Placement::Owned { file, primary } => {
            bypassed = owned::not_used(&directory, file);
            owned::decide(&question, file, primary.as_deref())
        }
    };
    let json = target(&verdict).and_then(|file| {
        let json = directory.earlier_json(file).into_iter().next()?;
        Some(sentence::json_first(json, file))
    });
    match placement {
        // The settings say which file the runtime uses.
        Placement::Chained { file: Some(_) } => warnings.extend(json),
        Placement::Chained { file: None } | Placement::Owned { .. } => bypassed = bypassed.or(json),
        Placement::Standalone { .. } => {}
    }
    Decision { verdict, skipped: directory.skipped, warnings, bypassed }
}

/// What a decision looks at.
pub struct Question<'a> {
    pub directory: &'a Directory<'a>,
    pub entry: &'a PluginEntry,
    pub before: Option<&'a str>,
}

impl Question<'_> {
    /// Why our entry is not in this file, in which nobody ever put it but us.
    pub fn why_absent(&self, file: &str) -> Reason {
        match self.before {
            None => Reason::FirstInstallation,
            Some(before) if self.directory.file(before).is_none() => Reason::FileVanished,
            Some(before) if before == file => Reason::EntryMissing,
            Some(_) => Reason::Preempted,
        }
    }

    /// What is wrong with our entry in this list.
    pub fn fault(&self, list: &List, file: &str) -> Option<Reason> {
        match list.ours()[..] {
            [] => Some(self.why_absent(file)),
            [0, ..] => Some(Reason::EntryFirst),
            [at] if self.entry.is_meant_by(&list.plugins[at].text) => None,
            _ => Some(Reason::EntryDiffers),
        }
    }
}

fn chained(question: &Question<'_>, named: Option<&str>, warnings: &mut Vec<String>) -> Verdict {
    let primary = match question.directory.primary(named, None) {
        Ok(primary) => primary,
        Err((why, sentence)) => return Verdict::Wait { why, sentence },
    };
    if !primary.list.is_inline() {
        return not_inline(&primary);
    }
    let target = primary.target();
    if target != primary.file {
        return convert(question, &primary, target, named, warnings);
    }
    let replaces = original_of(question.directory, &primary.file, &primary.list);
    warn_of_earlier(question, &target, replaces.as_deref(), warnings);
    let fault = if replaces.is_some() { Some(Reason::Interrupted) } else { question.fault(&primary.list, &target) };
    match fault {
        None => Verdict::Valid { file: target },
        Some(why) => write(question, &primary, target.clone(), Some(target), replaces, why),
    }
}

/// A `.conf` becomes a list in a file of its own, unless that file has something else in it already. An empty one is
/// never ours, whose files appear whole: somebody has just begun to write it.
fn convert(
    question: &Question<'_>,
    primary: &Candidate,
    target: String,
    named: Option<&str>,
    warnings: &mut Vec<String>,
) -> Verdict {
    let why = match question.directory.file(&target) {
        None => question.why_absent(&target),
        Some(file) if file.content.as_ref().is_ok_and(|bytes| bytes.trim_ascii().is_empty()) => {
            let sentence = sentence::begun_list(&primary.file, &target);
            return Verdict::Wait { why: Obstacle::Occupied, sentence };
        }
        Some(file) => match question.directory.of_any_shape(file) {
            Ok(list) if is_made_from(&list, &primary.list) => match question.before {
                // It was whole, so the old file was put back since.
                Some(before) if before == target => Reason::EntryMissing,
                _ => Reason::Interrupted,
            },
            Ok(list) if is_conversion(&list) => Reason::PrimaryChanged,
            _ => {
                let sentence = sentence::occupied_by_list(&primary.file, &target);
                return Verdict::Wait { why: Obstacle::Occupied, sentence };
            }
        },
    };
    if named.is_some() {
        warn_of_earlier(question, &target, Some(&primary.file), warnings);
    }
    write(question, primary, target, Some(primary.file.clone()), Some(primary.file.clone()), why)
}

/// Whether this list is that of a single configuration with us in it.
fn is_conversion(list: &List) -> bool {
    list.is_like_converted() && !list.ours().is_empty() && list.plugins.len() - list.ours().len() == 1
}

/// Whether this list is exactly that one with us in it.
fn is_made_from(list: &List, original: &List) -> bool {
    !list.ours().is_empty() && same_meaning(&list.without_ours().text(), &original.without_ours().text())
}

/// The `.conf` that this list, which stands in `file`, was made from, when it still stands beside it.
pub fn original_of(directory: &Directory<'_>, file: &str, list: &List) -> Option<String> {
    let conf = sibling(file).filter(|name| name.ends_with(".conf"))?;
    let original = directory.of_any_shape(directory.file(&conf)?).ok()?;
    is_made_from(list, &original).then_some(conf)
}

/// A file that a runtime finds before the one that the settings name, or that is chained to.
fn warn_of_earlier(question: &Question<'_>, target: &str, replaced: Option<&str>, warnings: &mut Vec<String>) {
    if let Some(first) = question.directory.earlier_than(target).find(|name| Some(*name) != replaced) {
        let said = if question.directory.is_ours_alone(first) { sentence::left_alone } else { sentence::preempted };
        warnings.push(said(first, target));
    }
}

pub fn not_inline(primary: &Candidate) -> Verdict {
    Verdict::Wait { why: Obstacle::NotInline, sentence: sentence::not_inline(&primary.file, &primary.list.name) }
}

fn write(
    question: &Question<'_>,
    primary: &Candidate,
    file: String,
    like: Option<String>,
    replaces: Option<String>,
    why: Reason,
) -> Verdict {
    let content = primary.list.with(question.entry).into_bytes();
    let sentence = sentence::why(why, &file, &primary.file, question.before);
    Verdict::Write(Write { file, content, like, replaces, why, sentence })
}

fn target(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Valid { file } => Some(file),
        Verdict::Write(write) => Some(&write.file),
        Verdict::Wait { .. } => None,
    }
}
