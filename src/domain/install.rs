//! An installation as values: its parts, why it is gone through, what is found of it, and what it
//! came to.

use super::step::{ErrorType, Step};

/// The name of the span of a pass.
pub const INSTALL: &str = "install";
/// The name of the span of a removal.
pub const UNINSTALL: &str = "uninstall";

/// What is installed, in the order in which it is: nothing refers to what is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The plugin, in every directory of the node that it belongs in.
    Binaries,
    /// The plugin's own way to the API server.
    Kubeconfig,
    /// The plugin's entry in the node's network configuration.
    Conflist,
}

impl Part {
    /// Every part, in the order of an installation.
    pub const ALL: [Part; 3] = [Part::Binaries, Part::Kubeconfig, Part::Conflist];

    /// The step that installs it.
    pub const fn step(self) -> Step {
        match self {
            Part::Binaries => Step::InstallBinaries,
            Part::Kubeconfig => Step::InstallKubeconfig,
            Part::Conflist => Step::InstallConflist,
        }
    }

    /// The step that removes it.
    pub const fn removal(self) -> Step {
        match self {
            Part::Binaries => Step::UninstallBinaries,
            Part::Kubeconfig => Step::UninstallKubeconfig,
            Part::Conflist => Step::UninstallConflist,
        }
    }

    /// What a pass that failed for it came to.
    pub const fn failed(self) -> PassResult {
        match self {
            Part::Binaries => PassResult::CopyBinariesFailure,
            Part::Kubeconfig => PassResult::CreateKubeconfigFailure,
            Part::Conflist => PassResult::CreateCniConfigFailure,
        }
    }
}

/// Why a pass is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The agent has just started.
    Start,
    /// The plugin on the node is not the image's.
    BinaryChanged,
    /// The plugin's kubeconfig is not as it was left.
    KubeconfigChanged,
    /// The service account's token or the CA is another one now.
    CredentialsRotated,
    /// The node's network configuration is not as it was left.
    ConflistChanged,
    /// The plugin is to be told something else.
    SettingsChanged,
    /// There is a network configuration now that the plugin can be chained to.
    PrimaryArrived,
    /// The pass before failed.
    Retry,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 8] = [
        Reason::Start,
        Reason::BinaryChanged,
        Reason::KubeconfigChanged,
        Reason::CredentialsRotated,
        Reason::ConflistChanged,
        Reason::SettingsChanged,
        Reason::PrimaryArrived,
        Reason::Retry,
    ];

    /// The attribute's value.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Start => "start",
            Reason::BinaryChanged => "binary_changed",
            Reason::KubeconfigChanged => "kubeconfig_changed",
            Reason::CredentialsRotated => "credentials_rotated",
            Reason::ConflistChanged => "conflist_changed",
            Reason::SettingsChanged => "settings_changed",
            Reason::PrimaryArrived => "primary_arrived",
            Reason::Retry => "retry",
        }
    }
}

/// What a pass came to, in the reference's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassResult {
    Success,
    CopyBinariesFailure,
    CreateKubeconfigFailure,
    CreateCniConfigFailure,
}

impl PassResult {
    /// Every result.
    pub const ALL: [PassResult; 4] = [
        PassResult::Success,
        PassResult::CopyBinariesFailure,
        PassResult::CreateKubeconfigFailure,
        PassResult::CreateCniConfigFailure,
    ];

    /// The label's value.
    pub const fn name(self) -> &'static str {
        match self {
            PassResult::Success => "SUCCESS",
            PassResult::CopyBinariesFailure => "COPY_BINARIES_FAILURE",
            PassResult::CreateKubeconfigFailure => "CREATE_KUBECONFIG_FAILURE",
            PassResult::CreateCniConfigFailure => "CREATE_CNI_CONFIG_FAILURE",
        }
    }
}

/// What looking at a part found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it should be.
    Right,
    /// It is there and works, but there is a newer one: other credentials, other settings.
    Stale(Reason),
    /// A pod that starts now would not be set up, or not as it should be.
    Wrong(Wrong),
    /// Somebody else has to do something first.
    Waiting(String),
}

/// A part that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What kind of thing is wrong.
    pub error_type: ErrorType,
    /// One phrase for people, which names the file.
    pub why: String,
    /// Whether this looks like the doing of somebody who writes the same file.
    pub reverted: bool,
}

impl Finding {
    /// Why a pod that starts now would not be set up, if that is so.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Finding::Right | Finding::Stale(_) => None,
            Finding::Wrong(wrong) => Some(&wrong.why),
            Finding::Waiting(why) => Some(why),
        }
    }

    /// Whether a pass would change something.
    pub fn wants_pass(&self) -> bool {
        matches!(self, Finding::Stale(_) | Finding::Wrong(_))
    }
}
