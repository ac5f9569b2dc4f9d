//! One pod by one blocking request: how the plugin finds its pod when there is no agent. Nothing
//! is set up before it is needed, and every wait is bounded.

use super::api_client::{self, RequestError};
use super::kubeconfig::{self, KubeconfigError};
use crate::domain::failure::Classify;
use crate::domain::pod::{PodFacts, PodRef};
use crate::domain::request::Bounds;
use crate::domain::step::ErrorType;
use crate::ops::ports::{BoxedError, FoundPod, PodSource};
use crate::telemetry::event::{self, Level};
use crate::telemetry::story::Story;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Asks the API server, as the reference does: again and again within the bounds, whatever the
/// error, for the server or the pod may be a moment late.
pub struct RestPods<'a> {
    story: &'a Story,
    kubeconfig: PathBuf,
    agent_namespace: &'a str,
}

/// The pod could not be had.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(
        "the pod {pod} has UID {found:?} in the API, but the runtime asks for UID {wanted:?}: it was replaced by another of the same name, whose sandbox the kubelet sets up anew"
    )]
    Replaced { pod: String, found: String, wanted: String },
    #[error("{last} (asked {attempts} times in {:.1} s)", .elapsed.as_secs_f32())]
    GaveUp { last: Box<LookupError>, attempts: u32, elapsed: Duration },
}

impl Classify for LookupError {
    fn error_type(&self) -> ErrorType {
        match self {
            LookupError::Kubeconfig(error) => error.error_type(),
            LookupError::Request(error) => error.error_type(),
            LookupError::Replaced { .. } => ErrorType::PodReplaced,
            LookupError::GaveUp { last, .. } => last.error_type(),
        }
    }

    fn retryable(&self) -> bool {
        match self {
            LookupError::Kubeconfig(error) => error.retryable(),
            LookupError::Request(_) | LookupError::Replaced { .. } => true,
            LookupError::GaveUp { last, .. } => last.retryable(),
        }
    }
}

impl<'a> RestPods<'a> {
    /// Will use this kubeconfig. `agent_namespace` is where the agent's own pod runs; it is said
    /// in the warning that the reference gives while the server is out of reach.
    pub fn new(story: &'a Story, kubeconfig: PathBuf, agent_namespace: &'a str) -> RestPods<'a> {
        RestPods { story, kubeconfig, agent_namespace }
    }

    /// Asks once. The kubeconfig is read each time: the agent may have renewed its token.
    fn ask(&self, pod: &PodRef, bounds: &Bounds) -> Result<PodFacts, LookupError> {
        let path = self.kubeconfig.display();
        let access = kubeconfig::load(&self.kubeconfig).inspect_err(|_| {
            self.say(Level::Error, &format!("Failed setting up kubernetes client with kubeconfig {path}"));
        })?;
        self.say(Level::Debug, &format!("istio-cni set up kubernetes client with kubeconfig {path}"));
        let facts = api_client::get_pod(&access, &pod.namespace, &pod.name, bounds.api_timeout)?;
        if facts.is(pod) {
            return Ok(facts);
        }
        let wanted = pod.uid.clone().unwrap_or_default();
        Err(LookupError::Replaced { pod: format!("{}/{}", pod.namespace, pod.name), found: facts.uid, wanted })
    }

    fn tell_failure(&self, attempt: u32, pod: &PodRef, error: &LookupError) {
        self.say(Level::Debug, &format!("Failed to get pod info: {}", full_text(error)));
        if attempt == 1 {
            let (name, namespace, own) = (&pod.name, &pod.namespace, self.agent_namespace);
            let what = format!(
                "in a degraded state and {name} is not a CNI pod, podNamespace: {namespace}, conf pod namespace: {own}"
            );
            self.say(Level::Warn, &what);
        }
    }

    fn say(&self, level: Level, text: &str) {
        self.story.log(level, event::PROGRESS, text, Vec::new());
    }
}

impl PodSource for RestPods<'_> {
    fn find(&self, pod: &PodRef, bounds: &Bounds) -> Result<FoundPod, BoxedError> {
        let start = Instant::now();
        // Attempts that hang for as long as they may must not add up to minutes.
        let patience = bounds.pod_interval * bounds.pod_attempts + bounds.api_timeout * 2;
        let mut attempt = 1;
        loop {
            let error = match self.ask(pod, bounds) {
                Ok(facts) => return Ok(FoundPod { facts, source: "api", attempts: attempt }),
                Err(error) => error,
            };
            if !error.retryable() {
                return Err(BoxedError::new(error));
            }
            self.tell_failure(attempt, pod, &error);
            if attempt >= bounds.pod_attempts || start.elapsed() + bounds.pod_interval >= patience {
                self.say(Level::Error, &format!("Failed to get pod info: {}", full_text(&error)));
                let gave_up =
                    LookupError::GaveUp { last: Box::new(error), attempts: attempt, elapsed: start.elapsed() };
                return Err(BoxedError::new(gave_up));
            }
            std::thread::sleep(bounds.pod_interval);
            attempt += 1;
        }
    }
}

/// An error's message with those of its sources that it does not repeat.
fn full_text(error: &dyn Classify) -> String {
    crate::domain::failure::Failure::from_error(crate::domain::step::Step::PodLookup, error).message
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
