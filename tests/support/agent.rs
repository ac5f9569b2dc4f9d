//! The real agent as a child process, seen through its log, its ports and its socket.

use super::api::Api;
use super::{Namespace, Node, loopback};
use istio_cni_otel::domain::identity::TraceId;
use istio_cni_otel::domain::outbound::Outbound;
use istio_cni_otel::domain::pod::PodRef;
use istio_cni_otel::domain::request::{Backend, Bounds, Command as Cni, Conclusion, Request};
use istio_cni_otel::host::child::killed_with_us;
use istio_cni_otel::host::uds::Connection;
use istio_cni_otel::wire::agent::{self as wire, Call, HEADER, Kind};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// No step of a test takes longer, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent; killed when it is dropped.
pub struct Agent {
    child: Child,
    lines: Receiver<Value>,
    /// Every log line that was read so far.
    pub log: Vec<Value>,
    /// The lines that a wait was for.
    taken: HashSet<usize>,
    pub metrics: u16,
    pub health: u16,
}

impl Agent {
    /// Starts one in the node's run directory and waits until it has all pods.
    pub fn start(node: &Node, api: &Api) -> Agent {
        let mut agent = Agent::start_unready(node, api);
        agent.wait_for("ms after the start");
        agent
    }

    /// Starts one and waits only until its socket and its ports are open.
    pub fn start_unready(node: &Node, api: &Api) -> Agent {
        node.write_kubeconfig(&format!("http://{}", api.address));
        Agent::start_with(node, &[])
    }

    /// Starts one with these variables besides.
    pub fn start_with(node: &Node, environment: &[(&str, &str)]) -> Agent {
        loopback();
        let mut command = command(node);
        command.envs(environment.iter().copied()).stdout(Stdio::piped());
        let mut child = killed_with_us(&mut command).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let parsed = serde_json::from_str(&line).unwrap_or_else(|_| json!({"msg": line}));
                if tell.send(parsed).is_err() {
                    return;
                }
            }
        });
        let mut agent = Agent { child, lines, log: Vec::new(), taken: HashSet::new(), metrics: 0, health: 0 };
        let port = |line: &Value| u16::try_from(line["server.port"].as_u64().unwrap()).unwrap();
        agent.metrics = port(&agent.wait_for("serving "));
        agent.health = port(&agent.wait_for("serving "));
        agent
    }

    /// A log line that has this text in its message, and that no other wait was for.
    pub fn wait_for(&mut self, text: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let has_it = |line: &Value| line["msg"].as_str().is_some_and(|message| message.contains(text));
            if let Some(index) =
                (0..self.log.len()).find(|index| has_it(&self.log[*index]) && self.taken.insert(*index))
            {
                return self.log[index].clone();
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} within {PATIENCE:?}: {:#?}", self.log),
                Err(RecvTimeoutError::Disconnected) => panic!("no {text:?} until it ended: {:#?}", self.log),
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended, and reads the rest of its log.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.log.push(line);
        }
        // Its output is closed, so it has ended, or has hung after closing it.
        assert!(Instant::now() < deadline, "the agent did not end: {:#?}", self.log);
        self.child.wait().unwrap()
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// What is served at a path of the health port: status and body.
    pub fn health(&self, path: &str) -> (u16, String) {
        get(self.health, path, "")
    }

    /// The metrics as text.
    pub fn metrics(&self) -> String {
        get(self.metrics, "/metrics", "").1
    }

    /// The value of a series, as its line begins.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let page = self.metrics();
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// Waits until a series has a value; there is no event for a number.
    pub fn wait_for_metric(&self, series: &str, wanted: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(series) != Some(wanted) {
            assert!(Instant::now() < deadline, "{series} is not {wanted}: {}", self.metrics());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kilobytes of resident memory.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Fails for one that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What these log lines say that killed agents took along at most: spans and log records.
pub fn taken_along(log: &[Value]) -> (u64, u64) {
    let lines = log.iter().filter(|line| line["msg"].as_str().is_some_and(|text| text.contains("an agent was killed")));
    let said = |line: &Value, what: &str| line[format!("istio_cni.telemetry.{what}")].as_u64().unwrap();
    lines.fold((0, 0), |(spans, logs), line| (spans + said(line, "spans"), logs + said(line, "log_records")))
}

/// The agent's command with the environment of a DaemonSet's pod, on ports that are free.
pub fn command(node: &Node) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
    command.arg("agent").env_clear().stdin(Stdio::null()).envs([
        ("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"),
        ("KUBERNETES_NODE_NAME", "node-a"),
        ("MONITORING_PORT", "auto"),
        ("HEALTH_PORT", "0"),
        ("PAGE_ADDRESS", "off"),
        // What this agent would install, tests/install_agent.rs looks at.
        ("SKIP_INSTALL", "true"),
        ("LOG_AS_JSON", "true"),
        ("LOG_OUTPUT_LEVEL", "debug"),
    ]);
    command.env("CNI_AGENT_RUN_DIR", node.run_dir.path()).env("KUBECONFIG", node.path("istio-cni-kubeconfig"));
    command
}

/// One HTTP request: the status, and the head with the body.
pub fn get(port: u16, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text.split_whitespace().nth(1).unwrap().parse().unwrap(), text)
}

/// A namespace with an address, as the plugins before ours leave it.
pub fn sandbox() -> Namespace {
    let namespace = Namespace::new();
    namespace.ip("addr add 10.1.0.5/32 dev lo");
    namespace
}

/// A call for pod shop/web-0 with short waits.
pub fn call_for(uid: &str) -> Call {
    let pod = PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some(uid.into()) };
    let bounds = Bounds {
        pod_attempts: 2,
        pod_interval: Duration::from_millis(1),
        api_timeout: Duration::from_millis(1500),
        ..Bounds::default()
    };
    let request = Request {
        command: Cni::Add,
        container_id: "cafe".into(),
        ifname: "eth0".into(),
        netns: "/run/netns/x".into(),
        own_netns: false,
        pod,
        backend: Backend::Auto,
        outbound: Ok(Outbound::default()),
        bounds,
    };
    Call { request, trace: TraceId::of_pod(uid), parent: None, pinned: None, level: "info".into(), tells: None }
}

/// Makes a call on the socket, as the plugin does.
pub fn make(node: &Node, call: &Call, netns: Option<BorrowedFd<'_>>) -> Conclusion {
    let mut connection = Connection::connect(&node.path("agent.sock"), PATIENCE).unwrap();
    let frame = wire::frame(Kind::Call, &wire::encode_call(call).unwrap()).unwrap();
    match netns {
        Some(netns) => connection.send_with(&frame, netns).unwrap(),
        None => connection.send(&frame).unwrap(),
    }
    conclusion(&mut connection)
}

/// Reads the agent's answer.
pub fn conclusion(connection: &mut Connection) -> Conclusion {
    let mut head = [0; HEADER];
    connection.receive(&mut head).unwrap();
    let (kind, length) = wire::header(head).unwrap();
    assert_eq!(kind, Kind::Conclusion);
    let mut body = vec![0; length];
    connection.receive(&mut body).unwrap();
    wire::decode_conclusion(&body).unwrap()
}
