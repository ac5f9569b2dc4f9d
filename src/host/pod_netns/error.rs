//! Why the network namespace of a pod was not found.

use crate::domain::failure::Classify;
use crate::domain::pod::PodFacts;
use crate::domain::step::ErrorType;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A pod's network namespace was not found. All but the first begin in the reference's words.
#[derive(Debug, thiserror::Error)]
pub enum PodNetnsError {
    /// It has none of its own.
    #[error(
        "pod {pod} has hostNetwork: its network namespace is the host's own, where rules would redirect the whole node; nothing is to be repaired there"
    )]
    HostNetwork { pod: String },
    /// There is nothing to tell it by.
    #[error(
        "failed to find network namespace of pod {pod}: the pod has no address yet; it gets one when its sandbox is set up"
    )]
    NoAddress { pod: String },
    /// Nobody has the pod's address.
    #[error(
        "failed to find network namespace of pod {pod}: looked into {looked_at} of the processes in {}, and none has the address {}; the pod's sandbox is gone, or {} does not show the host's processes (mount the host's /proc there)",
        .proc.display(), listed(.addresses), .proc.display()
    )]
    Missing { pod: String, proc: PathBuf, looked_at: usize, addresses: Vec<IpAddr> },
    /// The host's own may not be known again.
    #[error(
        "failed to find network namespace of pod {pod}: which one is the host's, where rules would redirect the whole node, cannot be told from {}/1; give the agent the capability SYS_PTRACE in the host's user namespace",
        .proc.display()
    )]
    HostUnknown { pod: String, proc: PathBuf, source: io::Error },
    /// Some namespaces could not be looked into; the pod's may be among them.
    #[error(
        "failed to find network namespace of pod {pod}: {refused} could not be entered, and none of the other {looked_at} has the address {}; the capabilities SYS_ADMIN and SYS_PTRACE in the host's user namespace are needed",
        listed(.addresses)
    )]
    Refused { pod: String, looked_at: usize, refused: usize, addresses: Vec<IpAddr>, source: io::Error },
    /// The address is another pod's by now.
    #[error(
        "failed to find network namespace of pod {pod}: the address {} is by now in a namespace of the pod with UID {holder}, which is left alone",
        listed(.addresses)
    )]
    TakenOver { pod: String, addresses: Vec<IpAddr>, holder: String },
    /// Several namespaces could be it.
    #[error(
        "failed to find network namespace of pod {pod}: processes {first} and {second} are in different namespaces with the address {}, and nothing tells which is the pod's",
        listed(.addresses)
    )]
    Ambiguous { pod: String, addresses: Vec<IpAddr>, first: u32, second: u32 },
    /// The processes cannot be listed.
    #[error("failed to find network namespace of pod {pod}: {} cannot be listed; mount the host's /proc there", .proc.display())]
    Proc { pod: String, proc: PathBuf, source: io::Error },
    /// There are too many processes, or the kernel is too busy.
    #[error("failed to find network namespace of pod {pod}: looking through {} was given up after {} ms", .proc.display(), .limit.as_millis())]
    GivenUp { pod: String, proc: PathBuf, limit: Duration },
}

impl PodNetnsError {
    pub(super) fn host_unknown(pod: &PodFacts, proc: &Path, source: io::Error) -> PodNetnsError {
        PodNetnsError::HostUnknown { pod: pod.to_string(), proc: proc.to_owned(), source }
    }

    pub(super) fn proc(pod: &PodFacts, proc: &Path, source: io::Error) -> PodNetnsError {
        PodNetnsError::Proc { pod: pod.to_string(), proc: proc.to_owned(), source }
    }
}

impl Classify for PodNetnsError {
    fn error_type(&self) -> ErrorType {
        match self {
            PodNetnsError::HostNetwork { .. } => ErrorType::NetnsHost,
            PodNetnsError::NoAddress { .. } => ErrorType::AddressMissing,
            PodNetnsError::Missing { .. } | PodNetnsError::TakenOver { .. } => ErrorType::NetnsMissing,
            PodNetnsError::HostUnknown { .. } | PodNetnsError::Refused { .. } => ErrorType::PermissionDenied,
            PodNetnsError::Ambiguous { .. } => ErrorType::NetnsInvalid,
            PodNetnsError::Proc { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorType::PermissionDenied
            }
            PodNetnsError::Proc { .. } | PodNetnsError::GivenUp { .. } => ErrorType::Io,
        }
    }

    /// A pod that is being set up again has another namespace soon.
    fn retryable(&self) -> bool {
        !matches!(self, PodNetnsError::HostNetwork { .. })
    }
}

fn listed(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" or ")
}
