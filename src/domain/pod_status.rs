//! What the API server knows of a pod's life: the part of its status, and of its specification,
//! that tells a pod whose redirection is missing from one that is well.

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
    pub state: ContainerState,
    /// How its last run before this one ended, if there was one.
    pub last: Option<Terminated>,
}

/// What a container does now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// The API server does not say.
    #[default]
    Unknown,
    /// It waits, for this reason (`CrashLoopBackOff`, for example).
    Waiting { reason: String },
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
