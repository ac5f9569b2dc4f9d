//! The node's CNI network configuration as values: the files of its directory, where our entry has to stand, what there
//! is to write so that it does, and what there is to take away when the node is left.

use std::fmt;

/// The plugin's type in a configuration, and the name of its binary.
pub const PLUGIN_TYPE: &str = "istio-cni";

/// One entry of the CNI configuration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfFile {
    /// Its name in the directory. `network/x.conf` is a plugin that the runtime adds to the list of that network.
    pub name: String,
    /// What it holds, or a phrase that says why that cannot be read: `it is a directory`.
    pub content: Result<Vec<u8>, String>,
}

/// Where our entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At the end of the primary network's list: of the file named, else of the first valid one in the order of names.
    Chained { file: Option<String> },
    /// Alone in a file of its own, which somebody else (Multus) refers to.
    Standalone { file: String },
    /// At the end of a copy of the primary network's list, in a file that is ours and comes first; the primary's own
    /// file stays as it is. The primary is the file named, else the first valid other one.
    Owned { file: String, primary: Option<String> },
}

/// What is to be done so that pods get our plugin. Deciding again after it was done gives [`Verdict::Valid`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// Files that a runtime would look at, and that are no usable configuration.
    pub skipped: Vec<Skipped>,
    /// What is allowed and probably not meant, one sentence each.
    pub warnings: Vec<String>,
    /// Why the runtime does not use the file of the verdict, if that is so and the settings did not ask for it: pods
    /// start without our plugin then, and somebody else has to mend it.
    pub bypassed: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Our entry stands as it should, in this file.
    Valid { file: String },
    /// This has to be written.
    Write(Write),
    /// Nothing can be written now.
    Wait { why: Obstacle, sentence: String },
}

/// A file to be written, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub file: String,
    pub content: Vec<u8>,
    /// The file whose mode and owner it gets; without one they are the agent's own.
    pub like: Option<String>,
    /// The file that the new one takes the place of; it is removed once the new one is there.
    pub replaces: Option<String>,
    pub why: Reason,
    /// `why` for people, with the names of the files.
    pub sentence: String,
}

/// Why something has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Our entry was not there before either.
    FirstInstallation,
    /// Our entry stood in this file, and somebody has taken it out, or put back the file that this one had replaced.
    EntryMissing,
    /// Our entry has other settings than it should, or stands there twice.
    EntryDiffers,
    /// No plugin makes the pod's network before ours runs.
    EntryFirst,
    /// The network that our list is a copy of is another one now.
    PrimaryChanged,
    /// Another file is the first one now, and the runtime uses that.
    Preempted,
    /// The file in which our entry stood is gone.
    FileVanished,
    /// What stands in our own file is no network configuration.
    Damaged,
    /// An earlier installation ended between writing the list and removing the file that it replaces.
    Interrupted,
}

impl Reason {
    /// Its attribute value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::FirstInstallation => "first_installation",
            Reason::EntryMissing => "entry_missing",
            Reason::EntryDiffers => "entry_differs",
            Reason::EntryFirst => "entry_first",
            Reason::PrimaryChanged => "primary_changed",
            Reason::Preempted => "preempted",
            Reason::FileVanished => "file_vanished",
            Reason::Damaged => "damaged",
            Reason::Interrupted => "interrupted",
        }
    }

    /// Whether somebody else undid what was installed.
    pub const fn is_revert(self) -> bool {
        matches!(self, Reason::EntryMissing | Reason::EntryFirst | Reason::FileVanished | Reason::Damaged)
    }
}

/// Why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Obstacle {
    /// There is no network yet that ours could be chained to.
    NoPrimary,
    /// The file that the settings name is not there.
    NamedMissing,
    /// The file that the settings name is no usable configuration.
    NamedInvalid,
    /// The list has its plugins in a directory, and they would run after ours.
    NotInline,
    /// Something that belongs to somebody else stands where ours would have to be written.
    Occupied,
}

impl Obstacle {
    /// Its attribute value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Obstacle::NoPrimary => "no_primary",
            Obstacle::NamedMissing => "named_missing",
            Obstacle::NamedInvalid => "named_invalid",
            Obstacle::NotInline => "not_inline",
            Obstacle::Occupied => "occupied",
        }
    }
}

/// A file that is left alone, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub file: String,
    /// A phrase: `it is not JSON: …`.
    pub problem: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the CNI configuration {} is skipped: {}", self.file, self.problem)
    }
}

/// What an uninstallation does to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Our entry is taken out, the rest stays.
    Rewrite { file: String, content: Vec<u8> },
    /// The file is ours alone.
    Delete { file: String },
}

impl Removal {
    /// The file that it is about.
    pub fn file(&self) -> &str {
        match self {
            Removal::Rewrite { file, .. } | Removal::Delete { file } => file,
        }
    }
}
