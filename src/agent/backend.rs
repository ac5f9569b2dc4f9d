//! The node's backend, decided once: what the settings say, or what the kernel turns out to have.

use crate::domain::failure::{CODE_ISTIO, Failure, whole};
use crate::domain::request::{Backend, Bounds};
use crate::domain::step::{ErrorType, Step};
use crate::host::nftables::probe_nftables;
use crate::host::trial::try_backend;
use tokio::sync::watch;

/// The decision, and why it fell so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Never `Auto`.
    pub backend: Backend,
    /// For people.
    pub cause: String,
    /// Why no pod can be set up with it on this node, if that is so.
    pub trouble: Option<Failure>,
}

/// The decision, once it has fallen.
pub type Decision = watch::Receiver<Option<Chosen>>;

/// Begins to decide, on a thread of its own: trying nf_tables takes some milliseconds.
pub fn choose(wanted: Backend) -> std::io::Result<Decision> {
    let (decided, decision) = watch::channel(None);
    let work = move || _ = decided.send_replace(Some(decide(wanted)));
    std::thread::Builder::new().name("backend-probe".to_owned()).spawn(work)?;
    Ok(decision)
}

fn decide(wanted: Backend) -> Chosen {
    let nftables = match wanted {
        Backend::Iptables => Err("the configuration says so".to_owned()),
        Backend::Auto | Backend::Nftables => {
            probe_nftables().map_err(|error| format!("nf_tables cannot be used: {}", whole(&error)))
        }
    };
    match (wanted, nftables) {
        (Backend::Auto, Ok(())) => {
            let cause = "the kernel took every kind of rule in a namespace made for trying".to_owned();
            Chosen { backend: Backend::Nftables, cause, trouble: None }
        }
        (Backend::Auto | Backend::Iptables, Err(cause)) => {
            let trouble = try_backend(Backend::Iptables, &Bounds::default()).err();
            let trouble = trouble.map(|error| Failure::from_error(Step::RulesApply, &error));
            Chosen { backend: Backend::Iptables, cause, trouble }
        }
        (_, nftables) => {
            let trouble = nftables.err().map(unsupported);
            Chosen { backend: Backend::Nftables, cause: "the configuration says so".to_owned(), trouble }
        }
    }
}

fn unsupported(message: String) -> Failure {
    let error_type = ErrorType::KernelUnsupported;
    Failure { step: Step::RulesApply, error_type, code: CODE_ISTIO, message, retryable: false }
}
