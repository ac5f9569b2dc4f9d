//! `GET /api/v1/explain`: what this agent knows of one pod, from its memory of traces, the pod's object, and
//! a look into the pod's network namespace right now. `?pod=NAMESPACE/NAME` or `?uid=UID`; a trace id is
//! taken for a UID too. 404 for a pod that is not known here.

mod calls;
mod decision;
mod few;
mod moments;
mod problems;
mod rules;
mod spans;
mod starting;
mod subject;
mod summary;

use super::audit::States;
use super::backend::Decision as Backend;
use super::config::Settings;
use super::site::NodeSite;
use crate::domain::pod::PodFacts;
use crate::k8s::cache::PodCache;
use crate::telemetry::history::History;
use crate::telemetry::pipeline::Telemetry;
use crate::wire::explain::{self as wire, Agent, Explanation, LeftOut, Pod, Refusal, VERSION};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use moments::at;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use subject::{Subject, Wanted};
use tokio::sync::Semaphore;

/// How many pods are looked into at once: each look takes a thread, and a part of the kernel's time.
const LOOKS: usize = 2;
/// How long a look, and the wait for its turn, may take.
const LOOK: Duration = Duration::from_secs(15);

/// What an explanation is made of.
pub struct Explainer {
    node: String,
    trace_url: Option<String>,
    own_namespace: String,
    excluded: Vec<String>,
    history: Arc<History>,
    cache: Arc<PodCache>,
    states: Arc<States>,
    site: Arc<NodeSite>,
    looks: Arc<Semaphore>,
}

impl Explainer {
    /// Explains the pods of this agent's node.
    pub fn new(
        settings: &Settings,
        backend: Backend,
        telemetry: &Telemetry,
        cache: Arc<PodCache>,
        states: Arc<States>,
    ) -> Arc<Explainer> {
        Arc::new(Explainer {
            node: settings.node.clone(),
            trace_url: settings.trace_url.clone(),
            own_namespace: settings.pod_namespace.clone(),
            excluded: settings.exclude_namespaces.clone(),
            history: telemetry.history().clone(),
            cache,
            states,
            site: Arc::new(NodeSite::new(settings, backend, telemetry.clone())),
            looks: Arc::new(Semaphore::new(LOOKS)),
        })
    }

    /// What is known of a pod; nothing for one that is not.
    pub async fn explain(&self, wanted: &Wanted) -> Option<Explanation> {
        let subject = Subject::find(wanted, &self.cache, &self.history)?;
        let now_ns = crate::telemetry::story::Clock::start().now_ns();
        let told = spans::Told::of(&subject, &self.history);
        let decision = self.decide(&subject, &told);
        let (rules, left_out_rules) = self.rules(&subject, decision.as_ref(), now_ns).await;
        let (timeline, calls) = (moments::timeline(&subject, &told, now_ns), calls::calls(&told));
        let errors = problems::problems(&subject, &told, now_ns);
        let (validations, repairs) = (calls::validations(&told), calls::repairs(&told));
        let left_out = LeftOut {
            traces: subject.traces_left_out,
            timeline: timeline.left_out,
            calls: calls.left_out,
            errors: errors.left_out,
            validations: validations.left_out,
            repairs: repairs.left_out,
            others: subject.others_left_out,
            differences: left_out_rules.differences,
            found: left_out_rules.found,
        };
        let mut explanation = Explanation {
            version: VERSION,
            agent: self.agent(now_ns),
            pod: pod(&subject),
            trace: told.trace(self.trace_url.as_deref()),
            timeline: timeline.items,
            calls: calls.items,
            errors: errors.items,
            validations: validations.items,
            repairs: repairs.items,
            others: subject.others(),
            notes: moments::notes(&subject, &told, now_ns),
            left_out,
            decision,
            rules,
            ..Explanation::default()
        };
        let start = starting::came_to(&subject, &told, now_ns);
        let set_up = self.is_set_up(subject.facts.as_deref());
        explanation.summary = summary::summary(&explanation, &subject, start.as_deref(), set_up);
        Some(explanation)
    }

    /// Whether an ADD of the pod is under way.
    fn is_set_up(&self, pod: Option<&PodFacts>) -> bool {
        pod.is_some_and(|pod| self.states.is_set_up(&pod.reference()))
    }

    fn agent(&self, now_ns: u64) -> Agent {
        Agent { version: env!("CARGO_PKG_VERSION").to_owned(), node: self.node.clone(), now: at(now_ns) }
    }

    fn refusal(&self, error: String) -> Refusal {
        let now_ns = crate::telemetry::story::Clock::start().now_ns();
        Refusal { version: VERSION, agent: self.agent(now_ns), error }
    }
}

fn pod(subject: &Subject) -> Pod {
    let status = subject.facts.as_ref().map(|facts| &facts.status);
    Pod {
        namespace: subject.pod.namespace.clone(),
        name: subject.pod.name.clone(),
        uid: subject.uid().to_owned(),
        presence: if status.is_some() { "here" } else { "gone" }.to_owned(),
        phase: status.map(|status| status.phase.clone()).unwrap_or_default(),
        deleting: status.is_some_and(|status| status.deleting),
        addresses: status.iter().flat_map(|status| &status.addresses).map(ToString::to_string).collect(),
    }
}

/// The route.
pub fn routes(explainer: Arc<Explainer>) -> Router {
    Router::new().route("/api/v1/explain", get(answer)).with_state(explainer)
}

#[derive(Deserialize)]
struct Question {
    pod: Option<String>,
    uid: Option<String>,
}

async fn answer(State(explainer): State<Arc<Explainer>>, Query(question): Query<Question>) -> Response {
    let wanted = match Wanted::read(question.pod.as_deref(), question.uid.as_deref()) {
        Ok(wanted) => wanted,
        Err(problem) => return json(StatusCode::BAD_REQUEST, &explainer.refusal(problem)),
    };
    match explainer.explain(&wanted).await {
        Some(explanation) => json(StatusCode::OK, &explanation),
        None => {
            let extent = explainer.history.extent();
            let forgotten = match extent.forgotten_traces {
                0 => String::new(),
                count => format!(", and has forgotten {count} older ones"),
            };
            let error = format!(
                "the agent of node {} knows no {wanted}: it sees {} pods, and remembers {} traces{forgotten}",
                explainer.node,
                explainer.cache.count(),
                extent.traces,
            );
            json(StatusCode::NOT_FOUND, &explainer.refusal(error))
        }
    }
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    match wire::encode(answer) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}\n")).into_response()
        }
    }
}
