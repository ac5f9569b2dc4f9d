//! Where on the node doctor looks: as the agent is told, or, for a command on the node that nobody tells anything, where
//! things usually are.

use super::{network, runtime, runtime_directory};
use crate::agent::config::install::Credentials;
use crate::agent::config::{Lookup, Settings};
use crate::domain::cni_files::{PLUGIN_TYPE, Placement};
use crate::host::runtime::configured;
use crate::k8s::client::ApiSource;
use crate::k8s::kubeconfig::FILE_NAME;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Whether somebody who knows has named the directory of network configuration: a setting, a flag or the runtime.
    pub knows_net_dir: bool,
    /// The same of the directories of plugins.
    pub knows_bin_dirs: bool,
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
            knows_net_dir: true,
            knows_bin_dirs: true,
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
            knows_net_dir: false,
            knows_bin_dirs: false,
        }
    }

    /// Where things are in the agent's pod, as far as its environment says so and else as the chart has it: for settings
    /// of which something is wrong.
    pub fn in_pod(lookup: Lookup<'_>) -> Place {
        let given =
            |key: &str, usual: &str| lookup(key).filter(|given| !given.is_empty()).unwrap_or_else(|| usual.to_owned());
        let root = Path::new(&given("HOST_PROC", "/host/proc")).join(ROOT);
        let sees_node = root.is_dir();
        Place {
            net_dir: given("MOUNTED_CNI_NET_DIR", "/host/etc/cni/net.d").into(),
            bin_dirs: given("CNI_BIN_TARGET_DIRS", "/host/opt/cni/bin").split(',').map(PathBuf::from).collect(),
            root: if sees_node { root } else { PathBuf::from("/") },
            sees_node,
            knows_net_dir: true,
            knows_bin_dirs: true,
            ..Place::on_node()
        }
    }

    /// The same with the directories that the runtime says it reads, within the limit, where nobody has named them. What
    /// nobody names stays where things usually are, and counts as known only if something of ours is there.
    pub fn asked(mut self, limit: Duration) -> Place {
        if self.knows_net_dir && self.knows_bin_dirs {
            return self;
        }
        let (mut answered, _) = runtime::asked(&self, limit);
        let view = match (answered.pop(), answered.is_empty()) {
            (Some(view), true) => Some(runtime_directory::with_files(view, &self)),
            (None, _) => configured(&self.root, None),
            // Of several it is not known which one the kubelet uses.
            (Some(_), false) => None,
        };
        let view = view.filter(|view| !view.conf_dir.is_empty()).unwrap_or_default();
        if !self.knows_net_dir {
            self.net_dir = if view.conf_dir.is_empty() { self.net_dir } else { self.on_root(&view.conf_dir) };
            self.knows_net_dir = !view.conf_dir.is_empty() || network::has_ours(&self);
        }
        if !self.knows_bin_dirs {
            let read: Vec<PathBuf> = view.bin_dirs.iter().map(|directory| self.on_root(directory)).collect();
            // The plugin is in one of them.
            let has_it = |directory: &&PathBuf| directory.join(PLUGIN_TYPE).exists();
            let one = read.iter().find(has_it).or(read.first()).cloned();
            self.bin_dirs = one.clone().map_or(self.bin_dirs, |directory| vec![directory]);
            self.knows_bin_dirs = one.is_some() || self.bin_dirs.iter().any(|directory| has_it(&directory));
        }
        self
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A node of k3s: what it reads is not where things usually are.
    fn k3s() -> (tempfile::TempDir, Place) {
        let root = tempfile::tempdir().unwrap();
        let [net, bin] = ["etc/cni/net.d", "opt/cni/bin"].map(|path| root.path().join(path));
        [&net, &bin].into_iter().for_each(|path| fs::create_dir_all(path).unwrap());
        let place = Place { root: root.path().to_owned(), net_dir: net, bin_dirs: vec![bin], ..Place::on_node() };
        (root, place)
    }

    #[test]
    fn nobody_says_where_a_node_has_its_files_unless_something_of_ours_is_there() {
        let (root, place) = k3s();
        let found = place.clone().asked(Duration::from_secs(20));
        assert_eq!(found, place, "nothing is known");
        fs::write(root.path().join("opt/cni/bin/istio-cni"), "").unwrap();
        let found = place.asked(Duration::from_secs(20));
        assert!(found.knows_bin_dirs && !found.knows_net_dir);
    }

    #[test]
    fn the_runtimes_files_say_where_they_are() {
        let (root, place) = k3s();
        let config = root.path().join("var/lib/rancher/k3s/agent/etc/containerd");
        fs::create_dir_all(&config).unwrap();
        fs::write(config.join("config.toml"), "conf_dir = \"/k3s/net.d\"\nbin_dirs = [\"/k3s/a\", \"/k3s/b\"]\n")
            .unwrap();
        fs::create_dir_all(root.path().join("k3s/b")).unwrap();
        fs::write(root.path().join("k3s/b/istio-cni"), "").unwrap();
        let found = place.clone().asked(Duration::from_secs(20));
        assert_eq!((found.net_dir, found.bin_dirs), (root.path().join("k3s/net.d"), vec![root.path().join("k3s/b")]));
        assert!(found.knows_net_dir && found.knows_bin_dirs);
        let named = Place { knows_net_dir: true, ..place };
        assert_eq!(named.clone().asked(Duration::from_secs(20)).net_dir, named.net_dir, "a flag wins");
    }
}
