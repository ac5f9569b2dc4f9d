//! A ruleset in iptables' language: the text of each rule as `iptables-save` prints it, the input
//! of `iptables-restore` that programs it, and the way back from a dump to the differences.

mod compare;
mod dump;
mod parse;
mod repair;

pub use compare::differences;
pub use dump::{Dump, DumpRule, DumpTable};
pub use parse::{ParsedRule, parse_rule};
pub use repair::{repair_text, restore_text, within_word_limit};

use super::ruleset::{Action, Chain, CtState, Family, Match, Proto, Rule, Ruleset, Table};
use std::fmt::Write;

/// The prefix of all chains of ours, whichever version made them.
const OWN_PREFIX: &str = "ISTIO_";

/// The table's name.
pub const fn table_name(table: Table) -> &'static str {
    match table {
        Table::Mangle => "mangle",
        Table::Nat => "nat",
        Table::Raw => "raw",
    }
}

/// The command of a family, as messages name it.
pub const fn tool_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// The rules of one chain for one family, where there are any.
struct WantedChain<'a> {
    chain: Chain,
    rules: Vec<&'a Rule>,
}

/// The chains that a family's table shall have.
fn wanted(ruleset: &Ruleset, family: Family, table: Table) -> Vec<WantedChain<'_>> {
    if family == Family::V6 && !ruleset.ipv6 {
        return Vec::new();
    }
    let of_table = ruleset.chains.iter().filter(|chain| chain.table == table);
    of_table
        .map(|chain| WantedChain {
            chain: chain.chain,
            rules: chain.rules.iter().filter(|rule| rule.is_for(family)).collect(),
        })
        .filter(|chain| !chain.rules.is_empty())
        .collect()
}

/// The rule as `iptables-save` (1.8, nf_tables variant) prints it, from its conditions on:
/// `-o lo -m owner ! --uid-owner 1337 -j RETURN`.
pub fn rule_text(rule: &Rule, family: Family) -> String {
    let proto = rule.matches.iter().find_map(|condition| match condition {
        Match::Proto(proto) => Some(*proto),
        _ => None,
    });
    let mut text = String::new();
    for condition in &rule.matches {
        text.push_str(&match_text(condition, proto.unwrap_or(Proto::Tcp)));
        text.push(' ');
    }
    text.push_str(&action_text(&rule.action, family));
    text
}

/// The whole line of a rule in a dump.
fn append_text(chain: &str, rule: &Rule, family: Family) -> String {
    format!("-A {chain} {}", rule_text(rule, family))
}

const fn proto_name(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
    }
}

fn match_text(condition: &Match, proto: Proto) -> String {
    let not = |not: &bool| if *not { "! " } else { "" };
    match condition {
        Match::InIface(name) => format!("-i {name}"),
        Match::OutIface(name) => format!("-o {name}"),
        Match::Proto(proto) => format!("-p {}", proto_name(*proto)),
        Match::Source { net, not: inverted } => format!("{}-s {net}", not(inverted)),
        Match::Destination { net, not: inverted } => format!("{}-d {net}", not(inverted)),
        Match::DestinationPorts { ports, not: inverted } => match &ports[..] {
            [port] => format!("-m {} {}--dport {port}", proto_name(proto), not(inverted)),
            ports => format!("-m multiport {}--dports {}", not(inverted), joined(ports)),
        },
        Match::SourcePort(port) => format!("-m {} --sport {port}", proto_name(proto)),
        Match::Uid { id, not: inverted } => format!("-m owner {}--uid-owner {id}", not(inverted)),
        Match::Gid { id, not: inverted } => format!("-m owner {}--gid-owner {id}", not(inverted)),
        Match::Mark { value, not: inverted } => format!("-m mark {}--mark {value:#x}", not(inverted)),
        Match::ConnMark(value) => format!("-m connmark --mark {value:#x}"),
        Match::Ct(CtState::Invalid) => "-m conntrack --ctstate INVALID".to_owned(),
        Match::Ct(CtState::RelatedOrEstablished) => "-m conntrack --ctstate RELATED,ESTABLISHED".to_owned(),
    }
}

fn action_text(action: &Action, family: Family) -> String {
    const WHOLE_MARK: &str = "--nfmask 0xffffffff --ctmask 0xffffffff";
    match action {
        Action::Jump(chain) => format!("-j {}", chain.iptables_name()),
        Action::Return => "-j RETURN".to_owned(),
        Action::Accept => "-j ACCEPT".to_owned(),
        Action::Drop => "-j DROP".to_owned(),
        Action::Redirect(port) => format!("-j REDIRECT --to-ports {port}"),
        Action::Tproxy { port, mark } => {
            let any = match family {
                Family::V4 => "0.0.0.0",
                Family::V6 => "::",
            };
            format!("-j TPROXY --on-port {port} --on-ip {any} --tproxy-mark {mark:#x}/0xffffffff")
        }
        Action::SetMark(mark) => format!("-j MARK --set-xmark {mark:#x}/0xffffffff"),
        Action::SaveMark => format!("-j CONNMARK --save-mark {WHOLE_MARK}"),
        Action::RestoreMark => format!("-j CONNMARK --restore-mark {WHOLE_MARK}"),
        Action::CtZone(zone) => format!("-j CT --zone {zone}"),
    }
}

fn joined(ports: &[u16]) -> String {
    let mut text = String::new();
    for (index, port) in ports.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{port}");
    }
    text
}

#[cfg(test)]
mod test_rules;
