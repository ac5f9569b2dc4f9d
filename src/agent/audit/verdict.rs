//! What is told when a pod's state changes: a log record in the pod's own trace and an Event on the
//! pod, once per change.

use super::states::States;
use crate::domain::failure::Failure;
use crate::domain::identity::TraceId;
use crate::domain::notice::{AGENT, Notice, ObjectRef, Severity};
use crate::domain::pod::PodRef;
use crate::domain::pod_state::PodState;
use crate::ops::repair::Looked;
use crate::telemetry::event::{self, EventName, Level};
use crate::telemetry::keys;
use crate::telemetry::pipeline::Telemetry;
use crate::telemetry::resource::Origin;
use crate::telemetry::story::{Clock, Story, attribute};
use std::sync::Arc;

/// Where something is said on an object.
type Say = Box<dyn Fn(Notice) + Send + Sync>;

/// Takes what was found of pods, and tells what is new.
pub struct Verdicts {
    states: Arc<States>,
    telemetry: Telemetry,
    say: Say,
}

impl Verdicts {
    /// Keeps what is found in `states`; `say` puts Events on pods.
    pub fn new(
        states: Arc<States>,
        telemetry: Telemetry,
        say: impl Fn(Notice) + Send + Sync + 'static,
    ) -> Arc<Verdicts> {
        Arc::new(Verdicts { states, telemetry, say: Box::new(say) })
    }

    /// What is known so far.
    pub fn states(&self) -> &Arc<States> {
        &self.states
    }

    /// A look came to this.
    pub fn looked(&self, pod: &PodRef, looked: &Looked) {
        match (looked.state, &looked.problem) {
            (PodState::Broken, Some(problem)) => self.broken(pod, problem),
            (PodState::Unknown, Some(problem)) => self.unknown(pod, problem),
            (state, _) => self.reached(pod, state),
        }
    }

    /// The pod is in this state, as it should be: an ADD, a repair or a look says so.
    pub fn reached(&self, pod: &PodRef, state: PodState) {
        let before = self.states.set(uid(pod), state);
        let word = match before {
            Some(PodState::Broken) => "lost",
            Some(PodState::Unknown) => "not known",
            _ => return,
        };
        let message = format!("the redirection of pod {pod} is as it should be again; it was {word} until now");
        self.log(pod, (Level::Info, event::POD_REDIRECTED_AGAIN), &message, state, None);
        if before == Some(PodState::Broken) {
            self.say(pod, Severity::Normal, "RedirectionRestored", &message);
        }
    }

    fn broken(&self, pod: &PodRef, problem: &Failure) {
        if self.states.set(uid(pod), PodState::Broken) == Some(PodState::Broken) {
            return;
        }
        let message =
            format!("pod {pod} is not redirected as it should be, so its traffic may pass its proxy by: {problem}");
        self.log(pod, (Level::Error, event::POD_DRIFTED), &message, PodState::Broken, Some(problem));
        self.say(pod, Severity::Warning, "RedirectionDrifted", &message);
    }

    fn unknown(&self, pod: &PodRef, problem: &Failure) {
        if self.states.set(uid(pod), PodState::Unknown) == Some(PodState::Unknown) {
            return;
        }
        let message = format!("whether pod {pod} is redirected cannot be found out: {problem}");
        self.log(pod, (Level::Warn, event::POD_STATE_UNKNOWN), &message, PodState::Unknown, Some(problem));
    }

    fn log(
        &self,
        pod: &PodRef,
        (level, name): (Level, EventName),
        message: &str,
        state: PodState,
        problem: Option<&Failure>,
    ) {
        let story = Story::begin(Clock::start(), TraceId::of_pod(uid(pod)), None, pod.clone(), Level::Debug, None);
        let mut attributes = vec![attribute(keys::POD_STATE, state.name())];
        attributes.extend(problem.map(|problem| attribute(keys::ERROR_TYPE, problem.error_type.as_str())));
        story.log(level, name, message, attributes);
        self.telemetry.ingest(story.into_batch(), Origin::Agent);
    }

    fn say(&self, pod: &PodRef, severity: Severity, reason: &'static str, message: &str) {
        let about = ObjectRef::pod(&pod.namespace, &pod.name, uid(pod));
        let message = format!("{message} (trace {})", TraceId::of_pod(uid(pod)).to_hex());
        (self.say)(Notice { component: AGENT, about, severity, reason, message });
    }
}

fn uid(pod: &PodRef) -> &str {
    pod.uid.as_deref().unwrap_or_default()
}
