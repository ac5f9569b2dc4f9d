//! STATUS: whether an ADD of a meshed pod could succeed now. In the lenient mode this is said in
//! the log and in the telemetry, but is no error: a runtime takes a node's network down when a
//! plugin's STATUS fails, and then the agent's own pod, which would mend it, cannot start.

use super::agent_call::{self, Reached};
use super::session::{Done, Session};
use crate::domain::decision::{Decision, decide};
use crate::domain::failure::{Classify, Failure};
use crate::domain::pod::{Container, PodFacts};
use crate::domain::request::{Answer, Command, Request};
use crate::domain::ruleset::build;
use crate::domain::step::{ErrorType, Step};
use crate::host::kernel::HostNamespaces;
use crate::host::netns;
use crate::k8s::kubeconfig;
use crate::ops::ports::{BoxedError, Namespaces};
use crate::telemetry::event::Level;
use crate::telemetry::outcome::CallPath;
use crate::wire::cni::{CODE_LIMITED, CODE_NOT_AVAILABLE};
use crate::wire::netconf::StatusMode;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// A runtime asks often, so the agent gets no more than this to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says whether the plugin is ready.
pub fn run(session: &Session<'_>) -> Done {
    let request = session.request(Command::Status);
    let limit = request.bounds.agent_timeout.min(PATIENCE);
    let (readiness, path) = match agent_call::call(session, &request, None, limit) {
        Reached::Concluded(conclusion) => (conclusion.result.map(|_| ()), CallPath::Agent),
        Reached::Nobody => (ready_alone(session, &request, CODE_NOT_AVAILABLE), CallPath::Standalone),
        // A broken agent also looks after no pod that is there already.
        Reached::Failed(_) => (ready_alone(session, &request, CODE_LIMITED), CallPath::Standalone),
    };
    session.worth_keeping.set(false);
    match readiness {
        Err(failure) if session.settings().status_mode == StatusMode::Strict => (Err(failure), path),
        Err(failure) => {
            session.say(Level::Warn, &format!("an ADD of a meshed pod could not succeed now: {failure}"));
            (Ok(Answer::Done), path)
        }
        Ok(()) => (Ok(Answer::Done), path),
    }
}

/// Whether the plugin could do the work on its own: it needs a kubeconfig, and a kernel that
/// takes rules.
fn ready_alone(session: &Session<'_>, request: &Request, code: u32) -> Result<(), Failure> {
    let path = session.settings().run_dir.join(kubeconfig::FILE_NAME);
    let looked_up = session.story.step(Step::PodLookup, |_| kubeconfig::load(&path).map(|_| ()));
    let ready = looked_up.and_then(|()| session.story.step(Step::RulesApply, |_| try_rules(request)));
    ready.map_err(|failure| Failure {
        message: format!("the node agent is away, and the plugin alone is not ready: {}", failure.message),
        code,
        ..failure
    })
}

/// Programs a plain pod's rules in a namespace that is made for it, the way an ADD does it.
fn try_rules(request: &Request) -> Result<(), BoxedError> {
    let own = || std::fs::File::open("/proc/thread-self/ns/net").map(OwnedFd::from);
    let scratch = netns::enter_scratch(own).map_err(BoxedError::new)?;
    let scratch = scratch.map_err(|source| BoxedError::new(ScratchError(source)))?;
    let Ok(Decision::Enroll(settings)) = decide(&plain_pod()) else { return Ok(()) };
    let rules = build(&settings, &[IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]).map_err(BoxedError::new)?;
    let apply = HostNamespaces.inside(
        scratch.as_fd(),
        request.backend,
        &request.bounds,
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
