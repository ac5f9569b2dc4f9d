//! Configurations as an installer writes them, and as nobody should.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn conf(value: &Value) -> Result<NetConf, CniError> {
    NetConf::parse(value.to_string().as_bytes())
}

/// Settings of a configuration with these keys beside the name.
fn settings(mut keys: Value) -> Result<Settings, CniError> {
    keys["name"] = "n".into();
    conf(&keys).unwrap().settings()
}

fn version(version: &str, command: Command) -> Result<(), CniError> {
    conf(&json!({"name": "n", "cniVersion": version})).unwrap().check_version(command)
}

#[test]
fn the_installers_configuration_is_read() {
    let read = settings(json!({
        "type": "istio-cni", "plugin_log_level": "debug", "cni_agent_run_dir": "/var/run/istio-cni",
        "ambient_enabled": false, "enablement_selectors": [{"podSelector": {}, "namespaceSelector": null}],
        "exclude_namespaces": ["kube-system", null], "pod_namespace": "istio-system", "native_nftables": true,
        "enable_ambient_detection_retry": false, "capabilities": {"portMappings": true}, "ipam": {}, "dns": {}
    }))
    .unwrap();
    assert_eq!(read.log_level, "debug");
    assert_eq!(read.agent_socket, PathBuf::from("/var/run/istio-cni/agent.sock"));
    assert_eq!(read.exclude_namespaces, ["kube-system", ""]);
    assert_eq!(read.backend, Backend::Nftables);
    assert_eq!(read.bounds, Bounds::default());
}

#[test]
fn absent_and_null_keys_are_zero_values_and_unknown_ones_are_ignored() {
    let plain = settings(json!({"ambient_enabled": null, "exclude_namespaces": null, "new_key": [1, {}]})).unwrap();
    assert_eq!(plain, Settings { agent_socket: "agent.sock".into(), ..Settings::default() });
}

#[test]
fn our_own_settings_are_read() {
    let read = settings(json!({
        "redirect_backend": "iptables", "native_nftables": true, "pod_lookup_attempts": 3,
        "pod_lookup_interval_ms": 0, "api_timeout_ms": 200, "agent_timeout_ms": 300, "lock_timeout_ms": 400,
        "tool_timeout_ms": 500, "status_mode": "strict", "trace_parent": "parent", "agent_socket": "/run/a.sock",
        "kubeconfig": "none"
    }))
    .unwrap();
    assert_eq!(read.backend, Backend::Iptables, "redirect_backend is the newer word");
    assert_eq!((read.bounds.pod_attempts, read.bounds.pod_interval), (3, Duration::ZERO));
    assert_eq!(read.bounds.tool_timeout, Duration::from_millis(500));
    assert_eq!((read.status_mode, read.trace_parent), (StatusMode::Strict, TraceParentMode::Parent));
    assert_eq!(read.agent_socket, PathBuf::from("/run/a.sock"));
    assert_eq!(read.credentials, Credentials::None);
}

#[test]
fn a_value_out_of_range_is_named_with_what_is_allowed() {
    let cases = [
        (
            json!({"redirect_backend": "ebpf"}),
            "redirect_backend is \"ebpf\"; allowed is one of auto, nftables, iptables",
        ),
        (json!({"status_mode": "LENIENT"}), "status_mode is \"LENIENT\"; allowed is one of lenient, strict"),
        (json!({"kubeconfig": "None"}), "kubeconfig is \"None\"; allowed is one of file, none"),
        (json!({"trace_parent": "x"}), "trace_parent is \"x\"; allowed is one of link, parent"),
        (json!({"pod_lookup_attempts": 0}), "pod_lookup_attempts is 0; allowed is an integer from 1 to 10000"),
        (json!({"api_timeout_ms": -1}), "api_timeout_ms is -1; allowed is an integer from 1 to 3600000"),
    ];
    for (keys, expected) in cases {
        let error = settings(keys).unwrap_err();
        assert_eq!((error.code, error.msg), (7, format!("invalid network configuration: {expected}")));
    }
}

#[test]
fn a_wrong_type_fails_with_the_references_prefix() {
    let cases = [
        (json!({"exclude_namespaces": "x"}), "exclude_namespaces must be a list, not \"x\""),
        (json!({"native_nftables": "true"}), "native_nftables must be true or false, not \"true\""),
        (json!({"plugin_log_level": 1}), "plugin_log_level must be text, not the number 1"),
        (json!({"enablement_selectors": {}}), "enablement_selectors must be a list, not an object"),
        (json!({"capabilities": {"a": 1}}), "capabilities.a must be true or false, not the number 1"),
        (json!({"prevResult": []}), "prevResult must be an object, not a list"),
        (json!({"ipam": {"type": []}}), "ipam.type must be text, not a list"),
        (json!({"dns": {"search": "x"}}), "dns.search must be a list, not \"x\""),
        (json!({"agent_timeout_ms": "1"}), "agent_timeout_ms must be an integer, not \"1\""),
    ];
    for (keys, expected) in cases {
        let error = settings(keys).unwrap_err();
        assert_eq!((error.code, error.msg), (999, format!("failed to parse network configuration: {expected}")));
    }
}

#[test]
fn what_is_no_configuration_has_the_frameworks_code() {
    let cases: [(&[u8], u32, &str); 6] = [
        (b"{not json", 6, "error unmarshall network config: key must be a string at line 1 column 2"),
        (b"", 6, "error unmarshall network config: EOF while parsing a value at line 1 column 0"),
        (b"{\"name\":1}", 6, "error unmarshall network config: name must be text, not the number 1"),
        (b"{}", 7, "missing network name"),
        (b"{\"name\":\"\"}", 7, "missing network name"),
        (b"{\"name\":\"a b\"}", 7, "invalid characters found in network name"),
    ];
    for (text, code, expected) in cases {
        let error = NetConf::parse(text).and_then(|conf| conf.check_name()).unwrap_err();
        assert_eq!((error.code, error.msg.as_str()), (code, expected));
        let hint = if code == 6 { "standard input takes one whole JSON object" } else { "letters, digits" };
        assert!(error.details.contains(hint), "{error}");
    }
}

#[test]
fn every_version_knows_add_and_del_and_later_ones_more() {
    for known in SUPPORTED_VERSIONS.into_iter().chain([""]) {
        assert_eq!(version(known, Command::Add), Ok(()));
        assert_eq!(version(known, Command::Del), Ok(()));
        assert_eq!(version(known, Command::Check).is_ok(), ["0.4.0", "1.0.0", "1.1.0"].contains(&known), "{known}");
        assert_eq!(version(known, Command::Gc).is_ok(), known == "1.1.0", "{known}");
        assert_eq!(version(known, Command::Status).is_ok(), known == "1.1.0", "{known}");
    }
    let old = version("0.3.1", Command::Check).unwrap_err();
    assert_eq!((old.code, old.msg.as_str()), (1, "config version does not allow CHECK"));
    assert!(old.details.starts_with("config is \"0.3.1\", CHECK needs 0.4.0 or newer; set cniVersion "), "{old}");
    let old = version("1.0.0", Command::Status).unwrap_err();
    assert_eq!(old.msg, "config version does not allow STATUS");
}

#[test]
fn an_unknown_version_is_refused_with_what_is_spoken() {
    let error = version("2.0.0", Command::Add).unwrap_err();
    let spoken = r#"["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;
    assert_eq!((error.code, error.msg.as_str()), (1, "incompatible CNI versions"));
    assert!(error.details.starts_with(&format!("config is \"2.0.0\", plugin supports {spoken}; set ")), "{error}");
    let number = conf(&json!({"name": "n", "cniVersion": 1})).unwrap().check_version(Command::Add).unwrap_err();
    let expected = "decoding version from network config: cniVersion must be text, not the number 1";
    assert_eq!((number.code, number.msg.as_str()), (6, expected));
}

#[test]
fn a_prev_result_is_read_in_the_configurations_version() {
    let mut read = conf(&json!({"name": "n", "cniVersion": "1.0.0", "prevResult": {"cniVersion": "0.4.0"}})).unwrap();
    read.check_version(Command::Add).unwrap();
    let error = read.prev_result().unwrap_err();
    let expected =
        "could not parse prevResult: result type supports [1.0.0 1.1.0] but unmarshalled CNIVersion is \"0.4.0\"";
    assert_eq!((error.code, error.msg.as_str()), (999, expected));
    assert_eq!(conf(&json!({"name": "n", "prevResult": null})).unwrap().prev_result(), Ok(None));
}

#[test]
fn the_run_directory_is_found_in_a_configuration_with_a_mistake() {
    let read = conf(&json!({"name": "n", "cni_agent_run_dir": "/r", "native_nftables": 1})).unwrap();
    assert!(read.settings().is_err());
    let settings = read.lenient_settings();
    assert_eq!((settings.run_dir, settings.agent_socket), (PathBuf::from("/r"), PathBuf::from("/r/agent.sock")));
    let read = conf(&json!({"name": 7, "cni_agent_run_dir": "/r", "agent_socket": "/elsewhere.sock"})).unwrap();
    assert!(read.check_name().is_err());
    assert_eq!(read.lenient_settings().agent_socket, PathBuf::from("/elsewhere.sock"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = NetConf::parse(&bytes);
    }

    #[test]
    fn any_value_at_any_key_is_read_without_panic(key in "cniVersion|type|capabilities|ipam|dns|prevResult|plugin_log_level|cni_agent_run_dir|exclude_namespaces|pod_lookup_attempts|redirect_backend",
            value in "null|true|-1|1e300|\"\"|\"x\"|\\[\\]|\\[null,1\\]|\\{\\}|\\{\"ips\":\\[\\{\\}\\]\\}") {
        let text = format!("{{\"name\":\"n\",\"{key}\":{value}}}");
        if let Ok(mut conf) = NetConf::parse(text.as_bytes()) {
            let _ = (conf.check_version(Command::Add), conf.settings(), conf.prev_result(), conf.lenient_settings());
        }
    }
}
