//! What the node's pods are looked at and set up with after their ADD, in one place for all who do that.

use super::backend::Decision;
use super::config::Settings;
use crate::domain::failure::{CODE_ISTIO, Failure, whole};
use crate::domain::outbound::{Outbound, OutboundError};
use crate::domain::pod::PodFacts;
use crate::domain::request::{Backend, Bounds};
use crate::domain::step::{ErrorType, Step};
use crate::host::kernel::HostNamespaces;
use crate::host::pod_netns::{PodNetns, Records};
use crate::ops::examine::{Examined, examine};
use crate::ops::repair::{Looked, Site, look};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;

/// What a [`Site`] refers to.
pub struct NodeSite {
    pods: PodNetns,
    backend: Decision,
    outbound: Result<Outbound, OutboundError>,
    bounds: Bounds,
}

impl NodeSite {
    /// The site of this agent's node.
    pub fn new(settings: &Settings, backend: Decision, telemetry: Telemetry) -> NodeSite {
        let tell = move |error: &_| telemetry.event(AgentEvent::NetnsRecordFailed { problem: whole(error) });
        NodeSite {
            pods: PodNetns::new(settings.audit.host_proc.clone(), Records::new(&settings.run_dir), tell),
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
        work(&self.site(backend))
    }

    /// Looks at a pod's rules, in whatever backend they are.
    pub fn look(&self, pod: &PodFacts) -> Looked {
        look(pod, &self.site(Backend::Auto))
    }

    /// Looks at a pod's rules, and at those that it should have.
    pub fn examine(&self, pod: &PodFacts) -> Examined {
        examine(pod, &self.site(Backend::Auto))
    }

    fn site(&self, backend: Backend) -> Site<'_> {
        let NodeSite { pods, outbound, bounds, .. } = self;
        // Whoever calls has a thread that goes on afterwards.
        Site { pods, namespaces: &HostNamespaces::FreshThread, backend, outbound, bounds }
    }
}

fn undecided() -> Failure {
    let message = "what the kernel has for programming rules is not found out yet".to_owned();
    let (step, error_type) = (Step::RulesApply, ErrorType::KernelUnsupported);
    Failure { step, error_type, code: CODE_ISTIO, message, retryable: true }
}
