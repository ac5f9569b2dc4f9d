//! Any rule that the model can say is rendered and read back as itself, and no line of a dump makes
//! the reader panic.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use istio_cni_otel::domain::render_iptables::{parse_rule, rule_text};
use istio_cni_otel::domain::ruleset::{Action, Chain, CtState, Family, Match, Proto, Rule};
use proptest::option::of;
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(v4 in any_rule(Family::V4), v6 in any_rule(Family::V6)) {
        for (rule, family) in [(v4, Family::V4), (v6, Family::V6)] {
            let line = format!("-A ISTIO_OUTPUT {}", rule_text(&rule, family));
            let parsed = parse_rule(&line, family).unwrap();
            prop_assert_eq!(&parsed.chain, "ISTIO_OUTPUT");
            prop_assert_eq!(parsed.rule(), Some(rule), "{}", line);
        }
    }

    #[test]
    fn no_line_makes_the_parser_panic(line in "-A [A-Z]{1,3}( (!|-[a-z]|--[a-z-]{1,12}|\"[^\n]{0,6}\"|\\[0:0\\]|[0-9a-f:./x,]{1,9}|\\PC{1,5})){0,12}") {
        for family in Family::ALL {
            let _ = parse_rule(&line, family);
        }
    }
}

/// Any rule that the model can say of a packet of this family, in canonical form.
fn any_rule(family: Family) -> impl Strategy<Value = Rule> {
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
