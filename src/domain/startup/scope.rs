//! Whose starts are told.

use crate::domain::pod::PodFacts;

/// The pods whose starts are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Nobody's.
    #[default]
    Off,
    /// Those that have a sidecar.
    Meshed,
    /// Every pod of the node.
    All,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Scope::Off, Scope::Meshed, Scope::All];

    /// The setting's value.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Off => "off",
            Scope::Meshed => "meshed",
            Scope::All => "all",
        }
    }

    /// Whether this pod's start is told.
    pub fn includes(self, pod: &PodFacts) -> bool {
        match self {
            Scope::Off => false,
            Scope::Meshed => pod.annotations.contains_key(PodFacts::SIDECAR_STATUS),
            Scope::All => true,
        }
    }
}
