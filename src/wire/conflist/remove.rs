//! The way out: our entries leave every list, and what is ours alone goes. Nothing of others is ever lost.

use super::candidates::Directory;
use super::decide::original_of;
use super::edit::{Left, without_ours};
use super::json::decoded;
use crate::domain::cni_files::{ConfFile, Placement, Removal};

/// What there is to do to the directory's files so that our plugin is not called any more; in their order.
pub fn remove(files: &[ConfFile], placement: &Placement) -> Vec<Removal> {
    let directory = Directory::read(files);
    let copy = match placement {
        // The copy can go only while what it is a copy of is there.
        Placement::Owned { file, primary } => {
            directory.primary(primary.as_deref(), Some(file)).is_ok().then_some(file.as_str())
        }
        Placement::Chained { .. } | Placement::Standalone { .. } => None,
    };
    let mut sorted: Vec<&ConfFile> = files.iter().collect();
    sorted.sort_by(|one, other| one.name.cmp(&other.name));
    let is_copy = |file: &ConfFile| copy == Some(file.name.as_str()) || was_to_replace(&directory, file);
    sorted.into_iter().filter_map(|file| removal(file, is_copy)).collect()
}

/// Whether this list was made from a `.conf` that it never came to replace.
fn was_to_replace(directory: &Directory<'_>, file: &ConfFile) -> bool {
    directory.of_any_shape(file).is_ok_and(|list| original_of(directory, &file.name, &list).is_some())
}

fn removal(file: &ConfFile, is_copy: impl Fn(&ConfFile) -> bool) -> Option<Removal> {
    let bytes = file.content.as_ref().ok()?;
    match without_ours(decoded(bytes).trim()) {
        Left::Untouched => None,
        Left::Nothing => Some(Removal::Delete { file: file.name.clone() }),
        Left::Others(_) if is_copy(file) => Some(Removal::Delete { file: file.name.clone() }),
        Left::Others(text) => Some(Removal::Rewrite { file: file.name.clone(), content: text.into_bytes() }),
    }
}
