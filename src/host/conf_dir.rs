//! The CNI configuration directory: its files as the decision wants them, and what was decided done to them.

use super::atomic_file::{Permissions, read_bounded, remove, replace_if};
use super::file_error::{Action, FileError};
use crate::domain::cni_files::{ConfFile, Placement, Removal, Write};
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The largest configuration that is read; a real one has a few kilobytes.
const LARGEST: u64 = 1 << 20;
/// The most bytes of all configurations together.
const ALTOGETHER: usize = 16 << 20;
/// The most entries of a directory that are looked at.
const ENTRIES: usize = 4096;

/// Why the directory could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ConfDirError {
    #[error("the CNI configuration directory {} does not exist; mount the node's (the chart's value cni.cniConfDir), or name it with MOUNTED_CNI_NET_DIR", .path.display())]
    Missing { path: PathBuf, source: io::Error },
    #[error("the CNI configuration directory {} is no directory; name one with MOUNTED_CNI_NET_DIR", .path.display())]
    NoDirectory { path: PathBuf, source: io::Error },
    #[error("the CNI configuration directory {} has more than {ENTRIES} entries; remove what does not belong there", .path.display())]
    TooMany { path: PathBuf },
    #[error("the CNI configuration directory {} cannot be listed: {source}; the agent has to be root with CAP_DAC_OVERRIDE", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Classify for ConfDirError {
    fn error_type(&self) -> ErrorType {
        match self {
            ConfDirError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorType::PermissionDenied
            }
            ConfDirError::Missing { .. } | ConfDirError::NoDirectory { .. } | ConfDirError::Io { .. } => ErrorType::Io,
            ConfDirError::TooMany { .. } => ErrorType::ConflistInvalid,
        }
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// The node's CNI configuration directory.
#[derive(Clone, Debug)]
pub struct ConfDir {
    path: PathBuf,
}

impl ConfDir {
    /// The directory at this path; nothing is looked at yet.
    pub fn new(path: impl Into<PathBuf>) -> ConfDir {
        ConfDir { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a decision for this placement looks at, in the order of names: every `*.conf`, `*.conflist` and `*.json`,
    /// the files that the placement names, and the `*.conf` in the directories below. What is gone before it is read
    /// is left out.
    pub fn list(&self, placement: &Placement) -> Result<Vec<ConfFile>, ConfDirError> {
        let mut names = BTreeSet::new();
        for entry in self.entries()? {
            let name = entry.to_string_lossy().into_owned();
            let looked_for = [".conf", ".conflist", ".json"].iter().any(|ending| name.ends_with(ending));
            if looked_for {
                names.insert(name.clone());
            }
            let below = self.path.join(&entry);
            if !name.ends_with(".json") && below.is_dir() {
                names.extend(plugins_in(&below).into_iter().map(|plugin| format!("{name}/{plugin}")));
            }
            if names.len() > ENTRIES {
                return Err(ConfDirError::TooMany { path: self.path.clone() });
            }
        }
        names.extend(named(placement).map(str::to_owned));
        let mut bytes = 0;
        let mut read = |name: String| {
            if bytes > ALTOGETHER {
                let problem = format!("it and those before it have more than the {ALTOGETHER} bytes allowed");
                return Some(ConfFile { name, content: Err(problem) });
            }
            let file = self.read(name)?;
            bytes += file.content.as_ref().map_or(0, Vec::len);
            Some(file)
        };
        Ok(names.into_iter().filter_map(&mut read).collect())
    }

    /// The names of all entries, of whatever kind, as far as they can be listed and up to a bound.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().take(ENTRIES).flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Writes what was decided on `read`, the directory's files, unless the files that it is made from were changed
    /// since. `mode` is that of a file of the agent's own.
    pub fn write(&self, write: &Write, read: &[ConfFile], mode: u32) -> Result<(), FileError> {
        let permissions = match &write.like {
            Some(model) => Permissions::Like(self.path.join(model), mode),
            None => Permissions::Mode(mode),
        };
        let sources = [Some(&write.file), write.like.as_ref(), write.replaces.as_ref()];
        let unchanged = || sources.into_iter().flatten().all(|name| self.is_still(name, read));
        replace_if(&self.path.join(&write.file), &write.content, &permissions, unchanged)?;
        match &write.replaces {
            Some(replaced) if self.is_still(replaced, read) => remove(&self.path.join(replaced)).map(drop),
            Some(replaced) => Err(FileError::Changed { path: self.path.join(replaced), action: Action::Remove }),
            None => Ok(()),
        }
    }

    /// Does one removal that was decided on `read`, the directory's files, unless the file was changed since. What is
    /// gone already needs no deleting.
    pub fn remove(&self, removal: &Removal, read: &[ConfFile]) -> Result<(), FileError> {
        let path = self.path.join(removal.file());
        match removal {
            Removal::Delete { file } if self.is_still(file, read) || self.read(file.clone()).is_none() => {
                remove(&path).map(drop)
            }
            Removal::Delete { .. } => Err(FileError::Changed { path, action: Action::Remove }),
            Removal::Rewrite { file, content } => {
                let permissions = Permissions::Like(path.clone(), 0o600);
                replace_if(&path, content, &permissions, || self.is_still(file, read))
            }
        }
    }

    fn is_still(&self, name: &str, read: &[ConfFile]) -> bool {
        let before = read.iter().find(|file| file.name == name).map(|file| &file.content);
        self.read(name.to_owned()).as_ref().map(|file| &file.content) == before
    }

    fn entries(&self) -> Result<Vec<std::ffi::OsString>, ConfDirError> {
        let path = || self.path.clone();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ConfDirError::Missing { path: path(), source },
            io::ErrorKind::NotADirectory => ConfDirError::NoDirectory { path: path(), source },
            _ => ConfDirError::Io { path: path(), source },
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
            if names.len() > ENTRIES {
                return Err(ConfDirError::TooMany { path: path() });
            }
        }
        Ok(names)
    }

    /// The file of that name, with a phrase for what cannot be read; `None` when there is none.
    fn read(&self, name: String) -> Option<ConfFile> {
        let path = self.path.join(&name);
        match read_bounded(&path, LARGEST) {
            Ok(content) => Some(ConfFile { name, content: Ok(content) }),
            Err(error) if error.is_missing() => name.contains('\u{fffd}').then(|| {
                // The name that was shown is not the one that it has.
                ConfFile { name, content: Err("its name is not UTF-8".to_owned()) }
            }),
            Err(error) => Some(ConfFile { name, content: Err(phrase(&error)) }),
        }
    }
}

/// The names of the plugins in a directory named like a network. One that cannot be listed has none.
fn plugins_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().take(ENTRIES).flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".conf")).collect()
}

fn named(placement: &Placement) -> impl Iterator<Item = &str> {
    let (one, other) = match placement {
        Placement::Chained { file } => (file.as_deref(), None),
        Placement::Standalone { file } => (Some(file.as_str()), None),
        Placement::Owned { file, primary } => (Some(file.as_str()), primary.as_deref()),
    };
    [one, other].into_iter().flatten()
}

/// Why a file cannot be read, without its name.
fn phrase(error: &FileError) -> String {
    match error {
        FileError::NoFile { what, .. } => format!("it is {what}, and no file"),
        FileError::TooLarge { bytes, limit, .. } => format!("its {bytes} bytes are more than the {limit} allowed"),
        FileError::Link { source, .. } if source.raw_os_error() == Some(libc::ELOOP) => {
            "it is a link that leads in a circle".to_owned()
        }
        FileError::Link { .. } => "it is a link to something that is not there".to_owned(),
        FileError::PermissionDenied { .. } | FileError::Immutable { .. } => {
            "permission to read it is denied".to_owned()
        }
        FileError::Io { source, .. }
        | FileError::ReadOnly { source, .. }
        | FileError::NoSpace { source, .. }
        | FileError::Busy { source, .. } => format!("it cannot be read: {source}"),
        FileError::Changed { .. } => "it is changing".to_owned(),
    }
}
