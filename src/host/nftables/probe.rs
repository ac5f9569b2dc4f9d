//! Whether this kernel has all of nf_tables that our rules can need, found out by trying.

use super::{NftError, Nftables};
use crate::domain::failure::Classify;
use crate::domain::outbound::{Outbound, OwnerGroups};
use crate::domain::ruleset::{Ruleset, build};
use crate::domain::settings::{Mode, Ports, Ranges, RedirectSettings};
use crate::domain::step::ErrorType;
use crate::host::netns::{NetnsError, enter_scratch};
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why nf_tables cannot be used on this node.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It could not even be tried.
    #[error("there is no network namespace to try nf_tables in")]
    Scratch(#[source] NetnsError),
    /// The kernel refused.
    #[error(transparent)]
    Refused(#[from] NftError),
    /// It took the rules, but has others.
    #[error("the kernel gave back other nf_tables rules than it was given: {0}")]
    Differs(String),
}

impl Classify for ProbeError {
    fn error_type(&self) -> ErrorType {
        match self {
            ProbeError::Scratch(error) => error.error_type(),
            ProbeError::Refused(error) => error.error_type(),
            ProbeError::Differs(_) => ErrorType::KernelUnsupported,
        }
    }
}

/// Tries one transaction with every kind of rule that a pod can get, in a namespace of its own that
/// is gone afterwards.
pub fn probe_nftables() -> Result<(), ProbeError> {
    enter_scratch(|| {
        let mut nftables = Nftables::open()?;
        let rules = every_kind_of_rule();
        nftables.apply(&rules)?;
        match nftables.differences(&rules)?.first() {
            None => Ok(()),
            Some(difference) => Err(ProbeError::Differs(difference.to_string())),
        }
    })
    .map_err(ProbeError::Scratch)?
}

/// A ruleset in which every match and every action occurs.
pub(super) fn every_kind_of_rule() -> Ruleset {
    let settings = RedirectSettings {
        mode: Mode::Tproxy,
        include_inbound: Ports::All,
        exclude_inbound: vec![15020],
        include_ranges: Ranges::These { v4: vec![Ipv4Net::default()], v6: vec![Ipv6Net::default()] },
        exclude_ranges_v4: Ipv4Net::new(Ipv4Addr::new(192, 0, 2, 0), 24).into_iter().collect(),
        exclude_ranges_v6: Ipv6Net::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 33).into_iter().collect(),
        include_outbound: vec![443],
        exclude_outbound: vec![15020],
        exclude_interfaces: vec!["eth1".to_owned()],
        reroute_interfaces: vec!["tap0".to_owned()],
        proxy_uid: 1337,
        proxy_gid: 1337,
        dns_capture: true,
        dual_stack: true,
        invalid_drop: true,
        outbound: Outbound { groups: OwnerGroups::Only(vec![0, 1]), ..Outbound::default() },
    };
    // The only error is a namespace without addresses.
    let addresses =
        [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
    build(&settings, &addresses).unwrap_or(Ruleset {
        ipv6: true,
        chains: Vec::new(),
        routing: None,
        loopback: Vec::new(),
    })
}
