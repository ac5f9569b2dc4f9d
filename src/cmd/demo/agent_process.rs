//! The real agent as a child process, with the environment that its DaemonSet's pod would have.

use super::pods::NODE;
use crate::host::child::killed_with_us;
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Starting takes tens of milliseconds, stopping as long as the last export.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a state that the kernel does not announce is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// The running agent; killed when this is dropped.
pub struct AgentProcess {
    child: Child,
    log: PathBuf,
}

/// Where the agent finds things.
pub struct Surroundings<'a> {
    pub scratch: &'a Path,
    pub run_dir: &'a Path,
    pub kubeconfig: &'a Path,
    pub otlp: SocketAddr,
    /// A `/proc` that shows the pods' processes, and nobody else's.
    pub proc: &'a Path,
}

impl AgentProcess {
    /// Starts it, and returns when its socket accepts connections.
    pub async fn start(around: &Surroundings<'_>) -> Result<AgentProcess> {
        let log = around.scratch.join("agent.log");
        let output = File::create_new(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("agent").env_clear().envs(environment(around)).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let child = killed_with_us(&mut command).spawn().context("cannot start the agent")?;
        let mut agent = AgentProcess { child, log };
        let socket = around.run_dir.join("agent.sock");
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            if let Some(status) = agent.child.try_wait()? {
                bail!("the agent ended before it was ready ({status}): {}", agent.last_words());
            }
            if Instant::now() > deadline {
                bail!("the agent did not serve {} within {PATIENCE:?}: {}", socket.display(), agent.last_words());
            }
            tokio::time::sleep(GLANCE).await;
        }
        Ok(agent)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it the way the kubelet does (SIGTERM) and waits until it has exported everything and ended.
    pub async fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?);
        kill(pid, Signal::SIGTERM).context("cannot stop the agent")?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("the agent did not stop within {PATIENCE:?} of SIGTERM: {}", self.last_words());
            }
            tokio::time::sleep(GLANCE).await;
        };
        if !ExitStatus::success(&status) {
            bail!("the agent ended with {status}: {}", self.last_words());
        }
        Ok(())
    }

    /// The last line of its log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        last.map_or_else(|| "it logged nothing".to_owned(), |line| format!("its last line was: {line}"))
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        // Fails for one that has ended, which is what is wanted.
        let _was_running = self.child.kill();
        let _status = self.child.wait();
    }
}

fn environment(around: &Surroundings<'_>) -> Vec<(&'static str, String)> {
    vec![
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("KUBECONFIG", around.kubeconfig.display().to_string()),
        ("CNI_AGENT_RUN_DIR", around.run_dir.display().to_string()),
        ("KUBERNETES_NODE_NAME", NODE.to_owned()),
        ("POD_NAMESPACE", "istio-system".to_owned()),
        ("POD_NAME", "istio-cni-node-demo".to_owned()),
        ("REPAIR_REPAIR_PODS", "true".to_owned()),
        ("HOST_PROC", around.proc.display().to_string()),
        // When it looks at the pods is the demo's to say.
        ("AUDIT_INTERVAL", "0".to_owned()),
        // What is installed on this machine is not the demo's to touch.
        ("SKIP_INSTALL", "true".to_owned()),
        // Its metrics come over OTLP, and its ports must not be in anybody's way.
        ("MONITORING_PORT", "0".to_owned()),
        ("HEALTH_PORT", "0".to_owned()),
        ("PAGE_ADDRESS", "off".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", around.otlp)),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=demo".to_owned()),
        // Who watches does not want to wait for the usual five seconds.
        ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "50".to_owned()),
    ]
}
