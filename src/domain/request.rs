//! One CNI call as the use cases see it, whether it came through the agent's socket or not.

use super::failure::Failure;
use super::identity::TraceLink;
use super::outbound::{Outbound, OutboundError};
use super::pod::PodRef;
use super::settings::SkipReason;
use std::time::Duration;

/// The CNI command of a call that reaches a use case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Add,
    Check,
    Del,
    Gc,
    Status,
}

impl Command {
    /// Every command.
    pub const ALL: [Command; 5] = [Command::Add, Command::Check, Command::Del, Command::Gc, Command::Status];

    /// The metric label: the CNI word in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Command::Add => "add",
            Command::Check => "check",
            Command::Del => "del",
            Command::Gc => "gc",
            Command::Status => "status",
        }
    }

    /// The name of the call's span.
    pub const fn span_name(self) -> &'static str {
        match self {
            Command::Add => "cni.add",
            Command::Check => "cni.check",
            Command::Del => "cni.del",
            Command::Gc => "cni.gc",
            Command::Status => "cni.status",
        }
    }
}

/// What programs the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// nf_tables where the kernel has all that is needed, else iptables.
    #[default]
    Auto,
    Nftables,
    Iptables,
}

impl Backend {
    /// The value of `redirect_backend`.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Auto => "auto",
            Backend::Nftables => "nftables",
            Backend::Iptables => "iptables",
        }
    }
}

/// Bounds of a request; every wait has one. Absent configuration keys mean these defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How often the pod is asked for before giving up (reference: 30).
    pub pod_attempts: u32,
    /// The pause after a failed attempt (reference: 1 s).
    pub pod_interval: Duration,
    /// The limit of one API request.
    pub api_timeout: Duration,
    /// How long the agent may take to answer before the plugin goes on alone.
    pub agent_timeout: Duration,
    /// How long to wait for the namespace's lock.
    pub lock_timeout: Duration,
    /// How long a host tool may run.
    pub tool_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            pod_attempts: 30,
            pod_interval: Duration::from_secs(1),
            api_timeout: Duration::from_secs(5),
            agent_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(10),
            tool_timeout: Duration::from_secs(30),
        }
    }
}

/// A CNI call for one sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub command: Command,
    /// CNI_CONTAINERID.
    pub container_id: String,
    /// CNI_IFNAME.
    pub ifname: String,
    /// CNI_NETNS as given, for messages; the descriptor travels beside the request.
    pub netns: String,
    /// Whether the host's own namespace may be given (CNI_NETNS_OVERRIDE).
    pub own_netns: bool,
    /// The pod.
    pub pod: PodRef,
    /// What programs the rules.
    pub backend: Backend,
    /// What the node says about outbound traffic; an error of it matters only to pods that get rules.
    pub outbound: Result<Outbound, OutboundError>,
    /// The limits.
    pub bounds: Bounds,
}

/// How a request ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The rules are in place, programmed by `backend`; `changed` is false when they were already.
    Enrolled { backend: Backend, changed: bool },
    /// The pod gets no rules.
    Skipped(SkipReason),
    /// Nothing was to be done (DEL, GC, STATUS).
    Done,
}

/// What a request came to, and what was learnt about the pod once it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The pod's UID in the API, when the pod was found.
    pub pod_uid: Option<String>,
    /// Links that the pod's annotations gave, for the call's span.
    pub links: Vec<TraceLink>,
    /// The answer or the failure.
    pub result: Result<Answer, Failure>,
}
