//! Agents as real processes, and how long they take to be ready.

use super::world::NODE;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running agent; ended when dropped.
pub struct Agent {
    child: Child,
    /// From its start until it says that it is ready: its socket is open and it has all pods.
    pub ready_in: Duration,
}

impl Agent {
    /// Starts an agent on `run_dir` and waits until it is ready.
    pub fn start(binary: &Path, run_dir: &Path, environment: &[(&str, &str)]) -> Agent {
        let health = free_port();
        let start = Instant::now();
        let child = Command::new(binary)
            .arg("agent")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CNI_AGENT_RUN_DIR", run_dir)
            .env("KUBECONFIG", run_dir.join("istio-cni-kubeconfig"))
            .env("KUBERNETES_NODE_NAME", NODE)
            .env("POD_NAMESPACE", "istio-system")
            .env("SKIP_INSTALL", "true")
            .env("MONITORING_PORT", "0")
            .env("HEALTH_PORT", health.to_string())
            .env("PAGE_ADDRESS", "127.0.0.1:0")
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the agent starts");
        while !is_ready(health) {
            assert!(start.elapsed() < Duration::from_secs(30), "the agent was not ready in 30 s");
            std::thread::sleep(Duration::from_millis(1));
        }
        Agent { child, ready_in: start.elapsed() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// A port of loopback that nobody uses now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Whether `/readyz` on this port says yes.
fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200 ")
}

impl Drop for Agent {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
