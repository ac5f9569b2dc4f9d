//! What the settings of the installation come to.

use super::*;
use serde_json::json;
use std::collections::HashMap;

fn read(pairs: &[(&str, &str)]) -> Result<InstallSettings, SettingError> {
    let map: HashMap<&str, &str> = pairs.iter().copied().collect();
    Ok(super::read(&|key| map.get(key).map(|value| (*value).to_owned()))?.unwrap())
}

#[test]
fn nothing_given_means_the_references_layout() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.source, PathBuf::from("/opt/cni/bin"));
    assert_eq!(settings.targets, [PathBuf::from("/host/opt/cni/bin")]);
    assert_eq!(settings.net_dir, PathBuf::from("/host/etc/cni/net.d"));
    assert_eq!(settings.placement, Placement::Chained { file: None });
    assert_eq!(settings.credentials, Credentials::File { mode: 0o600, skip_tls_verify: false });
    assert_eq!(settings.conf_mode, 0o600);
    assert!(settings.plugin.more.is_empty());
}

#[test]
fn nothing_is_installed_when_that_is_asked_for() {
    let lookup = |key: &str| (key == "SKIP_INSTALL").then(|| "true".to_owned());
    assert_eq!(super::read(&lookup).unwrap(), None);
}

#[test]
fn the_switches_say_how_the_plugin_gets_in() {
    let place = |pairs: &[(&str, &str)]| read(pairs).unwrap().placement;
    let file = |name: &str| Some(name.to_owned());
    assert_eq!(place(&[("CNI_CONF_NAME", "10-a.conf")]), Placement::Chained { file: file("10-a.conf") });
    let standalone = |file: &str| Placement::Standalone { file: file.to_owned() };
    assert_eq!(place(&[("CHAINED_CNI_PLUGIN", "false")]), standalone("YYY-istio-cni.conf"));
    // A variable that is set to nothing counts as set.
    assert_eq!(place(&[("CHAINED_CNI_PLUGIN", "")]), standalone("YYY-istio-cni.conf"));
    assert_eq!(
        place(&[("CHAINED_CNI_PLUGIN", "0"), ("CNI_CONF_NAME", "istio-cni.conf")]),
        standalone("istio-cni.conf")
    );
    let owned = [("ISTIO_OWNED_CNI_CONFIG", "true"), ("CNI_CONF_NAME", "10-a.conflist")];
    let wanted = Placement::Owned { file: "02-istio-cni.conflist".to_owned(), primary: file("10-a.conflist") };
    assert_eq!(place(&owned), wanted);
    let named = [("ISTIO_OWNED_CNI_CONFIG", "true"), ("ISTIO_OWNED_CNI_CONFIG_FILENAME", "00-i.conflist")];
    let wanted = Placement::Owned { file: "00-i.conflist".to_owned(), primary: None };
    assert_eq!(place(&named), wanted);
    // As the reference's chart calls it.
    let of_chart = ("ISTIO_OWNED_CNI_CONF_FILENAME", "00-i.conflist");
    assert_eq!(place(&[named[0], of_chart]), wanted);
    assert_eq!(place(&[named[0], named[1], (of_chart.0, "99-other.conflist")]), wanted);
}

#[test]
fn a_copy_that_is_not_wanted_is_an_earlier_installations() {
    let former = |pairs: &[(&str, &str)]| read(pairs).unwrap().former_copy;
    assert_eq!(former(&[]).as_deref(), Some("02-istio-cni.conflist"));
    assert_eq!(former(&[("ISTIO_OWNED_CNI_CONFIG_FILENAME", "01-x.conflist")]).as_deref(), Some("01-x.conflist"));
    assert_eq!(former(&[("ISTIO_OWNED_CNI_CONFIG", "true")]), None);
    assert_eq!(former(&[("CNI_CONF_NAME", "02-istio-cni.conflist")]), None, "it is meant as the primary");
}

#[test]
fn several_directories_may_get_the_plugin() {
    let targets = read(&[("CNI_BIN_TARGET_DIRS", "/host/opt/cni/bin, /host/secondary")]).unwrap().targets;
    assert_eq!(targets, [PathBuf::from("/host/opt/cni/bin"), PathBuf::from("/host/secondary")]);
}

#[test]
fn modes_are_octal_with_a_leading_zero() {
    let mode = |value: &str| match read(&[("KUBECONFIG_MODE", value)]).map(|settings| settings.credentials) {
        Ok(Credentials::File { mode, .. }) => Some(mode),
        _ => None,
    };
    assert_eq!((mode("0600"), mode("0o640"), mode("384")), (Some(0o600), Some(0o640), Some(0o600)));
    for wrong in ["", "600x", "01000", "600", "-1", "0"] {
        assert_eq!(mode(wrong), None, "{wrong}");
    }
}

#[test]
fn a_wrong_value_names_key_value_and_what_is_allowed() {
    for (key, value, allowed) in [
        ("CNI_CONF_NAME", "../10-a.conf", "the name of a file"),
        ("MOUNTED_CNI_NET_DIR", "etc/cni", "the absolute path of a directory"),
        ("CNI_BIN_TARGET_DIRS", "opt/cni", "a comma list of absolute paths"),
        ("CNI_BIN_TARGET_DIRS", "/opt/cni/bin", "other directories than CNI_BIN_SOURCE_DIR"),
        ("PLUGIN_KUBECONFIG", "maybe", "file or none"),
        ("CHAINED_CNI_PLUGIN", "yes", "true or false"),
        ("PLUGIN_STATUS_MODE", "loud", "lenient or strict"),
        ("PLUGIN_TRACE_PARENT", "7", "link or parent"),
        ("PLUGIN_API_TIMEOUT_MS", "0", "whole milliseconds from 1"),
        ("PLUGIN_POD_LOOKUP_ATTEMPTS", "many", "a whole number from 1 to 10000"),
        ("AMBIENT_ENABLEMENT_SELECTOR", "not: [a list", "a YAML list"),
    ] {
        let message = read(&[(key, value)]).unwrap_err().to_string();
        assert!(message.contains(key) && message.contains(value) && message.contains(allowed), "{message}");
    }
}

#[test]
fn the_plugins_own_keys_are_passed_on_as_what_they_are() {
    let given = [("PLUGIN_STATUS_MODE", "strict"), ("PLUGIN_API_TIMEOUT_MS", "250"), ("PLUGIN_TRACE_PARENT", " ")];
    let more = read(&given).unwrap().plugin.more;
    assert_eq!(more, [("status_mode".to_owned(), json!("strict")), ("api_timeout_ms".to_owned(), json!(250))]);
}

#[test]
fn selectors_are_a_yaml_list() {
    let text = "- podSelector:\n    matchLabels: {istio.io/dataplane-mode: ambient}\n";
    let selectors = read(&[("AMBIENT_ENABLEMENT_SELECTOR", text)]).unwrap().plugin.enablement_selectors;
    assert_eq!(selectors, [json!({"podSelector": {"matchLabels": {"istio.io/dataplane-mode": "ambient"}}})]);
}
