//! What the golden pods do not show: the configuration, and files that are no pods.

use super::*;

const POD: &str = r#"{"kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop",
    "annotations": {"sidecar.istio.io/status": "{}"}},
    "spec": {"containers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]}}"#;

/// What the command prints for a pod with a configuration, or its error.
fn answer(pod: &str, config: Option<&str>, backend: Option<BackendArg>) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config = config.map(|text| file("config.json", text));
    let args =
        RulesArgs { pod: file("pod", pod), config, backend, family: FamilyArg::V4, outbound: OutboundArgs::default() };
    let mut stdout = Vec::new();
    run(&args, &mut stdout).map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(stdout).unwrap())
}

#[test]
fn the_configuration_chooses_the_language_and_the_command_line_overrules_it() {
    for (config, language) in [
        (None, "nftables"),
        (Some("{}"), "nftables"),
        (Some(r#"{"redirect_backend": "iptables"}"#), "iptables"),
        (Some(r#"{"native_nftables": true}"#), "nftables"),
        (Some(r#"{"redirect_backend": "iptables", "native_nftables": true}"#), "iptables"),
        (
            Some(r#"{"plugins": [{"type": "bridge"}, {"type": "istio-cni", "redirect_backend": "iptables"}]}"#),
            "iptables",
        ),
    ] {
        let head = format!("# pod shop/web-0 with IPv4 addresses, {language}\n");
        assert!(answer(POD, config, None).unwrap().starts_with(&head), "{config:?}");
    }
    let text = answer(POD, Some(r#"{"redirect_backend": "nftables"}"#), Some(BackendArg::Iptables)).unwrap();
    assert!(text.contains("# iptables-restore --noflush\n*nat\n"), "{text}");
}

#[test]
fn the_configuration_excludes_namespaces_and_our_own_agent() {
    assert_eq!(
        answer(POD, Some(r#"{"exclude_namespaces": ["kube-system", "shop"]}"#), None).unwrap(),
        "pod shop/web-0 gets no rules: pod namespace shop excluded (namespace_excluded)\n"
    );
    let agent = POD.replace("web-0", "istio-cni-node-x1");
    assert_eq!(
        answer(&agent, Some(r#"{"pod_namespace": "shop"}"#), None).unwrap(),
        "pod shop/istio-cni-node-x1 gets no rules: istio-cni-node-x1 looks like our own agent pod, skipping (own_agent_pod)\n"
    );
}

#[test]
fn a_pod_without_a_namespace_is_in_the_default_one() {
    let text = answer(&POD.replace(r#""namespace": "shop","#, ""), None, None).unwrap();
    assert!(text.starts_with("# pod default/web-0 "), "{text}");
}

#[test]
fn a_pod_on_the_hosts_network_is_none_of_the_plugins() {
    let text = answer(&POD.replace(r#""spec": {"#, r#""spec": {"hostNetwork": true, "#), None, None).unwrap();
    assert_eq!(
        text,
        "pod shop/web-0 gets no rules: it uses the host's network (hostNetwork), and for such a pod the runtime calls \
         no CNI plugin\n"
    );
}

#[test]
fn a_wrong_value_is_named_by_its_flag() {
    let outbound = OutboundArgs { owner_groups_exclude: Some("nosuch".into()), ..OutboundArgs::default() };
    let directory = tempfile::tempdir().unwrap();
    let pod = directory.path().join("pod");
    std::fs::write(&pod, POD).unwrap();
    let args = RulesArgs { pod, config: None, backend: None, family: FamilyArg::V4, outbound };
    let error = run(&args, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with(r#"--owner-groups-exclude is "nosuch": "nosuch" is no group; it takes "#), "{error}");
    assert!(!error.contains("environment"), "{error}");
}

#[test]
fn what_is_no_pod_is_refused_in_one_sentence() {
    let deployment = "kind: Deployment\nmetadata: {name: web}\n";
    for (pod, said) in [
        (deployment, "holds a Deployment, not a Pod: take the pod itself, from kubectl get pod NAME -o yaml"),
        ("", "holds no pod with containers"),
        ("kind: Pod\n", "holds no pod with containers"),
        ("{\"kind\":", "is no pod in JSON"),
        ("metadata: {annotations: {a: [1]}}\n", "is no pod in YAML"),
        ("---\nkind: Pod\n---\n# another\nkind: Pod\n---\n", "pod holds 2 YAML documents; give one pod"),
    ] {
        let error = answer(pod, None, None).unwrap_err();
        assert!(error.contains(said), "{pod:?}: {error}");
    }
}

#[test]
fn a_configuration_that_is_none_is_refused() {
    for (config, said) in [
        ("[", "is no network configuration in JSON"),
        (r#"{"plugins": [{"type": "bridge"}]}"#, "is a conflist without a plugin of type istio-cni"),
        (
            r#"{"redirect_backend": "ebpf"}"#,
            r#"redirect_backend is "ebpf"; allowed is one of auto, nftables, iptables"#,
        ),
    ] {
        let error = answer(POD, Some(config), None).unwrap_err();
        assert!(error.contains(said), "{config}: {error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let args = RulesArgs {
        pod: "/nonexistent/pod.yaml".into(),
        config: None,
        backend: None,
        family: FamilyArg::V4,
        outbound: OutboundArgs::default(),
    };
    let error = run(&args, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/pod.yaml");
}
