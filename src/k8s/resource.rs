//! The resources that the agent asks the API server for, by their names in paths, in metrics and in
//! sentences for people.

/// A resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Pods,
    DaemonSets,
    Nodes,
    Events,
    /// The Events on a pod.
    PodEvents,
    /// A pod that is to be deleted.
    PodDeletion,
    Evictions,
    PodStatus,
    /// A connection to a port of a pod; asked for by the operator's tools alone.
    PodForward,
}

impl Resource {
    /// The name in paths and metrics: one of [`crate::telemetry::api_request::RESOURCES`].
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Pods | Resource::PodDeletion => "pods",
            Resource::DaemonSets => "daemonsets",
            Resource::Nodes => "nodes",
            Resource::Events | Resource::PodEvents => "events",
            Resource::Evictions => "pods/eviction",
            Resource::PodStatus => "pods/status",
            Resource::PodForward => "pods/portforward",
        }
    }

    /// Whether it is about one pod that is to be changed.
    pub(super) const fn is_pods_change(self) -> bool {
        matches!(self, Resource::PodDeletion | Resource::Evictions | Resource::PodStatus)
    }

    /// One of them.
    pub(super) const fn one(self) -> &'static str {
        match self {
            Resource::Pods
            | Resource::PodDeletion
            | Resource::Evictions
            | Resource::PodStatus
            | Resource::PodForward => "pod",
            Resource::DaemonSets => "DaemonSet",
            Resource::Nodes => "node",
            Resource::Events => "event",
            Resource::PodEvents => "list of events",
        }
    }

    /// What the service account needs for it.
    pub(super) const fn needs(self) -> &'static str {
        match self {
            Resource::Pods => "get, list and watch of pods",
            Resource::DaemonSets => "get, list and watch of its DaemonSet",
            Resource::Nodes => "get of nodes",
            Resource::Events => "create and patch of events",
            Resource::PodEvents => "list of events (STARTUP_TRACES)",
            Resource::PodDeletion => "delete of pods (REPAIR_DELETE_PODS)",
            Resource::Evictions => "create of pods/eviction (REPAIR_EVICT)",
            Resource::PodStatus => "patch of pods/status (REPAIR_LABEL_PODS)",
            Resource::PodForward => "get and create of pods/portforward",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::api_request::RESOURCES;

    #[test]
    fn every_resource_can_be_counted() {
        let all = [
            Resource::Pods,
            Resource::DaemonSets,
            Resource::Nodes,
            Resource::Events,
            Resource::Evictions,
            Resource::PodStatus,
        ];
        assert_eq!(all.map(Resource::name), RESOURCES);
        assert!(RESOURCES.contains(&Resource::PodDeletion.name()) && RESOURCES.contains(&Resource::PodEvents.name()));
    }
}
