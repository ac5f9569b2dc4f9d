//! A rule as nf_tables expressions: its matches in their order, a counter, its action.

use super::expr::{CtKey, Data, Expr, Header, MetaKey, Verdict, nfproto};
use crate::domain::ruleset::{Action, CtState, Family, Match, Proto, Rule};
use ipnet::IpNet;

/// Bits of a connection's state (linux/netfilter/nf_conntrack_common.h).
const STATE_INVALID: u32 = 1;
const STATE_ESTABLISHED: u32 = 1 << 1;
const STATE_RELATED: u32 = 1 << 2;

/// The kernel rules of one rule: one, or one for each port where it matches any of several.
pub fn lower(rule: &Rule) -> Vec<Vec<Expr>> {
    let several =
        rule.matches.iter().position(|m| matches!(m, Match::DestinationPorts { ports, not: false } if ports.len() > 1));
    let Some((at, Match::DestinationPorts { ports, .. })) = several.map(|at| (at, &rule.matches[at])) else {
        return vec![lower_one(rule)];
    };
    ports
        .iter()
        .map(|port| {
            let mut one = rule.clone();
            one.matches[at] = Match::DestinationPorts { ports: vec![*port], not: false };
            lower_one(&one)
        })
        .collect()
}

fn lower_one(rule: &Rule) -> Vec<Expr> {
    let mut exprs = Vec::with_capacity(2 * rule.matches.len() + 6);
    if let Some(only) = rule.family.or_else(|| rule.matches.iter().find_map(family_of)) {
        exprs.extend(family(only));
    }
    let mut before: Option<&Match> = None;
    for condition in &rule.matches {
        push_match(&mut exprs, condition);
        // Of several groups in a row, all but the first are compared with what is loaded: a rule
        // has no room for the most groups that are allowed otherwise.
        if matches!((before, condition), (Some(Match::Gid { .. }), Match::Gid { .. })) {
            exprs.remove(exprs.len() - 2);
        }
        before = Some(condition);
    }
    exprs.push(Expr::Counter);
    push_action(&mut exprs, &rule.action, rule.family);
    exprs
}

/// Addresses are read at their family's offsets, so the family is asked for first.
fn family_of(condition: &Match) -> Option<Family> {
    match condition {
        Match::Source { net, .. } | Match::Destination { net, .. } => Some(match net {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }),
        _ => None,
    }
}

fn family(family: Family) -> [Expr; 2] {
    [Expr::Meta(MetaKey::NfProto), compare(false, &[nfproto(family)])]
}

fn compare(not: bool, value: &[u8]) -> Expr {
    Expr::Compare { not, value: Data::new(value) }
}

fn push_match(exprs: &mut Vec<Expr>, condition: &Match) {
    match condition {
        Match::InIface(name) => exprs.extend([Expr::Meta(MetaKey::InName), interface(name)]),
        Match::OutIface(name) => exprs.extend([Expr::Meta(MetaKey::OutName), interface(name)]),
        Match::Proto(proto) => exprs.extend([Expr::Meta(MetaKey::L4Proto), compare(false, &[protocol(*proto)])]),
        Match::Source { net, not } => push_address(exprs, net, *not, Side::Source),
        Match::Destination { net, not } => push_address(exprs, net, *not, Side::Destination),
        Match::DestinationPorts { ports, not } => {
            exprs.push(Expr::Payload { header: Header::Transport, offset: 2, length: 2 });
            exprs.extend(ports.iter().map(|port| compare(*not, &port.to_be_bytes())));
        }
        Match::SourcePort(port) => exprs.extend([
            Expr::Payload { header: Header::Transport, offset: 0, length: 2 },
            compare(false, &port.to_be_bytes()),
        ]),
        Match::Uid { id, not } => exprs.extend([Expr::Meta(MetaKey::SocketUid), compare(*not, &id.to_ne_bytes())]),
        Match::Gid { id, not } => exprs.extend([Expr::Meta(MetaKey::SocketGid), compare(*not, &id.to_ne_bytes())]),
        Match::Mark { value, not } => exprs.extend([Expr::Meta(MetaKey::Mark), compare(*not, &value.to_ne_bytes())]),
        Match::ConnMark(value) => exprs.extend([Expr::Ct(CtKey::Mark), compare(false, &value.to_ne_bytes())]),
        Match::Ct(state) => {
            let bits = match state {
                CtState::Invalid => STATE_INVALID,
                CtState::RelatedOrEstablished => STATE_ESTABLISHED | STATE_RELATED,
            };
            exprs.extend([Expr::Ct(CtKey::State), Expr::Mask(Data::new(&bits.to_ne_bytes())), compare(true, &[0; 4])]);
        }
    }
}

fn push_action(exprs: &mut Vec<Expr>, action: &Action, family: Option<Family>) {
    let store = |value: &[u8], into: Expr| [Expr::Immediate(Data::new(value)), into];
    match action {
        Action::Jump(chain) => exprs.push(Expr::Verdict(Verdict::Jump(chain.nft_name().to_owned()))),
        Action::Return => exprs.push(Expr::Verdict(Verdict::Return)),
        Action::Accept => exprs.push(Expr::Verdict(Verdict::Accept)),
        Action::Drop => exprs.push(Expr::Verdict(Verdict::Drop)),
        Action::Redirect(port) => exprs.extend(store(&port.to_be_bytes(), Expr::Redirect)),
        Action::Tproxy { port, mark } => {
            exprs.extend(store(&port.to_be_bytes(), Expr::Tproxy(family.unwrap_or(Family::V4))));
            exprs.extend(store(&mark.to_ne_bytes(), Expr::SetMeta(MetaKey::Mark)));
            exprs.push(Expr::Verdict(Verdict::Accept));
        }
        Action::SetMark(mark) => exprs.extend(store(&mark.to_ne_bytes(), Expr::SetMeta(MetaKey::Mark))),
        Action::SaveMark => exprs.extend([Expr::Meta(MetaKey::Mark), Expr::SetCt(CtKey::Mark)]),
        Action::RestoreMark => exprs.extend([Expr::Ct(CtKey::Mark), Expr::SetMeta(MetaKey::Mark)]),
        Action::CtZone(zone) => exprs.extend(store(&zone.to_ne_bytes(), Expr::SetCt(CtKey::Zone))),
    }
}

/// An interface name as the kernel compares it: `IFNAMSIZ` bytes, padded with zeros.
fn interface(name: &str) -> Expr {
    let mut padded = [0; libc::IFNAMSIZ];
    for (slot, byte) in padded.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    compare(false, &padded)
}

const fn protocol(proto: Proto) -> u8 {
    match proto {
        Proto::Tcp => libc::IPPROTO_TCP as u8,
        Proto::Udp => libc::IPPROTO_UDP as u8,
    }
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// An address range: the whole address, or its network's bits. The range of all addresses of a
/// family matches by the family alone.
fn push_address(exprs: &mut Vec<Expr>, net: &IpNet, not: bool, side: Side) {
    let octets = |net: &IpNet| match (net.network(), net.netmask()) {
        (std::net::IpAddr::V4(address), std::net::IpAddr::V4(mask)) => {
            (address.octets().to_vec(), mask.octets().to_vec())
        }
        (std::net::IpAddr::V6(address), std::net::IpAddr::V6(mask)) => {
            (address.octets().to_vec(), mask.octets().to_vec())
        }
        _ => (Vec::new(), Vec::new()),
    };
    let (address, mask) = octets(net);
    if net.prefix_len() == 0 && !not {
        return;
    }
    let offset = match (net, side) {
        (IpNet::V4(_), Side::Source) => 12,
        (IpNet::V4(_), Side::Destination) => 16,
        (IpNet::V6(_), Side::Source) => 8,
        (IpNet::V6(_), Side::Destination) => 24,
    };
    let length = if matches!(net, IpNet::V4(_)) { 4 } else { 16 };
    exprs.push(Expr::Payload { header: Header::Network, offset, length });
    if net.prefix_len() < net.max_prefix_len() {
        exprs.push(Expr::Mask(Data::new(&mask)));
    }
    exprs.push(compare(not, &address));
}
