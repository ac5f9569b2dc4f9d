//! The agent's settings: from flags, else the environment, else defaults, under the reference's
//! names. Both come in as one lookup by the environment's name, so that a map can stand in.

pub mod audit;
pub mod install;
pub mod level_file;
mod log;
mod page;
pub mod repair;
pub mod startup;
mod unknown;
mod value;
mod without_effect;

pub use log::LogLevels;
pub use unknown::{UnknownSetting, unknown};
pub use value::SettingError;
pub use without_effect::WithoutEffect;

use crate::domain::outbound::{Outbound, OutboundError};
use crate::domain::request::Backend;
use crate::k8s::client::ApiSource;
use crate::telemetry::history::DEFAULT_BYTES;
use audit::AuditSettings;
use install::InstallSettings;
use repair::RepairSettings;
use startup::StartupSettings;
use std::net::SocketAddr;
use std::path::PathBuf;
use value::{boolean, directory, list, port, served_port, size, text};

/// Finds a setting's text by its environment name. An empty text counts as set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where a pod's service account is mounted.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Everything that the agent is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The directory of the socket and the spool.
    pub run_dir: PathBuf,
    /// The node whose pods are watched.
    pub node: String,
    /// The way to the API server.
    pub api: ApiSource,
    /// The port of `/metrics`; 0 is any free one, None is no server.
    pub monitoring: Option<u16>,
    /// The port of `/healthz` and `/readyz`; 0 is any free one.
    pub health: u16,
    /// Where the page is served, besides its socket; None is nowhere.
    pub page: Option<SocketAddr>,
    /// The agent's own pod.
    pub pod_namespace: String,
    pub pod_name: String,
    /// Namespaces whose pods the plugin leaves alone.
    pub exclude_namespaces: Vec<String>,
    /// What is installed and where; None when nothing is.
    pub install: Option<InstallSettings>,
    /// What is done about pods that started without rules; None when that is switched off.
    pub repair: Option<RepairSettings>,
    /// How the pods that are set up already are looked at.
    pub audit: AuditSettings,
    /// Whose starts are told.
    pub startup: StartupSettings,
    /// What programs the rules.
    pub backend: Backend,
    /// The container runtime's socket, where it is named; it is asked by doctor alone.
    pub runtime_endpoint: Option<PathBuf>,
    /// What the node says about outbound traffic, for pods that are set up without the plugin; an
    /// error of it matters to them alone.
    pub outbound: Result<Outbound, OutboundError>,
    /// How many bytes of recent traces are remembered; 0: none.
    pub history: usize,
    /// Where a person can look at a trace, with `{trace_id}` in it.
    pub trace_url: Option<String>,
    /// Thresholds of the log.
    pub levels: LogLevels,
    /// Whether the log is JSON.
    pub log_json: bool,
    /// What is given, known, and changes nothing.
    pub without_effect: Vec<WithoutEffect>,
    /// What the environment has that looks like a setting and is none; nothing unless filled in.
    pub unknown: Vec<UnknownSetting>,
}

impl Settings {
    /// Reads the settings; `hostname` stands in for a node name that nobody gave.
    pub fn read(lookup: Lookup<'_>, hostname: &str) -> Result<Settings, SettingError> {
        let (monitoring, health) = ports(lookup)?;
        Ok(Settings {
            run_dir: directory(lookup, "CNI_AGENT_RUN_DIR", "/var/run/istio-cni")?,
            node: node(lookup, hostname),
            api: api(lookup)?,
            monitoring,
            health,
            page: page::read(lookup)?,
            pod_namespace: text(lookup, "POD_NAMESPACE", ""),
            pod_name: text(lookup, "POD_NAME", ""),
            exclude_namespaces: list(lookup, "EXCLUDE_NAMESPACES"),
            install: install::read(lookup)?,
            repair: repair::read(lookup)?,
            audit: audit::read(lookup)?,
            startup: startup::read(lookup)?,
            backend: backend(lookup)?,
            runtime_endpoint: runtime_endpoint(lookup)?,
            outbound: audit::outbound(lookup),
            history: size(lookup, "HISTORY_BYTES", DEFAULT_BYTES)?,
            trace_url: trace_url(lookup)?,
            levels: LogLevels::read(&text(lookup, "LOG_OUTPUT_LEVEL", ""))?,
            log_json: boolean(lookup, "LOG_AS_JSON")?,
            without_effect: without_effect::without_effect(lookup),
            unknown: Vec::new(),
        })
    }
}

impl Settings {
    /// The settings by their names, each as `NAME=VALUE`; none of them is a secret. `server` is the API
    /// server's URL, where it is known.
    pub fn describe(&self, server: Option<&str>) -> Vec<String> {
        let kubeconfig = self.api.kubeconfig().map(|path| path.display().to_string()).unwrap_or_default();
        let port = |port: Option<u16>| match port {
            None => "none".to_owned(),
            Some(0) => "auto".to_owned(),
            Some(port) => port.to_string(),
        };
        let mut settings = vec![
            ("CNI_AGENT_RUN_DIR", self.run_dir.display().to_string()),
            ("KUBERNETES_NODE_NAME", self.node.clone()),
            ("KUBECONFIG", kubeconfig),
            ("MONITORING_PORT", port(self.monitoring)),
            ("HEALTH_PORT", port(Some(self.health))),
            ("PAGE_ADDRESS", page::describe(self.page)),
            ("POD_NAMESPACE", self.pod_namespace.clone()),
            ("POD_NAME", self.pod_name.clone()),
            ("EXCLUDE_NAMESPACES", self.exclude_namespaces.join(",")),
            ("REDIRECT_BACKEND", self.backend.name().to_owned()),
            ("HISTORY_BYTES", self.history.to_string()),
            ("TRACE_URL", self.trace_url.clone().unwrap_or_default()),
            ("LOG_OUTPUT_LEVEL", format!("{},cni-plugin:{}", self.levels.agent.name(), self.levels.plugin.name())),
        ];
        settings.extend(server.map(|server| ("API_SERVER", server.to_owned())));
        settings.extend(self.audit.describe());
        settings.extend(self.startup.describe());
        match &self.install {
            Some(install) => settings.extend(install.describe()),
            None => settings.push(("SKIP_INSTALL", "true".to_owned())),
        }
        match &self.repair {
            Some(repair) => settings.extend(repair.describe()),
            None => settings.push(("REPAIR_ENABLED", "false".to_owned())),
        }
        settings.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    }
}

/// The ports of `/metrics` and of the probes: two servers cannot have the same one.
fn ports(lookup: Lookup<'_>) -> Result<(Option<u16>, u16), SettingError> {
    let (monitoring, health) = (port(lookup, "MONITORING_PORT", 15014)?, served_port(lookup, "HEALTH_PORT", 8000)?);
    if health != 0 && monitoring == Some(health) {
        let allowed = "another port than MONITORING_PORT, which is the same: change one of the two, or set one to auto";
        return Err(SettingError { key: "HEALTH_PORT", value: health.to_string(), allowed });
    }
    Ok((monitoring, health))
}

/// The first name that is given. An empty one would select no pod at all, so it is passed over.
fn node(lookup: Lookup<'_>, hostname: &str) -> String {
    let given = ["KUBERNETES_NODE_NAME", "NODE_NAME", "REPAIR_NODE_NAME"].into_iter().filter_map(lookup);
    given.map(|name| name.trim().to_owned()).find(|name| !name.is_empty()).unwrap_or_else(|| hostname.to_owned())
}

fn api(lookup: Lookup<'_>) -> Result<ApiSource, SettingError> {
    if let Some(path) = lookup("KUBECONFIG").filter(|path| !path.is_empty()) {
        return Ok(ApiSource::Kubeconfig(PathBuf::from(path)));
    }
    let host = lookup("KUBERNETES_SERVICE_HOST").filter(|host| !host.is_empty()).ok_or_else(|| SettingError {
        key: "KUBECONFIG",
        value: String::new(),
        allowed: "the path of a kubeconfig, unless the agent runs in a pod, where KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are set",
    })?;
    let account = PathBuf::from(SERVICE_ACCOUNT);
    let ca =
        lookup("KUBE_CA_FILE").filter(|path| !path.is_empty()).map_or_else(|| account.join("ca.crt"), PathBuf::from);
    let port = text(lookup, "KUBERNETES_SERVICE_PORT", "443");
    let port = port.parse().map_err(|_| SettingError {
        key: "KUBERNETES_SERVICE_PORT",
        value: port,
        allowed: "a port, 1 to 65535",
    })?;
    Ok(ApiSource::InCluster { host, port, account, ca })
}

/// As crictl takes it: with `unix://` before the path, or without.
pub fn runtime_endpoint(lookup: Lookup<'_>) -> Result<Option<PathBuf>, SettingError> {
    const KEY: &str = "CONTAINER_RUNTIME_ENDPOINT";
    let value = text(lookup, KEY, "");
    match value.strip_prefix("unix://").unwrap_or(&value) {
        "" => Ok(None),
        path if path.starts_with('/') => Ok(Some(PathBuf::from(path))),
        _ => Err(SettingError { key: KEY, value, allowed: "the absolute path of a unix socket, also after unix://" }),
    }
}

/// The place of the trace's id in a URL.
const TRACE_ID: &str = "{trace_id}";

fn trace_url(lookup: Lookup<'_>) -> Result<Option<String>, SettingError> {
    let value = text(lookup, "TRACE_URL", "");
    match value.trim() {
        "" => Ok(None),
        url if is_trace_url(url) => Ok(Some(url.to_owned())),
        _ => Err(SettingError { key: "TRACE_URL", value, allowed: TRACE_URL_ALLOWED }),
    }
}

/// What the template of a trace's URL may be.
pub const TRACE_URL_ALLOWED: &str =
    "an http or https URL with {trace_id} in it, such as http://jaeger/trace/{trace_id}";

/// Whether it can be the template of a trace's URL.
pub fn is_trace_url(url: &str) -> bool {
    let web = url.starts_with("http://") || url.starts_with("https://");
    web && url.len() <= 2048 && url.contains(TRACE_ID) && !url.contains(|c: char| c.is_control() || c.is_whitespace())
}

fn backend(lookup: Lookup<'_>) -> Result<Backend, SettingError> {
    let given = text(lookup, "REDIRECT_BACKEND", "");
    let known = [Backend::Auto, Backend::Nftables, Backend::Iptables];
    match known.into_iter().find(|backend| backend.name() == given) {
        Some(backend) => Ok(backend),
        None if given.is_empty() && boolean(lookup, "NATIVE_NFTABLES")? => Ok(Backend::Nftables),
        None if given.is_empty() => Ok(Backend::Auto),
        None => Err(SettingError { key: "REDIRECT_BACKEND", value: given, allowed: "auto, nftables or iptables" }),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
