//! Arbitrary rules and ready-made rulesets for this room's tests.

use crate::domain::ruleset::{Action, Chain, CtState, Family, Match, Proto, Rule, Ruleset, build};
use crate::domain::settings::{Mode, Ports, Ranges, RedirectSettings};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::option::of;
use proptest::prelude::*;

/// The settings of a pod without any wish of its own.
pub fn default_settings() -> RedirectSettings {
    RedirectSettings {
        mode: Mode::Redirect,
        include_inbound: Ports::All,
        exclude_inbound: vec![15020, 15021, 15090],
        include_ranges: Ranges::All,
        exclude_ranges_v4: vec![],
        exclude_ranges_v6: vec![],
        include_outbound: vec![],
        exclude_outbound: vec![15020],
        exclude_interfaces: vec![],
        reroute_interfaces: vec![],
        proxy_uid: 1337,
        proxy_gid: 1337,
        dns_capture: false,
        dual_stack: true,
        invalid_drop: false,
    }
}

/// The ruleset of these settings in a dual-stack namespace.
pub fn ruleset(settings: &RedirectSettings) -> Ruleset {
    build(settings, &["10.1.0.5".parse().unwrap(), "fd00:1::5".parse().unwrap()]).unwrap()
}

/// Any rule that the model can say of a packet of this family, in canonical form.
pub fn any_rule(family: Family) -> impl Strategy<Value = Rule> {
    let addresses = (of(any_net(family)), of(any_net(family)));
    let interfaces = (of("[a-zA-Z][a-zA-Z0-9_.-]{0,14}"), of("[a-zA-Z][a-zA-Z0-9_.-]{0,14}"));
    let proto = of(prop_oneof![Just(Proto::Tcp), Just(Proto::Udp)]);
    let ports = (of((prop::collection::vec(any::<u16>(), 1..5), any::<bool>())), of(any::<u16>()));
    let state = of(prop_oneof![Just(CtState::Invalid), Just(CtState::RelatedOrEstablished)]);
    let numbers = (of(any::<(u32, bool)>()), of(any::<u32>()), of(any::<(u32, bool)>()), of(any::<(u32, bool)>()));
    (addresses, interfaces, proto, ports, state, numbers, any_action()).prop_map(
        |((source, destination), (inbound, outbound), proto, (to, from), ct, (mark, connmark, uid, gid), action)| {
            // Ports are ports of a protocol.
            let has_port = proto.is_some();
            let matches = [
                source.map(|(net, not)| Match::Source { net, not }),
                destination.map(|(net, not)| Match::Destination { net, not }),
                inbound.map(Match::InIface),
                outbound.map(Match::OutIface),
                proto.map(Match::Proto),
                to.filter(|_| has_port).map(|(ports, not)| Match::DestinationPorts { ports, not }),
                from.filter(|_| has_port).map(Match::SourcePort),
                ct.map(Match::Ct),
                mark.map(|(value, not)| Match::Mark { value, not }),
                connmark.map(Match::ConnMark),
                uid.map(|(id, not)| Match::Uid { id, not }),
                gid.map(|(id, not)| Match::Gid { id, not }),
            ];
            Rule::new(matches.into_iter().flatten(), action)
        },
    )
}

fn any_net(family: Family) -> impl Strategy<Value = (IpNet, bool)> {
    let v4 = any::<(u32, bool)>();
    (v4, any::<u128>(), 1..=128u8).prop_map(move |((bits, not), long, length)| {
        let net = match family {
            Family::V4 => IpNet::V4(Ipv4Net::new(bits.into(), (length - 1) % 32 + 1).unwrap()),
            Family::V6 => IpNet::V6(Ipv6Net::new(long.into(), length).unwrap()),
        };
        (net.trunc(), not)
    })
}

fn any_action() -> impl Strategy<Value = Action> {
    let own = prop::sample::select(Chain::ALL.into_iter().filter(|chain| !chain.is_hook()).collect::<Vec<_>>());
    prop_oneof![
        own.prop_map(Action::Jump),
        Just(Action::Return),
        Just(Action::Accept),
        Just(Action::Drop),
        any::<u16>().prop_map(Action::Redirect),
        any::<(u16, u32)>().prop_map(|(port, mark)| Action::Tproxy { port, mark }),
        any::<u32>().prop_map(Action::SetMark),
        Just(Action::SaveMark),
        Just(Action::RestoreMark),
        any::<u16>().prop_map(Action::CtZone),
    ]
}
