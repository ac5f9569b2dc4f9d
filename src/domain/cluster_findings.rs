//! What is to be said of a cluster as a whole, from its nodes, its agents' pods and what each agent found.

use super::finding::{Check, Finding, Report};
use std::collections::BTreeMap;

/// So many nodes are named for each version.
const SHOWN: usize = 5;

/// A cluster's report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterReport {
    /// What is said of the cluster.
    pub findings: Vec<Finding>,
    /// What was found on each node.
    pub nodes: Vec<Report>,
    /// On how many of them the agent had no time to answer.
    pub not_asked: usize,
}

impl ClusterReport {
    /// All findings, the cluster's first.
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.nodes.iter().flat_map(|node| &node.findings))
    }
}

/// Whether an agent is to run on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    Yes,
    No,
    /// It is not known, and why.
    Unclear(String),
}

/// Whether an agent runs on each node that it is meant for. `agents` are the nodes that have one.
pub fn coverage(nodes: &[(String, Meant)], agents: &[String]) -> Finding {
    const CHECK: Check = Check::ClusterAgents;
    if agents.is_empty() {
        let what = "no agent runs in this cluster, or none is found by its label";
        let next = "install it, or say with --agent-namespace and --agent-selector where it is";
        return Finding::problem(CHECK, what, next);
    }
    let without = |wanted: fn(&Meant) -> bool| -> Vec<String> {
        let has_none = |(node, meant): &&(String, Meant)| wanted(meant) && !agents.contains(node);
        nodes.iter().filter(has_none).map(|(node, _)| node.clone()).collect()
    };
    let (missing, unclear) = (without(|it| *it == Meant::Yes), without(|it| matches!(it, Meant::Unclear(_))));
    let spared = without(|it| *it == Meant::No);
    let of = nodes.len() - spared.len();
    if !missing.is_empty() {
        let what = format!(
            "no agent runs on {} of {of} nodes: pods start there without redirection, or not at all",
            missing.len()
        );
        let next = "look why the DaemonSet makes no pod there, or why its pod is not there: kubectl -n istio-system describe ds istio-cni-node";
        return Finding::problem(CHECK, what, next).with_some(&missing);
    }
    let why = nodes.iter().find_map(|(node, meant)| match meant {
        Meant::Unclear(why) if unclear.contains(node) => Some(why.clone()),
        _ => None,
    });
    if let Some(why) = why {
        let what =
            format!("{} of {of} nodes have no agent, and whether one is meant for them is not known", unclear.len());
        let next = "use an account that may get the agents' DaemonSet, or compare its node selector, affinity and tolerations with these nodes";
        return Finding::unknown(CHECK, what, next).with(why).with_some(&unclear);
    }
    let finding = Finding::ok(CHECK, format!("an agent runs on each of the {of} nodes that it is meant for"));
    match spared.len() {
        0 => finding,
        _ => finding.with("the DaemonSet does not select these:").with_some(&spared),
    }
}

/// Whether all agents are of one version, and all nodes of one architecture have the same plugin; `own` is this
/// command's version, and `architectures` those of the nodes that are known.
pub fn versions(nodes: &[Report], own: &str, architectures: &BTreeMap<String, String>) -> Finding {
    const CHECK: Check = Check::ClusterVersions;
    let next = "let the DaemonSet's rollout finish (kubectl -n istio-system rollout status ds/istio-cni-node), or see why it does not";
    let versions = by(nodes, |node| node.version.clone());
    if versions.len() > 1 {
        let what = "the agents are of different versions";
        return Finding::warning(CHECK, what, next).with_some(&shown("agent", &versions));
    }
    let mut plugins: BTreeMap<&str, Vec<&Report>> = BTreeMap::new();
    for node in nodes {
        let architecture = architectures.get(&node.node).map_or("", String::as_str);
        plugins.entry(architecture).or_default().push(node);
    }
    for (architecture, nodes) in plugins {
        let plugins = by(nodes, |node| node.plugin.clone());
        if plugins.len() > 1 {
            let (what, kind) = match architecture {
                "" => (
                    "the nodes have different plugins, though their agents are of one version; nodes of different architectures have",
                    String::new(),
                ),
                known => (
                    "nodes of one architecture have different plugins, though their agents are of one version",
                    format!("{known} "),
                ),
            };
            return Finding::warning(CHECK, what, next).with_some(&shown(&format!("{kind}plugin"), &plugins));
        }
    }
    match versions.keys().next() {
        Some(version) if version.as_str() != own => {
            let what = format!("the agents are of version {version}, and this command of version {own}");
            Finding::warning(CHECK, what, "use the command of the agents' version: some checks may say something else")
        }
        Some(version) => Finding::ok(CHECK, format!("all agents are of version {version}")),
        None => Finding::unknown(CHECK, "no agent has told its version", "see why no agent answers"),
    }
}

/// The nodes by what is known of them.
fn by<'a>(nodes: impl IntoIterator<Item = &'a Report>, key: fn(&Report) -> String) -> BTreeMap<String, Vec<&'a str>> {
    let mut by: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        by.entry(key(node)).or_default().push(&node.node);
    }
    by.remove("");
    by
}

fn shown(what: &str, by: &BTreeMap<String, Vec<&str>>) -> Vec<String> {
    let line = |(value, nodes): (&String, &Vec<&str>)| {
        let some = nodes.get(..nodes.len().min(SHOWN)).unwrap_or_default().join(", ");
        let more = nodes.len().saturating_sub(SHOWN);
        format!("{what} {value}: {some}{}", if more > 0 { format!(" and {more} more") } else { String::new() })
    };
    by.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Status;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn report(node: &str, version: &str, plugin: &str) -> Report {
        Report { node: node.into(), version: version.into(), plugin: plugin.into(), findings: Vec::new() }
    }

    #[test]
    fn nodes_without_an_agent_are_named() {
        let meant = |nodes: &[&str]| nodes.iter().map(|node| ((*node).to_owned(), Meant::Yes)).collect::<Vec<_>>();
        assert_eq!(coverage(&meant(&["a", "b"]), &names(&["b", "a"])).status, Status::Ok);
        let finding = coverage(&meant(&["a", "b"]), &names(&["a"]));
        assert_eq!((finding.status, finding.evidence), (Status::Problem, names(&["b"])));
        assert_eq!(coverage(&meant(&["a"]), &[]).status, Status::Problem);
    }

    #[test]
    fn nodes_that_no_agent_is_meant_for_need_none() {
        let node = |name: &str, meant| (name.to_owned(), meant);
        let unclear = || Meant::Unclear("it may not be read".into());
        let fine = coverage(&[node("a", Meant::Yes), node("b", Meant::No)], &names(&["a"]));
        assert_eq!((fine.status, fine.what.contains("the 1 nodes")), (Status::Ok, true), "{fine:?}");
        assert_eq!(fine.evidence.last().map(String::as_str), Some("b"));
        let open = coverage(&[node("a", unclear()), node("b", unclear())], &names(&["a"]));
        assert_eq!((open.status, open.evidence), (Status::Unknown, names(&["it may not be read", "b"])));
        assert_eq!(coverage(&[node("a", unclear())], &names(&["a"])).status, Status::Ok);
    }

    #[test]
    fn different_versions_and_plugins_are_named_with_their_nodes() {
        let none = BTreeMap::new();
        let same = [report("a", "1", "x"), report("b", "1", "x"), report("c", "", "")];
        assert_eq!(versions(&same, "1", &none).status, Status::Ok);
        assert_eq!(versions(&same, "2", &none).status, Status::Warning);
        let differ = versions(&[report("a", "1", "x"), report("b", "2", "x")], "1", &none);
        assert_eq!(differ.evidence, ["agent 1: a", "agent 2: b"]);
        assert_eq!(versions(&[report("a", "1", "x"), report("b", "1", "y")], "1", &none).status, Status::Warning);
        assert_eq!(versions(&[report("a", "", "")], "1", &none).status, Status::Unknown);
    }

    #[test]
    fn each_architecture_has_a_plugin_of_its_own() {
        let of = [("a", "amd64"), ("b", "arm64"), ("c", "arm64")].map(|(node, of)| (node.to_owned(), of.to_owned()));
        let mixed = [report("a", "1", "x"), report("b", "1", "y"), report("c", "1", "y")];
        assert_eq!(versions(&mixed, "1", &of.clone().into()).status, Status::Ok);
        let stale = [report("a", "1", "x"), report("b", "1", "y"), report("c", "1", "x")];
        let finding = versions(&stale, "1", &of.into());
        assert_eq!(
            (finding.status, finding.evidence),
            (Status::Warning, names(&["arm64 plugin x: c", "arm64 plugin y: b"]))
        );
    }
}
