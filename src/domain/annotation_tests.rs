//! Annotation values: what they mean, and how the bad ones are refused.

use super::*;

fn settings(annotations: &[(&str, &str)]) -> Result<RedirectSettings, String> {
    let pod = PodFacts {
        annotations: annotations.iter().map(|&(key, value)| (full(key), value.to_owned())).collect(),
        ..PodFacts::default()
    };
    redirect_settings(&pod, &Proxy::of(&pod)).map_err(|error| error.message)
}

/// Completes the keys of the commonest prefix.
fn full(key: &str) -> String {
    if key.contains('/') { key.to_owned() } else { format!("traffic.sidecar.istio.io/{key}") }
}

/// The message without what we add to the reference's.
fn reference_part(message: &str) -> &str {
    message.split("; annotation ").next().unwrap()
}

#[test]
fn lists_are_read_in_order_without_repetitions() {
    let settings = settings(&[
        ("includeInboundPorts", " 8080, 9090,443,8080 "),
        ("excludeInboundPorts", "3306"),
        ("includeOutboundPorts", "080,80"),
        ("excludeOutboundPorts", "443"),
        ("includeOutboundIPRanges", "10.1.2.3/8,fd00::1/64"),
        ("excludeOutboundIPRanges", "0.0.0.0/0"),
        ("excludeInterfaces", "eth1, net1,eth1"),
        ("istio.io/reroute-virtual-interfaces", "virt-0.1_a"),
    ])
    .unwrap();
    assert_eq!(settings.include_inbound, Ports::These(vec![8080, 9090, 443]));
    assert_eq!(settings.exclude_inbound, [3306, 15020, 15021, 15090]);
    assert_eq!(settings.include_outbound, [80]);
    assert_eq!(settings.exclude_outbound, [443]);
    assert_eq!(
        settings.include_ranges,
        Ranges::These { v4: vec!["10.1.2.3/8".parse().unwrap()], v6: vec!["fd00::1/64".parse().unwrap()] }
    );
    assert_eq!(settings.exclude_ranges_v4, ["0.0.0.0/0".parse().unwrap()]);
    assert_eq!(settings.exclude_interfaces, ["eth1", "net1"]);
    assert_eq!(settings.reroute_interfaces, ["virt-0.1_a"]);
}

#[test]
fn an_empty_value_is_a_value() {
    let settings = settings(&[
        ("includeInboundPorts", ""),
        ("excludeInboundPorts", " "),
        ("includeOutboundPorts", ""),
        ("excludeOutboundPorts", ""),
        ("includeOutboundIPRanges", ""),
        ("excludeOutboundIPRanges", ""),
        ("excludeInterfaces", ""),
    ])
    .unwrap();
    assert_eq!(settings.include_inbound, Ports::These(vec![]));
    assert_eq!(settings.exclude_inbound, ALWAYS_EXCLUDED_INBOUND);
    assert!(settings.exclude_outbound.is_empty());
    assert_eq!(settings.include_ranges, Ranges::These { v4: vec![], v6: vec![] });
    assert!(settings.exclude_interfaces.is_empty());
}

#[test]
fn the_deprecated_interface_annotation_counts_only_without_the_newer_one() {
    let both = [("kubevirtInterfaces", "old0"), ("istio.io/reroute-virtual-interfaces", "")];
    assert_eq!(settings(&both[..1]).unwrap().reroute_interfaces, ["old0"]);
    assert!(settings(&both).unwrap().reroute_interfaces.is_empty());
    let bad_old = [("kubevirtInterfaces", "0old"), ("istio.io/reroute-virtual-interfaces", "new0")];
    assert_eq!(settings(&bad_old).unwrap().reroute_interfaces, ["new0"]);
}

#[test]
fn bad_values_are_refused_in_the_reference_s_words() {
    for (key, value, name, inner) in [
        ("sidecar.istio.io/interceptionMode", "MAGIC", "redirectMode", "interceptionMode invalid: MAGIC"),
        ("sidecar.istio.io/interceptionMode", "", "redirectMode", "interceptionMode invalid: "),
        (
            "includeOutboundIPRanges",
            "10.0.0.1",
            "includeIPCidrs",
            "IPRanges invalid: failed parsing cidr '10.0.0.1': netip.ParsePrefix(\"10.0.0.1\"): no '/'",
        ),
        (
            "excludeOutboundIPRanges",
            "10.1.0.0/16,10.2.0.0/99",
            "excludeIPCidrs",
            "failed parsing cidr '10.2.0.0/99': netip.ParsePrefix(\"10.2.0.0/99\"): prefix length out of range",
        ),
        ("excludeOutboundIPRanges", "*", "excludeIPCidrs", "failed parsing cidr '*': netip.ParsePrefix(\"*\"): no '/'"),
        (
            "excludeInboundPorts",
            "99999",
            "excludeInboundPorts",
            "portList \"99999\" invalid: failed parsing port \"99999\": strconv.ParseUint: parsing \"99999\": value out of range",
        ),
        (
            "includeInboundPorts",
            "80, x",
            "includeInboundPorts",
            "portList \"80, x\" invalid: failed parsing port \" x\": strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "includeInboundPorts",
            " * ",
            "includeInboundPorts",
            "portList \" * \" invalid: failed parsing port \"*\": strconv.ParseUint: parsing \"*\": invalid syntax",
        ),
        (
            "excludeOutboundPorts",
            "80,",
            "excludeOutboundPorts",
            "portList \"80,\" invalid: failed parsing port \"\": strconv.ParseUint: parsing \"\": invalid syntax",
        ),
        (
            "includeOutboundPorts",
            "-1",
            "includeOutboundPorts",
            "portList \"-1\" invalid: failed parsing port \"-1\": strconv.ParseUint: parsing \"-1\": invalid syntax",
        ),
        ("excludeInterfaces", "eth0,,eth1", "excludeInterfaces", "empty interface name"),
        (
            "excludeInterfaces",
            "abcdefghijklmnop",
            "excludeInterfaces",
            "interface name \"abcdefghijklmnop\" too long (max 15 chars)",
        ),
        (
            "istio.io/reroute-virtual-interfaces",
            "eth0+",
            "reroute-virtual-interfaces",
            "interface name \"eth0+\" contains invalid characters",
        ),
        ("kubevirtInterfaces", "0eth", "kubevirtInterfaces", "interface name \"0eth\" contains invalid characters"),
    ] {
        let message = settings(&[(key, value)]).unwrap_err();
        assert_eq!(
            reference_part(&message),
            format!("annotation value error for value {name}; annotationFound = true: {inner}")
        );
        assert!(message.contains(&format!("; annotation {} takes ", full(key))), "{message}");
    }
}

#[test]
fn a_star_is_refused_where_it_stands_for_nothing() {
    for key in ["excludeInboundPorts", "excludeOutboundPorts", "includeOutboundPorts"] {
        let message = settings(&[(key, "*")]).unwrap_err();
        assert!(
            message.starts_with(&format!(
                "annotation value error for value {key}; annotationFound = true: portList \"*\" invalid: "
            )) && message.contains(&format!("annotation traffic.sidecar.istio.io/{key} takes ports from 0 to 65535")),
            "{message}"
        );
    }
}

#[test]
fn excluding_all_inbound_ports_does_no_harm_where_exclusions_do_not_count() {
    let settings = settings(&[("excludeInboundPorts", "*"), ("includeInboundPorts", "80")]).unwrap();
    assert_eq!(settings.exclude_inbound, ALWAYS_EXCLUDED_INBOUND);
}

#[test]
fn the_first_bad_value_in_the_reference_s_order_is_the_error() {
    let mut bad = vec![
        ("excludeInboundPorts", "*"),
        ("excludeInterfaces", "?"),
        ("includeOutboundPorts", "x"),
        ("excludeOutboundPorts", "x"),
        ("includeInboundPorts", "x"),
        ("excludeInboundPorts", "x"),
        ("excludeOutboundIPRanges", "x"),
        ("includeOutboundIPRanges", "x"),
        ("sidecar.istio.io/interceptionMode", "x"),
    ];
    for name in [
        "redirectMode",
        "includeIPCidrs",
        "excludeIPCidrs",
        "excludeInboundPorts",
        "includeInboundPorts",
        "excludeOutboundPorts",
        "includeOutboundPorts",
        "excludeInterfaces",
    ] {
        let message = settings(&bad).unwrap_err();
        assert!(message.starts_with(&format!("annotation value error for value {name};")), "{message}");
        bad.pop();
    }
    assert!(settings(&bad).unwrap_err().contains("\"*\" does not stand for all ports here"));
}
