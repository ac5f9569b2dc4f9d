//! What the measures need around them: namespaces, a stand-in API server, a collector that takes
//! everything, and agents as real processes.

use istio_cni_otel::host::netns::{enter, enter_scratch};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The node whose pods the agents watch.
const NODE: &str = "bench-node";

/// Runs `work` on a thread in the namespace at this path.
pub fn inside<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> T {
    let netns = fs::File::open(netns).expect("the namespace");
    enter(netns.as_fd(), work).expect("the namespace can be entered (are you root?)")
}

/// A namespace with one address, which lives as long as this value.
pub struct Netns {
    /// Where other processes find it.
    pub path: String,
    _held: fs::File,
}

impl Netns {
    pub fn new() -> Netns {
        let held = enter_scratch(|| {
            let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip");
            let mut stdin = ip.stdin.take().expect("its input");
            stdin.write_all(b"link set lo up\naddr add 10.1.0.5/32 dev lo\n").expect("ip reads");
            drop(stdin);
            assert!(ip.wait().expect("ip ends").success());
            fs::File::open("/proc/thread-self/ns/net").expect("our namespace")
        });
        let held = held.expect("a network namespace (are you root?)");
        Netns { path: format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd()), _held: held }
    }
}

/// The sample pod of number `n`: an ordinary injected pod.
pub fn pod(n: usize) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("web-{n}"), "namespace": "shop", "uid": uid(n), "resourceVersion": "7",
            "annotations": {"sidecar.istio.io/status": "{}"}, "labels": {"app": "web"}},
        "spec": {"nodeName": NODE, "containers": [
            {"name": "web", "image": "web"},
            {"name": "istio-proxy", "image": "proxy", "args": ["proxy", "sidecar"], "env": []}]},
        "status": {"phase": "Pending"}
    })
}

/// The UID of pod number `n`.
pub fn uid(n: usize) -> String {
    format!("5f2b0c11-7a51-4c1e-9d3f-{n:012x}")
}

/// A server on loopback that answers each request by a function of its request line and body.
pub struct Server {
    pub address: String,
    pub requests: Arc<AtomicUsize>,
}

impl Server {
    /// The API server of `pods` pods: GET, LIST and a WATCH in which nothing happens.
    pub fn api(pods: usize) -> Server {
        let all: Vec<_> = (0..pods).map(pod).collect();
        Server::start(move |line, stream| {
            let path = line.split_whitespace().nth(1).unwrap_or_default();
            let name = path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
            if path.contains("watch=true") || path.contains("watch=1") {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(head.as_bytes());
                if path.contains("sendInitialEvents=true") {
                    all.iter().for_each(|pod| {
                        drop(writeln!(stream, "{}", serde_json::json!({"type": "ADDED", "object": pod})))
                    });
                    let mark = serde_json::json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1",
                        "metadata": {"resourceVersion": "10", "annotations": {"k8s.io/initial-events-end": "true"}}}});
                    let _ = writeln!(stream, "{mark}");
                }
                // Until the client hangs up.
                let _ = stream.read(&mut [0; 1]);
                return false;
            }
            let body = match all.iter().find(|pod| pod["metadata"]["name"] == name) {
                Some(pod) => pod.clone(),
                None => serde_json::json!({"kind": "PodList", "apiVersion": "v1",
                    "metadata": {"resourceVersion": "10"}, "items": all}),
            };
            respond(stream, &body.to_string())
        })
    }

    /// A collector that takes whatever comes over HTTP.
    pub fn collector() -> Server {
        Server::start(|_, stream| respond(stream, ""))
    }

    fn start(answer: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let requests = Arc::new(AtomicUsize::new(0));
        let (answer, count) = (Arc::new(answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
                std::thread::spawn(move || serve(stream, &*answer, &count));
            }
        });
        Server { address, requests }
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str, &mut TcpStream) -> bool, count: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    loop {
        let mut request = String::new();
        if !matches!(reader.read_line(&mut request), Ok(length) if length > 0) {
            return;
        }
        let (mut line, mut length) = (String::new(), 0_u64);
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
            line.clear();
        }
        let _ = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink());
        count.fetch_add(1, Ordering::Relaxed);
        if !answer(&request, &mut stream) {
            return;
        }
    }
}

fn respond(stream: &mut TcpStream, body: &str) -> bool {
    let kind = if body.is_empty() { "application/x-protobuf" } else { "application/json" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).is_ok()
}

/// A run directory with a kubeconfig for the API server in it.
pub fn run_dir(parent: &Path, name: &str, api: &Server) -> PathBuf {
    let path = parent.join(name);
    fs::create_dir_all(&path).expect("a directory");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: l, cluster: {{server: \"http://{}\"}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: l, user: u}}}}]\n",
        api.address
    );
    fs::write(path.join("istio-cni-kubeconfig"), text).expect("a kubeconfig");
    path
}

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
