//! The outcome of a decision: either the redirect settings of a pod, or the reason why it has none.

use super::outbound::Outbound;
use ipnet::{Ipv4Net, Ipv6Net};

/// Why a pod gets no rules; `name` is the metric label and attribute value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// The agent's own pod, which must start before anything else works.
    OwnAgentPod,
    /// The sandbox is no Kubernetes pod.
    NotKubernetes,
    /// The namespace is in `exclude_namespaces`.
    NamespaceExcluded,
    /// An `istio-init` container does the redirection.
    InitContainer,
    /// `DISABLE_ENVOY` is set on `istio-proxy`.
    EnvoyDisabled,
    /// There is no `istio-proxy` container.
    NoProxy,
    /// The proxy is no sidecar (a gateway, for example).
    NotSidecar,
    /// Label or annotation `sidecar.istio.io/inject` is false.
    InjectDisabled,
    /// The annotation `sidecar.istio.io/status` is missing: the pod was not injected.
    NotInjected,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [SkipReason; 9] = [
        SkipReason::OwnAgentPod,
        SkipReason::NotKubernetes,
        SkipReason::NamespaceExcluded,
        SkipReason::InitContainer,
        SkipReason::EnvoyDisabled,
        SkipReason::NoProxy,
        SkipReason::NotSidecar,
        SkipReason::InjectDisabled,
        SkipReason::NotInjected,
    ];

    /// The label and attribute value.
    pub const fn name(self) -> &'static str {
        match self {
            SkipReason::OwnAgentPod => "own_agent_pod",
            SkipReason::NotKubernetes => "not_kubernetes",
            SkipReason::NamespaceExcluded => "namespace_excluded",
            SkipReason::InitContainer => "istio_init_container",
            SkipReason::EnvoyDisabled => "envoy_disabled",
            SkipReason::NoProxy => "no_proxy_container",
            SkipReason::NotSidecar => "not_a_sidecar",
            SkipReason::InjectDisabled => "inject_disabled",
            SkipReason::NotInjected => "not_injected",
        }
    }

    /// The reason with this name, if there is one.
    pub fn from_name(name: &str) -> Option<SkipReason> {
        SkipReason::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// How inbound traffic reaches the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Redirect,
    Tproxy,
}

/// A choice of ports: all (`*`), or just these (perhaps none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    All,
    These(Vec<u16>),
}

/// A choice of address ranges: all (`*`), or just these (perhaps none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    All,
    These { v4: Vec<Ipv4Net>, v6: Vec<Ipv6Net> },
}

/// Everything that the annotations and the proxy's environment say about a pod's redirection, and
/// what the node says about that of all its pods. Together with the namespace's addresses it determines the ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectSettings {
    pub mode: Mode,
    /// Inbound ports to capture.
    pub include_inbound: Ports,
    /// Inbound ports to leave alone when all are captured; 15020, 15021 and 15090 are among them.
    pub exclude_inbound: Vec<u16>,
    /// Outbound ranges to capture.
    pub include_ranges: Ranges,
    /// Outbound ranges to leave alone.
    pub exclude_ranges_v4: Vec<Ipv4Net>,
    pub exclude_ranges_v6: Vec<Ipv6Net>,
    /// Outbound ports to capture whatever the ranges say.
    pub include_outbound: Vec<u16>,
    /// Outbound ports to leave alone.
    pub exclude_outbound: Vec<u16>,
    /// Interfaces whose traffic is left alone, both ways.
    pub exclude_interfaces: Vec<String>,
    /// Interfaces whose inbound traffic is treated as outbound (virtual machines).
    pub reroute_interfaces: Vec<String>,
    /// The proxy's user and group.
    pub proxy_uid: u32,
    pub proxy_gid: u32,
    /// Capture DNS to the proxy (`ISTIO_META_DNS_CAPTURE`).
    pub dns_capture: bool,
    /// Look for an IPv6 address beyond the first one (`ISTIO_DUAL_STACK`).
    pub dual_stack: bool,
    /// Drop packets that connection tracking finds invalid (`INVALID_DROP`).
    pub invalid_drop: bool,
    /// What the node says about outbound traffic.
    pub outbound: Outbound,
}
