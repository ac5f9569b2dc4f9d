//! A node on which everything is as it should be, and the command on it. The agent that has installed the plugin is gone,
//! and the one that answers installs nothing: so what a test breaks stays broken.

use crate::crio::{Says, StandIn};
use crate::support::agent::{Agent, PATIENCE};
use crate::support::runtime_node::RuntimeNode;
use serde_json::Value;
use std::fmt;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What was printed, and the exit status.
#[derive(Debug)]
pub struct Findings {
    pub status: i32,
    pub report: Value,
    pub stderr: String,
    /// How long the command ran.
    pub took: Duration,
}

/// The node.
pub struct Scene {
    pub runtime: RuntimeNode,
    pub agent: Option<Agent>,
    /// The node's `/proc`, which leads to its root directory: that has the directories that are written, and the
    /// runtime's configuration.
    pub host: TempDir,
    /// Its container runtime.
    pub containerd: Option<StandIn>,
    /// The checks that run out of time on purpose.
    pub hangs: Vec<&'static str>,
}

/// Exactly one thing was broken, and exactly that was found: only [`Findings::only`] and [`Findings::with_its_cause`]
/// make one.
#[derive(Debug)]
pub struct Seen(Value);

impl Deref for Seen {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
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
        let mut scene = Scene { runtime, agent: None, host, containerd: None, hangs: Vec::new() };
        fs::create_dir_all(scene.root("etc/containerd")).unwrap();
        fs::write(scene.root("etc/containerd/config.toml"), "version = 3\n").unwrap();
        fs::create_dir_all(scene.host.path().join("proc/1")).unwrap();
        symlink(scene.root(""), scene.host.path().join("proc/1/root")).unwrap();
        scene.runtime_says("run/containerd/containerd.sock", Says::containerd("/etc/cni/net.d", "/opt/cni/bin"));
        scene
    }

    /// The node's runtime listens here, and says this; the former is gone.
    pub fn runtime_says(&mut self, socket: &str, says: Says) {
        self.containerd = None;
        self.containerd = Some(StandIn::start(self.root(socket), says));
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
        self.in_time(&mut command)
    }

    /// What the command finds on the node itself, where nobody tells it more than the run directory; as this user.
    pub fn doctor_on_node(&self, user: u32) -> Findings {
        self.doctor_on_node_with(user, &[])
    }

    /// The same with these arguments besides.
    pub fn doctor_on_node_with(&self, user: u32, arguments: &[&str]) -> Findings {
        let mut command = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
        command.args(["doctor", "--output", "json", "--cni-agent-run-dir"]).arg(self.runtime.node.run_dir.path());
        command.args(arguments).env_clear();
        if user != 0 {
            command.uid(user);
        }
        self.in_time(&mut command)
    }

    /// What this command finds when it has the time that it needs. A runtime that is gone is one that hangs.
    pub fn in_time(&self, command: &mut Command) -> Findings {
        let mut hangs = self.hangs.clone();
        hangs.extend(self.containerd.is_none().then_some("runtime.ready"));
        Findings::in_time(command, &hangs)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Findings {
    /// What this command prints.
    pub fn of_command(command: &mut Command) -> Findings {
        let began = Instant::now();
        let output = command.output().unwrap();
        let took = began.elapsed();
        let (stdout, stderr) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        let report = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
        Findings { status: output.status.code().unwrap(), report, stderr, took }
    }

    /// The same. Whoever is asked has a limit of seconds and less, and a machine that is too busy for that is no finding:
    /// as long as an answer says that a limit was the reason, it is asked again; but not for these checks.
    pub fn in_time(command: &mut Command, hangs: &[&str]) -> Findings {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let findings = Findings::of_command(command);
            let nodes = findings.report["nodes"].as_array().into_iter().flatten();
            let on_nodes = nodes.flat_map(|node| node["findings"].as_array().into_iter().flatten());
            let late = |finding: &Value| !hangs.contains(&text(&finding["check"])) && ran_out_of_time(finding);
            if !(findings.all().iter().any(late) || on_nodes.into_iter().any(late)) || Instant::now() > deadline {
                return findings;
            }
        }
    }
}

impl Findings {
    /// The findings that somebody has to do something about, as `check: status`.
    pub fn wrong(&self) -> Vec<String> {
        let named = |finding: &Value| format!("{}: {}", text(&finding["check"]), text(&finding["status"]));
        self.all().iter().filter(|finding| is_wrong(finding)).map(named).collect()
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

    /// Exactly this is wrong, its words have this in them, and it is told as findings are.
    #[track_caller]
    pub fn only(&self, check: &str, status: &str, words: &str) -> Seen {
        self.with_its_cause(check, status, words, &[])
    }

    /// The same, where it cannot be so without these being so too, as `check: status`: an agent that is not ready for a
    /// reason, and that reason.
    #[track_caller]
    pub fn with_its_cause(&self, check: &str, status: &str, words: &str, beside: &[&str]) -> Seen {
        let mut wanted: Vec<String> = beside.iter().map(|beside| (*beside).to_owned()).collect();
        wanted.push(format!("{check}: {status}"));
        let mut wrong = self.wrong();
        wanted.sort();
        wrong.sort();
        assert_eq!(wrong, wanted, "{self:#?}");
        assert_eq!(self.status, 1, "{self:#?}");
        self.all().iter().filter(|finding| is_wrong(finding)).for_each(well_told);
        let finding = self.of(check);
        assert!(finding.to_string().contains(words), "{words:?} is not in {finding:#}");
        Seen(finding)
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

/// Whether it is as it is because something was not there in time.
fn ran_out_of_time(finding: &Value) -> bool {
    let told = format!("{} {}", finding["what"], finding["evidence"]);
    let limits = ["not found out", "no whole answer came", "did not answer within", "has not answered within"];
    finding["status"] != "ok" && limits.iter().any(|limit| told.contains(limit))
}

fn is_wrong(finding: &Value) -> bool {
    ["warning", "problem"].iter().any(|word| finding["status"] == *word)
}

/// What was found and what to do are one sentence each, with something that was seen, and a runbook.
#[track_caller]
fn well_told(finding: &Value) {
    for key in ["what", "next"] {
        let told = text(&finding[key]);
        let one_sentence = !told.contains(['\n', '\r']) && !told.contains(". ") && !told.ends_with('.');
        assert!(!told.is_empty() && one_sentence, "{key} of {finding:#}");
    }
    let evidence = finding["evidence"].as_array().unwrap();
    assert!(!evidence.is_empty() && evidence.iter().all(|seen| !text(seen).is_empty()), "{finding:#}");
    assert!(!text(&finding["runbook"]).is_empty(), "{finding:#}");
}
