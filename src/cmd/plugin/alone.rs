//! The plugin's work on a pod without the agent: with the node's kubeconfig, if there is one; else
//! the pod waits, and the error says for whom.

use super::agent_call::Absent;
use super::session::Session;
use crate::domain::failure::{Classify, Failure};
use crate::domain::request::{Answer, Conclusion, Request};
use crate::domain::step::{ErrorType, Step};
use crate::host::dry_run::{DRY_RUN_FILE_PATH, DryRun};
use crate::host::kernel::HostNamespaces;
use crate::k8s::kubeconfig;
use crate::k8s::rest::RestPods;
use crate::ops::enroll;
use crate::ops::ports::Namespaces;
use crate::telemetry::event::Level;
use crate::wire::netconf::Credentials;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// Why the agent does not do the work, as a clause, and the type of that.
#[derive(Clone, Debug)]
pub struct Unhelpful {
    pub why: String,
    pub error_type: ErrorType,
}

impl Unhelpful {
    /// A failure that says that the plugin could not do the work either.
    pub fn nor_alone(&self, failure: Failure) -> Failure {
        let message = format!("{}, and the plugin alone is not ready: {}", self.why, failure.message);
        Failure { message, ..failure }
    }
}

impl From<&Absent> for Unhelpful {
    fn from(absent: &Absent) -> Unhelpful {
        Unhelpful { why: absent.to_string(), error_type: ErrorType::AgentUnreachable }
    }
}

impl From<&Failure> for Unhelpful {
    fn from(agent: &Failure) -> Unhelpful {
        Unhelpful { why: format!("the node agent was of no help ({agent})"), error_type: agent.error_type }
    }
}

/// The plugin cannot look its pod up, for the node keeps no credentials.
#[derive(Debug, thiserror::Error)]
#[error("{}, and this node keeps no credentials for the plugin (kubeconfig: none), so {waiting}: {advice}", .agent.why)]
struct NoCredentials {
    agent: Unhelpful,
    waiting: &'static str,
    advice: String,
}

impl Classify for NoCredentials {
    fn error_type(&self) -> ErrorType {
        self.agent.error_type
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// The work when nobody serves the agent's socket.
pub fn without_agent(session: &Session<'_>, request: &Request, netns: BorrowedFd<'_>, absent: &Absent) -> Conclusion {
    if keeps_none(session) {
        return refused(waits(session, absent.into(), "the pod waits", look_at_agent(session)));
    }
    session.say(Level::Warn, &format!("{absent}; the plugin goes on alone"));
    let mut conclusion = work(session, request, netns, &HostNamespaces::EndingThread);
    conclusion.result = conclusion.result.map_err(|failure| {
        if absent.has_no_socket() && failure.error_type == ErrorType::KubeconfigMissing {
            return Failure { message: not_started(session), retryable: true, ..failure };
        }
        after(failure, &absent.to_string())
    });
    conclusion
}

/// The work when the agent is there, but was of no help.
pub fn despite_agent(session: &Session<'_>, request: &Request, netns: BorrowedFd<'_>, agent: &Failure) -> Conclusion {
    if keeps_none(session) {
        return refused(waits(session, agent.into(), "the pod waits", look_at_agent(session)));
    }
    let agent = format!("before that the node agent was of no help: {agent}");
    let mut conclusion = work(session, request, netns, &HostNamespaces::EndingThread);
    conclusion.result = conclusion.result.map_err(|failure| after(failure, &agent));
    conclusion
}

/// The work with nothing programmed: the rules go to this file.
pub fn dry_run(session: &Session<'_>, request: &Request, netns: BorrowedFd<'_>, file: PathBuf) -> Conclusion {
    if keeps_none(session) {
        let why = format!("with {DRY_RUN_FILE_PATH} the node agent is not asked");
        let agent = Unhelpful { why, error_type: ErrorType::EnvironmentInvalid };
        return refused(waits(session, agent, "the pod waits", format!("unset {DRY_RUN_FILE_PATH}")));
    }
    work(session, request, netns, &DryRun { file })
}

/// Whether the plugin could look a pod up; `agent` says what became of the agent.
pub fn could_look_up(session: &Session<'_>, agent: &Unhelpful) -> Result<(), Failure> {
    if keeps_none(session) {
        return waits(session, agent.clone(), "pods wait", look_at_agent(session));
    }
    let path = session.settings().run_dir.join(kubeconfig::FILE_NAME);
    let loaded = session.story.step(Step::PodLookup, |_| kubeconfig::load(&path).map(|_| ()));
    loaded.map_err(|failure| agent.nor_alone(failure))
}

fn keeps_none(session: &Session<'_>) -> bool {
    session.settings().credentials == Credentials::None
}

fn work(session: &Session<'_>, request: &Request, netns: BorrowedFd<'_>, namespaces: &dyn Namespaces) -> Conclusion {
    let settings = session.settings();
    let pods = RestPods::new(&session.story, settings.run_dir.join(kubeconfig::FILE_NAME), &settings.pod_namespace);
    enroll::conclude(&session.story, request, netns, &pods, namespaces)
}

/// The step that ends a call on a node without credentials.
fn waits(session: &Session<'_>, agent: Unhelpful, waiting: &'static str, advice: String) -> Result<(), Failure> {
    session.story.step(Step::PodLookup, |_| Err(NoCredentials { agent, waiting, advice }))
}

fn refused(failed: Result<(), Failure>) -> Conclusion {
    Conclusion { pod_uid: None, links: Vec::new(), result: failed.map(|()| Answer::Done) }
}

/// A failure that names both ways that were tried.
fn after(failure: Failure, agent: &str) -> Failure {
    Failure { message: format!("{}; {agent}", failure.message), ..failure }
}

/// The run directory is as after a reboot. Whether the pod is meshed nobody here can know.
fn not_started(session: &Session<'_>) -> String {
    let (settings, file) = (session.settings(), kubeconfig::FILE_NAME);
    format!(
        "failed to createNewK8sClient: the node agent has not started yet on this node, for there is neither its socket \
         {} nor the kubeconfig {}; the pod waits, and the kubelet tries again by itself; if this lasts, {}, and that \
         cni_agent_run_dir is its run directory",
        settings.agent_socket.display(),
        settings.run_dir.join(file).display(),
        look_at_agent(session)
    )
}

fn look_at_agent(session: &Session<'_>) -> String {
    match session.settings().pod_namespace.as_str() {
        "" => "check the istio-cni-node pod of this node".to_owned(),
        namespace => format!("check the istio-cni-node pod of this node in namespace {namespace}"),
    }
}
