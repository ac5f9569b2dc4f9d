//! Whether the agent leaves its node for good, so that it takes the plugin away, or is only
//! restarted. Only proof of an uninstall removes: a plugin that is left too long makes new pods
//! fail, which is seen; one that is taken away too early lets them start without redirection.

use super::node_affinity::{Fit, Node, Placement};
use super::step::ErrorType;
use super::taint::Toleration;
use std::collections::BTreeMap;
use std::fmt;

/// The reference's name of the DaemonSet.
const USUAL: &str = "istio-cni-node";
/// How long a pod's name is when Kubernetes has cut it.
const LONGEST: usize = 63;

/// The DaemonSet that the agent's pod belongs to, as far as the pod's name tells: a pod of another kind may be named
/// alike. So that there is none of this name proves nothing, unless this agent saw it there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSetName {
    pub namespace: String,
    pub name: String,
}

/// What a DaemonSet says that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSetFacts {
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// Where its pods may run.
    pub placement: Placement,
    /// Which taints they tolerate. A departure is not decided by that.
    pub tolerations: Vec<Toleration>,
}

/// Why something could not be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub error_type: ErrorType,
    /// One sentence.
    pub problem: String,
}

/// What came of asking for the DaemonSet just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is there.
    Found(DaemonSetFacts),
    /// An API server that accepted us says that there is none of this name.
    Missing,
    /// Nobody knows. A refused token (401) is no proof of anything: the token of a pod that was
    /// deleted by force is refused too, while its DaemonSet stands.
    Unknown(Doubt),
}

/// What a watch of the DaemonSet knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// It is not able to look.
    Unknown {
        /// It was there when it was asked for once.
        seen: bool,
        /// Why it cannot look, if it has tried.
        why: Option<Doubt>,
    },
    /// It was there when the watch last heard.
    Present,
    /// It has a deletion timestamp.
    Deleting,
    /// It is not there.
    Gone {
        /// It was there before.
        seen: bool,
        /// Why the watch, since then, cannot see whether it comes back; `None` while it can.
        blind: Option<Doubt>,
    },
}

/// What came of asking for the node's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeLabels {
    Known(BTreeMap<String, String>),
    Unknown(Doubt),
}

/// All that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    pub asked: Asked,
    pub watched: Watched,
    /// Needed only when the DaemonSet does not run on every node.
    pub node: Option<NodeLabels>,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The plugin stays.
    Keep(Kept),
    /// The plugin is removed.
    Remove(Proof),
}

/// Why the plugin stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The DaemonSet stands, and its pods still run on this node.
    Stands,
    /// Nobody knows about the DaemonSet.
    Unproven(Doubt),
    /// Nobody knows whether the DaemonSet's pods still run on this node.
    Unplaced(Doubt),
    /// Nobody knows which DaemonSet it would be.
    Unnamed,
    /// There is none of this name, and this agent never saw one.
    Unseen,
}

/// What proves an uninstall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// There is no such DaemonSet.
    Gone,
    /// It was seen to be deleted, and not to come back.
    SeenDeleted,
    /// It is being deleted.
    Deleting,
    /// It does not run on this node any more.
    Elsewhere,
}

impl Doubt {
    /// Whether the API server answered, and refused us. After a deletion it fits that our own rights
    /// go as well; any other trouble could hide that the DaemonSet came back.
    pub fn is_refusal(&self) -> bool {
        matches!(self.error_type, ErrorType::ApiUnauthorized | ErrorType::ApiForbidden)
    }
}

impl DaemonSetName {
    /// From `POD_NAMESPACE` and `POD_NAME`, as the DaemonSet controller makes pods' names; where the pod's name does
    /// not tell, as the reference calls it. None without a namespace.
    pub fn of_agent(pod_namespace: &str, pod_name: &str) -> Option<DaemonSetName> {
        if pod_namespace.is_empty() {
            return None;
        }
        let drawn = |c: char| "bcdfghjklmnpqrstvwxz2456789".contains(c);
        let found = pod_name.rsplit_once('-').filter(|(name, suffix)| {
            let made = suffix.len() == 5 && suffix.chars().all(drawn) && pod_name.len() < LONGEST;
            !name.is_empty() && (made || *name == USUAL)
        });
        let name = found.map_or(USUAL, |(name, _)| name);
        Some(DaemonSetName { namespace: pod_namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for DaemonSetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl DaemonSetFacts {
    /// Whether it depends on the node's labels if its pods run there.
    pub fn needs_node(&self) -> bool {
        !self.deleting && !self.placement.is_anywhere()
    }
}

impl Watched {
    /// Whether it was there at some time.
    pub fn was_seen(&self) -> bool {
        match self {
            Watched::Present | Watched::Deleting => true,
            Watched::Unknown { seen, .. } | Watched::Gone { seen, .. } => *seen,
        }
    }
}

/// Decides for the agent on `node`.
pub fn decide(node: &str, findings: &Findings) -> Departure {
    match &findings.asked {
        Asked::Found(facts) if facts.deleting => Departure::Remove(Proof::Deleting),
        Asked::Found(facts) => placed(facts, node, findings.node.as_ref()),
        Asked::Missing if findings.watched.was_seen() => Departure::Remove(Proof::Gone),
        Asked::Missing => Departure::Keep(Kept::Unseen),
        Asked::Unknown(doubt) => match &findings.watched {
            Watched::Deleting => Departure::Remove(Proof::Deleting),
            Watched::Gone { seen: true, blind } if blind.as_ref().is_none_or(Doubt::is_refusal) => {
                Departure::Remove(Proof::SeenDeleted)
            }
            _ => Departure::Keep(Kept::Unproven(doubt.clone())),
        },
    }
}

fn placed(facts: &DaemonSetFacts, node: &str, labels: Option<&NodeLabels>) -> Departure {
    if facts.placement.is_anywhere() {
        return Departure::Keep(Kept::Stands);
    }
    let unplaced = |error_type, problem| Departure::Keep(Kept::Unplaced(Doubt { error_type, problem }));
    match labels {
        None => unplaced(ErrorType::Internal, "the node was not asked for".to_owned()),
        Some(NodeLabels::Unknown(doubt)) => Departure::Keep(Kept::Unplaced(doubt.clone())),
        Some(NodeLabels::Known(labels)) => match facts.placement.fits(Node { name: node, labels }) {
            Fit::Yes => Departure::Keep(Kept::Stands),
            Fit::No => Departure::Remove(Proof::Elsewhere),
            Fit::Unclear(what) => unplaced(ErrorType::ApiInvalidResponse, format!("its node affinity asks for {what}")),
        },
    }
}

impl Departure {
    /// Every reason.
    pub const REASONS: [&str; 9] = [
        "daemonset_stands",
        "daemonset_unknown",
        "placement_unknown",
        "daemonset_unnamed",
        "daemonset_unseen",
        "daemonset_gone",
        "daemonset_seen_deleted",
        "daemonset_deleting",
        "node_not_selected",
    ];

    /// Whether the plugin is removed.
    pub fn removes(&self) -> bool {
        matches!(self, Departure::Remove(_))
    }

    /// The reason, of a closed list.
    pub fn reason(&self) -> &'static str {
        match self {
            Departure::Keep(Kept::Stands) => "daemonset_stands",
            Departure::Keep(Kept::Unproven(_)) => "daemonset_unknown",
            Departure::Keep(Kept::Unplaced(_)) => "placement_unknown",
            Departure::Keep(Kept::Unnamed) => "daemonset_unnamed",
            Departure::Keep(Kept::Unseen) => "daemonset_unseen",
            Departure::Remove(Proof::Gone) => "daemonset_gone",
            Departure::Remove(Proof::SeenDeleted) => "daemonset_seen_deleted",
            Departure::Remove(Proof::Deleting) => "daemonset_deleting",
            Departure::Remove(Proof::Elsewhere) => "node_not_selected",
        }
    }

    /// The decision in a sentence, with what the operator can do where it is uncertain. `name` is
    /// the DaemonSet, if it is known, and `node` this node.
    pub fn sentence(&self, name: Option<&DaemonSetName>, node: &str) -> String {
        let name = name.map_or_else(|| USUAL.to_owned(), DaemonSetName::to_string);
        match self {
            Departure::Keep(kept) => kept.sentence(&name, node),
            Departure::Remove(proof) => proof.sentence(&name, node),
        }
    }
}

/// What is to be done where the plugin was left on a node that it should have left.
const BY_HAND: &str = "if this was an uninstall, remove the istio-cni entry from this node's network configuration first, \
                       then the kubeconfig and the binary";

impl Kept {
    fn sentence(&self, name: &str, node: &str) -> String {
        match self {
            Kept::Stands => format!(
                "terminating, but parent DaemonSet {name} is still present, this is an upgrade or a node reboot, leaving plugin in place"
            ),
            Kept::Unproven(Doubt { problem, .. }) => format!(
                "terminating, and whether parent DaemonSet {name} still exists is not known, leaving plugin in place \
                 ({problem}); {BY_HAND}; with get, list and watch of this DaemonSet the service account finds out by itself"
            ),
            Kept::Unplaced(Doubt { problem, .. }) => format!(
                "terminating, and whether parent DaemonSet {name} still runs on Node {node} is not known, leaving plugin \
                 in place ({problem}); {BY_HAND}; with get of nodes the service account finds out by itself"
            ),
            Kept::Unnamed => format!(
                "terminating, and no pod name tells which DaemonSet is the parent (usually {name}), leaving plugin in \
                 place; {BY_HAND}; with POD_NAME and POD_NAMESPACE of the agent's pod in its environment it finds out by itself"
            ),
            Kept::Unseen => format!(
                "terminating, and parent DaemonSet {name} is not found, but this agent never saw it, so it may have another \
                 parent, leaving plugin in place; {BY_HAND}; with POD_NAME and POD_NAMESPACE of a DaemonSet's pod in its \
                 environment, and get, list and watch of that DaemonSet, the agent finds out by itself"
            ),
        }
    }
}

impl Proof {
    fn sentence(self, name: &str, node: &str) -> String {
        match self {
            Proof::Gone => format!("terminating, and parent DaemonSet {name} is not found, this is not an upgrade"),
            Proof::SeenDeleted => {
                format!("terminating, and parent DaemonSet {name} was seen to be deleted, this is not an upgrade")
            }
            Proof::Deleting => {
                format!("terminating, and parent DaemonSet {name} is marked for deletion, this is not an upgrade")
            }
            Proof::Elsewhere => format!(
                "terminating, and parent DaemonSet {name} will not schedule to Node {node} due to its node selector or \
                 NodeAffinity rules"
            ),
        }
    }

    /// Whether a moment later the DaemonSet may be there again, as when it is replaced by force.
    pub fn may_pass(self) -> bool {
        matches!(self, Proof::Gone | Proof::SeenDeleted)
    }
}

#[cfg(test)]
#[path = "departure_tests.rs"]
mod tests;
