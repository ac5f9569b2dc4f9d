//! What some rulesets need beside rules: TPROXY's policy routing (`ip rule` and `ip route`), and
//! addresses on `lo`. Made before the rules, without which it does nothing, and taken back if they fail.

use super::netlink::{Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, Netlink};
use super::nlattr::{Writer, find};
use crate::domain::failure::Classify;
use crate::domain::ruleset::{Difference, Family, Ruleset, TproxyRouting};
use crate::domain::step::ErrorType;
use ipnet::Ipv6Net;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `lo` has this index in every network namespace.
const LOOPBACK_INDEX: u32 = 1;

// linux/rtnetlink.h, linux/fib_rules.h, linux/if_addr.h
const FR_ACT_TO_TBL: u8 = 1;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const RULE_HEADER: usize = 12;
const ROUTE_HEADER: usize = 12;
const ADDRESS_HEADER: usize = 8;

/// One thing that this file makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Address(Ipv6Net),
    Rule(Family, TproxyRouting),
    Route(Family, TproxyRouting),
}

/// Policy routing or an address could not be read, made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// The kernel refused to make something.
    #[error("cannot add {what} in the pod's network namespace{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Refused { what: String, hint: Option<String>, source: io::Error },
    /// The conversation broke off.
    #[error("the route netlink conversation failed while {doing}")]
    Netlink { doing: &'static str, source: io::Error },
}

impl Classify for RoutingError {
    fn error_type(&self) -> ErrorType {
        let (RoutingError::Refused { source, .. } | RoutingError::Netlink { source, .. }) = self;
        match (self, source.raw_os_error()) {
            (_, Some(libc::EPERM | libc::EACCES)) => ErrorType::PermissionDenied,
            (_, Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => ErrorType::KernelUnsupported,
            (RoutingError::Refused { .. }, _) => ErrorType::RulesRejected,
            (RoutingError::Netlink { .. }, _) => ErrorType::Io,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, RoutingError::Netlink { .. })
    }
}

/// What was made and was not there before, so that it can be taken back.
#[derive(Debug, Default)]
#[must_use = "what was made must be kept or taken back"]
pub struct Made(Vec<Item>);

impl Made {
    /// Whether nothing was missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Routing and addresses of the namespace that the calling thread is in.
pub struct Routing {
    netlink: Netlink,
}

impl Routing {
    /// Opens a netlink socket in the calling thread's namespace.
    pub fn open() -> Result<Routing, RoutingError> {
        let netlink = Netlink::open(libc::NETLINK_ROUTE as isize);
        Ok(Routing {
            netlink: netlink.map_err(|source| RoutingError::Netlink { doing: "opening the socket", source })?,
        })
    }

    /// The namespace's addresses in the kernel's order, IPv4 first.
    pub fn addresses(&mut self) -> Result<Vec<IpAddr>, RoutingError> {
        let found = self.dump("reading the addresses", libc::RTM_GETADDR, &[0; ADDRESS_HEADER], read_address)?;
        Ok(found.into_iter().map(|(_, address)| address).collect())
    }

    /// Makes what is missing. On an error nothing that this call made stays.
    pub fn apply(&mut self, ruleset: &Ruleset) -> Result<Made, RoutingError> {
        let mut made = Made::default();
        for item in items(ruleset) {
            match self.add(item) {
                Ok(true) => made.0.push(item),
                Ok(false) => {}
                Err(error) => {
                    self.take_back(made);
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// Removes what [`apply`](Routing::apply) made; what cannot be removed is harmless without rules.
    pub fn take_back(&mut self, made: Made) {
        for item in made.0.into_iter().rev() {
            let seq = self.netlink.next_seq();
            let _ = self.netlink.request(&message(item, Change::Remove, seq), seq);
        }
    }

    /// What is missing.
    pub fn differences(&mut self, ruleset: &Ruleset) -> Result<Vec<Difference>, RoutingError> {
        let mut missing = Vec::new();
        for item in items(ruleset) {
            if !self.exists(item)? {
                let (place, what) = text(item);
                missing.push(Difference { place: place.to_owned(), what: format!("missing {what}") });
            }
        }
        Ok(missing)
    }

    /// Adds an item; false when it is there already.
    fn add(&mut self, item: Item) -> Result<bool, RoutingError> {
        // The kernel's own check does not see an equal rule whose priority it chose itself.
        if matches!(item, Item::Rule(..)) && self.exists(item)? {
            return Ok(false);
        }
        let seq = self.netlink.next_seq();
        let reply = self
            .netlink
            .request(&message(item, Change::Add, seq), seq)
            .map_err(|source| RoutingError::Netlink { doing: "changing the routing", source })?;
        match reply.errno {
            0 => Ok(true),
            libc::EEXIST => Ok(false),
            errno => {
                let (place, what) = text(item);
                let source = io::Error::from_raw_os_error(errno);
                Err(RoutingError::Refused { what: format!("{place} {what}"), hint: reply.hint, source })
            }
        }
    }

    fn exists(&mut self, item: Item) -> Result<bool, RoutingError> {
        match item {
            Item::Address(net) => {
                let found =
                    self.dump("reading the addresses", libc::RTM_GETADDR, &[0; ADDRESS_HEADER], read_address)?;
                Ok(found.contains(&(LOOPBACK_INDEX, IpAddr::V6(net.addr()))))
            }
            Item::Rule(family, routing) => {
                let mut header = [0; RULE_HEADER];
                header[0] = address_family(family);
                let found = self.dump("reading the routing rules", libc::RTM_GETRULE, &header, read_rule)?;
                Ok(found.contains(&routing))
            }
            Item::Route(family, routing) => {
                let mut header = [0; ROUTE_HEADER];
                header[0] = address_family(family);
                let found = self.dump("reading the routes", libc::RTM_GETROUTE, &header, read_local_default)?;
                Ok(found.contains(&routing.table))
            }
        }
    }

    fn dump<T>(
        &mut self,
        doing: &'static str,
        kind: u16,
        fixed: &[u8],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, RoutingError> {
        let request = |seq| {
            let mut writer = Writer::with_capacity(32);
            writer.message(kind, NLM_F_REQUEST | NLM_F_DUMP, seq, fixed, |_| {});
            writer.into_bytes()
        };
        let each = |found: &mut Vec<T>, message: Message<'_>| found.extend(read(message.payload));
        self.netlink.dump(request, Vec::new, each).map_err(|source| RoutingError::Netlink { doing, source })
    }
}

/// What a ruleset needs: the addresses, then for each family the route and the rule that leads there.
fn items(ruleset: &Ruleset) -> Vec<Item> {
    let mut items: Vec<Item> = ruleset.loopback.iter().map(|net| Item::Address(*net)).collect();
    if let Some(routing) = ruleset.routing {
        for family in if ruleset.ipv6 { &[Family::V4, Family::V6][..] } else { &[Family::V4] } {
            items.extend([Item::Route(*family, routing), Item::Rule(*family, routing)]);
        }
    }
    items
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
}

fn message(item: Item, change: Change, seq: u32) -> Vec<u8> {
    let kinds = match item {
        Item::Address(_) => (libc::RTM_NEWADDR, libc::RTM_DELADDR),
        Item::Rule(..) => (libc::RTM_NEWRULE, libc::RTM_DELRULE),
        Item::Route(..) => (libc::RTM_NEWROUTE, libc::RTM_DELROUTE),
    };
    let (kind, flags) = match change {
        Change::Add => (kinds.0, NLM_F_CREATE | NLM_F_EXCL),
        Change::Remove => (kinds.1, 0),
    };
    let mut writer = Writer::with_capacity(64);
    writer.message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, seq, &header(item), |w| match item {
        Item::Address(net) => {
            w.bytes(libc::IFA_LOCAL, &net.addr().octets());
            w.bytes(libc::IFA_ADDRESS, &net.addr().octets());
        }
        Item::Rule(_, routing) => {
            w.bytes(FRA_FWMARK, &routing.mark.to_ne_bytes());
            w.bytes(FRA_TABLE, &routing.table.to_ne_bytes());
        }
        Item::Route(_, routing) => {
            w.bytes(libc::RTA_TABLE, &routing.table.to_ne_bytes());
            w.bytes(libc::RTA_OIF, &LOOPBACK_INDEX.to_ne_bytes());
        }
    });
    writer.into_bytes()
}

/// The fixed part: `struct ifaddrmsg`, `fib_rule_hdr` or `rtmsg`.
fn header(item: Item) -> Vec<u8> {
    match item {
        Item::Address(net) => {
            let mut header = vec![libc::AF_INET6 as u8, net.prefix_len(), 0, libc::RT_SCOPE_UNIVERSE];
            header.extend(LOOPBACK_INDEX.to_ne_bytes());
            header
        }
        Item::Rule(family, _) => vec![address_family(family), 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0],
        Item::Route(family, _) => {
            let (protocol, kind) = (libc::RTPROT_BOOT, libc::RTN_LOCAL);
            vec![address_family(family), 0, 0, 0, 0, protocol, libc::RT_SCOPE_HOST, kind, 0, 0, 0, 0]
        }
    }
}

const fn address_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

/// Where an item is, and its text as `ip` writes it.
fn text(item: Item) -> (&'static str, String) {
    match item {
        Item::Address(net) => ("lo", format!("address {net}")),
        Item::Rule(Family::V4, routing) => ("ip rule", rule_text(routing)),
        Item::Rule(Family::V6, routing) => ("ip -6 rule", rule_text(routing)),
        Item::Route(Family::V4, routing) => ("ip route", format!("local default dev lo table {}", routing.table)),
        Item::Route(Family::V6, routing) => ("ip -6 route", format!("local default dev lo table {}", routing.table)),
    }
}

fn rule_text(routing: TproxyRouting) -> String {
    format!("from all fwmark {:#x} lookup {}", routing.mark, routing.table)
}

/// The interface's index and the local address of a `RTM_NEWADDR`.
fn read_address(payload: &[u8]) -> Option<(u32, IpAddr)> {
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

/// A `RTM_NEWRULE` that looks a mark up in a table and asks for nothing else.
fn read_rule(payload: &[u8]) -> Option<TproxyRouting> {
    let (header, attributes) = payload.split_first_chunk::<RULE_HEADER>()?;
    let (destination, source, tos, action) = (header[1], header[2], header[3], header[7]);
    let mask = find(attributes, FRA_FWMASK).and_then(number).unwrap_or(u32::MAX);
    let plain = [destination, source, tos] == [0; 3] && action == FR_ACT_TO_TBL && mask == u32::MAX;
    let routing = TproxyRouting {
        mark: find(attributes, FRA_FWMARK).and_then(number)?,
        table: find(attributes, FRA_TABLE).and_then(number)?,
    };
    plain.then_some(routing)
}

/// The table of a `RTM_NEWROUTE` that delivers everything locally.
fn read_local_default(payload: &[u8]) -> Option<u32> {
    let (header, attributes) = payload.split_first_chunk::<ROUTE_HEADER>()?;
    let (prefix, kind) = (header[1], header[7]);
    let table = find(attributes, libc::RTA_TABLE).and_then(number)?;
    let through_lo = find(attributes, libc::RTA_OIF).and_then(number) == Some(LOOPBACK_INDEX);
    (prefix == 0 && kind == libc::RTN_LOCAL && through_lo).then_some(table)
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}
