//! A whole cluster, from wherever its API server can be asked: its nodes, the agents' pods on them, and what each agent
//! says of its node. A few agents are asked at once, and none for long.

use super::CouldNot;
use super::progress::Progress;
use crate::agent::doctor::{PATH, VERSION};
use crate::cmd::reach::{Reach, ReachError, encoded};
use crate::domain::cluster_findings::{ClusterReport, coverage, versions};
use crate::domain::failure::{Classify, whole};
use crate::domain::finding::{Check, Finding, Report};
use crate::domain::pod::PodFacts;
use crate::domain::step::ErrorType;
use crate::k8s::agents::AgentPod;
use crate::k8s::client::ApiClient;
use crate::k8s::error::ApiError;
use crate::k8s::forward::ForwardError;
use crate::wire::finding::decode;
use futures::StreamExt;
use std::time::Duration;

/// So many agents are asked at once.
const AT_ONCE: usize = 16;
/// How long one agent may take, with the way to it.
const EACH: Duration = Duration::from_secs(15);
/// How long the API server may take for a pod's Events.
const EVENTS: Duration = Duration::from_secs(5);

/// What who may not ask agents has to do.
const ALLOW: &str = "use an account that may create pods/portforward in the agents' namespace";

/// Why an agent says nothing.
pub enum Silence {
    /// Whoever asks may not ask it.
    Forbidden(String),
    /// It cannot be asked this way, and may be well.
    Deaf { problem: String, next: String },
    /// It should have answered.
    Broken(String),
}

/// Looks at all nodes.
pub async fn look(reach: &Reach) -> Result<ClusterReport, CouldNot> {
    let api = reach.api().map_err(CouldNot)?;
    let agents = reach.agents(api, None).await.map_err(|error| CouldNot(error.whole()))?;
    let mut report = ClusterReport::default();
    report.findings.push(Finding::ok(Check::ClusterApi, "the API server answers"));
    let with_agents: Vec<String> = agents.iter().map(|agent| agent.node.clone()).collect();
    report.findings.push(match api.nodes().await {
        Ok(nodes) => {
            let can: Vec<String> = nodes.into_iter().filter(|node| node.can_run).map(|node| node.name).collect();
            coverage(&can, &with_agents)
        }
        Err(_) if agents.is_empty() => coverage(&[], &[]),
        Err(error) => unlisted(&error.whole()),
    });
    report.nodes = ask_all(reach, api, &agents).await?;
    report.findings.push(versions(&report.nodes, VERSION));
    Ok(report)
}

fn unlisted(problem: &str) -> Finding {
    let what = "whether each node has an agent is not known: the nodes cannot be listed";
    Finding::unknown(Check::ClusterAgents, what, "use an account that may list nodes").with(problem)
}

/// What each agent says. It could not be looked if no agent may be asked at all.
async fn ask_all(reach: &Reach, api: &ApiClient, agents: &[AgentPod]) -> Result<Vec<Report>, CouldNot> {
    let mut progress = Progress::of_stderr("asking the agents");
    progress.tell(0, agents.len());
    let ask = |agent: &AgentPod| {
        let agent = agent.clone();
        async move {
            let asked = if agent.runs { Some(ask(reach, api, &agent, PATH).await) } else { None };
            (agent, asked)
        }
    };
    let asked = futures::stream::iter(agents).map(ask).buffer_unordered(AT_ONCE);
    let mut asked = std::pin::pin!(asked);
    let mut reports: Vec<Report> = Vec::with_capacity(agents.len());
    let (mut forbidden, mut others) = (None, 0_usize);
    while let Some((agent, asked)) = asked.next().await {
        match &asked {
            Some(Err(Silence::Forbidden(problem))) => forbidden = Some(problem.clone()),
            Some(_) => others += 1,
            None => {}
        }
        reports.push(told(&agent, asked));
        progress.tell(reports.len(), agents.len());
    }
    progress.done();
    if let (Some(problem), 0) = (forbidden, others) {
        return Err(CouldNot(format!("no agent may be asked: {problem}: {ALLOW}")));
    }
    reports.sort_by(|one, other| one.node.cmp(&other.node));
    Ok(reports)
}

/// What one agent said, or why it says nothing; it was not asked where its pod does not run.
fn told(agent: &AgentPod, asked: Option<Result<Report, Silence>>) -> Report {
    let finding = match asked {
        // The API server is believed about where it runs.
        Some(Ok(report)) => return Report { node: agent.node.clone(), ..report },
        Some(Err(Silence::Forbidden(problem))) => {
            Finding::unknown(Check::AgentAnswers, "the agent of this node may not be asked", ALLOW).with(problem)
        }
        Some(Err(Silence::Deaf { problem, next })) => {
            Finding::unknown(Check::AgentAnswers, "the agent of this node cannot be asked from here", next)
                .with(problem)
        }
        Some(Err(Silence::Broken(problem))) => silent(agent, problem),
        None => silent(agent, format!("pod {}/{}", agent.namespace, agent.name)),
    };
    Report { node: agent.node.clone(), findings: vec![finding], ..Report::default() }
}

fn silent(agent: &AgentPod, problem: String) -> Finding {
    let state = match (agent.runs, agent.ready) {
        (false, _) => "its pod does not run",
        (true, false) => "its pod runs and is not ready",
        (true, true) => "its pod is ready",
    };
    let what = format!("the agent of this node does not answer, and {state}");
    let next = format!("see kubectl -n {0} describe pod {1}, and kubectl -n {0} logs {1}", agent.namespace, agent.name);
    Finding::problem(Check::AgentAnswers, what, next).with(problem)
}

async fn ask(reach: &Reach, api: &ApiClient, agent: &AgentPod, path: &str) -> Result<Report, Silence> {
    let body = get(reach, api, agent, path).await?;
    decode(&body).map_err(|error| Silence::Broken(error.to_string()))
}

/// What an agent answers at a path.
pub async fn get(reach: &Reach, api: &ApiClient, agent: &AgentPod, path: &str) -> Result<Vec<u8>, Silence> {
    let late = |_| Silence::Broken(format!("it did not answer within {} s", EACH.as_secs()));
    let answer = tokio::time::timeout(EACH, reach.at_agent(api, agent, path)).await.map_err(late)?;
    match answer.map_err(|error| silence(&error))? {
        answer if answer.status == 200 => Ok(answer.body),
        answer if answer.status == 404 => {
            let problem = "it is of a version that cannot be asked".to_owned();
            let next = "use the command of the agent's image, for instance by kubectl exec; or let the DaemonSet's rollout finish";
            Err(Silence::Deaf { problem, next: next.to_owned() })
        }
        answer => Err(Silence::Broken(format!("it answers with status {}: {}", answer.status, answer.line()))),
    }
}

fn silence(error: &ReachError) -> Silence {
    match error {
        ReachError::Forward(ForwardError::Api(ApiError::Forbidden { .. })) => Silence::Forbidden(whole(error)),
        ReachError::NoPage { .. } => {
            let next = "run doctor on its node, as root, or in its pod (kubectl exec)".to_owned();
            Silence::Deaf { problem: whole(error), next }
        }
        error => Silence::Broken(whole(error)),
    }
}

/// What is known of one pod: from the agent of its node, and from the cluster's Events.
pub async fn look_at_pod(reach: &Reach, namespace: &str, name: &str) -> Result<Report, CouldNot> {
    let api = reach.api().map_err(CouldNot)?;
    let place = match api.place(namespace, name).await {
        Ok(place) => place,
        Err(error) if error.http_status() == Some(404) => {
            let what = format!("there is no pod {namespace}/{name} in the cluster");
            let next = "look whether it was deleted, or has another name; explain knows pods that are gone for a while";
            let findings = vec![Finding::warning(Check::PodKnown, what, next)];
            return Ok(Report { findings, ..Report::default() });
        }
        Err(error) => return Err(CouldNot(error.whole())),
    };
    let mut report = Report { node: place.node.clone(), ..Report::default() };
    if place.node.is_empty() {
        let what = format!("pod {namespace}/{name} is not on a node yet: no agent can know of it");
        let next = "see why it is not scheduled: kubectl describe pod says so";
        report.findings.push(Finding::warning(Check::PodKnown, what, next));
    } else {
        let agents = reach.agents(api, Some(&place.node)).await.map_err(|error| CouldNot(error.whole()))?;
        report.merge(of_agent(reach, api, &agents, &place.node, &format!("{namespace}/{name}")).await?);
    }
    let pod = PodFacts { namespace: namespace.into(), name: name.into(), uid: place.uid, ..PodFacts::default() };
    report.findings.push(events(api, &pod).await);
    Ok(report)
}

async fn of_agent(
    reach: &Reach,
    api: &ApiClient,
    agents: &[AgentPod],
    node: &str,
    pod: &str,
) -> Result<Report, CouldNot> {
    const CHECK: Check = Check::AgentAnswers;
    let what = format!("the agent of node {node} does not say what it knows of the pod");
    let next = "run doctor without --pod to see what is wrong on the node";
    let asked = match agents.first() {
        None => Err(Silence::Broken(format!("node {node} has no agent"))),
        Some(agent) => ask(reach, api, agent, &format!("{PATH}?pod={}", encoded(pod))).await,
    };
    let finding = match asked {
        Ok(report) => return Ok(report),
        Err(Silence::Forbidden(problem)) => {
            return Err(CouldNot(format!("the agent may not be asked: {problem}: {ALLOW}")));
        }
        Err(Silence::Deaf { problem, next }) => Finding::unknown(CHECK, what, next).with(problem),
        Err(Silence::Broken(problem)) => Finding::problem(CHECK, what, next).with(problem),
    };
    Ok(Report { node: node.to_owned(), findings: vec![finding], ..Report::default() })
}

/// The warnings among the Events on the pod.
async fn events(api: &ApiClient, pod: &PodFacts) -> Finding {
    const CHECK: Check = Check::PodEvents;
    let events = match api.pod_events(pod, EVENTS).await {
        Ok(events) => events,
        Err(error) => {
            let next = match error.error_type() {
                ErrorType::ApiForbidden => "use an account that may list events",
                _ => "try again",
            };
            return Finding::unknown(CHECK, "the Events on the pod cannot be listed", next).with(error.whole());
        }
    };
    let warnings: Vec<String> = events
        .iter()
        .filter(|event| event.warning)
        .map(|event| format!("{} ({} times, {}): {}", event.reason, event.count, event.component, event.message))
        .collect();
    if warnings.is_empty() {
        return Finding::ok(CHECK, format!("none of the {} Events on the pod is a warning", events.len()));
    }
    let what = format!("{} Events on the pod are warnings", warnings.len());
    Finding::warning(CHECK, what, "do what the last of them says; explain shows when each was").with_some(&warnings)
}
