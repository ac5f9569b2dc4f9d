//! A node's directories as the DaemonSet's container sees them: the image's plugin, the node's
//! directories of plugins and of network configuration.

use super::Node;
use super::agent::Agent;
use super::api::Api;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The directories, gone when this is dropped.
pub struct Layout {
    root: tempfile::TempDir,
}

/// A primary as many nodes have it, with what a careless writer would lose.
pub const PRIMARY: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "pod-network",
  "zone": 12345678901234567890123,
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"#;

impl Layout {
    /// The image has the real plugin; the node has nothing yet.
    pub fn new() -> Layout {
        let layout = Layout { root: tempfile::tempdir().unwrap() };
        for directory in ["opt/cni/bin", "host/opt/cni/bin", "host/etc/cni/net.d"] {
            fs::create_dir_all(layout.root.path().join(directory)).unwrap();
        }
        let plugin = layout.source().join("istio-cni");
        fs::copy(env!("CARGO_BIN_EXE_istio-cni"), &plugin).unwrap();
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
        layout
    }

    /// The same with a primary in place.
    pub fn with_primary() -> Layout {
        let layout = Layout::new();
        layout.write("10-primary.conflist", PRIMARY);
        layout
    }

    /// The image's plugins.
    pub fn source(&self) -> PathBuf {
        self.root.path().join("opt/cni/bin")
    }

    /// The node's plugins.
    pub fn bin(&self) -> PathBuf {
        self.root.path().join("host/opt/cni/bin")
    }

    /// The node's network configuration.
    pub fn net(&self) -> PathBuf {
        self.root.path().join("host/etc/cni/net.d")
    }

    /// Writes a file of the network configuration as others do: in place.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.net().join(name), text).unwrap();
    }

    /// A file of the network configuration, if it is there.
    pub fn read(&self, name: &str) -> Option<Value> {
        Some(serde_json::from_slice(&fs::read(self.net().join(name)).ok()?).unwrap())
    }

    /// The plugins' types in a list.
    pub fn chain(&self, name: &str) -> Vec<String> {
        let list = self.read(name).unwrap_or_else(|| json!({"plugins": []}));
        let kind = |plugin: &Value| plugin["type"].as_str().unwrap().to_owned();
        list["plugins"].as_array().unwrap().iter().map(kind).collect()
    }

    /// Starts an agent that installs here.
    pub fn start(&self, node: &Node, api: &Api, more: &[(&str, &str)]) -> Agent {
        node.write_kubeconfig(&format!("http://{}", api.address));
        let directories = self.environment();
        let environment: Vec<(&str, &str)> =
            directories.iter().map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied()).collect();
        Agent::start_with(node, &environment)
    }

    /// What tells an agent of these directories.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("SKIP_INSTALL", "false".to_owned()),
            ("CNI_BIN_SOURCE_DIR", text(&self.source())),
            ("CNI_BIN_TARGET_DIRS", text(&self.bin())),
            ("MOUNTED_CNI_NET_DIR", text(&self.net())),
            ("POD_NAMESPACE", "istio-system".to_owned()),
            ("POD_NAME", "istio-cni-node-x7k2p".to_owned()),
            ("EXCLUDE_NAMESPACES", "kube-system".to_owned()),
        ]
    }
}
