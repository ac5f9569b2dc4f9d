//! The mangle table: inbound capture in TPROXY mode, and dropping what connection tracking finds
//! invalid.

use super::build::*;
use super::{Action, Chain, CtState, Match, Proto, Rule};
use crate::domain::settings::{Mode, Ports};

/// The table's chains, in their final order.
pub(super) fn fill(plan: &Plan<'_>) -> Filled {
    let tproxy = plan.settings.mode == Mode::Tproxy;
    let captures = tproxy && plan.captures_inbound();
    let only_if = |wanted: bool, rules: fn(&Plan<'_>) -> Vec<Rule>| if wanted { rules(plan) } else { Vec::new() };
    vec![
        (Chain::Prerouting, prerouting(plan)),
        (Chain::Output, only_if(tproxy, output)),
        (Chain::Inbound, only_if(tproxy, inbound)),
        (Chain::Divert, only_if(captures, divert)),
        (Chain::Tproxy, only_if(captures, deliver)),
        (Chain::Drop, only_if(plan.settings.invalid_drop, |_| vec![Rule::new([], Action::Drop)])),
    ]
}

fn prerouting(plan: &Plan<'_>) -> Vec<Rule> {
    let tproxy = plan.settings.mode == Mode::Tproxy;
    let mut rules = Vec::new();
    if tproxy {
        rules.extend(plan.excluded_interfaces_inbound());
    }
    if plan.settings.invalid_drop {
        rules.push(Rule::new([Match::Ct(CtState::Invalid)], jump(Chain::Drop)));
    }
    if tproxy && plan.captures_inbound() {
        rules.push(Rule::new([TCP], jump(Chain::Inbound)));
    }
    if tproxy {
        // The connection remembers the mark, so that its replies are routed back to the proxy.
        rules.push(Rule::new([TCP, marked(INBOUND_MARK)], Action::SaveMark));
    }
    rules
}

fn output(plan: &Plan<'_>) -> Vec<Rule> {
    let settings = plan.settings;
    let mut rules = plan.excluded_interfaces_outbound();
    rules.push(Rule::new([TCP, out_iface(LOOPBACK), marked(INBOUND_MARK)], Action::Return));
    let owners = [Match::Uid { id: settings.proxy_uid, not: false }, Match::Gid { id: settings.proxy_gid, not: false }];
    for owner in owners {
        rules.extend(plan.per_family(|family| {
            let matches = [plan.to_localhost(family, true), out_iface(LOOPBACK), TCP, owner.clone()];
            Rule::new(matches, Action::SetMark(OUTBOUND_MARK))
        }));
    }
    rules.push(Rule::new([TCP, Match::ConnMark(INBOUND_MARK)], Action::RestoreMark));
    rules
}

/// First the proxy's own traffic leaves: what it marked, what it sends to the application, and
/// what came over loopback from elsewhere. Then the capture.
fn inbound(plan: &Plan<'_>) -> Vec<Rule> {
    let mut rules = vec![Rule::new([TCP, marked(INBOUND_MARK)], Action::Return)];
    rules.extend(
        plan.per_family(|family| Rule::new([from_inbound_source(family), in_iface(LOOPBACK), TCP], Action::Return)),
    );
    let not_proxy_s = Match::Mark { value: OUTBOUND_MARK, not: true };
    rules.push(Rule::new([in_iface(LOOPBACK), TCP, not_proxy_s], Action::Return));
    let known = || Match::Ct(CtState::RelatedOrEstablished);
    match &plan.settings.include_inbound {
        Ports::All => {
            let excluded = plan.settings.exclude_inbound.iter();
            rules.extend(excluded.map(|&port| Rule::new(to_port(Proto::Tcp, port), Action::Return)));
            rules.push(Rule::new([TCP, known()], jump(Chain::Divert)));
            rules.push(Rule::new([TCP], jump(Chain::Tproxy)));
        }
        Ports::These(ports) => {
            for &port in ports {
                let to_port = to_port(Proto::Tcp, port);
                rules.push(Rule::new(to_port.clone().into_iter().chain([known()]), jump(Chain::Divert)));
                rules.push(Rule::new(to_port, jump(Chain::Tproxy)));
            }
        }
    }
    rules
}

/// Packets of a connection that the proxy already has.
fn divert(_plan: &Plan<'_>) -> Vec<Rule> {
    vec![Rule::new([], Action::SetMark(INBOUND_MARK)), Rule::new([], Action::Accept)]
}

/// Packets of a new connection.
fn deliver(plan: &Plan<'_>) -> Vec<Rule> {
    plan.per_family(|family| {
        Rule::new([plan.to_localhost(family, true), TCP], Action::Tproxy { port: INBOUND_PORT, mark: INBOUND_MARK })
    })
}

fn marked(value: u32) -> Match {
    Match::Mark { value, not: false }
}
