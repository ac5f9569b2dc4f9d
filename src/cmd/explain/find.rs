//! Finding an agent that knows the pod: the one of this node, that of the pod's node, or, for a pod that is
//! gone, whichever of all remembers it.

use super::args::Wanted;
use super::successor;
use crate::cmd::progress::Progress;
use crate::cmd::reach::{Answer, Reach, ReachError, encoded};
use crate::k8s::agents::{AgentPod, to_ask};
use crate::k8s::client::ApiClient;
use crate::k8s::error::ApiError;
use crate::wire::explain::{Explanation, Other, decode, decode_refusal};
use futures::{StreamExt, stream};
use std::fmt;
use std::time::Duration;

/// How many agents are asked at once.
const AT_ONCE: usize = 16;
/// How long asking all of them may take.
const ALL: Duration = Duration::from_secs(60);

/// An explanation.
pub struct Found {
    pub body: Vec<u8>,
    /// Who gave it, for messages.
    pub from: String,
    /// Other pods of the name that agents of other nodes remember.
    pub others: Vec<Other>,
    /// What should be known of whose explanation this is.
    pub notes: Vec<String>,
}

impl Found {
    /// With another pod of the name, as another agent explains it.
    pub fn with_other(mut self, other: &Found) -> Found {
        self.others.push(in_short(&decode(&other.body).unwrap_or_default()));
        self
    }
}

/// There is none.
pub enum NotFound {
    /// All that could know the pod do not.
    Nowhere(String),
    /// It is not known whether somebody does.
    Unasked(String),
}

/// What an agent said.
enum Said {
    Explained(Found),
    Unknown(String),
}

/// Finds one.
pub async fn find(reach: &Reach, wanted: &Wanted, node: Option<&str>) -> Result<Found, NotFound> {
    let path = path(wanted);
    let mut here = None;
    // Whoever names a node does not mean this one because it is near.
    if node.is_none() {
        match reach.at_socket(&path).await.map(|answer| read(answer, "the agent of this node")) {
            Some(Ok(Said::Explained(found))) => match successor::gone(&found) {
                Some(pod) => return Ok(successor::or_remembered(reach, wanted, &pod, found, &path).await),
                None => return Ok(found),
            },
            Some(Ok(Said::Unknown(said))) => here = Some(Ok(said)),
            Some(Err(problem)) => here = Some(Err(problem)),
            None => {}
        }
    }
    let api = match reach.api() {
        Ok(api) => api,
        Err(problem) => return Err(without_api(reach, here, &problem)),
    };
    let elsewhere = through_api(reach, api, wanted, node, &path).await;
    elsewhere.map_err(|error| match (error, here) {
        // Nothing is to be had through the API server; what was said here is all there is.
        (NotFound::Unasked(problem), Some(Ok(said))) => {
            NotFound::Unasked(format!("{said}; and the agents of other nodes could not be asked: {problem}"))
        }
        (NotFound::Unasked(problem), Some(Err(socket))) => NotFound::Unasked(format!("{socket}; {problem}")),
        (error, _) => error,
    })
}

fn path(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Named { namespace, name } => format!("/api/v1/explain?pod={}", encoded(&format!("{namespace}/{name}"))),
        Wanted::Uid(uid) => format!("/api/v1/explain?uid={}", encoded(uid)),
    }
}

fn without_api(reach: &Reach, here: Option<Result<String, String>>, problem: &str) -> NotFound {
    match here {
        Some(Ok(said)) => NotFound::Nowhere(format!("{said}; agents of other nodes were not asked, because {problem}")),
        Some(Err(socket)) => NotFound::Unasked(format!("{socket}; {problem}")),
        None => NotFound::Unasked(format!("there is no agent at {}, and {problem}", reach.socket().display())),
    }
}

async fn through_api(
    reach: &Reach,
    api: &ApiClient,
    wanted: &Wanted,
    node: Option<&str>,
    path: &str,
) -> Result<Found, NotFound> {
    if let (Wanted::Named { namespace, name }, None) = (wanted, node) {
        match api.place(namespace, name).await {
            Ok(place) if place.node.is_empty() => {
                return Err(NotFound::Nowhere(format!(
                    "pod {namespace}/{name} is not assigned to a node yet, so nothing was done to its network: see why with kubectl describe pod -n {namespace} {name}"
                )));
            }
            Ok(place) => {
                return at_node_of(reach, api, &place.node, path).await;
            }
            Err(ApiError::NotFound { .. }) => {}
            Err(error) => return Err(unasked(error, &format!("get of pods in the namespace {namespace}"))),
        }
    }
    let agents = reach.agents(api, node).await.map_err(unlisted)?;
    match node {
        Some(node) => at_node(reach, api, &agents, node, path).await,
        None => at_any(reach, api, &agents, path).await,
    }
}

fn unlisted(error: ApiError) -> NotFound {
    unasked(error, "list of pods where the agents are (--agent-namespace)")
}

/// Asks the agent of a node.
pub(super) async fn at_node_of(reach: &Reach, api: &ApiClient, node: &str, path: &str) -> Result<Found, NotFound> {
    let agents = reach.agents(api, Some(node)).await.map_err(unlisted)?;
    at_node(reach, api, &agents, node, path).await
}

/// Why the API server gave no answer; `needed` is what its user must be allowed.
pub(super) fn unasked(error: ApiError, needed: &str) -> NotFound {
    NotFound::Unasked(match error {
        ApiError::Forbidden { message, .. } => {
            format!("the API server does not allow it (403): {message}; the user of the kubeconfig needs {needed}")
        }
        error => error.whole(),
    })
}

async fn at_node(
    reach: &Reach,
    api: &ApiClient,
    agents: &[AgentPod],
    node: &str,
    path: &str,
) -> Result<Found, NotFound> {
    let Some(agent) = to_ask(agents) else {
        return Err(NotFound::Unasked(format!(
            "no agent runs on node {node}: look at kubectl get pods -A -l k8s-app=istio-cni-node -o wide, or say with --agent-selector and --agent-namespace which pods are agents"
        )));
    };
    match read(reach.at_agent(api, agent, path).await, &who(agent)) {
        Ok(Said::Explained(found)) => Ok(found),
        Ok(Said::Unknown(said)) => Err(NotFound::Nowhere(said)),
        Err(problem) => Err(NotFound::Unasked(problem)),
    }
}

/// Asks every agent; of several that remember the pod, the one that heard of it last is believed.
async fn at_any(reach: &Reach, api: &ApiClient, agents: &[AgentPod], path: &str) -> Result<Found, NotFound> {
    let running: Vec<&AgentPod> = agents.iter().filter(|agent| agent.runs).collect();
    if running.is_empty() {
        return Err(NotFound::Unasked(
            "no agent runs in this cluster, or --agent-selector and --agent-namespace do not select it".to_owned(),
        ));
    }
    let ask = |agent: &AgentPod| {
        let agent = agent.clone();
        async move { read(reach.at_agent(api, &agent, path).await, &who(&agent)) }
    };
    let mut said = stream::iter(running.iter().map(|agent| ask(agent))).buffer_unordered(AT_ONCE);
    let (mut all, mut unknown, mut problems) = (Vec::new(), 0_usize, Vec::new());
    let mut progress = Progress::of_stderr("asking the agents");
    progress.tell(0, running.len());
    let asking = async {
        let mut answers = 0;
        while let Some(said) = said.next().await {
            answers += 1;
            progress.tell(answers, running.len());
            match said {
                Ok(Said::Explained(found)) => all.push(found),
                Ok(Said::Unknown(_)) => unknown += 1,
                Err(problem) => problems.push(problem),
            }
        }
    };
    // Whoever has not answered by then is missing below.
    let _ = tokio::time::timeout(ALL, asking).await;
    progress.done();
    if let Some(found) = newest(all) {
        return Ok(found);
    }
    let missing = running.len().saturating_sub(unknown);
    match problems.first() {
        _ if missing == 0 => {
            Err(NotFound::Nowhere(format!("the API server has no such pod, and none of {unknown} agents remembers it")))
        }
        problem => Err(NotFound::Unasked(format!(
            "{unknown} agents do not know the pod, and {missing} gave no answer: {}",
            problem.map_or("they took too long", String::as_str)
        ))),
    }
}

/// That of the pod that was heard of last, with the others of its name.
fn newest(all: Vec<Found>) -> Option<Found> {
    let mut all: Vec<(Other, Found)> =
        all.into_iter().map(|found| (in_short(&decode(&found.body).unwrap_or_default()), found)).collect();
    // Times are written so that they sort.
    all.sort_by(|(one, _), (other, _)| other.last.cmp(&one.last));
    let mut all = all.into_iter();
    let (pod, found) = all.next()?;
    let others = all.map(|(other, _)| other).filter(|other| other.uid != pod.uid).collect();
    Some(Found { others, ..found })
}

fn in_short(explanation: &Explanation) -> Other {
    Other {
        uid: explanation.pod.uid.clone(),
        trace_id: explanation.trace.id.clone(),
        last: explanation.timeline.last().map(|entry| entry.at.clone()).unwrap_or_default(),
        error: explanation.errors.last().map(|error| error.error_type.clone()),
    }
}

fn who(agent: &AgentPod) -> String {
    format!("the agent {}/{} of node {}", agent.namespace, agent.name, agent.node)
}

/// Reads an answer; an error is a sentence for people.
fn read(answer: Result<Answer, ReachError>, from: &str) -> Result<Said, String> {
    let answer = answer.map_err(|error| crate::domain::failure::whole(&error))?;
    match (answer.status, decode_refusal(&answer.body)) {
        (200, _) if super::is_explanation(&answer.body) => Ok(Said::Explained(Found {
            body: answer.body,
            from: from.to_owned(),
            others: Vec::new(),
            notes: Vec::new(),
        })),
        (404, Some(refusal)) => Ok(Said::Unknown(refusal.error)),
        (404, None) => Err(format!(
            "{from} is of another version, which explains no pods: use the tool of its version, or upgrade it (this is {})",
            env!("CARGO_PKG_VERSION")
        )),
        (_, Some(refusal)) if !refusal.error.is_empty() => {
            Err(format!("{from} refused the question: {}", refusal.error))
        }
        (status, _) => Err(format!("{from} answered with status {status} and no explanation: {}", Line(&answer))),
    }
}

/// The first line of an answer.
struct Line<'a>(&'a Answer);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.line())
    }
}
