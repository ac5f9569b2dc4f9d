//! What the agent is told about installing the plugin: where from, where to, and what the plugin's
//! own configuration is to be.

use super::value::{SettingError, boolean_or, directory, list, mode, text};
use super::{Lookup, boolean};
use crate::domain::cni_files::Placement;
use crate::wire::netconf::NetConf;
use serde_json::{Number, Value, json};
use std::path::{Path, PathBuf};

/// The configuration that is written where the plugin stands alone.
const STANDALONE: &str = "YYY-istio-cni.conf";
/// The configuration that is written before everybody else's.
const OWNED: &str = "02-istio-cni.conflist";

/// How it is called in the reference's code.
const OWNED_NAME: &str = "ISTIO_OWNED_CNI_CONFIG_FILENAME";
/// How it is called in the reference's chart, whose value the reference's code does not see.
const OWNED_NAME_OF_CHART: &str = "ISTIO_OWNED_CNI_CONF_FILENAME";

/// Where the plugin comes from and where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct InstallSettings {
    /// Every file in it is copied.
    pub source: PathBuf,
    /// The directories that the files are copied to.
    pub targets: Vec<PathBuf>,
    /// The directory of the node's network configuration.
    pub net_dir: PathBuf,
    /// How the plugin gets into it.
    pub placement: Placement,
    /// The copy that an agent with a copy of its own would have made, unless this is one.
    pub former_copy: Option<String>,
    /// The mode of configuration files that are the agent's own.
    pub conf_mode: u32,
    /// `KUBERNETES_SERVICE_PROTOCOL`: how the plugin speaks to the API server.
    pub protocol: String,
    /// The way to the API server that the plugin gets.
    pub credentials: Credentials,
    /// What the plugin is told.
    pub plugin: PluginSettings,
}

/// What the plugin reaches the API server with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A kubeconfig in the run directory.
    File { mode: u32, skip_tls_verify: bool },
    /// Nothing: it depends on the agent.
    None,
}

/// What the plugin is told in its entry.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSettings {
    pub ambient_enabled: bool,
    pub enablement_selectors: Vec<Value>,
    pub enable_ambient_detection_retry: bool,
    pub native_nftables: bool,
    /// The keys of `CONFIGURATION.md` that are set with `PLUGIN_…`.
    pub more: Vec<(String, Value)>,
}

/// The settings, unless the agent is not to install anything.
pub fn read(lookup: Lookup<'_>) -> Result<Option<InstallSettings>, SettingError> {
    if boolean(lookup, "SKIP_INSTALL")? {
        return Ok(None);
    }
    let group_read = boolean(lookup, "CNI_CONF_GROUP_READ")?;
    let source = directory(lookup, "CNI_BIN_SOURCE_DIR", "/opt/cni/bin")?;
    let (placement, copy) = (place(lookup)?, copy_name(lookup)?);
    let is_former = match &placement {
        Placement::Owned { .. } => false,
        Placement::Chained { file } => file.as_ref() != Some(&copy),
        Placement::Standalone { file } => *file != copy,
    };
    Ok(Some(InstallSettings {
        targets: targets(lookup, &source)?,
        source,
        net_dir: directory(lookup, "MOUNTED_CNI_NET_DIR", "/host/etc/cni/net.d")?,
        placement,
        former_copy: is_former.then_some(copy),
        conf_mode: if group_read { 0o640 } else { 0o600 },
        protocol: protocol(lookup)?,
        credentials: credentials(lookup)?,
        plugin: plugin(lookup)?,
    }))
}

impl InstallSettings {
    /// The settings by their names; none of them is a secret.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let shown = |path: &Path| path.display().to_string();
        let targets: Vec<String> = self.targets.iter().map(|target| shown(target)).collect();
        let (chained, owned, file) = match &self.placement {
            Placement::Chained { file } => (true, String::new(), file.clone().unwrap_or_default()),
            Placement::Standalone { file } => (false, String::new(), file.clone()),
            Placement::Owned { file, primary } => (true, file.clone(), primary.clone().unwrap_or_default()),
        };
        let (kubeconfig, mode) = match self.credentials {
            Credentials::File { mode, .. } => ("file", format!("{mode:04o}")),
            Credentials::None => ("none", String::new()),
        };
        vec![
            ("CNI_BIN_SOURCE_DIR", shown(&self.source)),
            ("CNI_BIN_TARGET_DIRS", targets.join(",")),
            ("MOUNTED_CNI_NET_DIR", shown(&self.net_dir)),
            ("CHAINED_CNI_PLUGIN", chained.to_string()),
            ("CNI_CONF_NAME", file),
            (OWNED_NAME, owned),
            ("PLUGIN_KUBECONFIG", kubeconfig.to_owned()),
            ("KUBECONFIG_MODE", mode),
        ]
    }
}

fn targets(lookup: Lookup<'_>, source: &Path) -> Result<Vec<PathBuf>, SettingError> {
    const KEY: &str = "CNI_BIN_TARGET_DIRS";
    let given = match lookup(KEY) {
        None => vec!["/host/opt/cni/bin".to_owned()],
        Some(_) => list(lookup, KEY),
    };
    let wrong = given.is_empty() || given.iter().any(|path| !Path::new(path).is_absolute());
    if wrong {
        let allowed = "a comma list of absolute paths of directories, at least one";
        return Err(SettingError { key: KEY, value: given.join(","), allowed });
    }
    let mut targets: Vec<PathBuf> = given.into_iter().map(PathBuf::from).collect();
    targets.dedup();
    // What is removed at the end must not be what it was copied from.
    if targets.iter().any(|target| target == source) {
        let allowed = "other directories than CNI_BIN_SOURCE_DIR, which the plugin is copied from";
        return Err(SettingError { key: KEY, value: given_text(&targets), allowed });
    }
    Ok(targets)
}

fn given_text(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(",")
}

/// What the copy is called, whether it is made or not.
fn copy_name(lookup: Lookup<'_>) -> Result<String, SettingError> {
    let given = match lookup(OWNED_NAME) {
        Some(_) => file_name(lookup, OWNED_NAME)?,
        None => file_name(lookup, OWNED_NAME_OF_CHART)?,
    };
    Ok(given.unwrap_or_else(|| OWNED.to_owned()))
}

fn place(lookup: Lookup<'_>) -> Result<Placement, SettingError> {
    let named = file_name(lookup, "CNI_CONF_NAME")?;
    if !boolean_or(lookup, "CHAINED_CNI_PLUGIN", true)? {
        return Ok(Placement::Standalone { file: named.unwrap_or_else(|| STANDALONE.to_owned()) });
    }
    if !boolean(lookup, "ISTIO_OWNED_CNI_CONFIG")? {
        return Ok(Placement::Chained { file: named });
    }
    Ok(Placement::Owned { file: copy_name(lookup)?, primary: named })
}

/// A plain file name; none when it is absent or empty.
fn file_name(lookup: Lookup<'_>, key: &'static str) -> Result<Option<String>, SettingError> {
    let value = text(lookup, key, "").trim().to_owned();
    let plain = !value.contains(['/', '\0']) && value != "." && value != ".." && value.len() <= 255;
    match plain {
        true => Ok(Some(value).filter(|name| !name.is_empty())),
        false => Err(SettingError { key, value, allowed: "the name of a file, without its directory" }),
    }
}

fn credentials(lookup: Lookup<'_>) -> Result<Credentials, SettingError> {
    let mode = mode(lookup, "KUBECONFIG_MODE", 0o600)?;
    let skip_tls_verify = boolean(lookup, "SKIP_TLS_VERIFY")?;
    let value = text(lookup, "PLUGIN_KUBECONFIG", "file");
    match value.as_str() {
        "file" | "" => Ok(Credentials::File { mode, skip_tls_verify }),
        "none" => Ok(Credentials::None),
        _ => Err(SettingError { key: "PLUGIN_KUBECONFIG", value, allowed: "file or none" }),
    }
}

fn protocol(lookup: Lookup<'_>) -> Result<String, SettingError> {
    const KEY: &str = "KUBERNETES_SERVICE_PROTOCOL";
    let value = text(lookup, KEY, "https");
    match value.as_str() {
        "" | "https" | "http" => Ok(value),
        _ => Err(SettingError { key: KEY, value, allowed: "https or http" }),
    }
}

fn plugin(lookup: Lookup<'_>) -> Result<PluginSettings, SettingError> {
    Ok(PluginSettings {
        ambient_enabled: boolean(lookup, "AMBIENT_ENABLED")?,
        enablement_selectors: selectors(lookup)?,
        enable_ambient_detection_retry: boolean(lookup, "ENABLE_AMBIENT_DETECTION_RETRY")?,
        native_nftables: boolean(lookup, "NATIVE_NFTABLES")?,
        more: more(lookup)?,
    })
}

fn selectors(lookup: Lookup<'_>) -> Result<Vec<Value>, SettingError> {
    const KEY: &str = "AMBIENT_ENABLEMENT_SELECTOR";
    let value = text(lookup, KEY, "");
    if value.trim().is_empty() {
        return Ok(Vec::new());
    }
    let allowed = "a YAML list of label selectors";
    serde_saphyr::from_str::<Vec<Value>>(&value).map_err(|_| SettingError { key: KEY, value, allowed })
}

/// The plugin's keys that can be set through the agent: the name in the environment, the key, and
/// what it takes.
const PLUGIN_KEYS: [(&str, &str, &str); 8] = [
    ("PLUGIN_STATUS_MODE", "status_mode", "lenient or strict"),
    ("PLUGIN_TRACE_PARENT", "trace_parent", "link or parent"),
    ("PLUGIN_POD_LOOKUP_ATTEMPTS", "pod_lookup_attempts", "a whole number from 1 to 10000"),
    ("PLUGIN_POD_LOOKUP_INTERVAL_MS", "pod_lookup_interval_ms", "whole milliseconds up to an hour"),
    ("PLUGIN_API_TIMEOUT_MS", "api_timeout_ms", MILLISECONDS),
    ("PLUGIN_AGENT_TIMEOUT_MS", "agent_timeout_ms", MILLISECONDS),
    ("PLUGIN_LOCK_TIMEOUT_MS", "lock_timeout_ms", MILLISECONDS),
    ("PLUGIN_TOOL_TIMEOUT_MS", "tool_timeout_ms", MILLISECONDS),
];
const MILLISECONDS: &str = "whole milliseconds from 1 to an hour";

/// The keys that are given. Whether a value can be used is asked of the plugin's own reader.
fn more(lookup: Lookup<'_>) -> Result<Vec<(String, Value)>, SettingError> {
    let mut given = Vec::new();
    for (key, name, allowed) in PLUGIN_KEYS {
        let Some(text) = lookup(key).filter(|text| !text.trim().is_empty()) else { continue };
        let number = text.trim().parse::<u64>().map(|number| Value::Number(Number::from(number)));
        let value = number.unwrap_or_else(|_| Value::String(text.trim().to_owned()));
        let read = NetConf::parse(json!({ name: value }).to_string().as_bytes()).and_then(|conf| conf.settings());
        read.map_err(|_| SettingError { key, value: text, allowed })?;
        given.push((name.to_owned(), value));
    }
    Ok(given)
}

#[cfg(test)]
#[path = "install_tests.rs"]
mod tests;
