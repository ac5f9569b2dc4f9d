//! What `doctor` checks, by name, and the runbook for each.

macro_rules! checks {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal, $runbook:literal;)*) => {
        /// What is checked. In the order in which things depend on each other: what comes first explains the rest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Check { $($(#[doc = $doc])* $variant,)* }

        impl Check {
            /// Every check.
            pub const ALL: &'static [Check] = &[$(Check::$variant,)*];

            /// Its name in output; stable.
            pub const fn name(self) -> &'static str {
                match self { $(Check::$variant => $name,)* }
            }

            /// The name of the [`Runbook`](super::runbook::Runbook) for those who find something wrong.
            pub const fn runbook(self) -> &'static str {
                match self { $(Check::$variant => $runbook,)* }
            }
        }
    };
}

checks! {
    /// The API server answers whoever asks for the cluster.
    ClusterApi = "cluster.api", "api-server";
    /// The DaemonSet is there, and one of its pods on each node that it selects.
    ClusterAgents = "cluster.agents", "node-without-agent";
    /// All agents are of one version, and brought the same plugin.
    ClusterVersions = "cluster.versions", "versions";
    /// The agent's settings can be used.
    Settings = "agent.settings", "agent-settings";
    /// The agent of this node answers.
    AgentAnswers = "agent.answers", "agent-not-answering";
    /// The agent says that it is ready.
    AgentReady = "agent.ready", "agent-not-ready";
    /// The plugin's socket is there, for root alone.
    AgentSocket = "agent.socket", "agent-not-answering";
    /// The agent's process may do what it has to do.
    AgentCapabilities = "agent.capabilities", "capabilities";
    /// The agent and the command that asks it are of one version.
    Versions = "versions", "versions";
    /// The plugin is where the runtime looks for it, and is the image's.
    PluginBinary = "plugin.binary", "plugin-missing";
    /// The files of the network configuration can be used.
    NetworkValid = "network.valid", "network-configuration";
    /// The plugin's entry stands where it has to, in the file that is used.
    NetworkPlace = "network.place", "network-configuration";
    /// Nobody undoes the installation.
    NetworkWriters = "network.writers", "network-configuration-reverted";
    /// The container runtime answers, and says that it can start pods.
    RuntimeReady = "runtime.ready", "runtime-not-ready";
    /// The container runtime reads the directories that are written.
    RuntimeDirectory = "runtime.directory", "runtime-directory";
    /// The plugin's kubeconfig is there and can be read.
    Kubeconfig = "kubeconfig.file", "kubeconfig";
    /// Nobody but root can read it.
    KubeconfigMode = "kubeconfig.mode", "kubeconfig";
    /// Its token has not expired.
    KubeconfigToken = "kubeconfig.token", "kubeconfig";
    /// The API server takes its credentials.
    KubeconfigAccepted = "kubeconfig.accepted", "kubeconfig";
    /// The watch of the node's pods hears from the API server.
    WatchFresh = "watch.fresh", "watch-stale";
    /// The kernel has what the rules need.
    Backend = "backend", "backend";
    /// Pods' validations succeed.
    PodsValidation = "pods.validation", "validation-failing";
    /// Pods have the rules that they should have.
    PodsRedirected = "pods.redirected", "pods-not-redirected";
    /// Pods are not repaired, deleted or evicted over and over.
    PodsRepair = "pods.repair", "pods-evicted-repeatedly";
    /// Telemetry reaches its collector.
    Telemetry = "telemetry", "telemetry-lost";
    /// The pod that was asked for is known.
    PodKnown = "pod.known", "pod-unknown";
    /// It has the rules that it should have.
    PodRedirected = "pod.redirected", "pods-not-redirected";
    /// Its validation succeeds.
    PodValidation = "pod.validation", "validation-failing";
    /// What the cluster's Events say of it.
    PodEvents = "pod.events", "pod-events";
}

impl Check {
    /// The check of this name, if this version knows it.
    pub fn from_name(name: &str) -> Option<Check> {
        Check::ALL.iter().copied().find(|check| check.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_check_each_and_found_again() {
        for check in Check::ALL {
            assert_eq!(Check::from_name(check.name()), Some(*check));
        }
        assert_eq!(Check::from_name("agent.mood"), None);
    }
}
