//! A node on which everything is as it should be, and the command on it. The agent that has installed the plugin is gone,
//! and the one that answers installs nothing: so what a test breaks stays broken.

use crate::support::agent::Agent;
use crate::support::runtime_node::RuntimeNode;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// What was printed, and the exit status.
#[derive(Debug)]
pub struct Findings {
    pub status: i32,
    pub report: Value,
    pub stderr: String,
}

/// The node.
pub struct Scene {
    pub runtime: RuntimeNode,
    pub agent: Option<Agent>,
    /// The node's `/proc`, which leads to its root directory: that has the directories that are written, and the
    /// runtime's configuration.
    pub host: TempDir,
}

impl Scene {
    /// A node with the plugin installed, and an agent.
    pub fn new() -> Scene {
        let mut scene = Scene::installed();
        scene.agent = Some(scene.start(&[("SKIP_INSTALL", "true")]));
        scene
    }

    /// A node with the plugin installed, and a dead agent.
    pub fn installed() -> Scene {
        let scene = Scene::bare();
        scene.start(&[]).kill();
        scene
    }

    /// A node with nothing but its primary network, and a containerd that has its usual configuration.
    pub fn bare() -> Scene {
        let (runtime, host) = (RuntimeNode::new(), tempfile::tempdir().unwrap());
        let scene = Scene { runtime, agent: None, host };
        fs::create_dir_all(scene.root("etc/containerd")).unwrap();
        fs::write(scene.root("etc/containerd/config.toml"), "version = 3\n").unwrap();
        fs::create_dir_all(scene.host.path().join("proc/1")).unwrap();
        symlink(scene.root(""), scene.host.path().join("proc/1/root")).unwrap();
        scene
    }

    /// Starts an agent with these settings besides, and waits until it is ready.
    pub fn start(&self, more: &[(&str, &str)]) -> Agent {
        let proc = self.proc();
        let mut settings = vec![("HOST_PROC", proc.as_str())];
        settings.extend(more);
        let mut agent = self.runtime.start(&settings);
        agent.wait_for("ms after the start");
        agent
    }

    fn proc(&self) -> String {
        self.host.path().join("proc").display().to_string()
    }

    /// A path below the node's root.
    pub fn root(&self, path: &str) -> PathBuf {
        let net = self.runtime.layout.net();
        net.ancestors().nth(3).unwrap().join(path)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.runtime.node.path("istio-cni-kubeconfig")
    }

    /// What the command finds, in the agent's pod.
    pub fn doctor(&self, arguments: &[&str]) -> Findings {
        self.doctor_with(arguments, &[])
    }

    /// The same with these variables besides.
    pub fn doctor_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Findings {
        let mut command = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
        command.arg("doctor").args(["--output", "json"]).args(arguments).env_clear();
        command.envs(self.runtime.layout.environment()).env("HOST_PROC", self.proc());
        command.env("CNI_AGENT_RUN_DIR", self.runtime.node.run_dir.path());
        command.env("KUBECONFIG", self.kubeconfig()).envs(more.iter().copied());
        Findings::of_command(&mut command)
    }

    /// What the command finds on the node itself, where nobody tells it more than the run directory; as this user.
    pub fn doctor_on_node(&self, user: u32) -> Findings {
        let mut command = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
        command.args(["doctor", "--output", "json", "--cni-agent-run-dir"]).arg(self.runtime.node.run_dir.path());
        command.env_clear();
        if user != 0 {
            command.uid(user);
        }
        Findings::of_command(&mut command)
    }
}

impl Findings {
    /// What this command prints.
    pub fn of_command(command: &mut Command) -> Findings {
        let output = command.output().unwrap();
        let (stdout, stderr) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
        Findings { status: output.status.code().unwrap(), report, stderr }
    }
}

impl Findings {
    /// The findings that somebody has to do something about, as `check: status`.
    pub fn wrong(&self) -> Vec<String> {
        let is_wrong = |finding: &&Value| ["warning", "problem"].iter().any(|word| finding["status"] == *word);
        let named = |finding: &Value| format!("{}: {}", text(&finding["check"]), text(&finding["status"]));
        self.all().iter().filter(is_wrong).map(named).collect()
    }

    /// All findings.
    pub fn all(&self) -> Vec<Value> {
        self.report["findings"].as_array().cloned().unwrap_or_default()
    }

    /// The finding of a check.
    #[track_caller]
    pub fn of(&self, check: &str) -> Value {
        let found = self.all().into_iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no finding of {check}: {self:#?}"))
    }

    /// Exactly this is wrong, its words have this in them, and there is a next step and a runbook.
    #[track_caller]
    pub fn only(&self, check: &str, status: &str, words: &str) -> Value {
        assert_eq!(self.wrong(), [format!("{check}: {status}")], "{self:#?}");
        assert_eq!(self.status, 1, "{self:#?}");
        let finding = self.of(check);
        assert!(finding.to_string().contains(words), "{words:?} is not in {finding:#}");
        assert!(!text(&finding["next"]).is_empty() && !text(&finding["runbook"]).is_empty(), "{finding:#}");
        finding
    }

    /// Nothing is wrong.
    #[track_caller]
    pub fn fine(&self) {
        assert_eq!((self.wrong(), self.status), (Vec::new(), 0), "{self:#?}");
    }
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
