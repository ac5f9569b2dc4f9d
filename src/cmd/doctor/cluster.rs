//! A whole cluster, from wherever its API server can be asked: its nodes, the agents' pods on them, and what each agent
//! says of its node. A few agents are asked at once, and none for long.

use super::CouldNot;
use super::progress::Progress;
use crate::agent::doctor::{PATH, VERSION};
use crate::cmd::reach::{Reach, encoded};
use crate::domain::cluster_findings::{ClusterReport, coverage, versions};
use crate::domain::failure::{Classify, whole};
use crate::domain::finding::{Check, Finding, Report};
use crate::domain::pod::PodFacts;
use crate::domain::step::ErrorType;
use crate::k8s::agents::AgentPod;
use crate::k8s::client::ApiClient;
use crate::wire::finding::decode;
use futures::StreamExt;
use std::time::Duration;

/// So many agents are asked at once.
const AT_ONCE: usize = 16;
/// How long one agent may take, with the way to it.
const EACH: Duration = Duration::from_secs(15);
/// How long the API server may take for a pod's Events.
const EVENTS: Duration = Duration::from_secs(5);

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
    report.nodes = ask_all(reach, api, &agents).await;
    report.findings.push(versions(&report.nodes, VERSION));
    Ok(report)
}

fn unlisted(problem: &str) -> Finding {
    let what = "whether each node has an agent is not known: the nodes cannot be listed";
    Finding::unknown(Check::ClusterAgents, what, "use an account that may list nodes").with(problem)
}

async fn ask_all(reach: &Reach, api: &ApiClient, agents: &[AgentPod]) -> Vec<Report> {
    let mut progress = Progress::of_stderr("asking the agents");
    progress.tell(0, agents.len());
    let asked = futures::stream::iter(agents).map(|agent| ask(reach, api, agent)).buffer_unordered(AT_ONCE);
    let mut asked = std::pin::pin!(asked);
    let mut reports: Vec<Report> = Vec::with_capacity(agents.len());
    while let Some(report) = asked.next().await {
        reports.push(report);
        progress.tell(reports.len(), agents.len());
    }
    progress.done();
    reports.sort_by(|one, other| one.node.cmp(&other.node));
    reports
}

/// What one agent says, or that it says nothing.
async fn ask(reach: &Reach, api: &ApiClient, agent: &AgentPod) -> Report {
    let silent = |problem: String| {
        let state = match (agent.runs, agent.ready) {
            (false, _) => "its pod does not run",
            (true, false) => "its pod runs and is not ready",
            (true, true) => "its pod is ready",
        };
        let what = format!("the agent of this node does not answer, and {state}");
        let next =
            format!("see kubectl -n {0} describe pod {1}, and kubectl -n {0} logs {1}", agent.namespace, agent.name);
        let finding = Finding::problem(Check::AgentAnswers, what, next).with(problem);
        Report { node: agent.node.clone(), findings: vec![finding], ..Report::default() }
    };
    if !agent.runs {
        return silent(format!("pod {}/{}", agent.namespace, agent.name));
    }
    match get(reach, api, agent, PATH).await.and_then(|body| decode(&body).map_err(|error| error.to_string())) {
        // The API server is believed about where it runs.
        Ok(report) => Report { node: agent.node.clone(), ..report },
        Err(problem) => silent(problem),
    }
}

/// What an agent answers at a path.
pub async fn get(reach: &Reach, api: &ApiClient, agent: &AgentPod, path: &str) -> Result<Vec<u8>, String> {
    let answer = tokio::time::timeout(EACH, reach.at_agent(api, agent, path)).await;
    let answer = answer.map_err(|_| format!("it did not answer within {} s", EACH.as_secs()))?;
    match answer.map_err(|error| whole(&error))? {
        answer if answer.status == 200 => Ok(answer.body),
        answer if answer.status == 404 => {
            Err("it is of a version that cannot be asked; the versions should be equal".to_owned())
        }
        answer => Err(format!("it answers with status {}: {}", answer.status, answer.line())),
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
        report.merge(of_agent(reach, api, &agents, &place.node, &format!("{namespace}/{name}")).await);
    }
    let pod = PodFacts { namespace: namespace.into(), name: name.into(), uid: place.uid, ..PodFacts::default() };
    report.findings.push(events(api, &pod).await);
    Ok(report)
}

async fn of_agent(reach: &Reach, api: &ApiClient, agents: &[AgentPod], node: &str, pod: &str) -> Report {
    let problem = match agents.first() {
        None => format!("node {node} has no agent"),
        Some(agent) => {
            let asked = get(reach, api, agent, &format!("{PATH}?pod={}", encoded(pod))).await;
            match asked.and_then(|body| decode(&body).map_err(|error| error.to_string())) {
                Ok(report) => return report,
                Err(problem) => problem,
            }
        }
    };
    let what = format!("the agent of node {node} does not say what it knows of the pod");
    let next = "run doctor without --pod to see what is wrong on the node";
    let findings = vec![Finding::problem(Check::AgentAnswers, what, next).with(problem)];
    Report { node: node.to_owned(), findings, ..Report::default() }
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
