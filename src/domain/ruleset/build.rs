//! From settings and addresses to the ruleset. The reference appends and inserts rule by rule;
//! here every chain is written down in the order that results.

use super::{Action, Chain, ChainRules, Family, Match, Proto, Rule, Ruleset, Table, TproxyRouting};
use super::{NoAddress, mangle, nat, raw, wants_ipv6};
use crate::domain::settings::{Mode, Ports, RedirectSettings};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The proxy's port for outbound traffic.
pub(super) const OUTBOUND_PORT: u16 = 15001;
/// The proxy's port for inbound traffic.
pub(super) const INBOUND_PORT: u16 = 15006;
/// The proxy's port for mesh tunnels, which is never redirected.
pub(super) const TUNNEL_PORT: u16 = 15008;
/// DNS.
pub(super) const DNS_PORT: u16 = 53;
/// The proxy's DNS port.
pub(super) const PROXY_DNS_PORT: u16 = 15053;
/// 0x539, on inbound packets that TPROXY delivers; Envoy's original-source filter sets it too.
pub(super) const INBOUND_MARK: u32 = 1337;
/// 0x53a, on packets of the proxy to the pod's own address.
pub(super) const OUTBOUND_MARK: u32 = 1338;
/// The routing table whose only route delivers everything locally.
pub(super) const TPROXY_TABLE: u32 = 133;
/// The loopback interface.
pub(super) const LOOPBACK: &str = "lo";
/// From where the proxy speaks to the application; IPv4's needs no address on `lo`.
const INBOUND_SOURCE: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(127, 0, 0, 6), Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

/// Builds the ruleset of a pod from its settings and its namespace's addresses.
///
/// Rules name the packets that iptables' rules of the reference name, so every backend that
/// renders the value gives its verdicts.
pub fn build(settings: &RedirectSettings, addresses: &[IpAddr]) -> Result<Ruleset, NoAddress> {
    let ipv6 = wants_ipv6(addresses, settings.dual_stack)?;
    let plan = Plan { settings, families: if ipv6 { &Family::ALL } else { &[Family::V4] } };
    let mut chains = Vec::new();
    for (table, filled) in
        [(Table::Mangle, mangle::fill(&plan)), (Table::Nat, nat::fill(&plan)), (Table::Raw, raw::fill(&plan))]
    {
        let filled = filled.into_iter().filter(|(_, rules)| !rules.is_empty());
        chains.extend(filled.map(|(chain, rules)| ChainRules { table, chain, rules }));
    }
    Ok(Ruleset {
        ipv6,
        chains,
        routing: (settings.mode == Mode::Tproxy && plan.captures_inbound()).then_some(TproxyRouting::OURS),
        loopback: if ipv6 { vec![Ipv6Net::from(INBOUND_SOURCE.1)] } else { Vec::new() },
    })
}

/// The chains of one table; chains may be empty here.
pub(super) type Filled = Vec<(Chain, Vec<Rule>)>;

/// What the tables are filled from.
pub(super) struct Plan<'a> {
    pub settings: &'a RedirectSettings,
    /// The families that get rules.
    pub families: &'a [Family],
}

impl Plan<'_> {
    /// Whether any inbound traffic is to be captured.
    pub fn captures_inbound(&self) -> bool {
        match &self.settings.include_inbound {
            Ports::All => true,
            Ports::These(ports) => !ports.is_empty(),
        }
    }

    /// One rule per family.
    pub fn per_family(&self, rule: impl Fn(Family) -> Rule) -> Vec<Rule> {
        self.families.iter().map(|&family| rule(family).only(family)).collect()
    }

    /// One rule per range, for ranges of the families that get rules.
    pub fn per_range(&self, v4: &[Ipv4Net], v6: &[Ipv6Net], rule: impl Fn(Option<Match>) -> Vec<Rule>) -> Vec<Rule> {
        let ranges = v4.iter().copied().map(IpNet::V4).chain(v6.iter().copied().map(IpNet::V6));
        let mut rules = Vec::new();
        for range in ranges {
            let family = if range.addr().is_ipv4() { Family::V4 } else { Family::V6 };
            if self.families.contains(&family) {
                rules.extend(rule(to_range(range)).into_iter().map(|rule| rule.only(family)));
            }
        }
        rules
    }

    /// Packets to the loopback addresses, or to any others.
    pub fn to_localhost(&self, family: Family, not: bool) -> Match {
        let net = match family {
            Family::V4 => IpNet::V4(self.settings.outbound.loopback.trunc()),
            Family::V6 => IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        };
        Match::Destination { net, not }
    }

    /// What comes in by an excluded interface leaves `PREROUTING`.
    pub fn excluded_interfaces_inbound(&self) -> Vec<Rule> {
        self.settings.exclude_interfaces.iter().map(|name| Rule::new([in_iface(name)], Action::Return)).collect()
    }

    /// What goes out by an excluded interface leaves `OUTPUT`.
    pub fn excluded_interfaces_outbound(&self) -> Vec<Rule> {
        self.settings.exclude_interfaces.iter().map(|name| Rule::new([out_iface(name)], Action::Return)).collect()
    }
}

pub(super) fn in_iface(name: &str) -> Match {
    Match::InIface(name.to_owned())
}

pub(super) fn out_iface(name: &str) -> Match {
    Match::OutIface(name.to_owned())
}

/// Any TCP packet.
pub(super) const TCP: Match = Match::Proto(Proto::Tcp);

/// Packets of a protocol to one port.
pub(super) fn to_port(proto: Proto, port: u16) -> [Match; 2] {
    [Match::Proto(proto), Match::DestinationPorts { ports: vec![port], not: false }]
}

/// TCP packets to any other port.
pub(super) fn not_to_ports(ports: &[u16]) -> [Match; 2] {
    [TCP, Match::DestinationPorts { ports: ports.to_vec(), not: true }]
}

/// Packets to a range; every packet of the family is in a range of length 0.
fn to_range(range: IpNet) -> Option<Match> {
    (range.prefix_len() > 0).then(|| Match::Destination { net: range.trunc(), not: false })
}

/// Packets of the proxy to the application.
pub(super) fn from_inbound_source(family: Family) -> Match {
    let address = match family {
        Family::V4 => IpAddr::V4(INBOUND_SOURCE.0),
        Family::V6 => IpAddr::V6(INBOUND_SOURCE.1),
    };
    Match::Source { net: IpNet::from(address), not: false }
}

pub(super) fn jump(chain: Chain) -> Action {
    Action::Jump(chain)
}
