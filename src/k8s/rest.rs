//! One pod by one blocking request: how the plugin finds its pod when there is no agent. Nothing
//! is set up before it is needed, and every wait is bounded.

use super::api_client;
use super::kubeconfig;
use super::search::{LookupError, Start, Ways, search};
use crate::domain::failure::Classify;
use crate::domain::pod::{PodFacts, PodRef};
use crate::domain::request::Bounds;
use crate::ops::ports::{BoxedError, Lookup, PodSource};
use crate::telemetry::api_request::ApiRequest;
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

impl<'a> RestPods<'a> {
    /// Will use this kubeconfig. `agent_namespace` is where the agent's own pod runs; it is said
    /// in the warning that the reference gives while the server is out of reach.
    pub fn new(story: &'a Story, kubeconfig: PathBuf, agent_namespace: &'a str) -> RestPods<'a> {
        RestPods { story, kubeconfig, agent_namespace }
    }

    fn say(&self, level: Level, text: &str) {
        self.story.log(level, event::PROGRESS, text, Vec::new());
    }
}

impl PodSource for RestPods<'_> {
    fn find(&self, pod: &PodRef, bounds: &Bounds) -> Lookup {
        let start = Start { at: Instant::now(), looked: 0, grace: Duration::ZERO, end: None };
        let lookup = search(self, pod, bounds, &start);
        if let Some(error) = lookup.found.as_ref().err().filter(|error| error.retryable()) {
            self.say(Level::Error, &format!("Failed to get pod info: {error}"));
        }
        lookup
    }
}

impl Ways for RestPods<'_> {
    /// The kubeconfig is read each time: the agent may have renewed its token.
    fn ask(&self, pod: &PodRef, limit: Duration) -> Result<PodFacts, BoxedError> {
        let path = self.kubeconfig.display();
        let access = kubeconfig::load(&self.kubeconfig).map_err(|error| {
            self.say(Level::Error, &format!("Failed setting up kubernetes client with kubeconfig {path}"));
            BoxedError::new(error)
        })?;
        self.say(Level::Debug, &format!("istio-cni set up kubernetes client with kubeconfig {path}"));
        let counted = |code| self.story.count(ApiRequest { verb: "get", resource: "pods", code });
        api_client::get_pod(&access, &pod.namespace, &pod.name, limit, counted).map_err(BoxedError::new)
    }

    fn pause(&self, _: &PodRef, until: Instant) -> Option<PodFacts> {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        None
    }

    fn attempt_failed(&self, attempt: u32, pod: &PodRef, error: &LookupError) {
        self.say(Level::Debug, &format!("Failed to get pod info: {error}"));
        if attempt == 1 {
            let (name, namespace, own) = (&pod.name, &pod.namespace, self.agent_namespace);
            let what = format!(
                "in a degraded state and {name} is not a CNI pod, podNamespace: {namespace}, conf pod namespace: {own}"
            );
            self.say(Level::Warn, &what);
        }
    }
}

#[cfg(test)]
#[path = "rest_tests.rs"]
mod tests;
