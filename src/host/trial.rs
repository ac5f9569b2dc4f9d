//! Trying a backend the way an ADD uses it: a plain pod's rules, in a namespace made for it.

use super::kernel::HostNamespaces;
use super::netns;
use crate::domain::decision::{Decision, decide};
use crate::domain::failure::{Classify, Failure};
use crate::domain::pod::{Container, PodFacts};
use crate::domain::request::{Backend, Bounds};
use crate::domain::ruleset::build;
use crate::domain::step::{ErrorType, Step};
use crate::ops::ports::{BoxedError, Namespaces};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};

/// Programs a plain pod's rules in a namespace that is gone afterwards. An error says why an ADD
/// could not succeed on this node.
pub fn try_backend(backend: Backend, bounds: &Bounds) -> Result<(), BoxedError> {
    let own = || std::fs::File::open("/proc/thread-self/ns/net").map(OwnedFd::from);
    let scratch = netns::enter_scratch(own).map_err(BoxedError::new)?;
    let scratch = scratch.map_err(|source| BoxedError::new(ScratchError(source)))?;
    let Ok(Decision::Enroll(settings)) = decide(&plain_pod()) else { return Ok(()) };
    let rules = build(&settings, &[IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]).map_err(BoxedError::new)?;
    let apply = HostNamespaces::FreshThread.inside(
        scratch.as_fd(),
        backend,
        bounds,
        Box::new(|kernel| kernel.apply(&rules).map_err(|error| Failure::from_error(Step::RulesApply, &error))),
    )?;
    apply.map(|_| ()).map_err(BoxedError::new)
}

fn plain_pod() -> PodFacts {
    let proxy = Container { name: "istio-proxy".to_owned(), ..Container::default() };
    let annotations = [("sidecar.istio.io/status".to_owned(), "{}".to_owned())].into();
    PodFacts { annotations, containers: vec![proxy], ..PodFacts::default() }
}

/// The namespace for trying could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a network namespace to try rules in: /proc must be mounted")]
struct ScratchError(#[source] std::io::Error);

impl Classify for ScratchError {
    fn error_type(&self) -> ErrorType {
        ErrorType::Io
    }
}
