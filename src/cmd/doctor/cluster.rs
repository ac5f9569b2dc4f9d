//! A whole cluster, from wherever its API server can be asked: its nodes, which of them agents are meant for, and what
//! each agent says of its node.

use super::CouldNot;
use super::ask::Asking;
use super::rights::Right;
use crate::agent::doctor::VERSION;
use crate::domain::cluster_findings::{ClusterReport, Meant, coverage, versions};
use crate::domain::departure::{DaemonSetFacts, DaemonSetName};
use crate::domain::finding::{Check, Finding};
use crate::domain::node_affinity::{Fit, Node};
use crate::domain::taint::repels;
use crate::k8s::agents::AgentPod;
use crate::k8s::cluster::NodeFacts;
use crate::k8s::error::ApiError;
use std::collections::{BTreeMap, BTreeSet};

/// No more DaemonSets are asked for.
const MOST_DAEMONSETS: usize = 8;

/// Looks at all nodes; also the agents' pods, for whoever has more to ask them.
pub async fn look(asking: &Asking<'_>) -> Result<(ClusterReport, Vec<AgentPod>), CouldNot> {
    let agents = agents(asking, None).await?;
    let nodes = nodes(asking).await;
    let mut report = ClusterReport::default();
    report.findings.push(Finding::ok(Check::ClusterApi, "the API server answers"));
    let with_agents: Vec<String> = agents.iter().map(|agent| agent.node.clone()).collect();
    report.findings.push(match &nodes {
        _ if agents.is_empty() => coverage(&[], &[]),
        Ok(nodes) => coverage(&meant(asking, nodes, &agents).await, &with_agents),
        Err(problem) => {
            let what = "whether each node has an agent is not known: the nodes cannot be listed";
            Finding::unknown(Check::ClusterAgents, what, Right::of("list", "nodes").advice()).with(problem.as_str())
        }
    });
    let answers = asking.all(&agents).await;
    if let Some(problem) = answers.forbidden {
        return Err(CouldNot::of_api(&format!("no agent may be asked: {problem}")));
    }
    (report.nodes, report.not_asked) = (answers.reports, answers.not_asked);
    let architectures: BTreeMap<String, String> =
        nodes.unwrap_or_default().into_iter().map(|node| (node.name, node.architecture)).collect();
    report.findings.push(versions(&report.nodes, VERSION, &architectures));
    Ok((report, agents))
}

/// The agents' pods, of one node or of all.
pub async fn agents(asking: &Asking<'_>, node: Option<&str>) -> Result<Vec<AgentPod>, CouldNot> {
    let right = Right::of("list", "pods").within(asking.reach.namespace());
    let asked = tokio::time::timeout_at(asking.deadline, asking.reach.agents(asking.api, node)).await;
    let asked = asked.unwrap_or(Err(ApiError::Timeout { limit: asking.limit }));
    asked.map_err(|error| CouldNot::of_api(&format!("the agents' pods cannot be listed: {}", right.problem(&error))))
}

async fn nodes(asking: &Asking<'_>) -> Result<Vec<NodeFacts>, String> {
    // The agents need the rest of the time.
    let limit = asking.limit / 2;
    let asked = tokio::time::timeout(limit, asking.api.nodes()).await.unwrap_or(Err(ApiError::Timeout { limit }));
    asked.map_err(|error| Right::of("list", "nodes").problem(&error))
}

/// Which nodes the agents' DaemonSets are meant for. Agents that no DaemonSet made are wanted on all that can run them.
async fn meant(asking: &Asking<'_>, nodes: &[NodeFacts], agents: &[AgentPod]) -> Vec<(String, Meant)> {
    let names: BTreeSet<(&str, &str)> = agents
        .iter()
        .filter(|agent| !agent.daemonset.is_empty())
        .map(|agent| (agent.namespace.as_str(), agent.daemonset.as_str()))
        .collect();
    let (mut sets, mut doubt) = (Vec::new(), None);
    for (namespace, name) in names.iter().copied().take(MOST_DAEMONSETS) {
        let of = DaemonSetName { namespace: namespace.to_owned(), name: name.to_owned() };
        let right = Right::of("get", "daemonsets").within(Some(namespace));
        match asking.api.daemonset(&of, asking.each()).await {
            Ok(Some(facts)) => sets.push(facts),
            Ok(None) => doubt = Some(format!("there is no DaemonSet {namespace}/{name} any more")),
            Err(error) => {
                doubt = Some(right.problem(&error));
                // The agents need the time more.
                if matches!(error, ApiError::Timeout { .. }) {
                    break;
                }
            }
        }
    }
    let one = |node: &NodeFacts| match (names.is_empty(), node.can_run) {
        (_, false) => Meant::No,
        (true, true) => Meant::Yes,
        (false, true) => by_any(&sets, node, doubt.as_deref()),
    };
    nodes.iter().map(|node| (node.name.clone(), one(node))).collect()
}

/// Whether one of them makes an agent for the node.
fn by_any(sets: &[DaemonSetFacts], node: &NodeFacts, doubt: Option<&str>) -> Meant {
    let mut unclear = doubt.map(str::to_owned);
    for set in sets {
        if repels(&node.taints, &set.tolerations).is_some() {
            continue;
        }
        match set.placement.fits(Node { name: &node.name, labels: &node.labels }) {
            Fit::Yes => return Meant::Yes,
            Fit::No => {}
            Fit::Unclear(requirement) => unclear = Some(format!("its affinity is not understood: {requirement}")),
        }
    }
    unclear.map_or(Meant::No, Meant::Unclear)
}
