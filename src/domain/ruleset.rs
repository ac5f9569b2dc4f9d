//! The one ruleset value of a pod: tables, chains and rules in their final order, independent of
//! the backend that programs them. Every backend renders this value and is compared with it.

mod build;
mod family;
mod mangle;
mod nat;
mod raw;

pub use build::build;
pub use family::{NoAddress, wants_ipv6};

use ipnet::{IpNet, Ipv6Net};
use std::fmt;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

/// A table; the backends know it by their own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    Mangle,
    Nat,
    Raw,
}

/// A chain: one of the kernel's hooks, or one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    Prerouting,
    Output,
    Inbound,
    Redirect,
    InRedirect,
    OutputOwn,
    OutputDns,
    Divert,
    Tproxy,
    Drop,
}

impl Chain {
    /// Whether the chain is a hook that exists without us (`iptables`) or is a base chain (`nft`).
    pub const fn is_hook(self) -> bool {
        matches!(self, Chain::Prerouting | Chain::Output)
    }

    /// The chain's name in iptables.
    pub const fn iptables_name(self) -> &'static str {
        match self {
            Chain::Prerouting => "PREROUTING",
            Chain::Output => "OUTPUT",
            Chain::Inbound => "ISTIO_INBOUND",
            Chain::Redirect => "ISTIO_REDIRECT",
            Chain::InRedirect => "ISTIO_IN_REDIRECT",
            Chain::OutputOwn => "ISTIO_OUTPUT",
            Chain::OutputDns => "ISTIO_OUTPUT_DNS",
            Chain::Divert => "ISTIO_DIVERT",
            Chain::Tproxy => "ISTIO_TPROXY",
            Chain::Drop => "ISTIO_DROP",
        }
    }

    /// The chain's name in nf_tables.
    pub const fn nft_name(self) -> &'static str {
        match self {
            Chain::Prerouting => "prerouting",
            Chain::Output => "output",
            Chain::Inbound => "istio-inbound",
            Chain::Redirect => "istio-redirect",
            Chain::InRedirect => "istio-in-redirect",
            Chain::OutputOwn => "istio-output",
            Chain::OutputDns => "istio-output-dns",
            Chain::Divert => "istio-divert",
            Chain::Tproxy => "istio-tproxy",
            Chain::Drop => "istio-drop",
        }
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    Tcp,
    Udp,
}

/// A connection-tracking state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtState {
    Invalid,
    RelatedOrEstablished,
}

/// One condition of a rule. `not` inverts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    InIface(String),
    OutIface(String),
    Proto(Proto),
    Source {
        net: IpNet,
        not: bool,
    },
    Destination {
        net: IpNet,
        not: bool,
    },
    /// One port or several; a rule with it also matches a `Proto`.
    DestinationPorts {
        ports: Vec<u16>,
        not: bool,
    },
    SourcePort(u16),
    Uid {
        id: u32,
        not: bool,
    },
    Gid {
        id: u32,
        not: bool,
    },
    Mark {
        value: u32,
        not: bool,
    },
    ConnMark(u32),
    Ct(CtState),
}

/// What a rule does with a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Jump(Chain),
    Return,
    Accept,
    Drop,
    /// Redirect to a local port.
    Redirect(u16),
    /// Hand to a transparent listener on this port, mark the packet, accept.
    Tproxy {
        port: u16,
        mark: u32,
    },
    SetMark(u32),
    /// Connection mark from packet mark.
    SaveMark,
    /// Packet mark from connection mark.
    RestoreMark,
    CtZone(u16),
}

/// One rule. A `family` of `None` stands for every family that the ruleset has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub family: Option<Family>,
    pub matches: Vec<Match>,
    pub action: Action,
}

/// A chain with its rules in their final order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRules {
    pub table: Table,
    pub chain: Chain,
    pub rules: Vec<Rule>,
}

/// Policy routing for TPROXY: packets with `mark` are looked up in `table`, whose only route
/// delivers everything locally through `lo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TproxyRouting {
    pub mark: u32,
    pub table: u32,
}

impl TproxyRouting {
    /// The only one that our rulesets ever have.
    pub const OURS: TproxyRouting = TproxyRouting { mark: build::INBOUND_MARK, table: build::TPROXY_TABLE };
}

/// All that a pod's namespace gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Whether IPv6 rules are made. IPv4 rules always are; without IPv6 rules, IPv6 traffic is
    /// left alone by every backend.
    pub ipv6: bool,
    /// The chains that have rules, grouped by table.
    pub chains: Vec<ChainRules>,
    /// TPROXY's policy routing, per family that has rules.
    pub routing: Option<TproxyRouting>,
    /// Addresses that `lo` must have (`::6`, from which the proxy speaks to the application).
    pub loopback: Vec<Ipv6Net>,
}

impl Ruleset {
    /// No rules at all, for both families: what a namespace has that is not ours.
    pub const fn none() -> Ruleset {
        Ruleset { ipv6: true, chains: Vec::new(), routing: None, loopback: Vec::new() }
    }

    /// The number of rules, over all chains.
    pub fn rule_count(&self) -> usize {
        self.chains.iter().map(|chain| chain.rules.len()).sum()
    }
}

/// One way in which what the kernel has differs from the ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: backend's table and chain, `ip rule`, `ip route` or `lo`.
    pub place: String,
    /// What is wrong there, with the rule's text.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// `ipv4` or `ipv6`.
    pub const fn name(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }
}

impl Table {
    /// Every table, in the order in which rulesets hold them.
    pub const ALL: [Table; 3] = [Table::Mangle, Table::Nat, Table::Raw];
}

impl Chain {
    /// Every chain.
    pub const ALL: [Chain; 10] = [
        Chain::Prerouting,
        Chain::Output,
        Chain::Inbound,
        Chain::Redirect,
        Chain::InRedirect,
        Chain::OutputOwn,
        Chain::OutputDns,
        Chain::Divert,
        Chain::Tproxy,
        Chain::Drop,
    ];
}

impl Match {
    /// The place of the condition in a rule: addresses, interfaces, protocol, ports, state, owner.
    const fn rank(&self) -> u8 {
        match self {
            Match::Source { .. } => 0,
            Match::Destination { .. } => 1,
            Match::InIface(_) => 2,
            Match::OutIface(_) => 3,
            Match::Proto(_) => 4,
            Match::DestinationPorts { .. } => 5,
            Match::SourcePort(_) => 6,
            Match::Ct(_) => 7,
            Match::Mark { .. } => 8,
            Match::ConnMark(_) => 9,
            Match::Uid { .. } => 10,
            Match::Gid { .. } => 11,
        }
    }
}

impl Rule {
    /// The packet marks that our rules set and look for.
    pub const MARKS: [u32; 2] = [build::INBOUND_MARK, build::OUTBOUND_MARK];

    /// A rule for every family, with its conditions in canonical order. The order means nothing to
    /// a packet, but equal rules are equal values only if they keep to one.
    pub fn new(matches: impl IntoIterator<Item = Match>, action: Action) -> Rule {
        let mut matches: Vec<Match> = matches.into_iter().collect();
        matches.sort_by_key(Match::rank);
        Rule { family: None, matches, action }
    }

    /// The same rule for one family only.
    pub fn only(self, family: Family) -> Rule {
        Rule { family: Some(family), ..self }
    }

    /// Whether the rule is made for this family.
    pub fn is_for(&self, family: Family) -> bool {
        self.family.is_none_or(|only| only == family)
    }
}
