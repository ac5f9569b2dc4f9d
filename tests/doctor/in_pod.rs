//! `kubectl exec ds/istio-cni-node -- istio-cni-otel doctor`: the view of the DaemonSet's pod, in which the node's
//! directories are mounted where the chart mounts them, and nothing else of the node is there.

use crate::scene::{Findings, Scene, text};
use std::fs;
use std::process::Command;

/// Makes the pod's root directory in a mount namespace of its own, and runs what follows in it: root, the binary, the
/// node's root, the image's plugins, the run directory, then the command line.
const POD: &str = r#"
set -e
root=$1 binary=$2 node=$3 image=$4 run=$5; shift 5
mount -t tmpfs tmpfs "$root"
for directory in bin sbin lib lib64 usr dev proc; do
  if [ -L "/$directory" ]; then cp -P "/$directory" "$root/"
  elif [ -d "/$directory" ]; then mkdir "$root/$directory"; mount --rbind "/$directory" "$root/$directory"
  fi
done
at() { mkdir -p "$root$2"; mount --bind "$1" "$root$2"; }
at "$node/etc/cni/net.d" /host/etc/cni/net.d
at "$node/opt/cni/bin" /host/opt/cni/bin
at "$node" /host/proc/1/root
at "$image" /opt/cni/bin
at "$run" "$run"
touch "$root/istio-cni-otel"; mount --bind "$binary" "$root/istio-cni-otel"
exec chroot "$root" /usr/bin/env -i "$@"
"#;

/// The command in the pod of this scene's agent, with these arguments.
fn in_pod(scene: &Scene, arguments: &[&str]) -> Findings {
    let root = tempfile::tempdir().unwrap();
    let run_dir = scene.runtime.node.run_dir.path();
    let mut command = Command::new("unshare");
    command.arg(if nix::unistd::geteuid().is_root() { "-m" } else { "-Urm" });
    command.args(["sh", "-c", POD, "sh"]).arg(root.path()).arg(env!("CARGO_BIN_EXE_istio-cni-otel"));
    command.arg(scene.root("")).arg(scene.runtime.layout.source()).arg(run_dir);
    for (name, value) in [
        ("CNI_AGENT_RUN_DIR", run_dir.display().to_string()),
        ("KUBECONFIG", scene.kubeconfig().display().to_string()),
        ("HOST_PROC", "/host/proc".to_owned()),
        ("KUBERNETES_NODE_NAME", "node-a".to_owned()),
        ("POD_NAMESPACE", "istio-system".to_owned()),
        ("POD_NAME", "istio-cni-node-x7k2p".to_owned()),
    ] {
        command.arg(format!("{name}={value}"));
    }
    scene.in_time(command.args(["/istio-cni-otel", "doctor", "--output", "json"]).args(arguments))
}

#[test]
fn in_the_daemonsets_pod_the_node_is_looked_at_where_it_is_mounted() {
    let scene = Scene::new();
    let findings = in_pod(&scene, &[]);
    findings.fine();
    for check in ["network.valid", "network.place", "runtime.directory", "kubeconfig.file", "agent.answers"] {
        assert_eq!(findings.of(check)["status"], "ok", "{findings:#?}");
    }
    assert_eq!(text(&findings.of("agent.settings")["what"]), "the agent's settings can be used");

    fs::write(
        scene.runtime.layout.net().join("05-other.conflist"),
        r#"{"cniVersion":"1.0.0","name":"x","plugins":[{"type":"other"}]}"#,
    )
    .unwrap();
    in_pod(&scene, &[]).only("network.place", "problem", "05-other.conflist");
    fs::remove_file(scene.runtime.layout.net().join("05-other.conflist")).unwrap();
    fs::remove_file(scene.runtime.layout.bin().join("istio-cni")).unwrap();
    in_pod(&scene, &[]).only("plugin.binary", "problem", "/opt/cni/bin");
}

#[test]
fn in_the_daemonsets_pod_a_dead_agent_is_the_finding() {
    let scene = Scene::installed();
    let finding = in_pod(&scene, &[]).only("agent.answers", "problem", "nobody answers at");
    assert!(finding["evidence"].to_string().contains("what only an agent knows was not looked at"), "{finding}");
}
