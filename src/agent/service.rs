//! What the agent does for one call: the use case, with the agent's own pods, kernel and backend.

use super::audit::Answered;
use super::backend::Decision;
use crate::domain::failure::{CODE_ISTIO, Failure};
use crate::domain::request::{Answer, Backend, Command, Conclusion, Request};
use crate::domain::step::{ErrorType, Step};
use crate::host::netns::{self, OwnNamespace};
use crate::ops::enroll;
use crate::ops::ports::{Namespaces, PodSource};
use crate::telemetry::event::Level;
use crate::telemetry::pipeline::Telemetry;
use crate::telemetry::story::{Clock, Story};
use crate::wire::agent::Call;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// The code by which the CNI specification calls a plugin unavailable.
const CODE_UNAVAILABLE: u32 = 50;

/// The agent's use cases and what they work with.
pub struct Service {
    pub pods: Box<dyn PodSource + Send + Sync>,
    pub namespaces: Box<dyn Namespaces + Send + Sync>,
    /// What `auto` means on this node, and why no pod can be set up on it, if that is so.
    pub backend: Decision,
    /// Whether this node's pods are known.
    pub synced: Box<dyn Fn() -> bool + Send + Sync>,
    pub telemetry: Telemetry,
    /// Keeps what calls came to.
    pub answered: Arc<Answered>,
    /// The agent's own user.
    pub own_uid: u32,
}

impl Service {
    /// Whether a caller of this user may ask for rules: root, or whoever runs the agent itself
    /// (inside a user namespace that is its root).
    pub fn trusts(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }

    /// Does what the call asks for. Nothing here waits longer than the call's bounds.
    pub fn conclude(&self, call: &Call, netns: Option<&OwnedFd>) -> (Story, Conclusion) {
        let request = &call.request;
        let level = Level::from_word(&call.level);
        let story = Story::begin(Clock::start(), call.trace, call.parent, request.pod.clone(), level, None);
        if let (Some(flags), Some(parent)) = (call.pinned, call.parent) {
            story.pin(call.trace, parent, flags);
        }
        let mut conclusion = match (request.command, netns) {
            (Command::Add | Command::Check, Some(netns)) => self.enroll(&story, request.clone(), netns),
            (Command::Add | Command::Check, None) => concluded(Err(no_namespace(request))),
            (Command::Status, _) => concluded(self.status()),
            (Command::Del | Command::Gc, _) => concluded(Ok(Answer::Done)),
        };
        if let Err(failure) = &mut conclusion.result
            && failure.error_type == ErrorType::AgentBusy
        {
            // The call failed, not the step: whoever made it does the work without us.
            failure.step = Step::AgentCall;
        }
        (story, conclusion)
    }

    fn enroll(&self, story: &Story, mut request: Request, netns: &OwnedFd) -> Conclusion {
        let mut fallen_back = None;
        if request.backend == Backend::Auto {
            match self.backend.borrow().as_ref() {
                Some(chosen) => {
                    request.backend = chosen.backend;
                    fallen_back = (chosen.backend == Backend::Iptables).then(|| chosen.cause.clone());
                }
                None => return concluded(Err(undecided())),
            }
        }
        let mut conclusion = match check(story, &request, netns) {
            Ok(()) => enroll::conclude(story, &request, netns.as_fd(), &*self.pods, &*self.namespaces),
            Err(failure) => concluded(Err(failure)),
        };
        if let (Err(failure), Some(cause)) = (&mut conclusion.result, fallen_back)
            && failure.step == Step::RulesApply
        {
            failure.message.push_str(&format!("; iptables was used because {cause}"));
        }
        conclusion
    }

    /// Whether an ADD could succeed now.
    fn status(&self) -> Result<Answer, Failure> {
        let trouble = match self.backend.borrow().as_ref() {
            None => Some(undecided()),
            Some(chosen) => chosen.trouble.clone(),
        };
        if let Some(trouble) = trouble {
            return Err(Failure { code: CODE_UNAVAILABLE, ..trouble });
        }
        if (self.synced)() {
            return Ok(Answer::Done);
        }
        Err(Failure {
            step: Step::PodLookup,
            error_type: ErrorType::ApiUnreachable,
            code: CODE_UNAVAILABLE,
            message: "the node agent has not seen this node's pods yet, because the API server cannot be reached; \
                      pods that are set up now have to wait for it"
                .to_owned(),
            retryable: true,
        })
    }
}

/// Makes sure that a call's descriptor is a network namespace, and not the host's own, as the
/// plugin does for its path: whoever called may be another plugin, or none. A descriptor that is
/// right is no step of its own.
fn check(story: &Story, request: &Request, netns: &OwnedFd) -> Result<(), Failure> {
    let own = OwnNamespace::allowed_if(request.own_netns);
    match netns::check(netns.as_fd(), Path::new(&request.netns), own) {
        Ok(()) => Ok(()),
        Err(error) => story.step(Step::NetnsOpen, |_| Err(error)),
    }
}

/// Nobody waits for the decision: a plugin goes on alone and tries for itself.
fn undecided() -> Failure {
    Failure {
        step: Step::AgentCall,
        error_type: ErrorType::AgentBusy,
        code: CODE_ISTIO,
        message: "the node agent is still finding out how this node's kernel takes rules".to_owned(),
        retryable: true,
    }
}

/// A conclusion without a pod.
pub fn concluded(result: Result<Answer, Failure>) -> Conclusion {
    Conclusion { pod_uid: None, links: Vec::new(), result }
}

fn no_namespace(request: &Request) -> Failure {
    Failure {
        step: Step::AgentCall,
        error_type: ErrorType::AgentProtocol,
        code: CODE_ISTIO,
        message: format!("the call came without the descriptor of network namespace {}", request.netns),
        retryable: true,
    }
}
