//! Whether the container runtime reads the directory that is written: asked of a real containerd, and read from files.

use crate::cni_tools::Containerd;
use crate::crio::Says;
use crate::scene::{Scene, Seen, text};
use crate::support::other_users_for;
use crate::support::runtime_node::LIST;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

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
    let mut scene = Scene::new();
    scene.containerd = None;
    let findings = scene.doctor(&[]);
    findings.fine();
    let ready = findings.of("runtime.ready");
    assert!(ready["status"] == "unknown" && ready["evidence"].to_string().contains("run/crio/crio.sock"), "{ready}");
    let finding = findings.of("runtime.directory");
    assert_eq!(finding["status"], "ok");
    assert!(finding["evidence"].to_string().contains("etc/containerd/config.toml"), "{finding}");
    fs::create_dir_all(scene.root("var/net.d")).unwrap();
    fs::write(scene.root("etc/containerd/config.toml"), "[x.cni]\nconf_dir = \"/var/net.d\"\n").unwrap();
    scene.doctor(&[]).only("runtime.directory", "problem", "/var/net.d");
}

/// Nothing is known of its directories, so that nothing else speaks for it.
fn without_files(scene: &Scene) {
    fs::remove_file(scene.root("etc/containerd/config.toml")).unwrap();
}

#[test]
fn a_runtime_of_which_nothing_is_known_is_unknown_and_no_finding() {
    let mut scene = Scene::new();
    without_files(&scene);
    scene.containerd = None;
    let findings = scene.doctor(&[]);
    findings.fine();
    assert_eq!(findings.of("runtime.directory")["status"], "unknown");
    let named = ["--runtime-endpoint", "/nowhere/containerd.sock"];
    scene.doctor(&named).only("runtime.ready", "warning", "there is no socket at /nowhere/containerd.sock");
}

pub fn a_runtime_that_hangs_refuses_or_is_broken_is_heard_of() -> Seen {
    let mut scene = Scene::new();
    without_files(&scene);
    scene.runtime_says("run/containerd/containerd.sock", Says { refuses: true, ..Says::default() });
    let refused = scene.doctor(&[]).only("runtime.ready", "problem", "answers with an error");
    assert!(refused["evidence"].to_string().contains("unknown service"), "{refused}");
    let broken = Says { broken: Some("the shim is gone"), ..Says::crio() };
    scene.runtime_says("run/crio/crio.sock", broken);
    scene.doctor(&[]).only("runtime.ready", "problem", "cri-o 1.33.0 is not ready: the shim is gone");
    scene.containerd = None;
    // It is there, and takes nobody's call.
    let _silent = UnixListener::bind(scene.root("run/containerd/containerd.sock")).unwrap();
    scene.doctor(&[]).only("runtime.ready", "problem", "did not answer within 1000 ms")
}

#[test]
fn a_runtime_that_is_gone_is_no_trouble_beside_one_that_answers() {
    let scene = Scene::new();
    fs::create_dir_all(scene.root("run/crio")).unwrap();
    let _silent = UnixListener::bind(scene.root("run/crio/crio.sock")).unwrap();
    let findings = scene.doctor(&[]);
    findings.fine();
    assert_eq!(findings.of("runtime.ready")["what"], "containerd 1.33.0 answers, and can start pods");
    assert!(findings.of("runtime.ready")["evidence"].to_string().contains("crio.sock did not answer"), "{findings:#?}");
}

#[test]
fn docker_is_said_not_to_say_its_directories_and_is_not_asked_itself() {
    let mut scene = Scene::new();
    without_files(&scene);
    scene.runtime_says("run/cri-dockerd.sock", Says { name: "docker", ..Says::default() });
    let findings = scene.doctor(&[]);
    findings.fine();
    assert_eq!(findings.of("runtime.ready")["status"], "ok");
    let directory = findings.of("runtime.directory");
    assert!(directory["status"] == "unknown" && text(&directory["what"]).contains("--cni-conf-dir"), "{directory}");
    scene.containerd = None;
    let _docker = UnixListener::bind(scene.root("run/docker.sock")).unwrap();
    let ready = scene.doctor(&[]).of("runtime.ready");
    assert!(ready["status"] == "unknown" && ready["evidence"].to_string().contains("cri-dockerd only"), "{ready}");
}

#[test]
fn a_command_that_nobody_tells_anything_looks_where_the_runtime_reads() {
    let mut scene = Scene::installed();
    let (net, bin) = (scene.runtime.layout.net(), scene.runtime.layout.bin());
    let says = Says::containerd(net.to_str().unwrap(), bin.to_str().unwrap());
    scene.runtime_says("run/k3s/containerd/containerd.sock", says);
    let socket = scene.root("run/k3s/containerd/containerd.sock");
    let findings = scene.doctor_on_node_with(0, &["--runtime-endpoint", socket.to_str().unwrap()]);
    findings.only("agent.answers", "problem", "nobody answers at");
    for check in ["plugin.binary", "network.valid", "network.place", "runtime.ready", "runtime.directory"] {
        assert_eq!(findings.of(check)["status"], "ok", "{findings:#?}");
    }
    fs::remove_file(bin.join("istio-cni")).unwrap();
    let findings = scene.doctor_on_node_with(0, &["--runtime-endpoint", socket.to_str().unwrap()]);
    findings.with_its_cause("plugin.binary", "problem", "is missing", &["agent.answers: problem"]);
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
    assert_eq!(findings.wrong(), ["network.valid: problem", "runtime.ready: problem"], "{findings:#?}");
    assert!(findings.of("runtime.ready")["what"].to_string().contains("00-torn.conflist"), "{findings:#?}");
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
fn cri_o_is_asked_for_its_directories_and_else_they_are_read_from_its_files() {
    let mut scene = Scene::new();
    without_files(&scene);
    fs::create_dir_all(scene.root("etc/crio/crio.conf.d")).unwrap();
    fs::write(scene.root("etc/crio/crio.conf"), "[crio.network]\nplugin_dirs = [\"/opt/cni/bin\"]\n").unwrap();
    scene.runtime_says("run/crio/crio.sock", Says::crio());
    let findings = scene.doctor(&[]);
    findings.fine();
    assert_eq!(findings.of("runtime.directory")["what"], "cri-o 1.33.0 reads the directories that are written");
    fs::write(scene.root("etc/crio/crio.conf.d/10-net.conf"), "[crio.network]\nnetwork_dir = \"/etc/other\"\n")
        .unwrap();
    scene.doctor(&[]).only("runtime.directory", "problem", "/etc/other");
    // What runs may have been started with other flags than its files say.
    let config = Some("[crio.network]\nnetwork_dir = \"/etc/cni/net.d/\"\nplugin_dirs = [\"/opt/cni/bin/\"]\n");
    scene.runtime_says("run/crio/crio.sock", Says { config, ..Says::crio() });
    scene.doctor(&[]).fine();
    let no_network = Some("No CNI configuration file in /etc/cni/net.d/");
    scene.runtime_says("run/crio/crio.sock", Says { config, no_network, ..Says::crio() });
    scene.doctor(&[]).only("runtime.ready", "problem", "No CNI configuration file");
}

pub fn a_runtime_that_reads_another_directory_is_found() -> Seen {
    let mut scene = Scene::new();
    fs::create_dir_all(scene.root("var/net.d")).unwrap();
    scene.runtime_says("run/containerd/containerd.sock", Says::containerd("/var/net.d", "/opt/cni/bin"));
    let seen =
        scene.doctor(&[]).only("runtime.directory", "problem", "reads its network configuration from /var/net.d");
    assert!(text(&seen["next"]).contains("cni.cniConfDir to /var/net.d"), "{seen}");
    seen
}
