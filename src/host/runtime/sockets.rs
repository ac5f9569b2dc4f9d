//! Where runtimes have their sockets.

use std::path::{Path, PathBuf};

/// The sockets of the runtimes that Kubernetes is run with, as seen from the node.
pub const KNOWN: &[&str] = &[
    "run/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/k3s/containerd/containerd.sock",
    "run/k0s/containerd.sock",
    "var/snap/microk8s/common/run/containerd.sock",
    "run/cri-dockerd.sock",
    "run/k3s/cri-dockerd/cri-dockerd.sock",
];

/// Docker's own socket. It speaks no CRI, so the kubelet uses it through cri-dockerd only, and nobody asks it.
pub const DOCKER: &str = "run/docker.sock";

/// What only a machine has that runs pods: the directories of kubelets, our plugin, and sockets of runtimes that nothing
/// but Kubernetes uses. Not containerd's own, which comes with Docker to every laptop.
const OF_A_NODE: &[&str] = &[
    "var/lib/kubelet",
    "var/lib/k0s/kubelet",
    "var/snap/microk8s/common/var/lib/kubelet",
    "opt/cni/bin/istio-cni",
    "var/lib/rancher/k3s/agent",
    "var/lib/rancher/rke2/agent",
    "run/crio/crio.sock",
    "run/k3s/containerd/containerd.sock",
    "run/k0s/containerd.sock",
    "run/cri-dockerd.sock",
];

/// Whether the machine with this root directory runs pods, also right after it has booted, when nobody has written
/// anything into `/run` yet.
pub fn looks_like_a_node(root: &Path) -> bool {
    OF_A_NODE.iter().any(|sign| root.join(sign).exists())
}

/// Those that are there, below the node's root directory.
pub fn known_sockets(root: &Path) -> Vec<PathBuf> {
    KNOWN.iter().map(|socket| root.join(socket)).filter(|socket| socket.exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_node_that_has_just_booted_is_one_and_a_laptop_with_docker_is_none() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run/containerd")).unwrap();
        for of_docker in ["run/containerd/containerd.sock", DOCKER] {
            fs::write(root.path().join(of_docker), "").unwrap();
        }
        assert!(!looks_like_a_node(root.path()));
        for sign in OF_A_NODE {
            let machine = tempfile::tempdir().unwrap();
            fs::create_dir_all(machine.path().join(sign)).unwrap();
            assert!(looks_like_a_node(machine.path()), "{sign}");
        }
    }
}
