//! The validator in real namespaces: with the rules that the plugin makes, with none, with half of
//! them, and with somebody in its way; always as the proxy's user, without any capability.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::ruleset::Family;
use istio_cni_otel::domain::settings::{Mode, RedirectSettings};
use std::net::{SocketAddr, TcpListener, TcpStream};
use support::*;

/// A way of programming rules.
#[derive(Clone, Copy, Debug)]
enum Way {
    Nftables,
    IptablesNft,
    IptablesLegacy,
}

/// A pod with these rules.
fn pod(way: Way, addresses: Addresses, settings: &RedirectSettings) -> Wire {
    let wire = Wire::new(addresses);
    if matches!(way, Way::IptablesLegacy) {
        // Legacy tools are chosen where legacy tables are.
        wire.pod.sh("iptables-legacy -w -t nat -L && ip6tables-legacy -w -t nat -L");
    }
    let backend = if matches!(way, Way::Nftables) { Backend::Nftables } else { Backend::Iptables };
    apply(&wire.pod, backend, &ruleset(settings, addresses)).unwrap();
    wire
}

/// The settings of a pod whose proxy is the validator's user.
fn settings() -> RedirectSettings {
    RedirectSettings { proxy_uid: proxy_uid(), proxy_gid: proxy_uid(), ..default_settings() }
}

fn in_every_way(addresses: Addresses, settings: &RedirectSettings, check: impl Fn(&Wire, Way)) {
    for way in [Way::Nftables, Way::IptablesNft, Way::IptablesLegacy] {
        check(&pod(way, addresses, settings), way);
    }
}

/// A short time for validations that fail.
const SOON: [&str; 2] = ["--probe-timeout", "300ms"];

#[test]
fn the_first_probe_finds_the_rules_of_every_kind_of_pod() {
    let tproxy = RedirectSettings { mode: Mode::Tproxy, ..settings() };
    let dns = RedirectSettings { dns_capture: true, invalid_drop: true, ..settings() };
    for (name, settings) in [("redirect", settings()), ("tproxy", tproxy), ("dns capture, invalid drop", dns)] {
        for (addresses, family) in [(Addresses::V4, "ipv4"), (Addresses::V6, "ipv6")] {
            in_every_way(addresses, &settings, |wire, way| {
                let found = Validator::of_proxy(&[]).run(&wire.pod).passed();
                assert_eq!(found, [(family, 1)], "{name}, {way:?}");
            });
        }
    }
}

#[test]
fn a_pod_of_two_families_is_validated_as_its_rules_are_made() {
    let (one, both) = (settings(), RedirectSettings { dual_stack: true, ..settings() });
    in_every_way(Addresses::Dual, &one, |wire, way| {
        assert_eq!(Validator::of_proxy(&[]).run(&wire.pod).passed(), [("ipv4", 1)], "{way:?}");
    });
    for mode in [Mode::Redirect, Mode::Tproxy] {
        in_every_way(Addresses::Dual, &RedirectSettings { mode, ..both.clone() }, |wire, way| {
            let found = Validator::of_proxy(&[]).env("ISTIO_DUAL_STACK", "true").run(&wire.pod).passed();
            assert_eq!(found, [("ipv4", 1), ("ipv6", 1)], "{way:?}, {mode:?}");
        });
    }
}

#[test]
fn ipv6_that_is_switched_off_is_not_asked_for() {
    in_every_way(Addresses::V4, &RedirectSettings { dual_stack: true, ..settings() }, |wire, way| {
        let off = wire.pod.run(|| std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").unwrap());
        assert_eq!(off.trim(), "1");
        let found = Validator::of_proxy(&["--dual-stack"]).run(&wire.pod).passed();
        assert_eq!(found, [("ipv4", 1)], "{way:?}");
    });
}

#[test]
fn a_pod_without_rules_gets_the_documented_lines() {
    let wire = Wire::new(Addresses::V4);
    let found = Validator::of_proxy(&["--probe-timeout=1200ms"]).run(&wire.pod);
    let (kind, message) = found.failed();
    assert_eq!(kind, "redirect_missing");
    assert!(
        message.starts_with("no probe to 127.0.0.6:15002 came back to 127.0.0.1:15001,127.0.0.1:15006"),
        "{message}"
    );
    let refused = "error Error connecting to 127.0.0.6:15002: dial tcp 127.0.0.1:0->127.0.0.6:15002: connect: connection \
                   refused";
    let lines = found.lines();
    let at = |line: &str| lines.iter().position(|said| said == line).unwrap_or_else(|| unsaid(line, &lines));
    let starting = "info Starting iptables validation. This check verifies that iptables rules are properly established \
                    for the network.";
    let order = [
        at(starting),
        at("info Listening on 127.0.0.1:15001"),
        at("info Listening on 127.0.0.1:15006"),
        at(refused),
        at("error validation timeout"),
        at("error iptables validation failed; workload is not ready for Istio."),
        at("error When using Istio CNI, this can occur if a pod is scheduled before the node is ready."),
        at("error If installed with 'cni.repair.deletePods=true', this pod should automatically be deleted and retry."),
        at(
            "error Otherwise, this pod will need to be manually removed so that it is scheduled on a node with istio-cni \
            running, allowing iptables rules to be established.",
        ),
    ];
    assert!(order.is_sorted(), "{lines:#?}");
    let family = &found.validation().families[0];
    let said = lines.iter().filter(|line| *line == refused).count();
    assert!(said >= 2 && u32::try_from(said).unwrap() < family.attempts, "{said} of {}", family.attempts);
}

fn unsaid(line: &str, lines: &[String]) -> usize {
    unreachable!("{line} is not among {lines:#?}")
}

#[test]
fn an_ipv6_pod_without_rules_gets_them_too() {
    let wire = Wire::new(Addresses::V6);
    // The plugin's address is there, so that what is missing is the rules.
    wire.pod.ip("addr add ::6/128 dev lo nodad");
    let found = Validator::of_proxy(&SOON).run(&wire.pod);
    assert_eq!(found.failed().0, "redirect_missing");
    for line in [
        "info Listening on [::1]:15001",
        "info Listening on [::1]:15006",
        "error Error connecting to [::6]:15002: dial tcp [::1]:0->[::6]:15002: connect: connection refused",
        "error validation timeout",
    ] {
        assert!(found.says(line), "{line}: {found:#?}");
    }
}

#[test]
fn a_pod_with_rules_gets_the_references_lines() {
    let wire = pod(Way::Nftables, Addresses::V4, &settings());
    let found = Validator::of_proxy(&[]).run(&wire.pod);
    assert_eq!(
        found.lines(),
        [
            "info Starting iptables validation. This check verifies that iptables rules are properly established for \
             the network.",
            "info Listening on 127.0.0.1:15001",
            "info Listening on 127.0.0.1:15006",
            "info Local addr 127.0.0.1:15006",
            "info Original addr 127.0.0.1: 15002",
            "info Validation passed, iptables rules established",
        ]
    );
}

#[test]
fn rules_that_come_while_it_tries_are_found() {
    let wire = Wire::new(Addresses::V4);
    let started = Validator::of_proxy(&["--probe-timeout=20s"]).start(&wire.pod).until("Error connecting to");
    apply(&wire.pod, Backend::Nftables, &ruleset(&settings(), Addresses::V4)).unwrap();
    let found = started.end();
    let [("ipv4", attempts)] = found.passed()[..] else { unreachable!("{found:#?}") };
    assert!(attempts > 1, "{found:#?}");
    assert!(found.says("info Validation passed, iptables rules established"));
}

#[test]
fn half_of_the_rules_are_not_enough() {
    // The chain that catches is there, and what it should lead to is not.
    let wire = pod(Way::Nftables, Addresses::V4, &settings());
    wire.pod.sh("nft flush chain inet istio-proxy-nat istio-in-redirect");
    assert_eq!(Validator::of_proxy(&SOON).run(&wire.pod).failed().0, "redirect_missing");
    let wire = pod(Way::IptablesNft, Addresses::V4, &settings());
    wire.pod.sh("iptables-nft -t nat -F ISTIO_IN_REDIRECT");
    assert_eq!(Validator::of_proxy(&SOON).run(&wire.pod).failed().0, "redirect_missing");
    // Everything is there but the way in.
    let wire = pod(Way::IptablesNft, Addresses::V4, &settings());
    wire.pod.sh("iptables-nft -t nat -D OUTPUT -j ISTIO_OUTPUT");
    assert_eq!(Validator::of_proxy(&SOON).run(&wire.pod).failed().0, "redirect_missing");
}

#[test]
fn rules_of_one_family_are_not_enough_for_two() {
    let wire = pod(Way::IptablesNft, Addresses::Dual, &RedirectSettings { dual_stack: true, ..settings() });
    wire.pod.sh("ip6tables-nft -t nat -F");
    let found = Validator::of_proxy(&SOON).env("ISTIO_DUAL_STACK", "true").run(&wire.pod);
    let (kind, message) = found.failed();
    assert!(kind == "redirect_missing" && message.starts_with("no probe to [::6]:15002 "), "{message}");
    let results: Vec<_> = found.validation().families.iter().map(|of| (of.family, of.passed)).collect();
    assert_eq!(results, [(Family::V4, true), (Family::V6, false)]);
}

#[test]
fn rules_of_the_wrong_family_are_none() {
    let wire = Wire::new(Addresses::V6);
    let v4 = ruleset(&settings(), Addresses::V4);
    apply(&wire.pod, Backend::Iptables, &v4).unwrap();
    let found = Validator::of_proxy(&SOON).run(&wire.pod);
    assert_eq!(found.failed().0, "redirect_missing");
    // Whether it is refused, unreachable or lost depends on where the pod's routes lead.
    let lost = "error Error connecting to [::6]:15002: dial tcp [::1]:0->[::6]:15002: ";
    assert!(found.lines().iter().any(|line| line.starts_with(lost)), "{found:#?}");
}

#[test]
fn rules_to_other_ports_are_wrong() {
    let wire = pod(Way::Nftables, Addresses::V4, &settings());
    let elsewhere = ["-p", "16001", "-z", "16006", "--probe-timeout", "300ms"];
    let found = Validator::of_proxy(&elsewhere).run(&wire.pod);
    let (kind, message) = found.failed();
    assert!(kind == "redirect_missing" && message.contains("127.0.0.1:16001,127.0.0.1:16006"), "{message}");
    // It goes by where the rules lead to, not by our defaults.
    let own = "table ip t { chain o { type nat hook output priority -100; oifname lo ip daddr 127.0.0.6 tcp dport 17002 \
               redirect to :16006; }; }";
    let wire = Wire::new(Addresses::V4);
    wire.pod.sh(&format!("nft '{own}'"));
    let ports = ["-p", "16001", "-z", "16006", "--iptables-probe-port", "17002"];
    assert_eq!(Validator::of_proxy(&ports).run(&wire.pod).passed(), [("ipv4", 1)]);
}

#[test]
fn rules_for_another_user_do_not_catch_this_one() {
    if !other_users_for("a validator that is not the proxy's user") {
        return;
    }
    let wire = pod(Way::Nftables, Addresses::V4, &settings());
    let found = Validator::of_proxy(&SOON).run_by(1000).run(&wire.pod);
    let (kind, message) = found.failed();
    assert_eq!(kind, "redirect_missing");
    let told = "the probes are of user 1000, and user 1337 is the proxy; run this as user 1337";
    assert!(message.ends_with(told), "{message}");
}

#[test]
fn somebody_who_answers_in_place_of_the_rules_does_not_pass_for_them() {
    let wire = Wire::new(Addresses::V4);
    let _listener = wire.pod.run(|| TcpListener::bind("0.0.0.0:15002").unwrap());
    let found = Validator::of_proxy(&SOON).run(&wire.pod);
    assert_eq!(found.failed().0, "redirect_missing");
    assert_eq!(found.validation().families[0].errors[0].kind.name(), "elsewhere");
}

#[test]
fn somebody_who_passes_the_probe_on_does_not_pass_for_rules() {
    let wire = Wire::new(Addresses::V4);
    // Connections to 127.0.0.6:15002 come back to the inbound port, by a program and not by rules.
    let listener = wire.pod.run(|| TcpListener::bind("127.0.0.6:15002").unwrap());
    let started = Validator::of_proxy(&["--probe-timeout=3s"]).start(&wire.pod);
    let relayed = wire.pod.run(|| {
        let (probe, _) = listener.accept().unwrap();
        TcpStream::connect("127.0.0.1:15006").map(|onward| (probe, onward))
    });
    drop(listener);
    assert!(relayed.is_ok(), "{relayed:?}");
    let found = started.end();
    assert_eq!(found.code, Some(126), "{found:#?}");
    let kinds: Vec<_> = found.validation().families[0].errors.iter().map(|run| run.kind.name()).collect();
    assert!(["wrong_destination", "no_destination"].contains(&kinds[0]), "{kinds:?}");
}

/// Ports of the pod that another process has and does not share.
fn taken(wire: &Wire, ports: &[u16]) -> Vec<TcpListener> {
    let at = |port: &u16| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], *port))).unwrap();
    wire.pod.run(|| ports.iter().map(at).collect())
}

#[test]
fn without_a_port_to_listen_on_nothing_can_be_said() {
    let wire = pod(Way::Nftables, Addresses::V4, &settings());
    let _taken = taken(&wire, &[15001, 15006]);
    let found = Validator::of_proxy(&[]).run(&wire.pod);
    assert_eq!(found.failed().0, "port_taken");
    for line in [
        "error Error on listening: listen tcp 127.0.0.1:15001: bind: address already in use",
        "error Error on listening: listen tcp 127.0.0.1:15006: bind: address already in use",
        "error Validation failed: no listener available: 127.0.0.1:15001,127.0.0.1:15006",
        "error iptables validation failed; workload is not ready for Istio.",
    ] {
        assert!(found.says(line), "{line}: {found:#?}");
    }
}

#[test]
fn one_port_is_enough_if_it_is_the_right_one() {
    let wire = pod(Way::Nftables, Addresses::V4, &settings());
    let outbound = taken(&wire, &[15001]);
    assert_eq!(Validator::of_proxy(&[]).run(&wire.pod).passed(), [("ipv4", 1)]);
    drop(outbound);
    let _inbound = taken(&wire, &[15006]);
    let (kind, message) = Validator::of_proxy(&SOON).run(&wire.pod).failed();
    assert!(
        kind == "port_taken" && message.contains("nothing could listen on 127.0.0.1:15006 (address already in use)"),
        "{message}"
    );
}

#[test]
fn a_proxy_that_shares_its_ports_is_no_obstacle() {
    let wire = pod(Way::Nftables, Addresses::V4, &settings());
    // Sockets of one user may share a port, if all of them say so (man 7 socket, SO_REUSEPORT).
    let share = || {
        use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};
        use nix::sys::socket::{bind, listen, setsockopt, socket};
        use std::os::fd::AsRawFd;
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&socket, sockopt::ReusePort, &true).unwrap();
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from(([127, 0, 0, 1], 15006)))).unwrap();
        listen(&socket, Backlog::new(64).unwrap()).unwrap();
        socket
    };
    let _proxy = if proxy_uid() == 0 { wire.pod.run(share) } else { wire.pod.run_as(proxy_uid(), share) };
    // Which of the two takes a probe is the kernel's choice; one of a few is ours.
    let found = Validator::of_proxy(&["--probe-timeout=20s"]).run(&wire.pod);
    assert_eq!(found.passed().iter().map(|of| of.0).collect::<Vec<_>>(), ["ipv4"]);
    assert!(!found.stdout.contains("Error on listening"), "{found:#?}");
}

#[test]
fn a_pod_without_an_address_cannot_be_validated() {
    let pod = Namespace::new();
    let found = Validator::of_proxy(&[]).run(&pod);
    assert_eq!(found.code, Some(1), "{found:#?}");
    assert_eq!(found.validation().failure.unwrap().error_type.as_str(), "address_missing");
}

#[test]
fn the_image_stands_in_for_the_references_with_the_templates_command() {
    let uid = proxy_uid().to_string();
    let arguments = [&TEMPLATE[..], &["-u", &uid]].concat();
    let wire = pod(Way::Nftables, Addresses::V4, &settings());
    assert_eq!(Validator::new(&arguments).run(&wire.pod).passed(), [("ipv4", 1)]);
    let unmeshed = Wire::new(Addresses::V4);
    let found = Validator::new(&arguments).env("PROBE_TIMEOUT", "300ms").run(&unmeshed.pod);
    assert_eq!(found.failed().0, "redirect_missing");
    // Whoever wants rules of it gets none, and is told so.
    let found = Validator::new(&["istio-iptables", "-p", "15001"]).run(&unmeshed.pod);
    assert_eq!(found.code, Some(1));
    assert!(found.stderr.contains("--run-validation is not given"), "{found:#?}");
}
