//! The node's backend, decided once: what the settings say, or what the kernel turns out to have.

use crate::domain::request::Backend;
use crate::host::nftables::probe_nftables;
use std::thread::JoinHandle;

/// The decision, and why it fell so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Never `Auto`.
    pub backend: Backend,
    /// For people.
    pub cause: String,
}

/// Begins to decide, on a thread of its own: trying nf_tables takes some milliseconds.
pub fn choose(wanted: Backend) -> std::io::Result<JoinHandle<Chosen>> {
    std::thread::Builder::new().name("backend-probe".to_owned()).spawn(move || decide(wanted))
}

fn decide(wanted: Backend) -> Chosen {
    if wanted != Backend::Auto {
        return Chosen { backend: wanted, cause: "the configuration says so".to_owned() };
    }
    match probe_nftables() {
        Ok(()) => Chosen {
            backend: Backend::Nftables,
            cause: "the kernel took every kind of rule in a namespace made for trying".to_owned(),
        },
        Err(error) => {
            Chosen { backend: Backend::Iptables, cause: format!("nf_tables cannot be used: {}", whole(&error)) }
        }
    }
}

/// An error with its sources, in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
