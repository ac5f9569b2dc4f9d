//! A file with our plugin alone, which somebody else refers to.

use super::decide::Question;
use super::json::{decoded, same_meaning};
use super::sentence;
use crate::domain::cni_files::{ConfFile, Obstacle, Reason, Verdict, Write};

/// Decides for this file.
pub fn decide(question: &Question<'_>, name: &str) -> Verdict {
    let content = question.entry.standalone();
    let why = match question.directory.file(name).map(|file| fault(question, file, &decoded(&content))) {
        None => question.why_absent(name),
        Some(Ok(None)) => return Verdict::Valid { file: name.to_owned() },
        Some(Ok(Some(why))) => why,
        Some(Err(what)) => {
            return Verdict::Wait { why: Obstacle::Occupied, sentence: sentence::occupied(name, &what) };
        }
    };
    let sentence = sentence::why(why, name, name, question.before);
    Verdict::Write(Write { file: name.to_owned(), content, like: None, replaces: None, why, sentence })
}

/// What is wrong with the file; `Err` when it is not ours.
fn fault(question: &Question<'_>, file: &ConfFile, wanted: &str) -> Result<Option<Reason>, String> {
    let bytes = file.content.as_ref().map_err(Clone::clone)?;
    if same_meaning(&decoded(bytes), wanted) {
        return Ok(None);
    }
    match question.directory.of_any_shape(file) {
        Ok(list) if list.is_ours_alone() => Ok(Some(Reason::EntryDiffers)),
        Ok(_) => Err("it is another network".to_owned()),
        Err(_) => Ok(Some(Reason::Damaged)),
    }
}
