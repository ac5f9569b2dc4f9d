//! What the API server knows of a pod's life: the part of its status, and of its specification,
//! that tells a pod whose redirection is missing from one that is well, and how it started.

use std::net::IpAddr;

/// A pod's life so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodStatus {
    /// `metadata.resourceVersion`: which state of the object this is.
    pub resource_version: String,
    /// Whether the pod is being deleted (`metadata.deletionTimestamp`).
    pub deleting: bool,
    /// Whether the pod is in the host's network namespace (`spec.hostNetwork`).
    pub host_network: bool,
    /// `spec.restartPolicy`; empty when the object has none.
    pub restart_policy: String,
    /// `status.phase`; empty when the object has none.
    pub phase: String,
    /// `status.podIPs`, else `status.podIP`; what is no address is left out.
    pub addresses: Vec<IpAddr>,
    /// `status.initContainerStatuses`, in their order.
    pub init: Vec<ContainerStatus>,
    /// How it started.
    pub life: Life,
}

/// How a pod started, as far as the API server says. All times are nanoseconds since the epoch, of whole
/// seconds, for the API has no others here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// `metadata.creationTimestamp`, by the API server's clock.
    pub created_ns: Option<u64>,
    /// `status.startTime`: the kubelet has seen it, by the node's clock.
    pub started_ns: Option<u64>,
    /// When its deletion was asked for: `metadata.deletionTimestamp` without the grace period.
    pub deleted_ns: Option<u64>,
    /// `status.reason`, `Evicted` for example; mostly empty.
    pub reason: String,
    /// `status.message`, at most [`LONGEST`] bytes; mostly empty.
    pub message: String,
    /// Those of `status.conditions` that are read.
    pub conditions: Vec<Condition>,
    /// `status.containerStatuses`, in their order.
    pub containers: Vec<ContainerStatus>,
}

/// How many bytes of a message are kept, that of a condition, of a waiting container, or of the pod.
pub const LONGEST: usize = 1024;

impl Life {
    /// The condition of this kind.
    pub fn condition(&self, kind: ConditionKind) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Since when the condition of this kind is met; nothing if it is not, or nobody says since when.
    pub fn met_ns(&self, kind: ConditionKind) -> Option<u64> {
        self.condition(kind).filter(|condition| condition.met).and_then(|condition| condition.since_ns)
    }

    /// Whether the condition of this kind is met.
    pub fn is(&self, kind: ConditionKind) -> bool {
        self.condition(kind).is_some_and(|condition| condition.met)
    }
}

/// A condition of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: ConditionKind,
    /// Whether its status is `True`.
    pub met: bool,
    /// `lastTransitionTime`.
    pub since_ns: Option<u64>,
    /// Mostly empty.
    pub reason: String,
    /// At most [`LONGEST`] bytes; mostly empty.
    pub message: String,
}

/// The conditions that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionKind {
    Scheduled,
    /// `PodReadyToStartContainers`, which was called `PodHasNetwork` first.
    SandboxReady,
    Initialized,
    ContainersReady,
    Ready,
    /// Somebody ends the pod: eviction, preemption.
    DisruptionTarget,
}

impl ConditionKind {
    /// The condition with this `type`, if it is read.
    pub fn from_name(name: &str) -> Option<ConditionKind> {
        Some(match name {
            "PodScheduled" => ConditionKind::Scheduled,
            "PodReadyToStartContainers" | "PodHasNetwork" => ConditionKind::SandboxReady,
            "Initialized" => ConditionKind::Initialized,
            "ContainersReady" => ConditionKind::ContainersReady,
            "Ready" => ConditionKind::Ready,
            "DisruptionTarget" => ConditionKind::DisruptionTarget,
            _ => return None,
        })
    }
}

/// A text cut to [`LONGEST`], without spare room.
pub fn fitted(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text.shrink_to_fit();
    text
}

impl PodStatus {
    /// Whether the pod's containers have all ended and none is started again.
    pub fn is_over(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }
}

/// One container's life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStatus {
    pub name: String,
    pub restarts: u32,
    /// Whether it counts as ready; of an init container, whether it is done.
    pub ready: bool,
    /// Whether it is an init container that keeps running (`restartPolicy: Always`).
    pub sidecar: bool,
    pub state: ContainerState,
    /// How its last run before this one ended, if there was one.
    pub last: Option<Terminated>,
}

impl ContainerStatus {
    /// Forgets what its runs said at their ends; what the runtime said of one that never began is no word of theirs.
    pub fn forget_messages(&mut self) {
        let now = match &mut self.state {
            ContainerState::Terminated(ended) => Some(ended),
            ContainerState::Unknown | ContainerState::Waiting { .. } | ContainerState::Running { .. } => None,
        };
        let runs = now.into_iter().chain(&mut self.last).filter(|ended| !ended.never_began());
        runs.for_each(|ended| ended.message = String::new());
    }
}

/// What a container does now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// The API server does not say.
    #[default]
    Unknown,
    /// It waits, for this reason (`CrashLoopBackOff`, for example); the message has at most [`LONGEST`] bytes.
    Waiting { reason: String, message: String },
    /// It runs, since then (nanoseconds since the epoch, of second precision).
    Running { started_ns: Option<u64> },
    /// It has ended.
    Terminated(Terminated),
}

impl ContainerState {
    /// How it ended, if it has.
    pub fn terminated(&self) -> Option<&Terminated> {
        match self {
            ContainerState::Terminated(ended) => Some(ended),
            _ => None,
        }
    }

    /// Since when it runs, or ran.
    pub fn started_ns(&self) -> Option<u64> {
        match self {
            ContainerState::Running { started_ns } => *started_ns,
            ContainerState::Terminated(ended) => ended.started_ns,
            ContainerState::Unknown | ContainerState::Waiting { .. } => None,
        }
    }
}

/// How a run of a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terminated {
    pub exit_code: i32,
    /// `Completed` or `Error`, for example.
    pub reason: String,
    /// The termination message, or the end of the log; at most [`Terminated::LONGEST`] bytes.
    pub message: String,
    /// `containerID`: which run this was; empty when it is not known.
    pub container_id: String,
    /// Nanoseconds since the epoch; the API gives seconds.
    pub started_ns: Option<u64>,
    /// Nanoseconds since the epoch; the API gives seconds.
    pub finished_ns: Option<u64>,
}

impl Terminated {
    /// How many bytes of a termination message are kept: the kubelet's own bound.
    pub const LONGEST: usize = 4096;

    /// Whether the runtime could not start it, so that the message is the runtime's.
    pub fn never_began(&self) -> bool {
        ["StartError", "ContainerCannotRun"].contains(&self.reason.as_str())
    }

    /// The message cut to the bound.
    pub fn fitted(mut self) -> Terminated {
        if self.message.len() > Terminated::LONGEST {
            self.message.truncate(self.message.floor_char_boundary(Terminated::LONGEST));
        }
        self.message.shrink_to_fit();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_kept_to_the_kubelets_bound() {
        let ended = Terminated { message: "é".repeat(4096), ..Terminated::default() }.fitted();
        assert_eq!((ended.message.len(), ended.message.chars().count()), (4096, 2048));
        let ended = Terminated { message: format!("x{}", "é".repeat(4096)), ..Terminated::default() }.fitted();
        assert_eq!(ended.message.len(), 4095);
    }

    #[test]
    fn a_pod_is_over_in_its_last_phases() {
        let phase = |phase: &str| PodStatus { phase: phase.to_owned(), ..PodStatus::default() }.is_over();
        assert_eq!(["Pending", "Running", "Succeeded", "Failed", ""].map(phase), [false, false, true, true, false]);
    }
}
