//! What a ruleset is in nf_tables: table names, base chains with type, hook and priority, and the
//! chains' rules. The script and the netlink backend are both made from this.

use super::ruleset::{Action, Chain, Family, Rule, Ruleset, Table};

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseType {
    Filter,
    Nat,
    /// Like filter, but a packet whose mark changed is routed again.
    Route,
}

impl BaseType {
    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            BaseType::Filter => "filter",
            BaseType::Nat => "nat",
            BaseType::Route => "route",
        }
    }
}

/// A hook of the inet family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Output,
}

impl Hook {
    /// The name in scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Output => "output",
        }
    }

    /// The kernel's number (`NF_INET_*`).
    pub const fn number(self) -> u32 {
        match self {
            Hook::Prerouting => 0,
            Hook::Output => 3,
        }
    }
}

/// Where a base chain hangs. The policy is accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    pub kind: BaseType,
    pub hook: Hook,
    pub priority: i32,
}

/// A chain as nf_tables has it; names are [`table_name`] and `Chain::nft_name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftChain {
    pub table: Table,
    pub chain: Chain,
    /// None for a chain that is only jumped to.
    pub base: Option<Base>,
    /// The rules in order; each has a counter. A rule with a `family` must say so
    /// (`meta nfproto`), since the tables are of the inet family.
    pub rules: Vec<Rule>,
}

/// The table's name; its family is inet.
pub const fn table_name(table: Table) -> &'static str {
    match table {
        Table::Mangle => "istio-proxy-mangle",
        Table::Nat => "istio-proxy-nat",
        Table::Raw => "istio-proxy-raw",
    }
}

/// The hook, type and priority of a base chain; None for the others.
pub const fn base(table: Table, chain: Chain) -> Option<Base> {
    let (hook, is_output) = match chain {
        Chain::Prerouting => (Hook::Prerouting, false),
        Chain::Output => (Hook::Output, true),
        _ => return None,
    };
    let (kind, priority) = match table {
        Table::Mangle if is_output => (BaseType::Route, -150),
        Table::Mangle => (BaseType::Filter, -150),
        Table::Nat => (BaseType::Nat, -100),
        Table::Raw => (BaseType::Filter, -300),
    };
    Some(Base { kind, hook, priority })
}

/// The chains of a ruleset. Without IPv6 rules every base chain first lets IPv6 go, so that the
/// rules for both families do not touch it.
pub fn nft_chains(ruleset: &Ruleset) -> Vec<NftChain> {
    ruleset
        .chains
        .iter()
        .map(|chain| {
            let base = base(chain.table, chain.chain);
            let leave_ipv6 = base.is_some() && !ruleset.ipv6;
            let first = leave_ipv6.then(|| Rule::new([], Action::Return).only(Family::V6));
            let rules = first.into_iter().chain(chain.rules.iter().flat_map(as_in_iptables)).collect();
            NftChain { table: chain.table, chain: chain.chain, base, rules }
        })
        .collect()
}

/// A rule, and what it takes besides to end as it does in iptables. Without a transparent socket
/// at the port, iptables' `TPROXY` drops the packet, whereas nf_tables' `tproxy` lets it go on,
/// and with that to the application, past the proxy that has not started yet.
fn as_in_iptables(rule: &Rule) -> impl Iterator<Item = Rule> {
    let undelivered =
        matches!(rule.action, Action::Tproxy { .. }).then(|| Rule { action: Action::Drop, ..rule.clone() });
    std::iter::once(rule.clone()).chain(undelivered)
}
