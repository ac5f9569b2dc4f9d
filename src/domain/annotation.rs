//! The pod's traffic annotations: their keys, defaults and allowed values, read in the reference's
//! order and refused in its words, followed by what is allowed and what to do.

use super::annotation_value::{
    by_family, deduplicated, parse_interfaces, parse_mode, parse_ports, parse_ranges, parse_ranges_or_all,
};
use super::failure::Classify;
use super::outbound::Outbound;
use super::pod::PodFacts;
use super::proxy::{DEFAULT_PROXY_ID, Proxy, Variable};
use super::settings::{Mode, Ports, Ranges, RedirectSettings};
use super::step::ErrorType;
use std::fmt;

/// An annotation, or another part of the pod, with a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationError {
    /// The full message; begins with the reference's `annotation value error for value NAME; ...`.
    pub message: String,
}

impl fmt::Display for AnnotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AnnotationError {}

impl Classify for AnnotationError {
    fn error_type(&self) -> ErrorType {
        ErrorType::AnnotationInvalid
    }
}

/// Inbound ports that are never captured: the proxy's own health, statistics and readiness.
pub const ALWAYS_EXCLUDED_INBOUND: [u16; 3] = [15020, 15021, 15090];

/// Outbound ports that are not captured unless an annotation says otherwise.
pub const DEFAULT_EXCLUDED_OUTBOUND: [u16; 1] = [15020];

/// One annotation: the name that the reference's errors use, its key, and what it takes.
struct Annotation {
    name: &'static str,
    key: &'static str,
    takes: &'static str,
}

const MODE: Annotation =
    Annotation { name: "redirectMode", key: "sidecar.istio.io/interceptionMode", takes: "REDIRECT or TPROXY" };
const INCLUDE_RANGES: Annotation = Annotation {
    name: "includeIPCidrs",
    key: "traffic.sidecar.istio.io/includeOutboundIPRanges",
    takes: "* for all, or ranges like 10.1.0.0/16 or fd00:1::/64 joined by commas without blanks",
};
const EXCLUDE_RANGES: Annotation = Annotation {
    name: "excludeIPCidrs",
    key: "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    takes: "ranges like 10.1.0.0/16 or fd00:1::/64 joined by commas without blanks",
};
const EXCLUDE_INBOUND: Annotation = Annotation {
    name: "excludeInboundPorts",
    key: "traffic.sidecar.istio.io/excludeInboundPorts",
    takes: "ports from 0 to 65535 joined by commas (an empty includeInboundPorts leaves all inbound ports alone)",
};
const INCLUDE_INBOUND: Annotation = Annotation {
    name: "includeInboundPorts",
    key: "traffic.sidecar.istio.io/includeInboundPorts",
    takes: "* for all, or ports from 0 to 65535 joined by commas",
};
const EXCLUDE_OUTBOUND: Annotation = Annotation {
    name: "excludeOutboundPorts",
    key: "traffic.sidecar.istio.io/excludeOutboundPorts",
    takes: "ports from 0 to 65535 joined by commas (an empty includeOutboundIPRanges leaves all outbound traffic alone)",
};
const INCLUDE_OUTBOUND: Annotation = Annotation {
    name: "includeOutboundPorts",
    key: "traffic.sidecar.istio.io/includeOutboundPorts",
    takes: "ports from 0 to 65535 joined by commas (all ports are captured when includeOutboundIPRanges is *)",
};
const INTERFACES_TAKEN: &str =
    "interface names joined by commas, each of at most 15 letters, digits, _, . or - beginning with a letter";
const EXCLUDE_INTERFACES: Annotation = Annotation {
    name: "excludeInterfaces",
    key: "traffic.sidecar.istio.io/excludeInterfaces",
    takes: INTERFACES_TAKEN,
};
const REROUTE_INTERFACES: Annotation = Annotation {
    name: "reroute-virtual-interfaces",
    key: "istio.io/reroute-virtual-interfaces",
    takes: INTERFACES_TAKEN,
};
/// The deprecated spelling, read only when the newer one is absent.
const KUBEVIRT_INTERFACES: Annotation = Annotation {
    name: "kubevirtInterfaces",
    key: "traffic.sidecar.istio.io/kubevirtInterfaces",
    takes: INTERFACES_TAKEN,
};

impl Annotation {
    /// The value, when the annotation is there; an empty value is a value.
    fn value<'a>(&self, pod: &'a PodFacts) -> Option<&'a str> {
        pod.annotations.get(self.key).map(String::as_str)
    }

    /// Reads the value with `parse`, or takes the default.
    fn read<T>(
        &self,
        pod: &PodFacts,
        default: impl FnOnce() -> T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, AnnotationError> {
        match self.value(pod) {
            None => Ok(default()),
            Some(value) => parse(value).map_err(|inner| self.error(&inner)),
        }
    }

    fn error(&self, inner: &str) -> AnnotationError {
        let Annotation { name, key, takes } = self;
        AnnotationError {
            message: format!(
                "annotation value error for value {name}; annotationFound = true: {inner}; annotation {key} takes {takes}: correct it where the pod is defined and create the pod again"
            ),
        }
    }

    /// The listed ports; `*` is an error here.
    fn listed(&self, ports: Ports) -> Result<Vec<u16>, AnnotationError> {
        match ports {
            Ports::These(ports) => Ok(ports),
            Ports::All => Err(self.error("portList \"*\" invalid: \"*\" does not stand for all ports here")),
        }
    }
}

/// Reads every annotation and the proxy's environment. The first bad value in the reference's
/// order is the error; a `*` that passes the reference's checks and breaks its rules comes last.
pub fn redirect_settings(pod: &PodFacts, proxy: &Proxy<'_>) -> Result<RedirectSettings, AnnotationError> {
    let none = || Ports::These(Vec::new());
    let mode = MODE.read(pod, Mode::default, parse_mode)?;
    let proxy_uid = proxy_id("runAsUser", proxy.user)?;
    let proxy_gid = proxy_id("runAsGroup", proxy.group)?;
    let include_ranges = INCLUDE_RANGES.read(pod, || Ranges::All, parse_ranges_or_all)?;
    let excluded = EXCLUDE_RANGES.read(pod, Vec::new, parse_ranges)?;
    let exclude_inbound = EXCLUDE_INBOUND.read(pod, none, parse_ports)?;
    let include_inbound = INCLUDE_INBOUND.read(pod, || Ports::All, parse_ports)?;
    let exclude_outbound =
        EXCLUDE_OUTBOUND.read(pod, || Ports::These(DEFAULT_EXCLUDED_OUTBOUND.to_vec()), parse_ports)?;
    let include_outbound = INCLUDE_OUTBOUND.read(pod, none, parse_ports)?;
    let exclude_interfaces = EXCLUDE_INTERFACES.read(pod, Vec::new, parse_interfaces)?;
    let reroute = if REROUTE_INTERFACES.value(pod).is_some() { REROUTE_INTERFACES } else { KUBEVIRT_INTERFACES };
    let reroute_interfaces = reroute.read(pod, Vec::new, parse_interfaces)?;

    let exclude_inbound = match (include_inbound == Ports::All, exclude_inbound) {
        // Exclusions matter only where everything is captured; elsewhere a `*` does no harm.
        (false, Ports::All) => Vec::new(),
        (_, ports) => EXCLUDE_INBOUND.listed(ports)?,
    };
    let (exclude_ranges_v4, exclude_ranges_v6) = by_family(excluded);
    Ok(RedirectSettings {
        mode,
        include_inbound,
        exclude_inbound: deduplicated(exclude_inbound.into_iter().chain(ALWAYS_EXCLUDED_INBOUND)),
        include_ranges,
        exclude_ranges_v4,
        exclude_ranges_v6,
        exclude_outbound: EXCLUDE_OUTBOUND.listed(exclude_outbound)?,
        include_outbound: INCLUDE_OUTBOUND.listed(include_outbound)?,
        exclude_interfaces,
        reroute_interfaces,
        proxy_uid,
        proxy_gid,
        dns_capture: proxy.is_true(Variable::DnsCapture),
        dual_stack: proxy.is_true(Variable::DualStack),
        invalid_drop: proxy.is_true(Variable::InvalidDrop),
        // Not the pod's to say.
        outbound: Outbound::default(),
    })
}

/// A variable of the proxy's environment that is no truth value, and so counts as false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentWarning {
    /// The variable's name.
    pub variable: &'static str,
    /// What is wrong with it; begins with the reference's words.
    pub message: String,
}

/// Every switch of the proxy's environment that cannot be read.
pub fn environment_warnings(proxy: &Proxy<'_>) -> Vec<EnvironmentWarning> {
    [("DNS capture", Variable::DnsCapture), ("dual stack", Variable::DualStack), ("invalid drop", Variable::InvalidDrop)]
        .into_iter()
        .filter_map(|(what, variable)| {
            let inner = proxy.unreadable(variable)?;
            let variable = variable.name();
            let message = format!(
                "cannot parse {what} environment variable {inner}; {variable} of container istio-proxy takes true or false and counts as false"
            );
            Some(EnvironmentWarning { variable, message })
        })
        .collect()
}

/// The user or group of the proxy: absent and root stand for the default.
fn proxy_id(field: &str, value: Option<i64>) -> Result<u32, AnnotationError> {
    match value {
        None | Some(0) => Ok(DEFAULT_PROXY_ID),
        // The all-ones id means "none" to the kernel.
        Some(id) => u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or_else(|| AnnotationError {
            message: format!(
                "securityContext.{field} of container istio-proxy is {id}, which is no id; it takes 0 to 4294967294: correct it where the pod is defined and create the pod again"
            ),
        }),
    }
}

#[cfg(test)]
#[path = "annotation_tests.rs"]
mod tests;
