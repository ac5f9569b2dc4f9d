//! A node's directories as the DaemonSet's container sees them, for an agent that installs: an image with
//! the plugin that is measured, and a node with a primary network configuration.

use super::api::Api;
use super::objects::{AGENT_POD, NAMESPACE};
use super::world::kubeconfig;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const PRIMARY: &str = "10-primary.conflist";

/// The directories.
pub struct Node {
    root: PathBuf,
}

impl Node {
    /// A node on which nothing is installed yet.
    pub fn new(parent: &Path, name: &str, binaries: &Path, api: &Api) -> Node {
        let node = Node { root: parent.join(name) };
        for directory in [node.source(), node.bin(), node.net(), node.run_dir()] {
            fs::create_dir_all(directory).expect("a directory");
        }
        fs::copy(binaries.join("istio-cni"), node.source().join("istio-cni")).expect("the image's plugin");
        let primary = json!({"cniVersion": "1.0.0", "name": "pod-network", "plugins": [
            {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]}},
            {"type": "portmap", "capabilities": {"portMappings": true}}]});
        fs::write(node.net().join(PRIMARY), format!("{primary:#}\n")).expect("a primary");
        kubeconfig(&node.agents_kubeconfig(), api);
        node
    }

    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }

    /// What tells an agent to install here.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.display().to_string();
        vec![
            ("SKIP_INSTALL", "false".to_owned()),
            ("CNI_BIN_SOURCE_DIR", text(self.source())),
            ("CNI_BIN_TARGET_DIRS", text(self.bin())),
            ("MOUNTED_CNI_NET_DIR", text(self.net())),
            ("KUBECONFIG", text(self.agents_kubeconfig())),
            ("POD_NAMESPACE", NAMESPACE.to_owned()),
            ("POD_NAME", AGENT_POD.to_owned()),
        ]
    }

    /// Whether the plugin, its kubeconfig and its place in the chain are there.
    pub fn is_installed(&self) -> bool {
        let list = fs::read(self.net().join(PRIMARY)).unwrap_or_default();
        let list: Value = serde_json::from_slice(&list).unwrap_or_default();
        let last = list["plugins"].as_array().and_then(|plugins| plugins.last());
        let files = [self.bin().join("istio-cni"), self.run_dir().join("istio-cni-kubeconfig")];
        last.is_some_and(|plugin| plugin["type"] == "istio-cni") && files.iter().all(|file| file.exists())
    }

    /// Takes it away: many nodes with a plugin each are much for a temporary directory.
    pub fn remove(self) {
        fs::remove_dir_all(&self.root).expect("a directory that is ours");
    }

    fn source(&self) -> PathBuf {
        self.root.join("image/opt/cni/bin")
    }

    fn bin(&self) -> PathBuf {
        self.root.join("host/opt/cni/bin")
    }

    fn net(&self) -> PathBuf {
        self.root.join("host/etc/cni/net.d")
    }

    /// Another file than the plugin's, so that the plugin's has to be written.
    fn agents_kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }
}
