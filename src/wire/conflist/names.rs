//! The names by which the writers of the directory's files may be known.

use super::candidates::Directory;
use crate::domain::cni_files::ConfFile;

/// The files' names, and the types of the plugins in the usable ones.
pub fn names(files: &[ConfFile]) -> Vec<String> {
    let directory = Directory::read(files);
    let kinds = directory.candidates.iter().flat_map(|candidate| &candidate.list.plugins);
    let kinds = kinds.filter(|plugin| !plugin.is_ours()).map(|plugin| plugin.kind.clone());
    files.iter().map(|file| file.name.clone()).chain(kinds).collect()
}
