//! Whether the container runtime reads the directory that is written: asked of a real containerd, and read from files.

use crate::cni_tools::Containerd;
use crate::crio::CriO;
use crate::scene::{Scene, text};
use crate::support::other_users_for;
use crate::support::runtime_node::LIST;
use std::fs;
use std::os::unix::fs::symlink;

/// Makes the node's root show its directories under the paths that a runtime outside knows them by: by a link that
/// is absolute, and so leads to the node's root.
fn with_real_paths(scene: &Scene) {
    let outside = scene.root("");
    let inside = scene.root(outside.to_str().unwrap().trim_matches('/'));
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    symlink("/", inside).unwrap();
}

#[test]
fn containerd_is_asked_and_reads_the_directory_that_is_written() {
    if !other_users_for("a real containerd that is asked which directory it reads") {
        return;
    }
    let scene = Scene::new();
    with_real_paths(&scene);
    let (net, bin) = (scene.runtime.layout.net(), scene.runtime.layout.bin());
    let containerd = Containerd::start(&net, &bin);
    let endpoint = format!("unix://{}", containerd.socket().display());
    let findings = scene.doctor(&["--runtime-endpoint", &endpoint]);
    findings.fine();
    let finding = findings.of("runtime.directory");
    assert!(text(&finding["what"]).starts_with("containerd "), "{finding}");
    assert!(finding["evidence"].to_string().contains(net.to_str().unwrap()), "{finding}");
}

#[test]
fn a_containerd_that_reads_another_directory_is_found_with_the_value_to_set() {
    if !other_users_for("a real containerd that reads another directory") {
        return;
    }
    let scene = Scene::new();
    with_real_paths(&scene);
    let other = tempfile::tempdir().unwrap();
    fs::copy(scene.runtime.layout.net().join(LIST), other.path().join(LIST)).unwrap();
    let bin = scene.runtime.layout.bin();
    let containerd = Containerd::start(other.path(), &bin);
    let endpoint = containerd.socket().display().to_string();
    let finding = scene.doctor(&["--runtime-endpoint", &endpoint]).only(
        "runtime.directory",
        "problem",
        "not the directory that is written",
    );
    assert!(text(&finding["next"]).contains(other.path().to_str().unwrap()), "{finding}");
    // And the same for plugins.
    drop(containerd);
    let containerd = Containerd::start(&scene.runtime.layout.net(), other.path());
    let endpoint = containerd.socket().display().to_string();
    let finding = scene.doctor(&["--runtime-endpoint", &endpoint]).only(
        "runtime.directory",
        "problem",
        "the plugin is put elsewhere",
    );
    assert!(text(&finding["next"]).contains("cni.cniBinDir"), "{finding}");
}

#[test]
fn a_runtime_that_cannot_be_asked_is_read_from_its_files() {
    let scene = Scene::new();
    let finding = scene.doctor(&[]).of("runtime.directory");
    assert_eq!(finding["status"], "ok");
    assert!(finding["evidence"].to_string().contains("etc/containerd/config.toml"), "{finding}");
    fs::create_dir_all(scene.root("var/net.d")).unwrap();
    fs::write(scene.root("etc/containerd/config.toml"), "[x.cni]\nconf_dir = \"/var/net.d\"\n").unwrap();
    scene.doctor(&[]).only("runtime.directory", "problem", "/var/net.d");
}

#[test]
fn a_runtime_of_which_nothing_is_known_is_unknown_and_no_finding() {
    let scene = Scene::new();
    fs::remove_file(scene.root("etc/containerd/config.toml")).unwrap();
    let findings = scene.doctor(&[]);
    findings.fine();
    assert_eq!(findings.of("runtime.directory")["status"], "unknown");
    let nobody = scene.doctor(&["--runtime-endpoint", "/nowhere/containerd.sock"]);
    assert!(nobody.of("runtime.directory")["evidence"].to_string().contains("nobody can be reached"), "{nobody:#?}");
}

#[test]
fn what_containerd_could_not_load_is_said_in_its_words() {
    if !other_users_for("a real containerd that cannot load a configuration") {
        return;
    }
    let scene = Scene::new();
    with_real_paths(&scene);
    scene.runtime.layout.write("00-torn.conflist", "{");
    let containerd = Containerd::start(&scene.runtime.layout.net(), &scene.runtime.layout.bin());
    let endpoint = containerd.socket().display().to_string();
    let findings = scene.doctor(&["--runtime-endpoint", &endpoint]);
    assert_eq!(findings.wrong(), ["network.valid: problem", "runtime.directory: problem"], "{findings:#?}");
    assert!(findings.of("runtime.directory")["what"].to_string().contains("00-torn.conflist"), "{findings:#?}");
}

#[test]
fn a_container_that_does_not_see_the_node_does_not_take_its_own_root_for_it() {
    let scene = Scene::new();
    // In a pod, without the host's /proc: 1/root is the container's own.
    let in_pod = [("KUBECONFIG", ""), ("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("HOST_PROC", "/proc")];
    let findings = scene.doctor_with(&[], &in_pod);
    assert_eq!(findings.of("runtime.directory")["status"], "unknown", "{findings:#?}");
    findings.fine();
}

#[test]
fn cri_o_is_found_at_its_socket_and_its_directories_in_its_files() {
    let scene = Scene::new();
    fs::remove_file(scene.root("etc/containerd/config.toml")).unwrap();
    fs::create_dir_all(scene.root("etc/crio/crio.conf.d")).unwrap();
    fs::create_dir_all(scene.root("run/crio")).unwrap();
    fs::write(scene.root("etc/crio/crio.conf"), "[crio.network]\nplugin_dirs = [\"/opt/cni/bin\"]\n").unwrap();
    let socket = scene.root("run/crio/crio.sock");
    let crio = CriO::start(&socket, None);
    let findings = scene.doctor(&[]);
    findings.fine();
    assert_eq!(findings.of("runtime.directory")["what"], "cri-o 1.33.0 reads the directories that are written");
    fs::write(scene.root("etc/crio/crio.conf.d/10-net.conf"), "[crio.network]\nnetwork_dir = \"/etc/other\"\n")
        .unwrap();
    scene.doctor(&[]).only("runtime.directory", "problem", "/etc/other");
    fs::remove_file(scene.root("etc/crio/crio.conf.d/10-net.conf")).unwrap();
    drop(crio);
    fs::remove_file(&socket).unwrap();
    let _crio = CriO::start(&socket, Some("No CNI configuration file in /etc/cni/net.d/"));
    scene.doctor(&[]).only("runtime.directory", "problem", "No CNI configuration file");
}
