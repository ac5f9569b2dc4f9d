//! What the agent keeps of a pod is enough: deciding gives the same before and after pruning.

use istio_cni_otel::domain::decision::{decide, warnings};
use istio_cni_otel::domain::pod::{Container, PodFacts};
use istio_cni_otel::domain::proxy::{PROXY_CONTAINER, Variable};
use istio_cni_otel::domain::prune::Kept;
use proptest::prelude::*;

/// Pods over every key that is read, some that are not, and values good and bad.
fn pods() -> impl Strategy<Value = PodFacts> {
    let keys = prop::sample::select(vec![
        "sidecar.istio.io/inject",
        "sidecar.istio.io/status",
        "sidecar.istio.io/interceptionMode",
        "traffic.sidecar.istio.io/includeOutboundIPRanges",
        "traffic.sidecar.istio.io/excludeInboundPorts",
        "traffic.sidecar.istio.io/includeOutboundPorts",
        "istio.io/reroute-virtual-interfaces",
        "proxy.istio.io/config",
        "app",
    ])
    .prop_map(str::to_owned);
    let values = prop::sample::select(vec!["", "true", "false", "*", "80", "x", "TPROXY", "10.0.0.0/8", "eth1"])
        .prop_map(str::to_owned);
    let names = prop::sample::select(vec![PROXY_CONTAINER, "web", "istio-init"]).prop_map(str::to_owned);
    let read = Variable::ALL.iter().map(|variable| variable.name());
    let variables = prop::sample::select(read.chain(["OTHER"]).collect::<Vec<_>>()).prop_map(str::to_owned);
    let arguments = prop::sample::select(vec!["proxy", "sidecar", "router"]).prop_map(str::to_owned);
    let container = (
        names,
        prop::collection::vec(arguments, 0..4),
        prop::collection::vec((variables, values.clone()), 0..4),
        prop::option::of(0_i64..9),
    )
        .prop_map(|(name, args, env, user)| Container { name, args, env, run_as_user: user, run_as_group: None });
    (
        prop::collection::btree_map(keys.clone(), values.clone(), 0..2),
        prop::collection::btree_map(keys, values, 0..6),
        prop::collection::vec(container, 0..4),
    )
        .prop_map(|(labels, annotations, containers)| PodFacts {
            name: "web-0".into(),
            namespace: "shop".into(),
            uid: "u-1".into(),
            labels,
            annotations,
            containers,
            ..PodFacts::default()
        })
}

proptest! {
    #[test]
    fn a_pruned_pod_is_decided_about_as_the_whole_one(pod in pods()) {
        let mut pruned = pod.clone();
        Kept::default().prune(&mut pruned);
        prop_assert_eq!(decide(&pruned), decide(&pod));
        prop_assert_eq!(warnings(&pruned), warnings(&pod));
    }
}
