//! What a namespace has after an ADD, a second ADD, tampering and a refusal: all of the rules, or
//! what it had.

mod support;

use istio_cni_otel::domain::failure::Classify;
use istio_cni_otel::domain::outbound::{MOST_GROUPS, Outbound, OwnerGroups};
use istio_cni_otel::domain::render_nft;
use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::ruleset::*;
use istio_cni_otel::domain::settings::{Mode, Ports, RedirectSettings};
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::host::nftables::probe_nftables;
use support::*;

const BACKENDS: [Backend; 2] = [Backend::Nftables, Backend::Iptables];

/// Settings that every backend accepts from a test that is not root, too.
fn richest() -> RedirectSettings {
    as_the_proxy(richest_settings())
}

/// Everything that our rules could be in, as the tools list it.
fn listing(namespace: &Namespace) -> String {
    namespace.sh("nft -s list ruleset; iptables-nft-save; ip6tables-nft-save; ip rule; ip -6 rule; \
         ip route show table all; ip -6 route show table all; ip -o addr show dev lo")
}

/// The listing without the dates in comments.
fn state(namespace: &Namespace) -> Vec<String> {
    listing(namespace).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn every_kind_of_rule_is_read_back_equal_and_a_second_add_changes_nothing() {
    let rules = ruleset(&richest(), Addresses::Dual);
    for backend in BACKENDS {
        let pod = Namespace::new();
        let applied = apply(&pod, backend, &rules).unwrap();
        assert_eq!((applied.backend, applied.changed), (backend, true));
        assert_eq!(differences(&pod, backend, &rules), [], "{backend:?}");
        let before = state(&pod);
        let again = apply(&pod, backend, &rules).unwrap();
        assert_eq!((again.backend, again.changed), (backend, false));
        assert_eq!(state(&pod), before, "{backend:?}");
    }
}

#[test]
fn an_empty_namespace_differs_from_every_rule() {
    let rules = ruleset(&richest(), Addresses::Dual);
    for backend in [Backend::Auto, Backend::Nftables, Backend::Iptables] {
        let pod = Namespace::new();
        let found: Vec<String> = differences(&pod, backend, &rules).iter().map(Difference::to_string).collect();
        for place in ["ip rule", "ip -6 rule", "ip route", "ip -6 route", "lo"] {
            assert!(found.iter().any(|difference| difference.starts_with(&format!("{place}: missing"))), "{found:?}");
        }
        assert!(found.len() > 5, "the rules are missing, too: {found:?}");
    }
}

#[test]
fn comparing_changes_nothing() {
    let rules = ruleset(&richest(), Addresses::Dual);
    for backend in [Backend::Auto, Backend::Nftables, Backend::Iptables] {
        let pod = Namespace::new();
        let before = pod.sh("nft list ruleset; cat /proc/thread-self/net/ip_tables_names || true");
        assert_ne!(differences(&pod, backend, &rules), []);
        let after = pod.sh("nft list ruleset; cat /proc/thread-self/net/ip_tables_names || true");
        assert_eq!(before, after, "{backend:?}");
    }
}

/// One way to tamper with what is there, and the place in which it must show.
struct Tampering {
    backend: Backend,
    command: &'static str,
    place: &'static str,
}

const fn tampering(backend: Backend, command: &'static str, place: &'static str) -> Tampering {
    Tampering { backend, command, place }
}

const TAMPERINGS: [Tampering; 14] = [
    tampering(Backend::Nftables, "nft 'add table inet istio-proxy-nat { flags dormant; }'", "istio-proxy-nat"),
    tampering(
        Backend::Nftables,
        "nft flush chain inet istio-proxy-nat istio-redirect",
        "istio-proxy-nat istio-redirect",
    ),
    tampering(
        Backend::Nftables,
        "nft insert rule inet istio-proxy-nat output counter accept",
        "istio-proxy-nat output",
    ),
    tampering(
        Backend::Nftables,
        "nft add rule inet istio-proxy-raw istio-inbound tcp flags syn drop",
        "istio-proxy-raw istio-inbound",
    ),
    tampering(Backend::Nftables, "nft add chain inet istio-proxy-nat other", "istio-proxy-nat other"),
    tampering(Backend::Nftables, "nft delete table inet istio-proxy-mangle", "istio-proxy-mangle"),
    tampering(
        Backend::Nftables,
        "nft 'add chain inet istio-proxy-raw output { policy drop; }'",
        "istio-proxy-raw output",
    ),
    tampering(Backend::Iptables, "iptables-nft -t nat -F ISTIO_REDIRECT", "iptables nat ISTIO_REDIRECT"),
    tampering(Backend::Iptables, "iptables-nft -t nat -D OUTPUT -j ISTIO_OUTPUT", "iptables nat OUTPUT"),
    tampering(Backend::Iptables, "ip6tables-nft -t mangle -D ISTIO_INBOUND 1", "ip6tables mangle ISTIO_INBOUND"),
    tampering(Backend::Iptables, "iptables-nft -t nat -N ISTIO_OTHER", "iptables nat ISTIO_OTHER"),
    tampering(Backend::Auto, "ip rule del fwmark 1337 lookup 133", "ip rule"),
    tampering(Backend::Auto, "ip -6 route flush table 133", "ip -6 route"),
    tampering(Backend::Auto, "ip addr del ::6/128 dev lo", "lo"),
];

#[test]
fn tampering_is_found_where_it_was_done_and_the_next_add_repairs_it() {
    let rules = ruleset(&richest(), Addresses::Dual);
    for Tampering { backend, command, place } in TAMPERINGS {
        let pod = Namespace::new();
        apply(&pod, backend, &rules).unwrap();
        let intact = state(&pod);
        pod.sh(command);
        let found = differences(&pod, backend, &rules);
        assert!(!found.is_empty(), "{command}");
        assert!(found.iter().all(|difference| difference.place == place), "{command}: {found:?}");
        assert!(apply(&pod, backend, &rules).unwrap().changed, "{command}");
        assert_eq!(differences(&pod, backend, &rules), [], "{command}");
        assert_eq!(state(&pod), intact, "{command}");
    }
}

#[test]
fn rules_in_another_order_are_a_difference() {
    let rules = ruleset(&as_the_proxy(default_settings()), Addresses::V4);
    let pod = Namespace::new();
    let mut swapped = rules.clone();
    let chain = swapped.chains.iter_mut().find(|chain| chain.chain == Chain::OutputOwn).unwrap();
    chain.rules.swap(0, 1);
    apply(&pod, Backend::Nftables, &swapped).unwrap();
    let found = differences(&pod, Backend::Nftables, &rules);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].what, "the rules are in another order");
}

#[test]
fn tables_that_are_wanted_no_more_are_reported_and_removed() {
    let pod = Namespace::new();
    apply(&pod, Backend::Nftables, &ruleset(&richest(), Addresses::Dual)).unwrap();
    let less = ruleset(&as_the_proxy(default_settings()), Addresses::V4);
    let found: Vec<String> = differences(&pod, Backend::Nftables, &less).iter().map(Difference::to_string).collect();
    assert!(found.contains(&"istio-proxy-raw: the table is not wanted".to_owned()), "{found:?}");
    apply(&pod, Backend::Nftables, &less).unwrap();
    assert_eq!(pod.nft_tables(), ["inet istio-proxy-nat"]);
}

/// Rules and routes that are nearly like ours; the last rule says who made it, as ours do not.
const NEARLY_OURS: &str = "\
    rule add fwmark 0x539/0xff lookup 133 pref 90\n\
    rule add iif lo fwmark 0x539 lookup 133 pref 91\n\
    rule add not fwmark 0x539 lookup 133 pref 92\n\
    rule add fwmark 0x539 lookup 134 pref 93\n\
    rule add fwmark 0x53a lookup 133 pref 94\n\
    rule add fwmark 0x539 lookup 133 pref 95 protocol static\n\
    route add 192.0.2.0/24 dev lo table 133\n\
    route add local default dev lo table 134\n";

const ROUTING: &str = "ip rule; ip -6 rule; ip route show table all; ip -6 route show table all";

#[test]
fn policy_routing_that_is_wanted_no_more_is_reported_and_removed() {
    let tproxy = ruleset(&richest(), Addresses::Dual);
    let redirect = RedirectSettings { mode: Mode::Redirect, ..richest() };
    let redirect = ruleset(&redirect, Addresses::Dual);
    for backend in BACKENDS {
        let pod = Namespace::new();
        apply(&pod, backend, &redirect).unwrap();
        let never = pod.sh(ROUTING);
        apply(&pod, backend, &tproxy).unwrap();
        assert_ne!(pod.sh(ROUTING), never);
        let found: Vec<String> = differences(&pod, backend, &redirect).iter().map(Difference::to_string).collect();
        for place in ["ip rule", "ip -6 rule"] {
            let expected = format!("{place}: unwanted from all fwmark 0x539 lookup 133");
            assert!(found.contains(&expected), "{backend:?}: {found:?}");
        }
        assert!(apply(&pod, backend, &redirect).unwrap().changed);
        assert_eq!(differences(&pod, backend, &redirect), [], "{backend:?}");
        assert_eq!(pod.sh(ROUTING), never, "{backend:?}");
        assert!(!apply(&pod, backend, &redirect).unwrap().changed);
    }
}

#[test]
fn the_policy_routing_of_a_family_that_gets_no_rules_any_more_is_removed() {
    let pod = Namespace::new();
    apply(&pod, Backend::Nftables, &ruleset(&richest(), Addresses::Dual)).unwrap();
    let v4 = ruleset(&RedirectSettings { dual_stack: false, ..richest() }, Addresses::Dual);
    apply(&pod, Backend::Nftables, &v4).unwrap();
    assert!(pod.sh("ip rule").contains("from all fwmark 0x539 lookup 133"));
    assert!(!pod.sh("ip -6 rule; ip -6 route show table all").contains("133"));
    assert_eq!(differences(&pod, Backend::Nftables, &v4), []);
}

#[test]
fn other_peoples_routing_stays() {
    let redirect = ruleset(&RedirectSettings { mode: Mode::Redirect, ..richest() }, Addresses::Dual);
    let pod = Namespace::new();
    apply(&pod, Backend::Nftables, &ruleset(&richest(), Addresses::Dual)).unwrap();
    pod.ip(NEARLY_OURS);
    let theirs = |text: String| -> Vec<String> {
        let ours = |line: &&str| !line.starts_with("32765:");
        text.lines().filter(ours).map(str::to_owned).collect()
    };
    let before = theirs(pod.sh("ip rule; ip route show table 133; ip route show table 134"));
    apply(&pod, Backend::Nftables, &redirect).unwrap();
    let after = pod.sh("ip rule; ip route show table 133; ip route show table 134");
    assert!(!after.contains("32765:"), "ours is gone: {after}");
    // The route that others' rules lead to stays with them.
    assert_eq!(theirs(after), before);
    assert_eq!(differences(&pod, Backend::Nftables, &redirect), []);
}

#[test]
fn other_peoples_rules_stay() {
    let rules = ruleset(&richest(), Addresses::Dual);
    for backend in BACKENDS {
        let pod = Namespace::new();
        pod.sh("nft 'add table inet other; add chain inet other c; add rule inet other c counter'; \
             iptables-nft -t filter -A INPUT -s 192.0.2.1 -j DROP; iptables-nft -t nat -A POSTROUTING -j MASQUERADE");
        apply(&pod, backend, &rules).unwrap();
        let state = listing(&pod);
        for theirs in ["table inet other", "-A INPUT -s 192.0.2.1/32 -j DROP", "-A POSTROUTING -j MASQUERADE"] {
            assert!(state.contains(theirs), "{backend:?}: {theirs} is gone from {state}");
        }
        assert_eq!(differences(&pod, backend, &rules), []);
    }
}

#[test]
fn each_backend_takes_the_others_rules_out() {
    let rules = ruleset(&richest(), Addresses::Dual);
    let pod = Namespace::new();
    apply(&pod, Backend::Iptables, &rules).unwrap();
    assert!(apply(&pod, Backend::Nftables, &rules).unwrap().changed);
    assert!(!listing(&pod).contains("ISTIO_"), "{}", listing(&pod));
    assert!(apply(&pod, Backend::Iptables, &rules).unwrap().changed);
    assert!(!listing(&pod).contains("istio-proxy-"), "{}", listing(&pod));
}

#[test]
fn auto_compares_with_the_backend_whose_rules_are_there() {
    let rules = ruleset(&richest(), Addresses::Dual);
    for backend in BACKENDS {
        let pod = Namespace::new();
        apply(&pod, backend, &rules).unwrap();
        let (found_by, found) = with_kernel(&pod, Backend::Auto, |kernel| kernel.differences(&rules)).unwrap();
        assert_eq!((found_by, found), (backend, Vec::new()));
    }
}

/// A ruleset whose last rule no kernel accepts: a chain that jumps to itself, in one family only.
#[expect(clippy::expect_used, reason = "a helper of tests; the fixture has the chain")]
fn refused(family: Family) -> Ruleset {
    let mut rules = ruleset(&richest(), Addresses::Dual);
    let last = rules.chains.iter_mut().rev().find(|chain| chain.chain == Chain::OutputDns);
    let last = last.expect("the richest ruleset captures DNS");
    last.rules.push(Rule::new([], Action::Jump(Chain::OutputDns)).only(family));
    rules
}

#[test]
fn a_refused_rule_leaves_an_empty_namespace_empty() {
    for backend in BACKENDS {
        for family in Family::ALL {
            let pod = Namespace::new();
            let before = pod.sh("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip addr");
            let failure = apply(&pod, backend, &refused(family)).unwrap_err();
            assert_eq!(failure.error_type, ErrorType::RulesRejected, "{}", failure.message);
            let rule = match backend {
                Backend::Iptables => "-A ISTIO_OUTPUT_DNS -j ISTIO_OUTPUT_DNS",
                _ => "istio-proxy-raw istio-output-dns",
            };
            assert!(failure.message.contains(rule), "{}", failure.message);
            let listing = listing(&pod);
            assert!(!listing.contains("ISTIO_") && !listing.contains("istio-proxy"), "{backend:?}: {listing}");
            let after = pod.sh("ip rule; ip -6 rule; ip route show table all; ip -6 route show table all; ip addr");
            assert_eq!(before, after, "{backend:?}: routing and addresses are taken back");
        }
    }
}

#[test]
fn a_refused_rule_leaves_older_rules_as_they_were() {
    let older = ruleset(&as_the_proxy(default_settings()), Addresses::V4);
    for backend in BACKENDS {
        let pod = Namespace::new();
        apply(&pod, backend, &older).unwrap();
        apply(&pod, backend, &refused(Family::V6)).unwrap_err();
        assert_eq!(differences(&pod, backend, &older), [], "{backend:?}");
    }
}

#[test]
fn a_refused_rule_leaves_older_policy_routing_as_it_was() {
    let older = ruleset(&richest(), Addresses::Dual);
    let newer = Ruleset { routing: None, ..refused(Family::V6) };
    for backend in BACKENDS {
        let pod = Namespace::new();
        apply(&pod, backend, &older).unwrap();
        apply(&pod, backend, &newer).unwrap_err();
        assert_eq!(differences(&pod, backend, &older), [], "{backend:?}");
    }
}

#[test]
fn thousands_of_ports_are_no_problem() {
    let ports = Ports::These((1..=2000).collect());
    let settings = RedirectSettings { include_inbound: ports, ..as_the_proxy(default_settings()) };
    // More than a user without privileges over the machine may send at once is not promised there.
    let settings =
        if other_users_for("more rules than an ordinary user may send at once") { settings } else { few(settings) };
    let rules = ruleset(&settings, Addresses::V4);
    for backend in BACKENDS {
        let pod = Namespace::new();
        apply(&pod, backend, &rules).unwrap();
        assert_eq!(differences(&pod, backend, &rules), [], "{backend:?}");
    }
}

#[test]
fn the_most_groups_that_can_be_listed_fit_into_one_rule() {
    // Without root, iptables knows no group but the test's own, which may be listed as often.
    let many = other_users_for("groups of different ids");
    let id = |at: u32| if many { at } else { 0 };
    let groups = OwnerGroups::Only((0..u32::try_from(MOST_GROUPS).unwrap()).map(id).collect());
    let outbound = Outbound { groups, ..Outbound::default() };
    let settings = RedirectSettings { outbound, ..as_the_proxy(default_settings()) };
    let rules = ruleset(&settings, Addresses::Dual);
    for backend in BACKENDS {
        let pod = Namespace::new();
        apply(&pod, backend, &rules).unwrap();
        assert_eq!(differences(&pod, backend, &rules), [], "{backend:?}");
        apply(&pod, backend, &refused(Family::V6)).unwrap_err();
        assert_eq!(differences(&pod, backend, &rules), [], "{backend:?}: put back");
    }
    let pod = Namespace::new();
    pod.sh("iptables-legacy -w -t nat -L && ip6tables-legacy -w -t nat -L");
    apply(&pod, Backend::Iptables, &rules).unwrap();
    assert_eq!(differences(&pod, Backend::Iptables, &rules), [], "legacy");
    let script = render_nft::script(&rules);
    Namespace::new().sh(&format!("printf '%s' '{script}' | nft -f -"));
}

fn few(settings: RedirectSettings) -> RedirectSettings {
    RedirectSettings { include_inbound: Ports::These((1..=400).collect()), ..settings }
}

#[test]
fn this_kernel_can_do_all_that_our_rules_need() {
    probe_nftables().unwrap();
}

#[test]
fn without_nf_tables_auto_falls_back_to_iptables() {
    let rules = ruleset(&richest(), Addresses::Dual);
    let pod = Namespace::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            forbid_netfilter_netlink();
            assert_eq!(probe_nftables().unwrap_err().error_type(), ErrorType::KernelUnsupported);
            let failure = apply(&pod, Backend::Nftables, &rules).unwrap_err();
            assert_eq!(failure.error_type, ErrorType::KernelUnsupported, "{}", failure.message);
            let applied = apply(&pod, Backend::Auto, &rules).unwrap();
            assert_eq!((applied.backend, applied.changed), (Backend::Iptables, true));
            let again = apply(&pod, Backend::Auto, &rules).unwrap();
            assert_eq!((again.backend, again.changed), (Backend::Iptables, false));
            assert_eq!(differences(&pod, Backend::Auto, &rules), []);
        });
    });
    assert_eq!(pod.nft_tables(), Vec::<String>::new());
    assert!(pod.sh("ip6tables-legacy-save").contains("ISTIO_OUTPUT"));
}
