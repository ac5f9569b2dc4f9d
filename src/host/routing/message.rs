//! What is made beside rules, and the messages that make and remove it (man 7 rtnetlink).

use super::{ADDRESS_HEADER, ROUTE_HEADER, RULE_HEADER};
use crate::domain::ruleset::{Family, Ruleset, TproxyRouting};
use crate::host::netlink::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST};
use crate::host::nlattr::Writer;
use ipnet::Ipv6Net;

/// `lo` has this index in every network namespace.
pub(super) const LOOPBACK_INDEX: u32 = 1;

// linux/fib_rules.h
pub(super) const FR_ACT_TO_TBL: u8 = 1;
pub(super) const FRA_PRIORITY: u16 = 6;
pub(super) const FRA_FWMARK: u16 = 10;
pub(super) const FRA_TABLE: u16 = 15;
pub(super) const FRA_FWMASK: u16 = 16;

/// One thing that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Address(Ipv6Net),
    Rule(Family, TproxyRouting),
    Route(Family, TproxyRouting),
}

/// What a ruleset needs: the addresses, then for each family the rule and the route to which it
/// leads. In this order a route of ours never stands without the rule by which it is known.
pub(super) fn items(ruleset: &Ruleset) -> Vec<Item> {
    let mut items: Vec<Item> = ruleset.loopback.iter().map(|net| Item::Address(*net)).collect();
    for family in Family::ALL {
        if let Some(routing) = wanted_routing(ruleset, family) {
            items.extend([Item::Rule(family, routing), Item::Route(family, routing)]);
        }
    }
    items
}

/// The policy routing that a ruleset needs for a family.
pub(super) fn wanted_routing(ruleset: &Ruleset, family: Family) -> Option<TproxyRouting> {
    ruleset.routing.filter(|_| family == Family::V4 || ruleset.ipv6)
}

/// The command that would make an item, in a comment.
pub(super) fn command(item: Item) -> String {
    let flag = |family| if family == Family::V4 { "-4" } else { "-6" };
    match item {
        Item::Address(net) => format!("# ip -6 addr add {net} dev lo\n"),
        Item::Rule(family, TproxyRouting { mark, table }) => {
            format!("# ip {} rule add fwmark {mark} lookup {table}\n", flag(family))
        }
        Item::Route(family, TproxyRouting { table, .. }) => {
            format!("# ip {} route add local default dev lo table {table}\n", flag(family))
        }
    }
}

/// The message that adds an item.
pub(super) fn addition(item: Item, seq: u32) -> Vec<u8> {
    let kind = match item {
        Item::Address(_) => libc::RTM_NEWADDR,
        Item::Rule(..) => libc::RTM_NEWRULE,
        Item::Route(..) => libc::RTM_NEWROUTE,
    };
    message(item, kind, NLM_F_CREATE | NLM_F_EXCL, None, seq)
}

/// The message that removes an item; of several equal rules the one of this priority.
pub(super) fn removal(item: Item, priority: Option<u32>, seq: u32) -> Vec<u8> {
    let kind = match item {
        Item::Address(_) => libc::RTM_DELADDR,
        Item::Rule(..) => libc::RTM_DELRULE,
        Item::Route(..) => libc::RTM_DELROUTE,
    };
    message(item, kind, 0, priority, seq)
}

fn message(item: Item, kind: u16, flags: u16, priority: Option<u32>, seq: u32) -> Vec<u8> {
    let mut writer = Writer::with_capacity(64);
    writer.message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, seq, &header(item), |w| match item {
        Item::Address(net) => {
            w.bytes(libc::IFA_LOCAL, &net.addr().octets());
            w.bytes(libc::IFA_ADDRESS, &net.addr().octets());
        }
        Item::Rule(_, routing) => {
            w.bytes(FRA_FWMARK, &routing.mark.to_ne_bytes());
            w.bytes(FRA_TABLE, &routing.table.to_ne_bytes());
            if let Some(priority) = priority {
                w.bytes(FRA_PRIORITY, &priority.to_ne_bytes());
            }
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
            debug_assert_eq!(header.len(), ADDRESS_HEADER);
            header
        }
        Item::Rule(family, _) => {
            let mut header = vec![0; RULE_HEADER];
            header[0] = address_family(family);
            header[7] = FR_ACT_TO_TBL;
            header
        }
        Item::Route(family, _) => {
            let mut header = vec![0; ROUTE_HEADER];
            header[0] = address_family(family);
            (header[5], header[6], header[7]) = (libc::RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL);
            header
        }
    }
}

/// `AF_*` of a family.
pub(super) const fn address_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

/// Where an item is, and its text as `ip` writes it.
pub(super) fn text(item: Item) -> (&'static str, String) {
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
