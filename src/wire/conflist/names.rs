//! The names by which whoever writes the directory's files may be known.

use super::candidates::{Candidate, Directory, sibling};
use crate::domain::cni_files::ConfFile;

/// The types of the plugins in the file that is rewritten, its name, the types in the other usable files, and the names
/// of all entries, `beside`.
pub fn names(files: &[ConfFile], rewritten: Option<&str>, beside: Vec<String>) -> Vec<String> {
    let directory = Directory::read(files);
    let is_rewritten = |file: &str| {
        let same = |rewritten: &str| file == rewritten || sibling(rewritten).is_some_and(|other| other == file);
        rewritten.is_some_and(same)
    };
    let (first, others): (Vec<_>, Vec<_>) =
        directory.candidates.iter().partition(|candidate| is_rewritten(&candidate.file));
    let mut names: Vec<String> = first.iter().flat_map(|candidate| kinds(candidate)).collect();
    names.extend(rewritten.map(str::to_owned));
    names.extend(others.iter().flat_map(|candidate| kinds(candidate)));
    names.extend(beside);
    names
}

fn kinds(candidate: &Candidate) -> impl Iterator<Item = String> {
    candidate.list.plugins.iter().filter(|plugin| !plugin.is_ours()).map(|plugin| plugin.kind.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_rewritten_comes_first() {
        let file = |name: &str, kind: &str| ConfFile {
            name: name.to_owned(),
            content: Ok(format!(r#"{{"cniVersion":"1.0.0","name":"n","type":"{kind}"}}"#).into()),
        };
        let files = [file("05-a.conf", "bridge"), file("10-b.conf", "ptp")];
        let beside = vec!["05-a.conf".to_owned(), "x.cilium_bak".to_owned()];
        let names = names(&files, Some("10-b.conflist"), beside);
        assert_eq!(names, ["ptp", "10-b.conflist", "bridge", "05-a.conf", "x.cilium_bak"]);
    }
}
