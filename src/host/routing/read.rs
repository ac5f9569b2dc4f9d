//! What the kernel says of addresses, routing rules and routes, as far as it can be ours.

use super::message::{FR_ACT_TO_TBL, FRA_FWMARK, FRA_FWMASK, FRA_PRIORITY, FRA_TABLE, LOOPBACK_INDEX};
use super::{ADDRESS_HEADER, ROUTE_HEADER, RULE_HEADER};
use crate::domain::ruleset::{Family, TproxyRouting};
use crate::host::nlattr::{attributes, find};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_PROTOCOL: u16 = 21;
/// `FIB_RULE_INVERT`: the rule is about all other packets.
const INVERTED: u32 = 2;
/// Further conditions and effects of a rule (linux/fib_rules.h): destination, source, interfaces,
/// goto, realms, tunnel, suppressed group, l3mdev, users, protocol, ports, DSCP, flow label.
const NARROWING: [u16; 15] = [1, 2, 3, 4, 11, 12, 13, 17, 19, 20, 22, 23, 24, 25, 26];

/// A rule that leads packets with a mark to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundRule {
    pub family: Family,
    pub routing: TproxyRouting,
    /// The mark is compared as a whole, and nothing else is asked for.
    pub plain: bool,
    /// It says of no routing daemon or administrator that it is theirs, as ours do not.
    pub anonymous: bool,
    pub priority: u32,
}

/// The interface's index and the local address of a `RTM_NEWADDR`.
pub(super) fn address(payload: &[u8]) -> Option<(u32, IpAddr)> {
    let (header, attributes) = payload.split_first_chunk::<ADDRESS_HEADER>()?;
    let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    // On a point-to-point link IFA_ADDRESS is the other end's.
    let address = find(attributes, libc::IFA_LOCAL).or_else(|| find(attributes, libc::IFA_ADDRESS))?;
    let address = match address.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?)),
    };
    Some((index, address))
}

/// A `RTM_NEWRULE` that looks a mark up in a table.
pub(super) fn rule(payload: &[u8]) -> Option<FoundRule> {
    let (header, rest) = payload.split_first_chunk::<RULE_HEADER>()?;
    let (destination, source, tos, action) = (header[1], header[2], header[3], header[7]);
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let get = |kind| find(rest, kind).and_then(number);
    let whole = |kind| get(kind).is_none_or(|value| value == u32::MAX);
    let plain = [destination, source, tos] == [0; 3]
        && flags & INVERTED == 0
        && whole(FRA_FWMASK)
        && whole(FRA_SUPPRESS_PREFIXLEN)
        && !attributes(rest).any(|(kind, _)| NARROWING.contains(&kind));
    (action == FR_ACT_TO_TBL).then_some(FoundRule {
        family: family(header[0])?,
        routing: TproxyRouting { mark: get(FRA_FWMARK)?, table: get(FRA_TABLE)? },
        plain,
        anonymous: find(rest, FRA_PROTOCOL).is_none_or(|origin| origin == [libc::RTPROT_UNSPEC]),
        priority: get(FRA_PRIORITY).unwrap_or(0),
    })
}

/// The family and table of a `RTM_NEWROUTE` that delivers everything locally, through `lo`.
pub(super) fn local_default(payload: &[u8]) -> Option<(Family, u32)> {
    let (header, attributes) = payload.split_first_chunk::<ROUTE_HEADER>()?;
    let (prefix, kind) = (header[1], header[7]);
    let table = find(attributes, libc::RTA_TABLE).and_then(number)?;
    let through_lo = find(attributes, libc::RTA_OIF).and_then(number) == Some(LOOPBACK_INDEX);
    (prefix == 0 && kind == libc::RTN_LOCAL && through_lo).then_some((family(header[0])?, table))
}

fn family(number: u8) -> Option<Family> {
    match libc::c_int::from(number) {
        libc::AF_INET => Some(Family::V4),
        libc::AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}
