//! Whatever a pod says, it gets a whole ruleset or one sentence: arbitrary annotations, containers
//! and addresses through decision, rules, both languages, and back.

use istio_cni_otel::domain::decision::{Decision, decide, warnings};
use istio_cni_otel::domain::outbound::{LOOPBACK_CIDR, OWNER_GROUPS, OWNER_GROUPS_EXCLUDE, Outbound};
use istio_cni_otel::domain::pod::{Container, PodFacts};
use istio_cni_otel::domain::render_iptables::{differences, repair_text, restore_text};
use istio_cni_otel::domain::render_nft;
use istio_cni_otel::domain::ruleset::{Action, Chain, Family, Rule, Ruleset, build};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

const KEYS: [&str; 13] = [
    "sidecar.istio.io/interceptionMode",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/status",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundPorts",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/excludeInterfaces",
    "traffic.sidecar.istio.io/kubevirtInterfaces",
    "istio.io/reroute-virtual-interfaces",
    "status.sidecar.istio.io/port",
];

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        Just("*".to_owned()),
        Just(String::new()),
        Just("TPROXY".to_owned()),
        vec(any::<u16>().prop_map(|port| port.to_string()), 0..6).prop_map(|ports| ports.join(",")),
        vec("[a-z][a-z0-9]{0,3}", 0..4).prop_map(|names| names.join(", ")),
        vec(any_range(), 0..5).prop_map(|ranges| ranges.join(",")),
        "[0-9a-f:.%/, *+-]{0,24}",
    ]
}

fn any_range() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<(u32, u8)>().prop_map(|(bits, length)| format!("{}/{}", std::net::Ipv4Addr::from(bits), length % 33)),
        any::<(u128, u8)>().prop_map(|(bits, length)| format!("{}/{}", std::net::Ipv6Addr::from(bits), length % 129)),
        Just("127.0.0.1/8".to_owned()),
        Just("0.0.0.0/0".to_owned()),
    ]
}

fn any_container() -> impl Strategy<Value = Container> {
    let name = prop_oneof![9 => Just("istio-proxy"), 3 => Just("web"), 1 => Just("istio-init"), 1 => Just("")];
    let env = prop::sample::select(vec!["DISABLE_ENVOY", "ISTIO_META_DNS_CAPTURE", "ISTIO_DUAL_STACK", "INVALID_DROP"]);
    let truth = prop::sample::select(vec!["true", "1", "0", "f", "yes", ""]);
    let args = vec(prop::sample::select(vec!["proxy", "sidecar", "router", ""]), 0..3);
    let id = || of(prop_oneof![3 => 0..4000i64, 1 => any::<i64>()]);
    (name, args, vec((env, truth), 0..4), id(), id()).prop_map(|(name, args, env, run_as_user, run_as_group)| {
        Container {
            name: name.to_owned(),
            args: args.into_iter().map(str::to_owned).collect(),
            env: env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            run_as_user,
            run_as_group,
        }
    })
}

fn any_pod() -> impl Strategy<Value = PodFacts> {
    let annotations = btree_map(prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned), any_value(), 0..5);
    let labels = btree_map(Just("sidecar.istio.io/inject".to_owned()), "true|false|", 0..2);
    (annotations, labels, vec(any_container(), 0..4), any::<bool>()).prop_map(
        |(mut annotations, labels, containers, injected)| {
            if injected {
                annotations.insert("sidecar.istio.io/status".to_owned(), "{}".to_owned());
            }
            PodFacts { name: "p".into(), namespace: "n".into(), labels, annotations, containers, ..PodFacts::default() }
        },
    )
}

/// The variables of the plugin's process.
fn any_node() -> impl Strategy<Value = BTreeMap<String, String>> {
    let groups = prop_oneof![
        vec(any::<u32>().prop_map(|id| id.to_string()), 0..70).prop_map(|ids| ids.join(",")),
        Just("*".to_owned()),
        "[0-9a-z*, -]{0,9}",
    ];
    let pair = prop_oneof![
        (prop::sample::select(vec![OWNER_GROUPS, OWNER_GROUPS_EXCLUDE]), groups),
        (Just(LOOPBACK_CIDR), any_range()),
        (Just(LOOPBACK_CIDR), (0..34u8).prop_map(|length| format!("127.1.2.3/{length}"))),
    ];
    vec(pair, 0..3).prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn any_addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    let v4 = of(any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())));
    let v6 = of(any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())));
    (v4, v6).prop_map(|(v4, v6)| v4.into_iter().chain(v6).collect())
}

/// Whether every jump leads to a chain that has rules, and every chain of ours is reached but for
/// the two that the reference leaves without a jump.
fn hangs_together(rules: &Ruleset) {
    for family in Family::ALL.into_iter().filter(|family| *family == Family::V4 || rules.ipv6) {
        let made = |rule: &&Rule| rule.is_for(family);
        let places: BTreeSet<_> = rules
            .chains
            .iter()
            .filter(|chain| chain.rules.iter().any(|rule| made(&rule)))
            .map(|chain| (chain.table, chain.chain))
            .collect();
        for chain in &rules.chains {
            for rule in chain.rules.iter().filter(made) {
                if let Action::Jump(target) = rule.action {
                    assert!(places.contains(&(chain.table, target)), "{:?} jumps into nothing", rule);
                    assert!(!matches!(target, Chain::Prerouting | Chain::Output));
                }
                assert!(rule.family.is_none() || rule.family == Some(family));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_pod_gets_whole_rules_or_one_sentence(pod in any_pod(), addresses in any_addresses(), node in any_node()) {
        let _ = warnings(&pod);
        let mut settings = match decide(&pod) {
            Ok(Decision::Enroll(settings)) => settings,
            Ok(Decision::Skip(skip)) => {
                prop_assert!(!skip.message.is_empty());
                return Ok(());
            }
            Err(error) => {
                prop_assert!(error.message.contains(": correct it where the pod is defined"), "{}", error.message);
                return Ok(());
            }
        };
        settings.outbound = match Outbound::read(|name| node.get(name).cloned(), |_| None) {
            Ok(outbound) => outbound,
            Err(error) => {
                prop_assert!(error.message.contains("; correct it where the container runtime is started"), "{}", error);
                return Ok(());
            }
        };
        let Ok(rules) = build(&settings, &addresses) else { return Ok(()) };
        hangs_together(&rules);
        for family in Family::ALL {
            let text = restore_text(&rules, family);
            prop_assert_eq!(differences(&rules, family, &as_dump(&text)), []);
            prop_assert_eq!(repair_text(&rules, family, &as_dump(&text)), "");
        }
        prop_assert!(render_nft::script(&rules).contains("table inet istio-proxy-nat"));
    }
}

/// What a restored namespace would print: the same lines, with the built-in chains declared and
/// nothing shortened.
fn as_dump(text: &str) -> String {
    let text = text.replace("-mowner", "-m owner").replace("--gid-owner=", "--gid-owner ");
    text.replace("*nat\n", "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n")
}
