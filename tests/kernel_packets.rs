//! Where packets land once a pod's namespace is programmed: every backend must give the same
//! verdicts, by real connections.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::outbound::{Outbound, OwnerGroups};
use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::settings::{Mode, RedirectSettings};
use support::*;

/// A way of programming, with what a namespace must have for it to be chosen.
#[derive(Clone, Copy, Debug)]
enum Way {
    Nftables,
    IptablesNft,
    IptablesLegacy,
}

const WAYS: [Way; 3] = [Way::Nftables, Way::IptablesNft, Way::IptablesLegacy];

/// Where the application (8080) and the proxy's parts listen in TCP.
const POD_PORTS: [u16; 8] = [15001, INBOUND, 15008, 15020, 15021, 15053, 15090, 8080];
/// The proxy's port for what is captured inbound.
const INBOUND: u16 = 15006;

/// A pod that is programmed in this way, with its listeners and its peer's.
struct Scene {
    wire: Wire,
    _listeners: [Listeners; 3],
}

impl Scene {
    fn new(way: Way, addresses: Addresses, settings: &RedirectSettings, listening: &[u16]) -> Scene {
        let wire = Wire::new(addresses);
        let backend = match way {
            Way::Nftables => Backend::Nftables,
            Way::IptablesNft | Way::IptablesLegacy => Backend::Iptables,
        };
        if matches!(way, Way::IptablesLegacy) {
            // Legacy tools are chosen where legacy tables are.
            wire.pod.sh("iptables-legacy -w -t nat -L && ip6tables-legacy -w -t nat -L");
        }
        let rules = ruleset(settings, addresses);
        let applied = apply(&wire.pod, backend, &rules).unwrap();
        assert!(applied.changed, "{way:?}");
        assert_eq!(differences(&wire.pod, backend, &rules), [], "{way:?}");
        let pod = Listeners::start(&wire.pod, "pod", listening, &[]);
        let dns = Listeners::start_dns(&wire.pod, settings.proxy_uid);
        let peer = Listeners::start(&wire.peer, "peer", &[80, 443, 53, 15008, 15020], &[53]);
        Scene { wire, _listeners: [pod, dns, peer] }
    }

    fn pod(&self, probe: Probe) -> String {
        probe.run(&self.wire.pod)
    }

    fn peer(&self, probe: Probe) -> String {
        probe.run(&self.wire.peer)
    }
}

/// Asserts on one scene for each way of programming.
fn in_every_way(addresses: Addresses, settings: &RedirectSettings, check: impl Fn(&Scene, Way)) {
    in_every_way_with(&POD_PORTS, addresses, settings, check);
}

/// The same where only these TCP ports are listened on in the pod.
fn in_every_way_with(
    listening: &[u16],
    addresses: Addresses,
    settings: &RedirectSettings,
    check: impl Fn(&Scene, Way),
) {
    // The kernel takes no iptables rule with a user that does not exist in the user namespace.
    let nameable = settings.proxy_uid == 0 || other_users_for("both variants of iptables");
    for way in WAYS.into_iter().filter(|way| nameable || matches!(way, Way::Nftables)) {
        check(&Scene::new(way, addresses, settings, listening), way);
    }
}

#[test]
fn outbound_connections_of_the_application_go_to_the_proxy() {
    in_every_way(Addresses::V4, &default_settings(), |scene, way| {
        assert_eq!(scene.pod(Probe::tcp(FAR4[0], 80)), "pod:15001 to 10.2.0.9:80", "{way:?}");
        assert_eq!(scene.pod(Probe::tcp(PEER4, 15020)), "peer:15020 to 10.1.0.1:15020", "{way:?}: an excluded port");
        assert_eq!(scene.pod(Probe::tcp("127.0.0.1", 8080)), "pod:8080 to 127.0.0.1:8080", "{way:?}: loopback");
        assert_eq!(scene.pod(Probe::udp(PEER4, 53)), "peer:53/udp", "{way:?}: UDP");
    });
}

#[test]
fn outbound_connections_of_the_proxy_leave() {
    in_every_way(Addresses::V4, &as_the_proxy(default_settings()), |scene, way| {
        assert_eq!(scene.pod(Probe::tcp(FAR4[0], 80)), "peer:80 to 10.2.0.9:80", "{way:?}");
        let own = scene.pod(Probe::tcp(POD4, 8080));
        assert_eq!(own, "pod:15006 to 10.1.0.5:8080", "{way:?}: its own pod's address is inbound");
        let own = scene.pod(Probe::tcp(POD4, 8080).from("127.0.0.6"));
        assert_eq!(own, "pod:8080 to 10.1.0.5:8080", "{way:?}: what it passes on is not captured again");
    });
}

/// The default settings with these groups captured.
fn groups(groups: OwnerGroups) -> RedirectSettings {
    RedirectSettings { outbound: Outbound { groups, ..Outbound::default() }, ..default_settings() }
}

#[test]
fn only_the_groups_that_the_node_names_are_captured() {
    const CAPTURED: &str = "pod:15001 to 10.2.0.9:80";
    const LEAVES: &str = "peer:80 to 10.2.0.9:80";
    // Group 0 is the test's own; others there are only with root.
    for (groups, own, others) in [
        (OwnerGroups::AllBut(vec![]), CAPTURED, CAPTURED),
        (OwnerGroups::AllBut(vec![0]), LEAVES, CAPTURED),
        (OwnerGroups::AllBut(vec![1999, 2000]), CAPTURED, LEAVES),
        (OwnerGroups::Only(vec![0]), CAPTURED, LEAVES),
        (OwnerGroups::Only(vec![1999, 2000]), LEAVES, CAPTURED),
        (OwnerGroups::Only(vec![]), LEAVES, LEAVES),
    ] {
        in_every_way(Addresses::V4, &self::groups(groups.clone()), |scene, way| {
            let probe = Probe::tcp(FAR4[0], 80);
            assert_eq!(scene.pod(probe), own, "{way:?}, {groups:?}: group 0");
            if other_users_for("the traffic of another group") {
                assert_eq!(probe.run_as(2000, &scene.wire.pod), others, "{way:?}, {groups:?}: group 2000");
            }
        });
    }
}

#[test]
fn groups_count_in_ipv6_too() {
    in_every_way(Addresses::V6, &groups(OwnerGroups::Only(vec![1999])), |scene, way| {
        assert_eq!(scene.pod(Probe::tcp(FAR6[0], 80)), "peer:80 to [fd00:2::9]:80", "{way:?}");
    });
    in_every_way(Addresses::V6, &groups(OwnerGroups::Only(vec![1999, 0])), |scene, way| {
        assert_eq!(scene.pod(Probe::tcp(FAR6[0], 80)), "pod:15001 to [fd00:2::9]:80", "{way:?}");
    });
}

#[test]
fn the_proxy_s_connections_to_loopback_addresses_are_the_application_s_own() {
    let with = |range: &str| {
        let outbound = Outbound { loopback: range.parse().unwrap(), ..Outbound::default() };
        as_the_proxy(RedirectSettings { outbound, ..default_settings() })
    };
    for (range, lands) in [("127.0.0.1/32", "pod:15006"), ("127.0.0.0/8", "pod:8080")] {
        in_every_way(Addresses::V4, &with(range), |scene, way| {
            let expected = format!("{lands} to 127.0.0.2:8080");
            assert_eq!(scene.pod(Probe::tcp("127.0.0.2", 8080)), expected, "{way:?}, {range}");
            assert_eq!(scene.pod(Probe::tcp("127.0.0.1", 8080)), "pod:8080 to 127.0.0.1:8080", "{way:?}, {range}");
        });
    }
}

#[test]
fn inbound_connections_go_to_the_proxy_except_to_its_own_ports() {
    in_every_way(Addresses::V4, &as_the_proxy(default_settings()), |scene, way| {
        assert_eq!(scene.peer(Probe::tcp(POD4, 8080)), "pod:15006 to 10.1.0.5:8080", "{way:?}");
        for port in [15008, 15020, 15021, 15090] {
            let expected = format!("pod:{port} to 10.1.0.5:{port}");
            assert_eq!(scene.peer(Probe::tcp(POD4, port)), expected, "{way:?}");
        }
    });
}

#[test]
fn an_ipv6_pod_is_redirected_in_ipv6() {
    in_every_way(Addresses::V6, &default_settings(), |scene, way| {
        assert_eq!(scene.pod(Probe::tcp(FAR6[0], 80)), "pod:15001 to [fd00:2::9]:80", "{way:?}");
        assert_eq!(scene.peer(Probe::tcp(POD6, 8080)), "pod:15006 to [fd00:1::5]:8080", "{way:?}");
    });
}

#[test]
fn a_dual_stack_pod_that_did_not_ask_for_ipv6_keeps_its_ipv6_traffic() {
    in_every_way(Addresses::Dual, &default_settings(), |scene, way| {
        assert_eq!(scene.pod(Probe::tcp(FAR4[0], 80)), "pod:15001 to 10.2.0.9:80", "{way:?}");
        assert_eq!(scene.pod(Probe::tcp(FAR6[0], 80)), "peer:80 to [fd00:2::9]:80", "{way:?}");
        assert_eq!(scene.peer(Probe::tcp(POD6, 8080)), "pod:8080 to [fd00:1::5]:8080", "{way:?}");
    });
}

#[test]
fn a_dual_stack_pod_that_asked_for_it_is_redirected_in_both() {
    let settings = RedirectSettings { dual_stack: true, ..default_settings() };
    in_every_way(Addresses::Dual, &settings, |scene, way| {
        assert_eq!(scene.pod(Probe::tcp(FAR4[0], 80)), "pod:15001 to 10.2.0.9:80", "{way:?}");
        assert_eq!(scene.pod(Probe::tcp(FAR6[0], 80)), "pod:15001 to [fd00:2::9]:80", "{way:?}");
        assert_eq!(scene.peer(Probe::tcp(POD4, 8080)), "pod:15006 to 10.1.0.5:8080", "{way:?}");
        assert_eq!(scene.peer(Probe::tcp(POD6, 8080)), "pod:15006 to [fd00:1::5]:8080", "{way:?}");
    });
}

#[test]
fn transparent_capture_keeps_the_addresses() {
    let settings = RedirectSettings { mode: Mode::Tproxy, dual_stack: true, ..default_settings() };
    in_every_way(Addresses::Dual, &settings, |scene, way| {
        assert_eq!(scene.peer(Probe::tcp(POD4, 8080)), "pod:15006 to 10.1.0.5:8080", "{way:?}");
        assert_eq!(scene.peer(Probe::tcp(POD6, 8080)), "pod:15006 to [fd00:1::5]:8080", "{way:?}");
        assert_eq!(scene.peer(Probe::tcp(POD4, 15021)), "pod:15021 to 10.1.0.5:15021", "{way:?}: an excluded port");
        assert_eq!(scene.pod(Probe::tcp(FAR4[0], 80)), "pod:15001 to 10.2.0.9:80", "{way:?}: outbound");
    });
}

#[test]
fn transparent_capture_lets_nothing_past_a_proxy_that_does_not_listen() {
    let settings = RedirectSettings { mode: Mode::Tproxy, dual_stack: true, ..default_settings() };
    let without_inbound: Vec<u16> = POD_PORTS.into_iter().filter(|port| *port != INBOUND).collect();
    in_every_way_with(&without_inbound, Addresses::Dual, &settings, |scene, way| {
        assert_eq!(scene.peer(Probe::tcp(POD4, 8080)), "timeout", "{way:?}");
        assert_eq!(scene.peer(Probe::tcp(POD6, 8080)), "timeout", "{way:?}");
        assert_eq!(scene.peer(Probe::tcp(POD4, 15021)), "pod:15021 to 10.1.0.5:15021", "{way:?}: an excluded port");
        assert_eq!(scene.pod(Probe::tcp(POD6, 8080)), "pod:8080 to [fd00:1::5]:8080", "{way:?}: the pod itself");
    });
}

#[test]
fn a_pod_that_is_set_up_anew_in_the_other_mode_is_redirected_in_it() {
    let tproxy = as_the_proxy(RedirectSettings { mode: Mode::Tproxy, dual_stack: true, ..default_settings() });
    let redirect = RedirectSettings { mode: Mode::Redirect, ..tproxy.clone() };
    in_every_way(Addresses::Dual, &tproxy, |scene, way| {
        let backend = if matches!(way, Way::Nftables) { Backend::Nftables } else { Backend::Iptables };
        for settings in [&redirect, &tproxy] {
            apply(&scene.wire.pod, backend, &ruleset(settings, Addresses::Dual)).unwrap();
            let mode = settings.mode;
            let v4 = scene.peer(Probe::tcp(POD4, 8080));
            assert_eq!(v4, "pod:15006 to 10.1.0.5:8080", "{way:?}, {mode:?}");
            let v6 = scene.peer(Probe::tcp(POD6, 8080));
            assert_eq!(v6, "pod:15006 to [fd00:1::5]:8080", "{way:?}, {mode:?}");
            let routed = scene.wire.pod.sh("ip rule; ip -6 rule").contains("lookup 133");
            assert_eq!(routed, mode == Mode::Tproxy, "{way:?}");
        }
    });
}

#[test]
fn dns_of_the_application_goes_to_the_proxy_and_that_of_the_proxy_leaves() {
    let settings = RedirectSettings { dns_capture: true, ..default_settings() };
    in_every_way(Addresses::V4, &settings, |scene, way| {
        // The answer finds its way back only when the socket that gives it is the proxy's.
        let answer = if other_users_for("the way back of a captured answer") { "pod:15053/udp" } else { "timeout" };
        assert_eq!(scene.pod(Probe::udp(PEER4, 53)), answer, "{way:?}");
        assert_eq!(scene.pod(Probe::tcp(PEER4, 53)), "pod:15053 to 10.1.0.1:53", "{way:?}");
    });
    in_every_way(Addresses::V4, &as_the_proxy(settings), |scene, way| {
        assert_eq!(scene.pod(Probe::udp(PEER4, 53)), "peer:53/udp", "{way:?}");
        assert_eq!(scene.pod(Probe::tcp(PEER4, 53)), "peer:53 to 10.1.0.1:53", "{way:?}");
    });
}
