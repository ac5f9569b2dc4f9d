//! The network configuration on standard input: what the framework checks, the reference's keys,
//! and our settings beyond them.

use super::cni::{
    CODE_CONFIG, CODE_DECODING, CODE_VERSION, CniError, NAME_TAKEN, OLDEST_VERSION, SUPPORTED_VERSIONS, is_name,
};
use super::document::{Document, WrongType};
use super::result::{self, CniResult};
use crate::domain::failure::CODE_ISTIO;
use crate::domain::gotext::quote;
use crate::domain::request::{Backend, Bounds, Command};
use crate::domain::step::ErrorType;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file name of the agent's socket in the run directory.
pub const AGENT_SOCKET: &str = "agent.sock";

/// How much of a value a message repeats.
const SHOWN: usize = 40;
/// What to do about standard input that is no configuration.
const INPUT_TAKEN: &str = "standard input takes one whole JSON object, the plugin's configuration with the network's name: check the node's CNI configuration list and the container runtime that passes it on";
/// What to do about a version.
const VERSION_WANTED: &str = "set cniVersion in the node's CNI configuration list accordingly";
/// What to do about a key of ours.
const ENTRY_WANTED: &str = "correct the istio-cni entry in the node's CNI configuration list";

/// When STATUS says that the plugin is not ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StatusMode {
    /// Never merely because the agent is away: the agent's own pod needs the node's network, which
    /// a failing STATUS takes down.
    #[default]
    Lenient,
    /// Whenever an ADD of a meshed pod could not succeed now.
    Strict,
}

/// What the runtime's `TRACEPARENT` becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceParentMode {
    /// A link of the call's span, which stays in the pod's own trace.
    #[default]
    Link,
    /// The parent of the call's span.
    Parent,
}

/// What the plugin may use to ask the API server when the agent does not answer: the key
/// `kubeconfig`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The kubeconfig that the agent keeps in the run directory.
    #[default]
    File,
    /// Nothing: the node keeps no credentials, so the plugin depends on the agent.
    None,
}

/// The settings of a call. Absent keys have the reference's zero values, or our defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `cniVersion` as given; empty means [`OLDEST_VERSION`].
    pub cni_version: String,
    /// `plugin_log_level` as given; empty means `info`.
    pub log_level: String,
    /// `cni_agent_run_dir`; empty means relative paths, as in the reference.
    pub run_dir: PathBuf,
    /// `ambient_enabled`.
    pub ambient_enabled: bool,
    /// `exclude_namespaces`.
    pub exclude_namespaces: Vec<String>,
    /// `pod_namespace`: where the agent runs.
    pub pod_namespace: String,
    /// `redirect_backend`, else `native_nftables`.
    pub backend: Backend,
    /// `pod_lookup_attempts` and the other limits.
    pub bounds: Bounds,
    /// `status_mode`.
    pub status_mode: StatusMode,
    /// `trace_parent`.
    pub trace_parent: TraceParentMode,
    /// `agent_socket`, else `agent.sock` in the run directory.
    pub agent_socket: PathBuf,
    /// `kubeconfig`.
    pub credentials: Credentials,
}

/// A configuration that the framework's checks let through.
#[derive(Clone, Debug)]
pub struct NetConf {
    document: Document,
    cni_version: String,
}

impl NetConf {
    /// Reads the configuration: it must be a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<NetConf, CniError> {
        let document = Document::from_slice(bytes).map_err(|error| undecodable(&error))?;
        Ok(NetConf { document, cni_version: String::new() })
    }

    /// Checks that the network has a usable `name`.
    pub fn check_name(&self) -> Result<(), CniError> {
        let name = self.document.text("name").map_err(|error| undecodable(&error))?;
        if name.is_empty() {
            let error = CniError::new(CODE_CONFIG, ErrorType::ConfigInvalid, "missing network name");
            return Err(error.with_details(format!("give the CNI configuration list a name: {NAME_TAKEN}")));
        }
        if !is_name(name) {
            let error =
                CniError::new(CODE_CONFIG, ErrorType::ConfigInvalid, "invalid characters found in network name");
            let shown: String = name.chars().take(SHOWN).collect();
            return Err(error.with_details(shown).with_details(format!("a network's name takes {NAME_TAKEN}")));
        }
        Ok(())
    }

    /// Checks that the version is spoken, and knows the command.
    pub fn check_version(&mut self, command: Command) -> Result<(), CniError> {
        let text = self.document.text("cniVersion").map_err(|error| {
            let msg = format!("decoding version from network config: {error}");
            CniError::new(CODE_DECODING, ErrorType::ConfigInvalid, msg).with_details(VERSION_WANTED)
        })?;
        text.clone_into(&mut self.cni_version);
        let version = if text.is_empty() { OLDEST_VERSION } else { text };
        let age = |version| SUPPORTED_VERSIONS.iter().position(|supported| *supported == version);
        let Some(age_of_config) = age(version) else {
            let supported = SUPPORTED_VERSIONS.map(quote).join(" ");
            let shown: String = version.chars().take(SHOWN).collect();
            let details = format!("config is {}, plugin supports [{supported}]", quote(&shown));
            return Err(incompatible("incompatible CNI versions").with_details(details).with_details(VERSION_WANTED));
        };
        let since = match command {
            Command::Add | Command::Del => SUPPORTED_VERSIONS[0],
            Command::Check => "0.4.0",
            Command::Gc | Command::Status => "1.1.0",
        };
        if Some(age_of_config) < age(since) {
            let word = command.name().to_ascii_uppercase();
            let details = format!("config is {}, {word} needs {since} or newer", quote(version));
            let error = incompatible(format!("config version does not allow {word}")).with_details(details);
            return Err(error.with_details(VERSION_WANTED));
        }
        Ok(())
    }

    /// Reads the settings; the error names key, value and what is allowed.
    pub fn settings(&self) -> Result<Settings, CniError> {
        let document = &self.document;
        self.check_standard_types().map_err(|error| unparsable(&error))?;
        let text = |key| document.text(key).map(str::to_owned).map_err(|error| unparsable(&error));
        let flag = |key| document.flag(key).map(Option::unwrap_or_default).map_err(|error| unparsable(&error));
        let run_dir = PathBuf::from(text("cni_agent_run_dir")?);
        let agent_socket = agent_socket(&run_dir, &text("agent_socket")?);
        flag("enable_ambient_detection_retry")?;
        document.objects("enablement_selectors").map_err(|error| unparsable(&error))?;
        Ok(Settings {
            cni_version: self.cni_version.clone(),
            log_level: text("plugin_log_level")?,
            ambient_enabled: flag("ambient_enabled")?,
            exclude_namespaces: document.texts("exclude_namespaces").map_err(|error| unparsable(&error))?,
            pod_namespace: text("pod_namespace")?,
            backend: self.backend(flag("native_nftables")?)?,
            bounds: self.bounds()?,
            status_mode: self
                .choice("status_mode", &[("lenient", StatusMode::Lenient), ("strict", StatusMode::Strict)])?,
            trace_parent: self
                .choice("trace_parent", &[("link", TraceParentMode::Link), ("parent", TraceParentMode::Parent)])?,
            agent_socket,
            credentials: self.choice("kubeconfig", &[("file", Credentials::File), ("none", Credentials::None)])?,
            run_dir,
        })
    }

    /// What can be read of the settings when not all of it can, or before it was checked: enough to
    /// say so and to go on with a command that must not fail.
    pub fn lenient_settings(&self) -> Settings {
        let text = |key| self.document.text(key).unwrap_or_default().to_owned();
        let run_dir = PathBuf::from(text("cni_agent_run_dir"));
        Settings {
            cni_version: self.cni_version.clone(),
            log_level: text("plugin_log_level"),
            agent_socket: agent_socket(&run_dir, &text("agent_socket")),
            run_dir,
            ..Settings::default()
        }
    }

    /// The result of the plugins before us, if there is one.
    pub fn prev_result(&self) -> Result<Option<CniResult>, CniError> {
        let Some(document) = self.document.object("prevResult").map_err(|error| unparsable(&error))? else {
            return Ok(None);
        };
        result::parse(&self.cni_version, &document).map(Some).map_err(|error| {
            CniError::new(CODE_ISTIO, ErrorType::ConfigInvalid, format!("could not parse prevResult: {error}"))
                .with_details("the plugin before istio-cni in the CNI configuration list made it: check that one")
        })
    }

    /// The types of the keys that the CNI specification defines, whose values we do not use.
    fn check_standard_types(&self) -> Result<(), WrongType> {
        let document = &self.document;
        document.text("type")?;
        document.object("prevResult")?;
        if let Some(capabilities) = document.object("capabilities")? {
            for (key, _) in capabilities.members() {
                capabilities.flag(key).map_err(|error| error.inside("capabilities"))?;
            }
        }
        if let Some(ipam) = document.object("ipam")? {
            ipam.text("type").map_err(|error| error.inside("ipam"))?;
        }
        result::check_dns(document)?;
        for attachment in document.objects("cni.dev/valid-attachments")?.iter().flatten() {
            attachment.text("containerID")?;
            attachment.text("ifname")?;
        }
        Ok(())
    }

    fn backend(&self, native_nftables: bool) -> Result<Backend, CniError> {
        let named = [Backend::Auto, Backend::Nftables, Backend::Iptables].map(|backend| (backend.name(), backend));
        let given = self.document.get("redirect_backend").is_some();
        let chosen = self.choice("redirect_backend", &named)?;
        Ok(if native_nftables && !given { Backend::Nftables } else { chosen })
    }

    fn bounds(&self) -> Result<Bounds, CniError> {
        const HOUR_MS: i64 = 3_600_000;
        let default = Bounds::default();
        let millis = |key, least, default: Duration| {
            let given = self.number(key, least, HOUR_MS)?;
            let millis = given.map(|millis| Duration::from_millis(millis.unsigned_abs()));
            Ok::<_, CniError>(millis.unwrap_or(default))
        };
        let attempts = self.number("pod_lookup_attempts", 1, 10_000)?;
        Ok(Bounds {
            pod_attempts: attempts.and_then(|number| u32::try_from(number).ok()).unwrap_or(default.pod_attempts),
            pod_interval: millis("pod_lookup_interval_ms", 0, default.pod_interval)?,
            api_timeout: millis("api_timeout_ms", 1, default.api_timeout)?,
            agent_timeout: millis("agent_timeout_ms", 1, default.agent_timeout)?,
            lock_timeout: millis("lock_timeout_ms", 1, default.lock_timeout)?,
            tool_timeout: millis("tool_timeout_ms", 1, default.tool_timeout)?,
        })
    }

    fn number(&self, key: &str, least: i64, most: i64) -> Result<Option<i64>, CniError> {
        match self.document.integer(key).map_err(|error| unparsable(&error))? {
            Some(number) if !(least..=most).contains(&number) => {
                Err(not_allowed(format!("{key} is {number}; allowed is an integer from {least} to {most}")))
            }
            number => Ok(number),
        }
    }

    /// One of a few words; absent or empty is the default.
    fn choice<T: Copy + Default>(&self, key: &str, words: &[(&str, T)]) -> Result<T, CniError> {
        let given = self.document.text(key).map_err(|error| unparsable(&error))?;
        if given.is_empty() {
            return Ok(T::default());
        }
        let found = words.iter().find(|(word, _)| *word == given);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let shown: String = given.chars().take(SHOWN).collect();
            not_allowed(format!("{key} is {}; allowed is one of {}", quote(&shown), allowed.join(", ")))
        })
    }
}

/// Where the agent listens, `given` or not.
fn agent_socket(run_dir: &Path, given: &str) -> PathBuf {
    if given.is_empty() { run_dir.join(AGENT_SOCKET) } else { PathBuf::from(given) }
}

fn undecodable(error: &dyn std::fmt::Display) -> CniError {
    let msg = format!("error unmarshall network config: {error}");
    CniError::new(CODE_DECODING, ErrorType::ConfigInvalid, msg).with_details(INPUT_TAKEN)
}

fn incompatible(msg: impl Into<String>) -> CniError {
    CniError::new(CODE_VERSION, ErrorType::VersionUnsupported, msg)
}

fn not_allowed(what: String) -> CniError {
    let msg = format!("invalid network configuration: {what}");
    CniError::new(CODE_CONFIG, ErrorType::ConfigInvalid, msg).with_details(ENTRY_WANTED)
}

fn unparsable(error: &WrongType) -> CniError {
    let msg = format!("failed to parse network configuration: {error}");
    CniError::new(CODE_ISTIO, ErrorType::ConfigInvalid, msg).with_details(ENTRY_WANTED)
}

#[cfg(test)]
#[path = "netconf_tests.rs"]
mod tests;
