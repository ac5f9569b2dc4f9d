//! The node as the installation sees it: its binaries, the plugin's kubeconfig and the network
//! configuration, each with what it should be at the moment.

use super::credentials::{KUBECONFIG, PluginKubeconfig};
use super::network::Network;
use crate::agent::backend::Decision;
use crate::agent::config::Settings;
use crate::agent::config::install::{Credentials, InstallSettings};
use crate::agent::log_control::LogControl;
use crate::domain::install::{Finding, Part};
use crate::domain::request::Backend;
use crate::host::binaries::Binaries;
use crate::ops::install::InstallTarget;
use crate::ops::ports::BoxedError;
use crate::telemetry::pipeline::Telemetry;
use crate::wire::conflist::PluginEntry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The node.
pub struct Node {
    binaries: Binaries,
    kubeconfig: PluginKubeconfig,
    network: Network,
    /// The plugin's entry, apart from what may change while the agent runs.
    entry: PluginEntry,
    wanted_backend: Backend,
    backend: Decision,
    log: Arc<LogControl>,
}

impl Node {
    /// The node that these settings are about.
    pub fn new(
        settings: &Settings,
        install: &InstallSettings,
        backend: Decision,
        log: Arc<LogControl>,
        telemetry: Telemetry,
    ) -> Node {
        let kubeconfig = PluginKubeconfig {
            path: settings.run_dir.join(KUBECONFIG),
            credentials: install.credentials.clone(),
            api: settings.api.clone(),
            protocol: install.protocol.clone(),
            telemetry: telemetry.clone(),
            written: Mutex::default(),
        };
        Node {
            binaries: Binaries::new(&install.source, &install.targets),
            kubeconfig,
            network: Network { settings: install.clone(), telemetry, known: Mutex::default() },
            entry: entry(settings, install),
            wanted_backend: settings.backend,
            backend,
            log,
        }
    }

    /// The file in which the plugin's entry stands, as far as is known.
    pub fn conflist(&self) -> Option<String> {
        self.network.file()
    }

    /// The names by which whoever writes the network configuration may be known.
    pub fn names(&self) -> Vec<String> {
        self.network.names()
    }

    /// The directory of the network configuration.
    pub fn net_dir(&self) -> String {
        self.network.settings.net_dir.display().to_string()
    }

    /// The directories whose changes may be changes of what is installed.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories = self.binaries.directories();
        directories.push(self.network.settings.net_dir.clone());
        let files = crate::k8s::plugin_kubeconfig::files(&self.kubeconfig.api);
        let files = files.iter().chain([&self.kubeconfig.path]);
        directories.extend(files.filter_map(|file| Some(file.parent()?.to_owned())));
        directories
    }

    /// What the plugin is to be told now.
    fn wanted_entry(&self) -> PluginEntry {
        let decided = self.backend.borrow().as_ref().map_or(self.wanted_backend, |chosen| chosen.backend);
        PluginEntry {
            plugin_log_level: self.log.look().plugin.name().to_owned(),
            redirect_backend: Some(decided.name().to_owned()),
            ..self.entry.clone()
        }
    }
}

fn entry(settings: &Settings, install: &InstallSettings) -> PluginEntry {
    PluginEntry {
        plugin_log_level: String::new(),
        cni_agent_run_dir: settings.run_dir.display().to_string(),
        ambient_enabled: install.plugin.ambient_enabled,
        enablement_selectors: install.plugin.enablement_selectors.clone(),
        exclude_namespaces: settings.exclude_namespaces.clone(),
        pod_namespace: settings.pod_namespace.clone(),
        native_nftables: install.plugin.native_nftables,
        enable_ambient_detection_retry: install.plugin.enable_ambient_detection_retry,
        redirect_backend: None,
        without_kubeconfig: install.credentials == Credentials::None,
        extra: install.plugin.more.clone(),
    }
}

impl InstallTarget for Node {
    fn look(&self, part: Part) -> Finding {
        match part {
            Part::Binaries => self.binaries.look(),
            Part::Kubeconfig => self.kubeconfig.look(),
            Part::Conflist => self.network.look(&self.wanted_entry()),
        }
    }

    fn put(&self, part: Part) -> Result<Vec<String>, BoxedError> {
        match part {
            Part::Binaries => self.binaries.put().map_err(BoxedError::new),
            Part::Kubeconfig => self.kubeconfig.put(),
            Part::Conflist => self.network.put(&self.wanted_entry()).map_err(BoxedError::new),
        }
    }

    fn remove(&self, part: Part) -> Result<Vec<String>, BoxedError> {
        match part {
            Part::Binaries => self.binaries.remove().map_err(BoxedError::new),
            Part::Kubeconfig => self.kubeconfig.remove(),
            Part::Conflist => self.network.remove().map_err(BoxedError::new),
        }
    }
}
