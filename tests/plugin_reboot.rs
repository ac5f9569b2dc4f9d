//! A node that has just booted: the network configuration and the plugin are there, the run directory
//! is empty, missing, or cannot be written, and nobody runs yet. What must start starts; everything
//! else waits, at once, and says for whom.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::telemetry::story::error_type_of;
use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::*;

/// Nothing of it may take longer. Most of it is the start of a process on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How the run directory is after the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunDir {
    Empty,
    Missing,
    /// Neither is the directory above it.
    MissingWithParents,
    ReadOnly,
    /// Nor can it be made.
    MissingOnReadOnly,
    /// Something else is in its place.
    File,
}

const RUN_DIRS: [RunDir; 6] = [
    RunDir::Empty,
    RunDir::Missing,
    RunDir::MissingWithParents,
    RunDir::ReadOnly,
    RunDir::MissingOnReadOnly,
    RunDir::File,
];

/// A booted node: where its run directory should be, below a directory that has nothing else.
struct Booted {
    /// Gone before the directory of the node is.
    _read_only: Option<ReadOnly>,
    node: Node,
    run_dir: PathBuf,
}

/// A directory in place of which is an empty file system that nobody can write to; past a
/// directory's mode root would write.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn at(directory: &Path) -> ReadOnly {
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>).unwrap();
        ReadOnly(directory.to_owned())
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        umount(&self.0).unwrap();
    }
}

fn booted(kind: RunDir) -> Booted {
    let node = Node::new();
    let root = node.run_dir.path().to_owned();
    let run_dir = match kind {
        RunDir::MissingWithParents => root.join("var/run/istio-cni"),
        _ => root.join("istio-cni"),
    };
    let mut mounted = None;
    match kind {
        RunDir::Empty => fs::create_dir(&run_dir).unwrap(),
        RunDir::Missing | RunDir::MissingWithParents => {}
        RunDir::ReadOnly => {
            fs::create_dir(&run_dir).unwrap();
            mounted = Some(ReadOnly::at(&run_dir));
        }
        RunDir::MissingOnReadOnly => mounted = Some(ReadOnly::at(&root)),
        RunDir::File => fs::write(&run_dir, "not a directory").unwrap(),
    }
    // As the installer writes it: a real node's limits, so that what would wait, waits.
    let node = node
        .conf("cni_agent_run_dir", json!(run_dir))
        .conf("pod_lookup_attempts", json!(null))
        .conf("pod_lookup_interval_ms", json!(null))
        .conf("agent_timeout_ms", json!(null));
    Booted { _read_only: mounted, node, run_dir }
}

/// All paths below a directory, relative to it.
fn tree(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap().map(|entry| entry.unwrap()) {
            found.push(entry.path().strip_prefix(directory).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

impl Booted {
    fn args(self, args: &str) -> Booted {
        Booted { node: self.node.env("CNI_ARGS", args), ..self }
    }

    fn conf(self, key: &str, value: Value) -> Booted {
        Booted { node: self.node.conf(key, value), ..self }
    }

    /// A call that comes back at once.
    fn call(&self, command: &str, netns: &str) -> Answer {
        let start = Instant::now();
        let answer = self.node.call(command, netns);
        assert!(start.elapsed() < AT_ONCE, "{command} took {:?}: {answer:?}", start.elapsed());
        answer
    }

    /// Telemetry may be in the run directory, where it can be; nothing is anywhere else.
    fn leaves_nothing_elsewhere(&self, kind: RunDir) {
        let root = self.node.run_dir.path();
        let run_dir = self.run_dir.strip_prefix(root).unwrap().display().to_string();
        for path in tree(root) {
            let own = path == run_dir || path.starts_with(&format!("{run_dir}/")) || run_dir.starts_with(&path);
            assert!(own, "{kind:?}: {path} is in the wrong place");
            let inside = path.strip_prefix(&format!("{run_dir}/")).unwrap_or("istio-cni.log");
            let known = inside == "istio-cni.log" || inside == "spool" || inside.starts_with("spool/");
            assert!(known && !inside.contains("unfinished"), "{kind:?}: {path} should not be there");
        }
    }
}

#[test]
fn the_agents_own_pod_excluded_namespaces_and_other_sandboxes_start() {
    let started = [
        "K8S_POD_NAMESPACE=istio-system;K8S_POD_NAME=istio-cni-node-x7k2p",
        "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=coredns-0",
        "IgnoreUnknown=1;OTHER=1",
    ];
    for kind in RUN_DIRS {
        for args in started {
            let booted = booted(kind).args(args);
            let answer = booted.call("ADD", "/nonexistent");
            assert_eq!(answer.result(), prev_result(), "{kind:?}, {args}");
            booted.leaves_nothing_elsewhere(kind);
        }
    }
}

#[test]
fn every_other_pod_waits_and_the_error_says_for_whom() {
    for kind in RUN_DIRS {
        for command in ["ADD", "CHECK"] {
            let booted = booted(kind);
            let pod = Namespace::new();
            let (code, message) = booted.call(command, &pod.path()).error();
            assert_eq!(code, 999);
            assert!(pod.nft_tables().is_empty());
            booted.leaves_nothing_elsewhere(kind);
            if kind == RunDir::File {
                assert!(message.contains("Not a directory"), "{message}");
                continue;
            }
            let expected = format!(
                "failed to createNewK8sClient: the node agent has not started yet on this node, for there is neither its \
                 socket {0}/agent.sock nor the kubeconfig {0}/istio-cni-kubeconfig; the pod waits, and the kubelet tries \
                 again by itself; if this lasts, check the istio-cni-node pod of this node in namespace istio-system, and \
                 that cni_agent_run_dir is its run directory; step pod.lookup, trace {TRACE}",
                booted.run_dir.display()
            );
            assert_eq!(message, expected, "{kind:?}");
        }
    }
}

#[test]
fn what_goes_goes_and_the_status_is_lenient_unless_it_is_strict() {
    for kind in RUN_DIRS {
        let booted = booted(kind).conf("cniVersion", json!("1.1.0")).conf("prevResult", json!(null));
        for (command, netns) in [("DEL", "/nonexistent"), ("DEL", ""), ("GC", "")] {
            let answer = booted.call(command, netns);
            assert!(answer.success && answer.stdout.is_empty(), "{kind:?}: {answer:?}");
        }
        booted.leaves_nothing_elsewhere(kind);
        let before = tree(booted.node.run_dir.path());
        assert!(booted.call("STATUS", "").success, "{kind:?}");
        let booted = booted.conf("status_mode", json!("strict"));
        let (code, message) = booted.call("STATUS", "").error();
        assert!([50, 51].contains(&code) && message.contains("istio-cni-kubeconfig"), "{kind:?}: {message}");
        assert_eq!(tree(booted.node.run_dir.path()), before, "{kind:?}: a runtime asks often");
        let version = booted.call("VERSION", "");
        assert!(version.success && version.stdout.contains("supportedVersions"), "{version:?}");
    }
}

#[test]
fn what_was_told_meanwhile_is_private_and_waits_for_the_agent() {
    for kind in [RunDir::Empty, RunDir::Missing, RunDir::MissingWithParents] {
        let booted = booted(kind);
        booted.call("ADD", &Namespace::new().path()).error();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(booted.run_dir.join("spool")), 0o700);
        assert_eq!(mode(booted.run_dir.join("istio-cni.log")), 0o600);
        let spooled = Node::new();
        fs::rename(booted.run_dir.join("spool"), spooled.path("spool")).unwrap();
        let [told] = &spooled.spooled()[..] else { panic!("one batch") };
        let lookup = told.spans.iter().find(|span| span.name == "pod.lookup").unwrap();
        assert_eq!(error_type_of(lookup), Some(ErrorType::KubeconfigMissing));
    }
}

#[test]
fn a_relative_run_directory_leaves_nothing_where_the_runtime_is() {
    let elsewhere = tempfile::tempdir().unwrap();
    let node = Node::new().conf("cni_agent_run_dir", json!("run/istio-cni"));
    let pod = Namespace::new();
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_istio-cni"));
    plugin.env_clear().envs(node.environment.clone()).env("CNI_NETNS", pod.path()).current_dir(elsewhere.path());
    plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = plugin.spawn().unwrap();
    child.stdin.take().unwrap().write_all(node.configuration.to_string().as_bytes()).unwrap();
    let message = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(message.contains("neither its socket run/istio-cni/agent.sock nor"), "{message}");
    assert_eq!(tree(elsewhere.path()), Vec::<String>::new());
}
