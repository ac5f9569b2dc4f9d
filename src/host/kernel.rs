//! The kernel of a pod's network namespace, as the use cases need it: entered on a thread that ends
//! afterwards, locked against other writers, programmed by the backend of the request.

use super::iptables::{Iptables, IptablesError, NftFamilies, any_tables};
use super::netns::{enter, enter_for_good};
use super::netns_lock::{NetnsLock, acquire};
use super::nftables::{NftError, Nftables};
use super::routing::{Routing, RoutingError};
use crate::domain::failure::{Classify, Failure};
use crate::domain::request::{Backend, Bounds};
use crate::domain::ruleset::{Difference, Ruleset};
use crate::domain::step::{ErrorType, Step};
use crate::ops::ports::{Applied, BoxedError, Namespaces, PodKernel, Work};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The network namespaces of this machine, and which thread enters one.
#[derive(Clone, Copy, Debug)]
pub enum HostNamespaces {
    /// A fresh one, which ends with the work: for callers that go on afterwards.
    FreshThread,
    /// The calling one, which stays inside: only for a thread that ends with the call it serves.
    /// Saves starting a thread, which on a busy node waits for its turn to run.
    EndingThread,
}

impl Namespaces for HostNamespaces {
    fn inside(
        &self,
        netns: BorrowedFd<'_>,
        backend: Backend,
        bounds: &Bounds,
        work: Work<'_>,
    ) -> Result<Result<Applied, Failure>, BoxedError> {
        let lock = acquire(netns, bounds.lock_timeout).map_err(BoxedError::new)?;
        let tool_limit = bounds.tool_timeout;
        let work = || work(&mut HostKernel { backend, lock: &lock, tool_limit, routing: None, nftables: None });
        let entered = match self {
            HostNamespaces::FreshThread => enter(netns, work),
            HostNamespaces::EndingThread => enter_for_good(netns).map(|()| work()),
        };
        entered.map_err(BoxedError::new)
    }
}

/// The kernel of the namespace that the calling thread has entered.
struct HostKernel<'a> {
    backend: Backend,
    lock: &'a NetnsLock,
    /// How long a host tool may run.
    tool_limit: Duration,
    routing: Option<Routing>,
    nftables: Option<Nftables>,
}

impl HostKernel<'_> {
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

    /// The families with nf_tables tables; None where the kernel has no nf_tables.
    fn nft_families(&mut self) -> Result<NftFamilies, NftError> {
        match self.nftables().and_then(Nftables::families) {
            Ok(families) => Ok(Some(families)),
            Err(NftError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn apply_rules(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError> {
        if self.backend == Backend::Iptables {
            return self.apply_iptables(rules);
        }
        match self.apply_nftables(rules) {
            Err(nftables) if self.backend == Backend::Auto && nftables.error_type() == ErrorType::KernelUnsupported => {
                self.apply_iptables(rules).map_err(|iptables| BoxedError::new(NeitherBackend { nftables, iptables }))
            }
            result => result,
        }
    }

    fn apply_nftables(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError> {
        let changed = self.nftables().and_then(|nftables| nftables.apply(rules)).map_err(BoxedError::new)?;
        Ok(Applied { backend: Backend::Nftables, changed })
    }

    fn apply_iptables(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError> {
        let families = self.nft_families().map_err(BoxedError::new)?;
        let changed = self.iptables().apply(rules, &families).map_err(BoxedError::new)?;
        Ok(Applied { backend: Backend::Iptables, changed })
    }

    /// Takes our rules out of the backend that was not used, where an earlier ADD used it.
    fn remove_from_other(&mut self, used: Backend) -> Result<bool, BoxedError> {
        if used == Backend::Nftables {
            return self.remove_from_iptables();
        }
        match self.nftables().and_then(Nftables::remove) {
            Err(NftError::Unsupported { .. }) => Ok(false),
            result => result.map_err(BoxedError::new),
        }
    }

    /// Most namespaces have no tables of iptables, and so nothing is run.
    fn remove_from_iptables(&mut self) -> Result<bool, BoxedError> {
        let families = self.nft_families().map_err(BoxedError::new)?;
        if !any_tables(&families) {
            return Ok(false);
        }
        match self.iptables().apply(&Ruleset::none(), &families) {
            // Where there are no tools, nobody on this node has made iptables rules for us.
            Err(IptablesError::ToolMissing { .. }) => Ok(false),
            result => result.map_err(BoxedError::new),
        }
    }

    fn iptables(&self) -> Iptables<'_> {
        Iptables::open(self.lock, self.tool_limit)
    }

    /// The backend in which the rules are to be looked for.
    fn programmed_by(&mut self, families: &NftFamilies) -> Result<Backend, NftError> {
        Ok(match (self.backend, families) {
            (Backend::Auto, None) => Backend::Iptables,
            (Backend::Auto, Some(_)) if any_tables(families) && !self.nftables()?.has_tables()? => Backend::Iptables,
            (Backend::Auto, Some(_)) => Backend::Nftables,
            (chosen, _) => chosen,
        })
    }
}

/// What `auto` comes to where nothing works.
#[derive(Debug, thiserror::Error)]
#[error("{}; iptables, which is tried then, fails too: {}", whole(.nftables), whole(.iptables))]
struct NeitherBackend {
    nftables: BoxedError,
    iptables: BoxedError,
}

impl Classify for NeitherBackend {
    fn error_type(&self) -> ErrorType {
        self.iptables.error_type()
    }

    fn retryable(&self) -> bool {
        self.iptables.retryable()
    }
}

/// An error and its sources in one line.
fn whole(error: &BoxedError) -> String {
    Failure::from_error(Step::RulesApply, error).message
}

impl PodKernel for HostKernel<'_> {
    fn addresses(&mut self) -> Result<Vec<IpAddr>, BoxedError> {
        self.routing().and_then(Routing::addresses).map_err(BoxedError::new)
    }

    fn apply(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError> {
        // Routing first: alone it does nothing, whereas rules without it would lose packets.
        let made = self.routing().and_then(|routing| routing.apply(rules)).map_err(BoxedError::new)?;
        let applied = match self.apply_rules(rules) {
            Ok(applied) => applied,
            Err(error) => {
                if let Ok(routing) = self.routing() {
                    routing.take_back(made);
                }
                return Err(error);
            }
        };
        // From here on the new rules are all there, whatever becomes of the old ones.
        let removed = self.remove_from_other(applied.backend)?;
        let rerouted = self.routing().and_then(|routing| routing.remove_unwanted(rules)).map_err(BoxedError::new)?;
        let changed = applied.changed || removed || rerouted || !made.is_empty();
        Ok(Applied { changed, ..applied })
    }

    fn differences(&mut self, rules: &Ruleset) -> Result<(Backend, Vec<Difference>), BoxedError> {
        let mut differences = self.routing().and_then(|routing| routing.differences(rules)).map_err(BoxedError::new)?;
        let families = self.nft_families().map_err(BoxedError::new)?;
        let backend = self.programmed_by(&families).map_err(BoxedError::new)?;
        let more = match backend {
            Backend::Iptables => self.iptables().differences(rules, &families).map_err(BoxedError::new),
            _ => self.nftables().and_then(|nftables| nftables.differences(rules)).map_err(BoxedError::new),
        };
        differences.extend(more?);
        Ok((backend, differences))
    }

    fn found(&mut self, rules: &Ruleset, backend: Backend) -> Result<String, BoxedError> {
        let families = self.nft_families().map_err(BoxedError::new)?;
        let tables = match backend {
            Backend::Iptables => self.iptables().found(rules, &families).map_err(BoxedError::new),
            _ => self.nftables().and_then(Nftables::found).map_err(BoxedError::new),
        };
        let beside = self.routing().and_then(|routing| routing.found(rules)).map_err(BoxedError::new);
        Ok(tables? + &beside?)
    }
}
