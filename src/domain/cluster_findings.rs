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
}

impl ClusterReport {
    /// All findings, the cluster's first.
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.nodes.iter().flat_map(|node| &node.findings))
    }
}

/// Whether an agent runs on each of these nodes. `agents` are the nodes that have one.
pub fn coverage(nodes: &[String], agents: &[String]) -> Finding {
    const CHECK: Check = Check::ClusterAgents;
    let next = "look why the DaemonSet istio-cni-node makes no pod there: its node selector, tolerations and resources (kubectl -n istio-system describe ds istio-cni-node)";
    if agents.is_empty() {
        let what = "no agent runs in this cluster, or none is found by its label";
        return Finding::problem(
            CHECK,
            what,
            "install it, or say with --agent-namespace and --agent-selector where it is",
        );
    }
    let without: Vec<String> = nodes.iter().filter(|node| !agents.contains(node)).cloned().collect();
    match without.len() {
        0 => Finding::ok(CHECK, format!("an agent runs on each of the {} nodes", nodes.len())),
        count => {
            let of = nodes.len();
            let what =
                format!("no agent runs on {count} of {of} nodes: pods start there without redirection, or not at all");
            Finding::problem(CHECK, what, next).with_some(&without)
        }
    }
}

/// Whether all agents are of one version, and all nodes have the same plugin; `own` is this command's version.
pub fn versions(nodes: &[Report], own: &str) -> Finding {
    const CHECK: Check = Check::ClusterVersions;
    let by = |key: fn(&Report) -> &String| {
        let mut by: BTreeMap<&String, Vec<&str>> = BTreeMap::new();
        for node in nodes.iter().filter(|node| !key(node).is_empty()) {
            by.entry(key(node)).or_default().push(&node.node);
        }
        by
    };
    let shown = |what: &str, by: &BTreeMap<&String, Vec<&str>>| -> Vec<String> {
        let line = |(value, nodes): (&&String, &Vec<&str>)| {
            let some = nodes.get(..nodes.len().min(SHOWN)).unwrap_or_default().join(", ");
            let more = nodes.len().saturating_sub(SHOWN);
            format!("{what} {value}: {some}{}", if more > 0 { format!(" and {more} more") } else { String::new() })
        };
        by.iter().map(line).collect()
    };
    let (versions, plugins) = (by(|node| &node.version), by(|node| &node.plugin));
    let next = "let the DaemonSet's rollout finish (kubectl -n istio-system rollout status ds/istio-cni-node), or see why it does not";
    if versions.len() > 1 {
        return Finding::warning(CHECK, "the agents are of different versions", next)
            .with_some(&shown("agent", &versions));
    }
    if plugins.len() > 1 {
        let what = "the nodes have different plugins, though their agents are of one version; nodes of different architectures have";
        return Finding::warning(CHECK, what, next).with_some(&shown("plugin", &plugins));
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
        assert_eq!(coverage(&names(&["a", "b"]), &names(&["b", "a"])).status, Status::Ok);
        let finding = coverage(&names(&["a", "b"]), &names(&["a"]));
        assert_eq!((finding.status, finding.evidence), (Status::Problem, names(&["b"])));
        assert_eq!(coverage(&names(&["a"]), &[]).status, Status::Problem);
    }

    #[test]
    fn different_versions_and_plugins_are_named_with_their_nodes() {
        let same = [report("a", "1", "x"), report("b", "1", "x"), report("c", "", "")];
        assert_eq!(versions(&same, "1").status, Status::Ok);
        assert_eq!(versions(&same, "2").status, Status::Warning);
        let differ = versions(&[report("a", "1", "x"), report("b", "2", "x")], "1");
        assert_eq!(differ.evidence, ["agent 1: a", "agent 2: b"]);
        assert_eq!(versions(&[report("a", "1", "x"), report("b", "1", "y")], "1").status, Status::Warning);
        assert_eq!(versions(&[report("a", "", "")], "1").status, Status::Unknown);
    }
}
