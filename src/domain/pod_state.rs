//! What a look at a pod's rules comes to.

/// How a pod of this node stands to its redirection: the `state` of `istio_cni_pods`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodState {
    /// Its namespace has exactly the rules that it should have.
    Redirected,
    /// Its namespace has other rules, or none.
    Broken,
    /// Its namespace could not be found or looked into.
    Unknown,
    /// It is to have no rules.
    Skipped,
}

impl PodState {
    /// Every state.
    pub const ALL: [PodState; 4] = [PodState::Redirected, PodState::Broken, PodState::Unknown, PodState::Skipped];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            PodState::Redirected => "redirected",
            PodState::Broken => "broken",
            PodState::Unknown => "unknown",
            PodState::Skipped => "skipped",
        }
    }
}
