//! The kernel of a pod's network namespace, as the use cases need it: entered on a thread of its
//! own, locked against other writers, programmed by the backend of the request.

use super::netns::enter;
use super::netns_lock::acquire;
use super::nftables::{NftError, Nftables};
use super::routing::{Routing, RoutingError};
use crate::domain::failure::{Classify, Failure};
use crate::domain::request::{Backend, Bounds};
use crate::domain::ruleset::{Difference, Ruleset};
use crate::domain::step::ErrorType;
use crate::ops::ports::{Applied, BoxedError, Namespaces, PodKernel, Work};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

/// The network namespaces of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostNamespaces;

impl Namespaces for HostNamespaces {
    fn inside(
        &self,
        netns: BorrowedFd<'_>,
        backend: Backend,
        bounds: &Bounds,
        work: Work<'_>,
    ) -> Result<Result<Applied, Failure>, BoxedError> {
        let _lock = acquire(netns, bounds.lock_timeout).map_err(BoxedError::new)?;
        enter(netns, || work(&mut HostKernel { backend, routing: None, nftables: None })).map_err(BoxedError::new)
    }
}

/// The kernel of the namespace that the calling thread has entered.
struct HostKernel {
    backend: Backend,
    routing: Option<Routing>,
    nftables: Option<Nftables>,
}

impl HostKernel {
    /// The route socket, opened when it is first needed.
    fn routing(&mut self) -> Result<&mut Routing, RoutingError> {
        let routing = match self.routing.take() {
            Some(routing) => routing,
            None => Routing::open()?,
        };
        Ok(self.routing.insert(routing))
    }

    /// The nf_tables socket, opened when it is first needed.
    fn nftables(&mut self) -> Result<&mut Nftables, NftError> {
        let nftables = match self.nftables.take() {
            Some(nftables) => nftables,
            None => Nftables::open()?,
        };
        Ok(self.nftables.insert(nftables))
    }

    fn apply_rules(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError> {
        match self.backend {
            Backend::Auto | Backend::Nftables => {
                let changed = self.nftables().and_then(|nftables| nftables.apply(rules)).map_err(BoxedError::new)?;
                Ok(Applied { backend: Backend::Nftables, changed })
            }
            Backend::Iptables => Err(BoxedError::new(KernelError::NoIptables)),
        }
    }
}

impl PodKernel for HostKernel {
    fn addresses(&mut self) -> Result<Vec<IpAddr>, BoxedError> {
        self.routing().and_then(Routing::addresses).map_err(BoxedError::new)
    }

    fn apply(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError> {
        // Routing first: alone it does nothing, whereas rules without it would lose packets.
        let made = self.routing().and_then(|routing| routing.apply(rules)).map_err(BoxedError::new)?;
        match self.apply_rules(rules) {
            Ok(applied) => Ok(Applied { changed: applied.changed || !made.is_empty(), ..applied }),
            Err(error) => {
                if let Ok(routing) = self.routing() {
                    routing.take_back(made);
                }
                Err(error)
            }
        }
    }

    fn differences(&mut self, rules: &Ruleset) -> Result<(Backend, Vec<Difference>), BoxedError> {
        let mut differences = self.routing().and_then(|routing| routing.differences(rules)).map_err(BoxedError::new)?;
        match self.backend {
            Backend::Auto | Backend::Nftables => {
                let more = self.nftables().and_then(|nftables| nftables.differences(rules)).map_err(BoxedError::new)?;
                differences.extend(more);
                Ok((Backend::Nftables, differences))
            }
            Backend::Iptables => Err(BoxedError::new(KernelError::NoIptables)),
        }
    }
}

/// The backend cannot be used.
#[derive(Debug, thiserror::Error)]
enum KernelError {
    /// This build has no iptables backend.
    #[error("redirect_backend iptables is not available in this build: set it to nftables")]
    NoIptables,
}

impl Classify for KernelError {
    fn error_type(&self) -> ErrorType {
        ErrorType::KernelUnsupported
    }
}
