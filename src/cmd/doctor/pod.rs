//! One pod of a cluster: what the agent of its node knows of it, and what the cluster's Events say.

use super::CouldNot;
use super::ask::{Asking, Silence};
use super::cluster::agents;
use super::rights::Right;
use crate::agent::doctor::PATH;
use crate::cmd::reach::encoded;
use crate::domain::failure::Classify;
use crate::domain::finding::{Check, Finding, Report};
use crate::domain::pod::PodFacts;
use crate::domain::step::ErrorType;
use crate::k8s::agents::{AgentPod, to_ask};
use crate::k8s::error::ApiError;

/// What is known of one pod; also the pod of its node's agent.
pub async fn look(asking: &Asking<'_>, namespace: &str, name: &str) -> Result<(Report, Option<AgentPod>), CouldNot> {
    let asked = tokio::time::timeout(asking.each(), asking.api.place(namespace, name)).await;
    let place = match asked.unwrap_or(Err(ApiError::Timeout { limit: asking.each() })) {
        Ok(place) => place,
        Err(error) if error.http_status() == Some(404) => {
            let what = format!("there is no pod {namespace}/{name} in the cluster");
            let next = "look whether it was deleted, or has another name; explain knows pods that are gone for a while";
            let findings = vec![Finding::warning(Check::PodKnown, what, next).with(error.whole())];
            return Ok((Report { findings, ..Report::default() }, None));
        }
        Err(error) => {
            let right = Right::of("get", "pods").within(Some(namespace));
            return Err(CouldNot::of_api(&format!(
                "pod {namespace}/{name} cannot be asked for: {}",
                right.problem(&error)
            )));
        }
    };
    let mut report = Report { node: place.node.clone(), ..Report::default() };
    let mut agent = None;
    if place.node.is_empty() {
        let what = format!("pod {namespace}/{name} is not on a node yet: no agent can know of it");
        let next = "see why it is not scheduled: kubectl describe pod says so";
        report.findings.push(Finding::warning(Check::PodKnown, what, next).with(format!("uid {}", place.uid)));
    } else {
        let agents = agents(asking, Some(&place.node)).await?;
        agent = to_ask(&agents).cloned();
        report.merge(match &agent {
            Some(agent) => of_agent(asking, agent, &format!("{namespace}/{name}")).await?,
            None => Report { findings: vec![nobody(&place.node, &agents)], ..report.clone() },
        });
    }
    let pod = PodFacts { namespace: namespace.into(), name: name.into(), uid: place.uid, ..PodFacts::default() };
    report.findings.push(events(asking, &pod).await);
    Ok((report, agent))
}

const NEXT: &str = "run doctor without --pod to see what is wrong on the node";

async fn of_agent(asking: &Asking<'_>, agent: &AgentPod, pod: &str) -> Result<Report, CouldNot> {
    const CHECK: Check = Check::AgentAnswers;
    let what = says_nothing(&agent.node);
    let finding = match asking.report(agent, &format!("{PATH}?pod={}", encoded(pod))).await {
        Ok(report) => return Ok(report),
        Err(Silence::Forbidden(problem)) => {
            return Err(CouldNot::of_api(&format!("the agent may not be asked: {problem}")));
        }
        Err(Silence::Deaf { problem, next }) => Finding::unknown(CHECK, what, next).with(problem),
        Err(Silence::Broken(problem)) => Finding::problem(CHECK, what, NEXT).with(problem),
    };
    Ok(Report { node: agent.node.clone(), findings: vec![finding], ..Report::default() })
}

/// None of the node's agents runs, if it has any.
fn nobody(node: &str, agents: &[AgentPod]) -> Finding {
    let ended = agents.iter().map(|agent| format!("pod {}/{} does not run", agent.namespace, agent.name));
    let mut seen: Vec<String> = ended.collect();
    if seen.is_empty() {
        seen.push(format!("node {node} has no agent"));
    }
    Finding::problem(Check::AgentAnswers, says_nothing(node), NEXT).with_some(&seen)
}

fn says_nothing(node: &str) -> String {
    format!("the agent of node {node} does not say what it knows of the pod")
}

/// The warnings among the Events on the pod.
async fn events(asking: &Asking<'_>, pod: &PodFacts) -> Finding {
    const CHECK: Check = Check::PodEvents;
    let events = match asking.api.pod_events(pod, asking.each()).await {
        Ok(events) => events,
        Err(error) => {
            let right = Right::of("list", "events").within(Some(&pod.namespace));
            let next = match error.error_type() {
                ErrorType::ApiForbidden => right.advice(),
                _ => "try again".to_owned(),
            };
            return Finding::unknown(CHECK, "the Events on the pod cannot be listed", next).with(right.problem(&error));
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
