//! Variables of the environment that look like settings of ours, but are none: most are misspelt, and
//! silence would make somebody believe that they count.

/// What the agent reads, or the reference's agent does, or its chart sets for it.
const KNOWN: &[&str] = &[
    // The reference's flags.
    "CNI_CONF_NAME",
    "CHAINED_CNI_PLUGIN",
    "ISTIO_OWNED_CNI_CONFIG",
    "ISTIO_OWNED_CNI_CONFIG_FILENAME",
    "MOUNTED_CNI_NET_DIR",
    "CNI_AGENT_RUN_DIR",
    "KUBECONFIG_MODE",
    "CNI_CONF_GROUP_READ",
    "KUBE_CA_FILE",
    "SKIP_TLS_VERIFY",
    "MONITORING_PORT",
    "ZTUNNEL_UDS_ADDRESS",
    "AMBIENT_ENABLED",
    "ENABLE_AMBIENT_DETECTION_RETRY",
    "LOG_LEVEL",
    "CNI_NETWORK_CONFIG",
    "CNI_NETWORK_CONFIG_FILE",
    "REPAIR_ENABLED",
    "REPAIR_DELETE_PODS",
    "REPAIR_LABEL_PODS",
    "REPAIR_BROKEN_POD_LABEL_KEY",
    "REPAIR_BROKEN_POD_LABEL_VALUE",
    "REPAIR_NODE_NAME",
    "REPAIR_SIDECAR_ANNOTATION",
    "REPAIR_INIT_CONTAINER_NAME",
    "REPAIR_INIT_CONTAINER_TERMINATION_MESSAGE",
    "REPAIR_INIT_CONTAINER_EXIT_CODE",
    "REPAIR_LABEL_SELECTORS",
    "REPAIR_FIELD_SELECTORS",
    "LOG_OUTPUT_LEVEL",
    "LOG_AS_JSON",
    "LOG_TARGET",
    "LOG_STACKTRACE_LEVEL",
    "LOG_CALLER",
    "VKLOG",
    "CTRLZ_PORT",
    "CTRLZ_ADDRESS",
    // The reference's variables without a flag.
    "EXCLUDE_NAMESPACES",
    "POD_NAMESPACE",
    "NATIVE_NFTABLES",
    "AMBIENT_ENABLEMENT_SELECTOR",
    "AMBIENT_DNS_CAPTURE",
    "AMBIENT_IPV6",
    "AMBIENT_DISABLE_SAFE_UPGRADE",
    "AMBIENT_RECONCILE_POD_RULES_ON_STARTUP",
    "FORCE_IPTABLES_BINARY",
    "SYSTEM_NAMESPACE",
    "REVISION",
    "HOST_PROBE_SNAT_IP",
    "HOST_PROBE_SNAT_IPV6",
    "AMBIENT_USE_SCOPED_XTABLES_LOCKING",
    "AMBIENT_ENABLE_AWS_BRANCH_ENI_PROBE",
    "ALLOW_SWITCH_TO_HOST_NS",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "KUBERNETES_SERVICE_PROTOCOL",
    "KUBERNETES_NODE_NAME",
    "NODE_NAME",
    "POD_NAME",
    "REPAIR_REPAIR_PODS",
    // What its chart sets, and nothing of the reference reads.
    "ISTIO_OWNED_CNI_CONF_FILENAME",
    "REPAIR_RUN_AS_DAEMON",
    "CURRENT_AGENT_VERSION",
    "GOMEMLIMIT",
    // Ours.
    "KUBECONFIG",
    "HEALTH_PORT",
    "PAGE_ADDRESS",
    "REDIRECT_BACKEND",
    "HOST_PROC",
    "CONTAINER_RUNTIME_ENDPOINT",
    "AUDIT_INTERVAL",
    "STARTUP_TRACES",
    "STARTUP_LIMIT",
    "HISTORY_BYTES",
    "TRACE_URL",
    "CNI_BIN_SOURCE_DIR",
    "CNI_BIN_TARGET_DIRS",
    "SKIP_INSTALL",
    "PLUGIN_KUBECONFIG",
    "PLUGIN_STATUS_MODE",
    "PLUGIN_TRACE_PARENT",
    "PLUGIN_POD_LOOKUP_ATTEMPTS",
    "PLUGIN_POD_LOOKUP_INTERVAL_MS",
    "PLUGIN_API_TIMEOUT_MS",
    "PLUGIN_AGENT_TIMEOUT_MS",
    "PLUGIN_LOCK_TIMEOUT_MS",
    "PLUGIN_TOOL_TIMEOUT_MS",
    "ISTIO_OUTBOUND_OWNER_GROUPS",
    "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
    "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
    "REPAIR_EVICT",
    "REPAIR_LIMIT_PER_MINUTE",
    "REPAIR_ATTEMPTS",
    "K8S_CLUSTER_NAME",
    "POD_UID",
];

/// What the CNI specification has for plugins, and what Istio's plugin reads: not the agent's, but
/// known. An agent that is started by hand may inherit them.
const OF_PLUGINS: &[&str] =
    &["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_NETNS_OVERRIDE", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];

/// How the names of settings begin that nobody else has.
const PREFIXES: &[&str] = &[
    "CNI_",
    "ISTIO_OWNED_",
    "ISTIO_CNI_",
    "REPAIR_",
    "STARTUP_",
    "AMBIENT_",
    "KUBECONFIG_",
    "CHAINED_",
    "MOUNTED_",
    "REDIRECT_",
    "EXCLUDE_",
    "MONITORING_",
    "HEALTH_",
    "LOG_OUTPUT_",
    "ZTUNNEL_UDS_",
    "HOST_PROBE_",
    "NATIVE_",
    "PLUGIN_",
];

/// So many letters may differ for a name to be taken for a misspelt one.
const CLOSE: usize = 2;
/// In a shorter name that is another word.
const LONG: usize = 10;

/// A variable that looks like a setting and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSetting {
    /// Its name. The value is nobody's business: it may be a secret.
    pub name: String,
    /// The setting that was probably meant.
    pub meant: Option<&'static str>,
}

impl UnknownSetting {
    /// What is wrong with it, and what to do.
    pub fn problem(&self) -> String {
        match self.meant {
            Some(meant) => format!("the agent has no such setting; did you mean {meant}?"),
            None => "the agent has no such setting: remove it, or look its name up in CONFIGURATION.md".to_owned(),
        }
    }
}

/// Those among the names of an environment's variables, in the order of the alphabet.
pub fn unknown<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<UnknownSetting> {
    let mut found: Vec<UnknownSetting> = names.into_iter().filter_map(look_at).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn look_at(name: &str) -> Option<UnknownSetting> {
    if KNOWN.contains(&name) || OF_PLUGINS.contains(&name) || is_service_link(name) {
        return None;
    }
    let meant = nearest(name);
    let ours = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (ours || meant.is_some()).then(|| UnknownSetting { name: name.to_owned(), meant })
}

/// Whether the kubelet sets it for a service of the namespace, which may have any name: `A_SERVICE_HOST`,
/// `A_SERVICE_PORT`, `A_SERVICE_PORT_HTTP`, `A_PORT`, `A_PORT_80_TCP`, `A_PORT_80_TCP_ADDR` and so on.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST") || name.ends_with("_PORT") || name.contains("_PORT_")
}

/// The setting whose name is nearest, if it is close.
fn nearest(name: &str) -> Option<&'static str> {
    if name.len() < LONG {
        return None;
    }
    let long = KNOWN.iter().copied().filter(|known| known.len() >= LONG);
    let near = long.filter_map(|known| Some((distance(name, known)?, known)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many letters must be put in, taken out or replaced to get from one name to the other, if no
/// more than [`CLOSE`].
fn distance(from: &str, to: &str) -> Option<usize> {
    if from.len().abs_diff(to.len()) > CLOSE {
        return None;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, letter) in from.bytes().enumerate() {
        let mut left = line + 1;
        let mut next = vec![left];
        for (above, other) in row.windows(2).zip(to.bytes()) {
            let [diagonal, above] = above else { continue };
            left = (left + 1).min(above + 1).min(diagonal + usize::from(letter != other));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().filter(|distance| *distance <= CLOSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<(String, Option<&'static str>)> {
        unknown(names.iter().copied()).into_iter().map(|unknown| (unknown.name, unknown.meant)).collect()
    }

    #[test]
    fn a_misspelt_setting_is_found_with_the_one_that_was_meant() {
        for (name, meant) in [
            ("CNI_CONF_NAM", "CNI_CONF_NAME"),
            ("CNI_CONF_NMAE", "CNI_CONF_NAME"),
            ("CHAINED_CNI_PLUGINS", "CHAINED_CNI_PLUGIN"),
            ("EXCLUDE_NAMESPACE", "EXCLUDE_NAMESPACES"),
            ("EXCLUDED_NAMESPACES", "EXCLUDE_NAMESPACES"),
            ("MONITORING_PROT", "MONITORING_PORT"),
            ("LOG_OUTPUT_LEVELS", "LOG_OUTPUT_LEVEL"),
            ("CNI_BIN_TARGET_DIR", "CNI_BIN_TARGET_DIRS"),
            ("KUBERNETS_NODE_NAME", "KUBERNETES_NODE_NAME"),
            ("ISTIO_OWNED_CNI_CONFIG_FILE_NAME", "ISTIO_OWNED_CNI_CONFIG_FILENAME"),
        ] {
            assert_eq!(found(&[name]), [(name.to_owned(), Some(meant))]);
        }
    }

    #[test]
    fn what_looks_like_ours_and_is_like_nothing_is_found_too() {
        assert_eq!(
            found(&["REPAIR_EVERYTHING", "PATH", "CNI_FANCY"]),
            [("CNI_FANCY".to_owned(), None), ("REPAIR_EVERYTHING".to_owned(), None)]
        );
    }

    #[test]
    fn every_known_name_and_what_others_set_is_left_alone() {
        assert_eq!(found(KNOWN), []);
        assert_eq!(found(OF_PLUGINS), []);
        // Services named cni, repair-api, ambient and health-check, as the kubelet links them.
        let links = [
            "CNI_SERVICE_HOST",
            "CNI_SERVICE_PORT",
            "CNI_SERVICE_PORT_HTTP_METRICS",
            "CNI_PORT",
            "REPAIR_API_PORT_8080_TCP",
            "REPAIR_API_PORT_8080_TCP_PROTO",
            "AMBIENT_PORT_53_UDP_ADDR",
            "AMBIENT_PORT_53_UDP_PORT",
            "HEALTH_CHECK_SERVICE_HOST",
            "MONITORING_SERVICE_PORT_WEB",
            "KUBERNETES_SERVICE_PORT_HTTPS",
            "KUBERNETES_PORT",
            "KUBERNETES_PORT_443_TCP",
        ];
        assert_eq!(found(&links), []);
        let others = [
            "PATH",
            "HOME",
            "HOSTNAME",
            "TERM",
            "PWD",
            "SHLVL",
            "LANG",
            "TZ",
            "POD_IP",
            "HOST_IP",
            "NODE_IP",
            "LOG_FORMAT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_SERVICE_NAME",
            "SSL_CERT_FILE",
            "RUST_BACKTRACE",
            "GODEBUG",
            "GOMAXPROCS",
            "KUBERNETES_CLUSTER",
            "ISTIO_META_DNS_CAPTURE",
            "",
            "_",
            "É",
        ];
        assert_eq!(found(&others), []);
    }

    #[test]
    fn every_setting_that_is_read_is_known() {
        let read = std::cell::RefCell::new(Vec::new());
        for given in ["KUBECONFIG", "KUBERNETES_SERVICE_HOST"] {
            let lookup = |key: &str| {
                read.borrow_mut().push(key.to_owned());
                (key == given).then(|| "x".to_owned())
            };
            super::super::Settings::read(&lookup, "host-1").unwrap();
        }
        let unknown: Vec<String> = read.take().into_iter().filter(|key| !KNOWN.contains(&key.as_str())).collect();
        assert_eq!(unknown, Vec::<String>::new());
    }

    #[test]
    fn the_distance_counts_letters_up_to_its_bound() {
        assert_eq!(distance("abc", "abc"), Some(0));
        assert_eq!(distance("abc", "abxc"), Some(1));
        assert_eq!(distance("abc", "axd"), Some(2));
        assert_eq!(distance("abc", "xyz"), None);
        assert_eq!(distance("", "abc"), None);
        assert_eq!(distance("ab", ""), Some(2));
    }

    #[test]
    fn the_words_say_what_to_do_and_never_the_value() {
        let [unknown] = &unknown(["CNI_CONF_NAM"])[..] else { panic!("one") };
        assert_eq!(unknown.problem(), "the agent has no such setting; did you mean CNI_CONF_NAME?");
    }
}
