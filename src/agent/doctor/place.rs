//! Where on the node doctor looks: as the agent is told, or, for a command on the node that nobody tells anything, where
//! things usually are.

use crate::agent::config::Settings;
use crate::agent::config::install::Credentials;
use crate::domain::cni_files::Placement;
use crate::k8s::client::ApiSource;
use crate::k8s::kubeconfig::FILE_NAME;
use std::path::{Path, PathBuf};

/// The node's root directory as its first process has it, below the host's `/proc`.
const ROOT: &str = "1/root";

/// The places.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The directory of sockets, kubeconfig and spool.
    pub run_dir: PathBuf,
    /// The directory of the node's network configuration, as it is seen here.
    pub net_dir: PathBuf,
    /// The directories of plugins, as they are seen here.
    pub bin_dirs: Vec<PathBuf>,
    /// The image's plugins, where there is an image.
    pub source: Option<PathBuf>,
    /// Where our entry is to stand; None where only the agent knows.
    pub placement: Option<Placement>,
    /// What the agent gives the plugin for the API server; None where only the agent knows.
    pub credentials: Option<Credentials>,
    /// The node's root directory, as it is seen here.
    pub root: PathBuf,
    /// Whether that is the node's, and not that of our own container.
    pub sees_node: bool,
    /// The runtime's socket, where a setting names it.
    pub runtime: Option<PathBuf>,
    /// Whether anything is installed at all.
    pub installs: bool,
}

impl Place {
    /// What these settings say.
    pub fn of(settings: &Settings) -> Place {
        let install = settings.install.as_ref();
        let host_proc = &settings.audit.host_proc;
        let root = host_proc.join(ROOT);
        let in_pod = matches!(settings.api, ApiSource::InCluster { .. });
        // Without the host's /proc a container sees its own first process, and so its own root.
        let sees_node = root.is_dir() && (host_proc != Path::new("/proc") || !in_pod);
        Place {
            run_dir: settings.run_dir.clone(),
            net_dir: install.map(|install| install.net_dir.clone()).unwrap_or_default(),
            bin_dirs: install.map(|install| install.targets.clone()).unwrap_or_default(),
            source: install.map(|install| install.source.clone()),
            placement: install.map(|install| install.placement.clone()),
            credentials: install.map(|install| install.credentials.clone()),
            root: if sees_node { root } else { PathBuf::from("/") },
            sees_node,
            runtime: settings.runtime_endpoint.clone(),
            installs: install.is_some(),
        }
    }

    /// Where things are on a node, for a process that sees the node's own files.
    pub fn on_node() -> Place {
        Place {
            run_dir: PathBuf::from("/var/run/istio-cni"),
            net_dir: PathBuf::from("/etc/cni/net.d"),
            bin_dirs: vec![PathBuf::from("/opt/cni/bin")],
            source: None,
            placement: None,
            credentials: None,
            root: PathBuf::from("/"),
            sees_node: true,
            runtime: None,
            installs: true,
        }
    }

    /// The plugin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.run_dir.join(FILE_NAME)
    }

    /// A path of the node, as it is seen here.
    pub fn on_root(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}
