//! The nf_tables backend in real namespaces.

use istio_cni_otel::domain::request::{Backend, Bounds};
use istio_cni_otel::domain::ruleset::*;
use istio_cni_otel::host::kernel::HostNamespaces;
use istio_cni_otel::host::netns;
use istio_cni_otel::ops::ports::{Applied, Namespaces};
use std::os::fd::{AsFd, OwnedFd};

fn scratch() -> OwnedFd {
    netns::enter_scratch(|| std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()).unwrap()
}

fn every_expression() -> Ruleset {
    let rule = |family, matches: Vec<Match>, action| Rule { family, matches, action };
    let lo4: ipnet::IpNet = "127.0.0.1/32".parse().unwrap();
    let lo6: ipnet::IpNet = "::1/128".parse().unwrap();
    let tcp = || Match::Proto(Proto::Tcp);
    Ruleset {
        ipv6: true,
        chains: vec![
            ChainRules {
                table: Table::Nat,
                chain: Chain::Prerouting,
                rules: vec![rule(None, vec![tcp()], Action::Jump(Chain::Inbound))],
            },
            ChainRules {
                table: Table::Nat,
                chain: Chain::Output,
                rules: vec![rule(None, vec![], Action::Jump(Chain::OutputOwn))],
            },
            ChainRules {
                table: Table::Nat,
                chain: Chain::Inbound,
                rules: vec![
                    rule(
                        None,
                        vec![tcp(), Match::DestinationPorts { ports: vec![15008, 22], not: false }],
                        Action::Return,
                    ),
                    rule(None, vec![tcp()], Action::Redirect(15006)),
                ],
            },
            ChainRules {
                table: Table::Nat,
                chain: Chain::OutputOwn,
                rules: vec![
                    rule(
                        Some(Family::V4),
                        vec![
                            Match::Destination { net: lo4, not: true },
                            Match::OutIface("lo".into()),
                            tcp(),
                            Match::DestinationPorts { ports: vec![53, 15008], not: true },
                            Match::Uid { id: 1337, not: false },
                        ],
                        Action::Return,
                    ),
                    rule(
                        Some(Family::V6),
                        vec![
                            Match::Destination { net: lo6, not: true },
                            Match::OutIface("lo".into()),
                            tcp(),
                            Match::Gid { id: 1337, not: true },
                        ],
                        Action::Return,
                    ),
                    rule(
                        Some(Family::V4),
                        vec![Match::Destination { net: "10.0.0.0/9".parse().unwrap(), not: false }],
                        Action::Return,
                    ),
                    rule(
                        Some(Family::V6),
                        vec![Match::Source { net: "fd00::/7".parse().unwrap(), not: false }],
                        Action::Return,
                    ),
                ],
            },
            ChainRules {
                table: Table::Mangle,
                chain: Chain::Prerouting,
                rules: vec![
                    rule(None, vec![Match::Ct(CtState::Invalid)], Action::Jump(Chain::Drop)),
                    rule(
                        None,
                        vec![tcp(), Match::Ct(CtState::RelatedOrEstablished), Match::Mark { value: 1337, not: false }],
                        Action::SaveMark,
                    ),
                    rule(Some(Family::V4), vec![tcp()], Action::Tproxy { port: 15006, mark: 1337 }),
                    rule(Some(Family::V6), vec![tcp()], Action::Tproxy { port: 15006, mark: 1337 }),
                ],
            },
            ChainRules {
                table: Table::Mangle,
                chain: Chain::Output,
                rules: vec![
                    rule(None, vec![tcp(), Match::ConnMark(1337)], Action::RestoreMark),
                    rule(
                        None,
                        vec![tcp(), Match::InIface("lo".into()), Match::Mark { value: 1338, not: true }],
                        Action::SetMark(1338),
                    ),
                ],
            },
            ChainRules { table: Table::Mangle, chain: Chain::Drop, rules: vec![rule(None, vec![], Action::Drop)] },
            ChainRules {
                table: Table::Raw,
                chain: Chain::Output,
                rules: vec![rule(None, vec![Match::Proto(Proto::Udp), Match::SourcePort(15053)], Action::CtZone(2))],
            },
        ],
        routing: Some(TproxyRouting { mark: 1337, table: 133 }),
        loopback: vec!["::6/128".parse().unwrap()],
    }
}

fn apply(ns: &OwnedFd, rules: &Ruleset) -> (Applied, Vec<Difference>) {
    let mut differences = Vec::new();
    let applied = HostNamespaces
        .inside(
            ns.as_fd(),
            Backend::Nftables,
            &Bounds::default(),
            Box::new(|kernel| {
                let applied = kernel.apply(rules).unwrap_or_else(|e| panic!("{e} {:?}", std::error::Error::source(&e)));
                differences = kernel.differences(rules).unwrap().1;
                Ok(applied)
            }),
        )
        .unwrap_or_else(|e| panic!("{e}"))
        .unwrap();
    (applied, differences)
}

#[test]
fn every_expression_is_programmed_and_read_back_equal() {
    let ns = scratch();
    netns::enter(ns.as_fd(), || std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap())
        .unwrap();
    let (applied, differences) = apply(&ns, &every_expression());
    assert_eq!(differences, []);
    assert!(applied.changed);
    let (applied, differences) = apply(&ns, &every_expression());
    assert_eq!(differences, []);
    assert!(!applied.changed);
}
