//! A file of our own that comes first: a copy of the primary's list with our entry at its end.

use super::candidates::{Candidate, Directory};
use super::decide::{Question, not_inline};
use super::json::{decoded, same_meaning};
use super::list::List;
use super::sentence;
use crate::domain::cni_files::{ConfFile, Obstacle, Reason, Verdict, Write};

/// Decides for the file `own`.
pub fn decide(question: &Question<'_>, own: &str, named: Option<&str>) -> Verdict {
    let directory = question.directory;
    let present = directory.file(own);
    match directory.primary(named, Some(own)) {
        Err((why, sentence)) => alone(question, own, present).unwrap_or(Verdict::Wait { why, sentence }),
        Ok(primary) if !primary.list.is_inline() => not_inline(&primary),
        Ok(primary) => beside(question, own, present, &primary),
    }
}

/// Why a runtime does not use the file `own`, if that is so.
pub fn not_used(directory: &Directory<'_>, own: &str) -> Option<String> {
    if !own.ends_with(".conflist") {
        return Some(sentence::no_list_name(own));
    }
    directory.earlier_than(own).next().map(|first| sentence::owned_not_first(own, first))
}

/// With its primary there, the file is exactly that and us.
fn beside(question: &Question<'_>, own: &str, present: Option<&ConfFile>, primary: &Candidate) -> Verdict {
    let wanted = primary.list.with(question.entry);
    let why = match present {
        None => question.why_absent(own),
        Some(file) => match fault(question, file, &primary.list, &wanted) {
            Ok(None) => return Verdict::Valid { file: own.to_owned() },
            Ok(Some(why)) => why,
            Err(what) => {
                return Verdict::Wait { why: Obstacle::Occupied, sentence: sentence::occupied(own, &what) };
            }
        },
    };
    write(question, own, wanted, &primary.file, why)
}

/// What is wrong with the file; `Err` when it is not ours.
fn fault(question: &Question<'_>, file: &ConfFile, primary: &List, wanted: &str) -> Result<Option<Reason>, String> {
    let bytes = file.content.as_ref().map_err(Clone::clone)?;
    if same_meaning(&decoded(bytes), wanted) {
        return Ok(None);
    }
    let Ok(list) = question.directory.of_any_shape(file) else { return Ok(Some(Reason::Damaged)) };
    let same_network = same_meaning(&list.without_ours().text(), &primary.without_ours().text());
    if list.ours().is_empty() && !same_network {
        return Err("it is another network without istio-cni".to_owned());
    }
    Ok(Some(question.fault(&list, &file.name).unwrap_or(Reason::PrimaryChanged)))
}

/// Without a primary, the copy is all that there is of it, and stays.
fn alone(question: &Question<'_>, own: &str, present: Option<&ConfFile>) -> Option<Verdict> {
    let list = question.directory.of_any_shape(present?).ok()?;
    if list.ours().is_empty() || list.is_ours_alone() || !list.is_inline() {
        return None;
    }
    Some(match question.fault(&list, own) {
        None => Verdict::Valid { file: own.to_owned() },
        Some(why) => write(question, own, list.with(question.entry), own, why),
    })
}

fn write(question: &Question<'_>, own: &str, content: String, primary: &str, why: Reason) -> Verdict {
    let sentence = sentence::why(why, own, primary, question.before);
    let content = content.into_bytes();
    Verdict::Write(Write { file: own.to_owned(), content, like: None, replaces: None, why, sentence })
}
