//! The real agent as a process of its own, with the environment that its DaemonSet's pod would have.

use super::Node;
use istio_cni_otel::host::child::killed_with_us;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a state that nobody announces is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// Waits until the condition gives something.
pub fn eventually<T>(what: &str, condition: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(GLANCE);
    }
}

/// A running agent; killed when it is dropped.
pub struct RealAgent {
    child: Child,
    log: PathBuf,
}

impl RealAgent {
    /// Starts it on this node, with more in its environment, and waits until it is ready.
    pub fn start(node: &Node, more: &[(&str, String)]) -> RealAgent {
        let agent = RealAgent::launch(node, more);
        eventually("the agent's readiness", || {
            agent.get("/healthz and /readyz", "/readyz", "").filter(|it| it == "ok\n")
        });
        agent
    }

    /// Starts it without waiting for anything.
    pub fn launch(node: &Node, more: &[(&str, String)]) -> RealAgent {
        let log = node.path(&format!("agent-{}.log", std::process::id()));
        let output = File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
        command.arg("agent").env_clear().envs(more.iter().map(|(key, value)| (*key, value)));
        command
            .env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin")
            .env("CNI_AGENT_RUN_DIR", node.run_dir.path())
            .env("KUBECONFIG", node.path("istio-cni-kubeconfig"))
            .env("KUBERNETES_NODE_NAME", "node-1")
            .env("POD_NAMESPACE", "istio-system")
            .env("MONITORING_PORT", "auto")
            .env("HEALTH_PORT", "0")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        RealAgent { child: killed_with_us(&mut command).spawn().unwrap(), log }
    }

    /// Stops it as the kubelet does; everything that it had to send has arrived then.
    pub fn stop(mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < deadline, "the agent does not stop: {}", self.log()),
            }
            std::thread::sleep(GLANCE);
        };
        assert!(ExitStatus::success(&status), "{status}: {}", self.log());
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// `/metrics` as a scraper that knows exemplars gets it.
    pub fn metrics(&self) -> String {
        self.get("/metrics", "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").expect("metrics")
    }

    /// Waits until `/metrics` has this line.
    pub fn wait_for_metric(&self, line: &str) {
        eventually(line, || self.metrics().lines().any(|found| found.starts_with(line)).then_some(()));
    }

    /// The body of an answer of the server for `purpose`, once it says where it listens.
    fn get(&self, purpose: &str, path: &str, header: &str) -> Option<String> {
        let log = self.log();
        let (_, port) = log
            .split_once(&format!("serving {purpose} on "))?
            .1
            .lines()
            .next()?
            .split('\t')
            .next()?
            .rsplit_once(':')?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse::<u16>().ok()?)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node-1\r\n{header}Connection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }
}

impl Drop for RealAgent {
    fn drop(&mut self) {
        // Fails for one that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
