//! Whether the node's meshed pods have the rules that they should have: known from their ADDs, and
//! looked at when the agent starts and at intervals.
//!
//! What is found is `istio_cni_pods`, and told when it changes: a pod that loses its redirection sends
//! its traffic past the proxy, and nobody else would say so.

mod answered;
mod rounds;
mod setup;
mod states;
mod verdict;

pub use answered::Answered;
pub use rounds::{Drift, OnBroken};
pub use setup::Audited;
pub use states::States;
pub use verdict::Verdicts;
