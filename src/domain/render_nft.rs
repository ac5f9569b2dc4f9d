//! A ruleset in nft's language: the script that `nft -f` takes in a namespace without our tables,
//! close to what `nft list ruleset` prints afterwards.

use super::nft::{Base, NftChain, nft_chains, table_name};
use super::ruleset::{Action, CtState, Family, Match, Proto, Rule, Ruleset, Table};

/// The whole script; empty only for a ruleset without rules.
pub fn script(ruleset: &Ruleset) -> String {
    let chains = nft_chains(ruleset);
    let mut text = String::new();
    for table in Table::ALL {
        let mut of_table = chains.iter().filter(|chain| chain.table == table).peekable();
        if of_table.peek().is_none() {
            continue;
        }
        text.push_str(&format!("table inet {} {{\n", table_name(table)));
        for chain in of_table {
            text.push_str(&chain_text(chain));
        }
        text.push_str("}\n");
    }
    text
}

fn chain_text(chain: &NftChain) -> String {
    let mut text = format!("\tchain {} {{\n", chain.chain.nft_name());
    if let Some(Base { kind, hook, priority }) = chain.base {
        text.push_str(&format!("\t\ttype {} hook {} priority {priority}; policy accept;\n", kind.name(), hook.name()));
    }
    for rule in &chain.rules {
        text.push_str(&format!("\t\t{}\n", rule_text(rule)));
    }
    text.push_str("\t}\n");
    text
}

/// One rule: conditions, counter, and what it does.
pub fn rule_text(rule: &Rule) -> String {
    let mut conditions: Vec<(u8, String)> = rule.matches.iter().filter_map(|each| condition(each, rule)).collect();
    conditions.extend(groups(rule));
    if let Some(family) = rule.family.filter(|_| !names_an_address(rule)) {
        conditions.push((2, format!("meta nfproto {}", family_word(family, "ipv4", "ipv6"))));
    }
    conditions.sort_by_key(|(place, _)| *place);
    let mut words: Vec<String> = conditions.into_iter().map(|(_, text)| text).collect();
    words.push(action(&rule.action, rule.family));
    words.join(" ")
}

/// Whether a condition on an address says the family already.
fn names_an_address(rule: &Rule) -> bool {
    rule.matches.iter().any(|condition| matches!(condition, Match::Source { .. } | Match::Destination { .. }))
}

const fn family_word(family: Family, v4: &'static str, v6: &'static str) -> &'static str {
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

/// A condition's text and its place in the rule: interfaces, protocols, addresses, ports, state,
/// marks, owner.
fn condition(condition: &Match, rule: &Rule) -> Option<(u8, String)> {
    let ip = |net: &ipnet::IpNet| if net.addr().is_ipv4() { "ip" } else { "ip6" };
    let unequal = |not: &bool| if *not { "!= " } else { "" };
    Some(match condition {
        Match::InIface(name) => (0, format!("iifname \"{name}\"")),
        Match::OutIface(name) => (1, format!("oifname \"{name}\"")),
        // A condition on a port says the protocol already.
        Match::Proto(_) if names_a_port(rule) => return None,
        Match::Proto(proto) => (3, format!("meta l4proto {}", proto_name(*proto))),
        Match::Source { net, not } => (4, format!("{} saddr {}{net}", ip(net), unequal(not))),
        Match::Destination { net, not } => (5, format!("{} daddr {}{net}", ip(net), unequal(not))),
        Match::DestinationPorts { ports, not } => {
            (6, format!("{} dport {}{}", port_proto(rule), unequal(not), port_set(ports)))
        }
        Match::SourcePort(port) => (7, format!("{} sport {port}", port_proto(rule))),
        Match::Ct(CtState::Invalid) => (8, "ct state invalid".to_owned()),
        Match::Ct(CtState::RelatedOrEstablished) => (8, "ct state established,related".to_owned()),
        Match::Mark { value, not } => (9, format!("meta mark {}{value:#x}", unequal(not))),
        Match::ConnMark(value) => (10, format!("ct mark {value:#x}")),
        Match::Uid { id, not } => (11, format!("meta skuid {}{id}", unequal(not))),
        Match::Gid { .. } => return None,
    })
}

/// The groups of a rule: one, or several of which it is none. As a set, for which a rule has room
/// however many they are.
fn groups(rule: &Rule) -> Option<(u8, String)> {
    let groups = rule.matches.iter().filter_map(|condition| match condition {
        Match::Gid { id, not } => Some((id.to_string(), *not)),
        _ => None,
    });
    let (ids, nots): (Vec<String>, Vec<bool>) = groups.unzip();
    let unequal = if *nots.first()? { "!= " } else { "" };
    Some((12, format!("meta skgid {unequal}{}", set(&ids))))
}

fn names_a_port(rule: &Rule) -> bool {
    rule.matches.iter().any(|condition| matches!(condition, Match::DestinationPorts { .. } | Match::SourcePort(_)))
}

const fn proto_name(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
    }
}

/// The protocol that a condition on a port belongs to.
fn port_proto(rule: &Rule) -> &'static str {
    let proto = rule.matches.iter().find_map(|condition| match condition {
        Match::Proto(proto) => Some(*proto),
        _ => None,
    });
    proto_name(proto.unwrap_or(Proto::Tcp))
}

fn port_set(ports: &[u16]) -> String {
    let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
    set(&listed)
}

fn set(elements: &[String]) -> String {
    match elements {
        [only] => only.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    }
}

fn action(action: &Action, family: Option<Family>) -> String {
    match action {
        Action::Jump(chain) => format!("counter jump {}", chain.nft_name()),
        Action::Return => "counter return".to_owned(),
        Action::Accept => "counter accept".to_owned(),
        Action::Drop => "counter drop".to_owned(),
        Action::Redirect(port) => format!("counter redirect to :{port}"),
        Action::Tproxy { port, mark } => {
            let family = family_word(family.unwrap_or(Family::V4), "ip", "ip6");
            format!("tproxy {family} to :{port} meta mark set {mark:#x} counter accept")
        }
        Action::SetMark(mark) => format!("counter meta mark set {mark:#x}"),
        Action::SaveMark => "counter ct mark set meta mark".to_owned(),
        Action::RestoreMark => "counter meta mark set ct mark".to_owned(),
        Action::CtZone(zone) => format!("counter ct zone set {zone}"),
    }
}
