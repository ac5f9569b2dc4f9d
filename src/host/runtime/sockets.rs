//! Where runtimes have their sockets.

use std::path::{Path, PathBuf};

/// The sockets of the runtimes that Kubernetes is run with, as seen from the node.
pub const KNOWN: &[&str] = &[
    "run/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/k3s/containerd/containerd.sock",
    "run/k0s/containerd.sock",
    "var/snap/microk8s/common/run/containerd.sock",
];

/// Those that are there, below the node's root directory.
pub fn known_sockets(root: &Path) -> Vec<PathBuf> {
    KNOWN.iter().map(|socket| root.join(socket)).filter(|socket| socket.exists()).collect()
}
