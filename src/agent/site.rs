//! What the node's pods are set up with after their ADD, in one place for all who do that.

use super::backend::Decision;
use super::config::Settings;
use crate::domain::failure::{CODE_ISTIO, Failure};
use crate::domain::outbound::{Outbound, OutboundError};
use crate::domain::request::Bounds;
use crate::domain::step::{ErrorType, Step};
use crate::host::kernel::HostNamespaces;
use crate::host::pod_netns::PodNetns;
use crate::ops::repair::Site;

/// What a [`Site`] refers to.
pub struct NodeSite {
    pods: PodNetns,
    namespaces: HostNamespaces,
    backend: Decision,
    outbound: Result<Outbound, OutboundError>,
    bounds: Bounds,
}

impl NodeSite {
    /// The site of this agent's node.
    pub fn new(settings: &Settings, backend: Decision) -> NodeSite {
        NodeSite {
            pods: PodNetns::new(PodNetns::default_proc()),
            namespaces: HostNamespaces::EndingThread,
            backend,
            outbound: settings.outbound.clone(),
            bounds: Bounds::default(),
        }
    }

    /// Does something with the site, unless it is not known yet how rules are programmed here.
    pub fn with<T>(&self, work: impl FnOnce(&Site<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let Some(backend) = self.backend.borrow().as_ref().map(|chosen| chosen.backend) else {
            return Err(undecided());
        };
        let NodeSite { pods, namespaces, outbound, bounds, .. } = self;
        work(&Site { pods, namespaces, backend, outbound, bounds })
    }
}

fn undecided() -> Failure {
    let message = "what the kernel has for programming rules is not found out yet".to_owned();
    let (step, error_type) = (Step::RulesApply, ErrorType::KernelUnsupported);
    Failure { step, error_type, code: CODE_ISTIO, message, retryable: true }
}
