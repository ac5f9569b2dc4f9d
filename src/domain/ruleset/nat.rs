//! The nat table: outbound capture always, inbound capture in REDIRECT mode, DNS.

use super::build::*;
use super::{Action, Chain, Match, Proto, Rule};
use crate::domain::cidr::is_loopback;
use crate::domain::outbound::OwnerGroups;
use crate::domain::settings::{Mode, Ports, Ranges};
use ipnet::IpNet;

/// The table's chains, in their final order.
pub(super) fn fill(plan: &Plan<'_>) -> Filled {
    let redirect = |port| vec![Rule::new([TCP], Action::Redirect(port))];
    vec![
        (Chain::Prerouting, prerouting(plan)),
        (Chain::Output, output(plan)),
        (Chain::Inbound, inbound(plan)),
        (Chain::Redirect, redirect(OUTBOUND_PORT)),
        (Chain::InRedirect, redirect(INBOUND_PORT)),
        (Chain::OutputOwn, output_own(plan)),
        (Chain::OutputDns, output_dns(plan)),
    ]
}

/// Rerouted interfaces come first, each rule of theirs on top of the ones before it; what is not
/// rerouted leaves before inbound capture.
fn prerouting(plan: &Plan<'_>) -> Vec<Rule> {
    let interfaces = &plan.settings.reroute_interfaces;
    let returns = interfaces.iter().map(|name| Rule::new([in_iface(name)], Action::Return));
    let redirects = |range: Option<Match>| -> Vec<Rule> {
        interfaces
            .iter()
            .map(|name| Rule::new(range.iter().cloned().chain([in_iface(name)]), jump(Chain::Redirect)))
            .collect()
    };
    let mut inserted: Vec<Rule> = returns.collect();
    inserted.extend(included(plan, redirects));
    let mut rules: Vec<Rule> = inserted.into_iter().rev().collect();
    rules.extend(plan.excluded_interfaces_inbound());
    if plan.settings.mode == Mode::Redirect && plan.captures_inbound() {
        rules.push(Rule::new([TCP], jump(Chain::Inbound)));
    }
    rules
}

fn output(plan: &Plan<'_>) -> Vec<Rule> {
    let mut rules = plan.excluded_interfaces_outbound();
    rules.push(Rule::new([], jump(Chain::OutputOwn)));
    rules
}

/// In TPROXY mode nothing jumps here, and the chain keeps only the tunnel's rule.
fn inbound(plan: &Plan<'_>) -> Vec<Rule> {
    let mut rules = vec![Rule::new(to_port(Proto::Tcp, TUNNEL_PORT), Action::Return)];
    if plan.settings.mode == Mode::Tproxy {
        return rules;
    }
    match &plan.settings.include_inbound {
        Ports::All => {
            let excluded = plan.settings.exclude_inbound.iter();
            rules.extend(excluded.map(|&port| Rule::new(to_port(Proto::Tcp, port), Action::Return)));
            rules.push(Rule::new([TCP], jump(Chain::InRedirect)));
        }
        Ports::These(ports) => {
            rules.extend(ports.iter().map(|&port| Rule::new(to_port(Proto::Tcp, port), jump(Chain::InRedirect))))
        }
    }
    rules
}

fn output_own(plan: &Plan<'_>) -> Vec<Rule> {
    let settings = plan.settings;
    let mut rules = Vec::new();
    for &port in &settings.exclude_outbound {
        rules.push(Rule::new(to_port(Proto::Tcp, port), Action::Return));
        rules.push(Rule::new(to_port(Proto::Udp, port), Action::Return));
    }
    rules.extend(
        plan.per_family(|family| Rule::new([from_inbound_source(family), out_iface(LOOPBACK)], Action::Return)),
    );
    rules.extend(proxy_s_own(plan, &|not| Match::Uid { id: settings.proxy_uid, not }, settings.dns_capture));
    rules.extend(proxy_s_own(plan, &|not| Match::Gid { id: settings.proxy_gid, not }, false));
    rules.extend(by_owner_group(&settings.outbound.groups));
    if settings.dns_capture {
        rules.push(Rule::new([], jump(Chain::OutputDns)));
    }
    rules.extend(plan.per_family(|family| Rule::new([plan.to_localhost(family, false)], Action::Return)));
    rules.extend(plan.per_range(&settings.exclude_ranges_v4, &settings.exclude_ranges_v6, |range| {
        vec![Rule::new(range, Action::Return)]
    }));
    let ports = settings.include_outbound.iter();
    rules.extend(ports.map(|&port| Rule::new(to_port(Proto::Tcp, port), jump(Chain::Redirect))));
    rules.extend(included(plan, |range| vec![Rule::new(range, jump(Chain::Redirect))]));
    rules
}

/// The rules for traffic of the proxy itself, known by its user or its group (`owner`). What it
/// sends to the pod's own address goes through inbound capture; all else leaves. `keep_dns` keeps
/// its DNS queries out of inbound capture.
fn proxy_s_own(plan: &Plan<'_>, owner: &dyn Fn(bool) -> Match, keep_dns: bool) -> Vec<Rule> {
    let kept: &[u16] = if keep_dns { &[DNS_PORT, TUNNEL_PORT] } else { &[TUNNEL_PORT] };
    let mut rules = plan.per_family(|family| {
        let matches = [plan.to_localhost(family, true), out_iface(LOOPBACK), owner(false)];
        Rule::new(matches.into_iter().chain(not_to_ports(kept)), jump(Chain::InRedirect))
    });
    // Who asks for a loopback range wants the application's own loopback traffic captured.
    if !includes_loopback(&plan.settings.include_ranges) {
        let dns: &[u16] = if plan.settings.dns_capture { &[DNS_PORT] } else { &[] };
        let not_dns = (!dns.is_empty()).then(|| not_to_ports(dns)).into_iter().flatten();
        rules.push(Rule::new([out_iface(LOOPBACK), owner(true)].into_iter().chain(not_dns), Action::Return));
    }
    rules.push(Rule::new([owner(false)], Action::Return));
    rules
}

/// Traffic of groups that are not captured leaves: of each that is excluded, or of all that are not
/// among the included, for which one rule has to name them.
fn by_owner_group(groups: &OwnerGroups) -> Vec<Rule> {
    let owner = |not: bool| move |&id: &u32| Match::Gid { id, not };
    match groups {
        OwnerGroups::AllBut(ids) => ids.iter().map(owner(false)).map(|of| Rule::new([of], Action::Return)).collect(),
        OwnerGroups::Only(ids) => vec![Rule::new(ids.iter().map(owner(true)), Action::Return)],
    }
}

/// The rules that `rule` makes for all traffic, or for each included range.
fn included(plan: &Plan<'_>, rule: impl Fn(Option<Match>) -> Vec<Rule>) -> Vec<Rule> {
    match &plan.settings.include_ranges {
        Ranges::All => rule(None),
        Ranges::These { v4, v6 } => plan.per_range(v4, v6, rule),
    }
}

/// Whether a loopback range of any family is listed, whichever families get rules.
fn includes_loopback(ranges: &Ranges) -> bool {
    match ranges {
        Ranges::All => false,
        Ranges::These { v4, v6 } => {
            v4.iter().any(|&net| is_loopback(&IpNet::V4(net))) || v6.iter().any(|&net| is_loopback(&IpNet::V6(net)))
        }
    }
}

fn output_dns(plan: &Plan<'_>) -> Vec<Rule> {
    if !plan.settings.dns_capture {
        return Vec::new();
    }
    [Proto::Tcp, Proto::Udp].map(|proto| Rule::new(to_port(proto, DNS_PORT), Action::Redirect(PROXY_DNS_PORT))).into()
}
