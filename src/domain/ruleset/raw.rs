//! The raw table: with DNS capture, the application's and the proxy's queries are tracked in
//! different zones, so that one socket pair can be two connections.

use super::build::*;
use super::{Action, Chain, Match, Proto, Rule};

/// Between the proxy and the resolver upstream.
const UPSTREAM_ZONE: u16 = 1;
/// Between the application and the proxy.
const APPLICATION_ZONE: u16 = 2;

/// The table's chains, in their final order.
pub(super) fn fill(plan: &Plan<'_>) -> Filled {
    if !plan.settings.dns_capture {
        return Vec::new();
    }
    let from_dns = [Match::Proto(Proto::Udp), Match::SourcePort(DNS_PORT)];
    vec![
        (Chain::Prerouting, vec![Rule::new([], jump(Chain::Inbound))]),
        (Chain::Output, vec![Rule::new([], jump(Chain::OutputDns))]),
        (Chain::Inbound, vec![Rule::new(from_dns, Action::CtZone(UPSTREAM_ZONE))]),
        (Chain::OutputDns, output_dns(plan)),
    ]
}

fn output_dns(plan: &Plan<'_>) -> Vec<Rule> {
    let settings = plan.settings;
    let owners = [Match::Uid { id: settings.proxy_uid, not: false }, Match::Gid { id: settings.proxy_gid, not: false }];
    let mut rules = Vec::new();
    for owner in owners {
        let query = to_port(Proto::Udp, DNS_PORT).into_iter().chain([owner.clone()]);
        rules.push(Rule::new(query, Action::CtZone(UPSTREAM_ZONE)));
        let answer = [Match::Proto(Proto::Udp), Match::SourcePort(PROXY_DNS_PORT), owner];
        rules.push(Rule::new(answer, Action::CtZone(APPLICATION_ZONE)));
    }
    rules.push(Rule::new(to_port(Proto::Udp, DNS_PORT), Action::CtZone(APPLICATION_ZONE)));
    rules
}
