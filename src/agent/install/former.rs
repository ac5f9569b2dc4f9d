//! The copy of the primary that an earlier installation made, when none is wanted any more. It comes
//! first, so the runtime would go on using it, and it follows the primary no longer.

use super::network::Network;
use super::network_error::NetworkError;
use crate::domain::cni_files::{ConfFile, Placement, Removal};
use crate::wire::conflist;

impl Network {
    /// What has to be done to be rid of the copy, if there is one and what it is a copy of is there too.
    pub fn removals_with_copy(&self, files: &[ConfFile]) -> Vec<Removal> {
        let placement = match self.former_copy(files) {
            Some(file) => Placement::Owned { file, primary: None },
            None => self.settings.placement.clone(),
        };
        conflist::remove(files, &placement)
    }

    /// The copy, taken out of the files that there are.
    pub fn take_copy(&self, files: &mut Vec<ConfFile>) -> Option<ConfFile> {
        let name = self.former_copy(files)?;
        let at = files.iter().position(|file| file.name == name)?;
        Some(files.remove(at))
    }

    fn former_copy(&self, files: &[ConfFile]) -> Option<String> {
        let name = self.settings.former_copy.as_ref()?;
        let placement = Placement::Owned { file: name.clone(), primary: None };
        let deleted = |removal: &Removal| matches!(removal, Removal::Delete { file } if file == name);
        conflist::remove(files, &placement).iter().any(deleted).then(|| name.clone())
    }

    /// What is wrong with the copy that is there.
    pub fn copy_is_in_the_way(name: &str) -> String {
        format!(
            "the CNI configuration {name} is the copy of an earlier installation, which the runtime would use first"
        )
    }

    /// Removes the copy, unless somebody has made something else of it since; gives its path.
    pub fn remove_copy(&self, copy: ConfFile) -> Result<String, NetworkError> {
        let (file, path) = (copy.name.clone(), self.settings.net_dir.join(&copy.name));
        self.directory().remove(&Removal::Delete { file }, &[copy]).map_err(NetworkError::Write)?;
        Ok(path.display().to_string())
    }
}
