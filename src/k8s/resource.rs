//! The resources that the agent asks the API server for, by their names in paths, in metrics and in
//! sentences for people.

/// A resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Pods,
    DaemonSets,
    Nodes,
    Events,
}

impl Resource {
    /// The name in paths and metrics: one of [`crate::telemetry::api_request::RESOURCES`].
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Pods => "pods",
            Resource::DaemonSets => "daemonsets",
            Resource::Nodes => "nodes",
            Resource::Events => "events",
        }
    }

    /// One of them.
    pub(super) const fn one(self) -> &'static str {
        match self {
            Resource::Pods => "pod",
            Resource::DaemonSets => "DaemonSet",
            Resource::Nodes => "node",
            Resource::Events => "event",
        }
    }

    /// What the service account needs for it.
    pub(super) const fn needs(self) -> &'static str {
        match self {
            Resource::Pods => "get, list and watch of pods",
            Resource::DaemonSets => "get, list and watch of its DaemonSet",
            Resource::Nodes => "get of nodes",
            Resource::Events => "create and patch of events",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::api_request::RESOURCES;

    #[test]
    fn every_resource_can_be_counted() {
        let all = [Resource::Pods, Resource::DaemonSets, Resource::Nodes, Resource::Events];
        assert_eq!(all.map(Resource::name), RESOURCES);
    }
}
