//! What is known of a pod: the few facts of its API object on which a decision rests.

use super::pod_status::PodStatus;
use std::collections::BTreeMap;
use std::fmt;

/// How a runtime names a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// The pod's namespace; empty when the sandbox is no Kubernetes pod.
    pub namespace: String,
    /// The pod's name; empty when the sandbox is no Kubernetes pod.
    pub name: String,
    /// The UID, when the runtime gave one. For a static pod this is the configuration hash.
    pub uid: Option<String>,
}

impl PodRef {
    /// Whether the runtime said which pod of that name it means.
    pub fn has_uid(&self) -> bool {
        self.uid.as_deref().is_some_and(|uid| !uid.is_empty())
    }
}

/// `namespace/name`, as people write it.
impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One container or init container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The container's name.
    pub name: String,
    /// `args`, as written.
    pub args: Vec<String>,
    /// `env` with literal values; entries with `valueFrom` have an empty value.
    pub env: Vec<(String, String)>,
    /// `securityContext.runAsUser` of the container itself.
    pub run_as_user: Option<i64>,
    /// `securityContext.runAsGroup` of the container itself.
    pub run_as_group: Option<i64>,
}

/// The facts of a pod that the decision, the rules and the trace need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The API object's UID (for a static pod: the mirror pod's).
    pub uid: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations.
    pub annotations: BTreeMap<String, String>,
    /// Init containers first, then containers, each in their order.
    pub containers: Vec<Container>,
    /// Its life so far.
    pub status: PodStatus,
}

/// `namespace/name`, as people write it.
impl fmt::Display for PodFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl PodFacts {
    /// The pod as a runtime would name it.
    pub fn reference(&self) -> PodRef {
        PodRef { namespace: self.namespace.clone(), name: self.name.clone(), uid: Some(self.uid.clone()) }
    }

    /// The annotation that the injector leaves on the pods to which it gave a sidecar.
    pub const SIDECAR_STATUS: &'static str = "sidecar.istio.io/status";

    /// The mirror pod's annotation that holds the UID under which the runtime knows a static pod.
    pub const CONFIG_HASH: &'static str = "kubernetes.io/config.hash";

    /// Whether this is the pod that the runtime means: same UID, or the mirror of the static pod
    /// with that UID, or the runtime gave no UID and is believed by name.
    pub fn is(&self, wanted: &PodRef) -> bool {
        match wanted.uid.as_deref() {
            None | Some("") => true,
            Some(uid) => uid == self.uid || self.annotations.get(Self::CONFIG_HASH).is_some_and(|hash| hash == uid),
        }
    }
}
