//! What the environment and the flags come to.

use super::*;
use crate::telemetry::event::Level;
use std::collections::HashMap;

fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingError> {
    let mut map: HashMap<String, String> = HashMap::from([("KUBECONFIG".to_owned(), "/k".to_owned())]);
    map.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Settings::read(&|key| map.get(key).cloned(), "host-1")
}

#[test]
fn nothing_given_means_the_references_defaults() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.run_dir, PathBuf::from("/var/run/istio-cni"));
    assert_eq!(settings.node, "host-1");
    assert_eq!((settings.monitoring, settings.health), (Some(15014), 8000));
    assert_eq!(settings.backend, Backend::Auto);
    assert_eq!(settings.levels, LogLevels::default());
    assert!(settings.exclude_namespaces.is_empty() && !settings.log_json);
}

#[test]
fn the_settings_are_described_by_their_names() {
    let given =
        [("MONITORING_PORT", "0"), ("EXCLUDE_NAMESPACES", "a,b"), ("HOST_PROC", "/p"), ("AUDIT_INTERVAL", "5m")];
    let text = read(&given).unwrap().describe(Some("https://10.0.0.1:6443")).join(" ");
    assert_eq!(
        text,
        "CNI_AGENT_RUN_DIR=/var/run/istio-cni KUBERNETES_NODE_NAME=host-1 KUBECONFIG=/k MONITORING_PORT=none HEALTH_PORT=8000 PAGE_ADDRESS=127.0.0.1:15015 POD_NAMESPACE= POD_NAME= EXCLUDE_NAMESPACES=a,b \
         REDIRECT_BACKEND=auto HISTORY_BYTES=4194304 TRACE_URL= LOG_OUTPUT_LEVEL=info,cni-plugin:info API_SERVER=https://10.0.0.1:6443 AUDIT_INTERVAL=300s HOST_PROC=/p STARTUP_TRACES=meshed STARTUP_LIMIT=600s CNI_BIN_SOURCE_DIR=/opt/cni/bin \
         CNI_BIN_TARGET_DIRS=/host/opt/cni/bin MOUNTED_CNI_NET_DIR=/host/etc/cni/net.d CHAINED_CNI_PLUGIN=true \
         CNI_CONF_NAME= ISTIO_OWNED_CNI_CONFIG_FILENAME= PLUGIN_KUBECONFIG=file KUBECONFIG_MODE=0600 REPAIR_MODE=none"
    );
}

#[test]
fn the_node_is_the_first_name_that_is_not_empty() {
    let node = |pairs: &[(&str, &str)]| read(pairs).unwrap().node;
    assert_eq!(node(&[("KUBERNETES_NODE_NAME", "a"), ("NODE_NAME", "b")]), "a");
    assert_eq!(node(&[("KUBERNETES_NODE_NAME", ""), ("REPAIR_NODE_NAME", "c")]), "c");
}

#[test]
fn an_empty_variable_counts_as_set() {
    let settings = read(&[("MONITORING_PORT", ""), ("NATIVE_NFTABLES", ""), ("EXCLUDE_NAMESPACES", "")]).unwrap();
    assert_eq!(settings.monitoring, None);
    assert_eq!(settings.backend, Backend::Auto);
}

#[test]
fn ports_are_numbers_or_auto_and_none_below_one() {
    assert_eq!(read(&[("MONITORING_PORT", "-1")]).unwrap().monitoring, None);
    assert_eq!(read(&[("MONITORING_PORT", "auto")]).unwrap().monitoring, Some(0));
    assert_eq!(read(&[("HEALTH_PORT", "0")]).unwrap().health, 0);
    let error = read(&[("MONITORING_PORT", "70000")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"MONITORING_PORT="70000" cannot be used: it takes a port up to 65535, 0 or less, or auto for any free one"#
    );
}

#[test]
fn the_health_port_cannot_be_switched_off() {
    assert_eq!(read(&[("HEALTH_PORT", "auto")]).unwrap().health, 0);
    assert_eq!(read(&[("HEALTH_PORT", " 8080 ")]).unwrap().health, 8080);
    for wrong in ["-1", "70000", "none"] {
        let error = read(&[("HEALTH_PORT", wrong)]).unwrap_err().to_string();
        let said =
            format!("HEALTH_PORT={wrong:?} cannot be used: it takes a port up to 65535; 0 or auto is any free one");
        assert!(error.starts_with(&said), "{error}");
    }
}

#[test]
fn two_servers_cannot_have_one_port() {
    for pairs in [
        &[("HEALTH_PORT", "15014")][..],
        &[("MONITORING_PORT", "8000")],
        &[("MONITORING_PORT", "99"), ("HEALTH_PORT", "99")],
    ] {
        let error = read(pairs).unwrap_err().to_string();
        assert!(error.starts_with("HEALTH_PORT=\"") && error.contains("another port than MONITORING_PORT"), "{error}");
    }
    let free = read(&[("HEALTH_PORT", "auto"), ("MONITORING_PORT", "auto")]).unwrap();
    assert_eq!((free.monitoring, free.health), (Some(0), 0), "any two free ports are two");
    assert!(read(&[("HEALTH_PORT", "0"), ("MONITORING_PORT", "0")]).is_ok());
}

#[test]
fn the_run_directory_is_an_absolute_path() {
    let error = |value: &str| read(&[("CNI_AGENT_RUN_DIR", value)]).unwrap_err().to_string();
    let relative = r#"CNI_AGENT_RUN_DIR="run/istio-cni" cannot be used: it takes the absolute path of a directory"#;
    assert_eq!(error("run/istio-cni"), relative);
    assert_eq!(error(""), "CNI_AGENT_RUN_DIR is not set: it takes the absolute path of a directory");
}

#[test]
fn what_is_known_and_changes_nothing_is_noted() {
    let noted = read(&[("AMBIENT_ENABLED", "true"), ("REPAIR_LABEL_PODS", "false")]).unwrap().without_effect;
    assert_eq!(noted.iter().map(|setting| setting.name).collect::<Vec<_>>(), ["AMBIENT_ENABLED"]);
    assert!(noted[0].problem.contains("no ambient pods"));
}

#[test]
fn the_backend_word_wins_over_the_references_switch() {
    let backend = |pairs: &[(&str, &str)]| read(pairs).map(|settings| settings.backend);
    assert_eq!(backend(&[("NATIVE_NFTABLES", "true")]), Ok(Backend::Nftables));
    assert_eq!(backend(&[("NATIVE_NFTABLES", "true"), ("REDIRECT_BACKEND", "iptables")]), Ok(Backend::Iptables));
    assert!(backend(&[("REDIRECT_BACKEND", "ipvs")]).unwrap_err().to_string().contains("auto, nftables or iptables"));
    assert!(backend(&[("NATIVE_NFTABLES", "yes")]).is_err());
}

#[test]
fn excluded_namespaces_are_a_comma_list() {
    let settings = read(&[("EXCLUDE_NAMESPACES", " kube-system, ,istio-system")]).unwrap();
    assert_eq!(settings.exclude_namespaces, ["kube-system", "istio-system"]);
}

#[test]
fn without_kubeconfig_the_pods_own_account_is_used() {
    let api = |pairs: &[(&str, &str)]| read(pairs).map(|settings| settings.api);
    let inside = [("KUBECONFIG", ""), ("KUBERNETES_SERVICE_HOST", "fd00::1"), ("KUBERNETES_SERVICE_PORT", "6443")];
    let account = PathBuf::from(SERVICE_ACCOUNT);
    let ca = account.join("ca.crt");
    assert_eq!(api(&inside), Ok(ApiSource::InCluster { host: "fd00::1".into(), port: 6443, account, ca }));
    let error = api(&[("KUBECONFIG", "")]).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("KUBECONFIG is not set: it takes the path of a kubeconfig, unless the agent runs in a pod"),
        "{error}"
    );
    assert!(api(&[("KUBECONFIG", ""), ("KUBERNETES_SERVICE_HOST", "h"), ("KUBERNETES_SERVICE_PORT", "x")]).is_err());
}

#[test]
fn log_levels_are_read_by_scope() {
    let levels = |value: &str| LogLevels::read(value).map(|levels| (levels.agent, levels.plugin));
    assert_eq!(levels(""), Ok((Level::Info, Level::Info)));
    assert_eq!(levels("debug"), Ok((Level::Debug, Level::Debug)));
    assert_eq!(levels("default:warn"), Ok((Level::Warn, Level::Warn)));
    assert_eq!(levels("cni-plugin:info,debug"), Ok((Level::Debug, Level::Info)));
    assert_eq!(levels("debug,cni-agent:warn"), Ok((Level::Warn, Level::Debug)));
    assert_eq!(levels("cni-plugin:error,ztunnel:debug"), Ok((Level::Info, Level::Error)));
    assert_eq!(levels("default:info,all:none,cni-plugin:debug"), Ok((Level::Off, Level::Off)));
    assert!(levels("loud").unwrap_err().to_string().starts_with("LOG_OUTPUT_LEVEL=\"loud\" cannot be used"));
}

#[test]
fn sizes_are_bytes_with_the_units_of_kubernetes() {
    let history = |value: &str| read(&[("HISTORY_BYTES", value)]).map(|settings| settings.history);
    assert_eq!(read(&[]).unwrap().history, 4 << 20);
    for (given, bytes) in
        [("0", 0), ("", 0), ("65536", 65536), ("512Ki", 512 << 10), (" 2Mi ", 2 << 20), ("1G", 1000 * 1000 * 1000)]
    {
        assert_eq!(history(given), Ok(bytes), "{given:?}");
    }
    for wrong in
        ["-1", "4", "4MB", "4MiB", "4 Mi", "64K", "65535", "2Gi", "Mi", "1.5Mi", "4mi", "99999999999999999999Gi"]
    {
        let error = history(wrong).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "HISTORY_BYTES={wrong:?} cannot be used: it takes 0 for nothing, or from 64Ki to 1Gi"
            )),
            "{error}"
        );
    }
}

#[test]
fn the_url_of_a_trace_has_a_place_for_its_id() {
    let url = |value: &str| read(&[("TRACE_URL", value)]).map(|settings| settings.trace_url);
    assert_eq!((url(""), read(&[]).unwrap().trace_url), (Ok(None), None));
    let jaeger = "http://jaeger:16686/trace/{trace_id}";
    assert_eq!(url(jaeger), Ok(Some(jaeger.to_owned())));
    let document = include_str!("../../../CONFIGURATION.md");
    let (_, table) = document.split_once("| back end | `TRACE_URL` |").unwrap();
    let examples: Vec<&str> =
        table.lines().skip(2).map_while(|row| row.strip_prefix("| ")?.split('`').nth(1)).collect();
    assert_eq!(examples.len(), 4, "{examples:?}");
    for example in &examples {
        assert_eq!(url(example), Ok(Some((*example).to_owned())));
    }
    // Grafana reads its panes as JSON.
    let panes = examples.iter().find_map(|example| example.split_once("&panes=")).unwrap().1;
    let panes = percent_decoded(&panes.replace("{trace_id}", "0123"));
    let panes: serde_json::Value = serde_json::from_str(&panes).unwrap();
    assert_eq!(panes["t"]["queries"][0]["query"], "0123");
    for wrong in ["jaeger/{trace_id}", "http://jaeger/trace", "javascript:alert('{trace_id}')", "http://a b/{trace_id}"]
    {
        assert!(url(wrong).unwrap_err().to_string().contains("with {trace_id} in it"), "{wrong}");
    }
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap().to_owned();
    for part in parts {
        decoded.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        decoded.push_str(&part[2..]);
    }
    decoded
}
