//! The real plugin binary, called as a container runtime calls it, and a node agent that answers
//! as a test wants.

use super::scripted_api::{Reply, ScriptedApi};
use istio_cni_otel::host::uds::Connection;
use istio_cni_otel::telemetry::batch;
use istio_cni_otel::telemetry::story::Batch;
use istio_cni_otel::wire::agent::{self as wire, HEADER, Kind};
use istio_cni_otel::wire::spool::{Item, Reader};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub const UID: &str = "11111111-2222-4333-8444-555555555555";
pub const TRACE: &str = "11111111222243338444555555555555";

/// Brings up the loopback of the test's own namespace, where stand-ins listen.
pub fn loopback() {
    static UP: std::sync::Once = std::sync::Once::new();
    UP.call_once(|| {
        let path = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).env("PATH", path).status().unwrap().success());
    });
}

/// A Pod object as the API server gives it, with these annotations beside the sidecar's status.
pub fn pod(annotations: Value) -> Value {
    let mut all = json!({"sidecar.istio.io/status": "{}"});
    all.as_object_mut().unwrap().extend(annotations.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "shop", "uid": UID, "annotations": all},
        "spec": {"containers": [{"name": "web"}, {"name": "istio-proxy", "args": ["proxy", "sidecar"]}]}})
}

/// The result of the plugins before ours.
pub fn prev_result() -> Value {
    json!({"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/x"}],
        "ips": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 0}]})
}

/// A node's run directory, and how the plugin is called there.
pub struct Node {
    pub run_dir: tempfile::TempDir,
    pub api: Option<ScriptedApi>,
    pub environment: Vec<(String, String)>,
    pub configuration: Value,
}

/// What the plugin answered.
#[derive(Debug)]
pub struct Answer {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Node {
    /// A node without agent and API server. Waits are as short as a busy machine allows, so that tests are.
    pub fn new() -> Node {
        Node::with_run_dir(tempfile::tempdir().unwrap())
    }

    /// The same with this run directory.
    pub fn with_run_dir(run_dir: tempfile::TempDir) -> Node {
        let configuration = json!({
            "cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "istio-cni", "plugin_log_level": "debug",
            "cni_agent_run_dir": run_dir.path(), "ambient_enabled": false, "exclude_namespaces": ["kube-system"],
            "pod_namespace": "istio-system", "prevResult": prev_result(), "pod_lookup_attempts": 2,
            "pod_lookup_interval_ms": 1, "api_timeout_ms": 1500, "agent_timeout_ms": 1500
        });
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=cafe;K8S_POD_UID={UID}"
        );
        let environment = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "cafe"),
            ("CNI_NETNS", "/nonexistent"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", &args),
            ("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"),
        ];
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Node { run_dir, api: None, environment, configuration }
    }

    /// The same with an API server of this script.
    pub fn with_api(script: Vec<Reply>) -> Node {
        loopback();
        let mut node = Node::new();
        let api = ScriptedApi::http(script);
        node.write_kubeconfig(&format!("http://{}", api.address));
        node.api = Some(api);
        node
    }

    /// The same with an API server that has this pod.
    pub fn with_pod(pod: &Value) -> Node {
        Node::with_api(vec![Reply::Json(200, pod.to_string())])
    }

    pub fn write_kubeconfig(&self, server: &str) {
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: l, user: u}}}}]\n\
             clusters: [{{name: l, cluster: {{server: '{server}'}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\n"
        );
        std::fs::write(self.path("istio-cni-kubeconfig"), text).unwrap();
    }

    /// A path in the run directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.run_dir.path().join(name)
    }

    /// Sets a variable; an empty value takes it away.
    pub fn env(mut self, key: &str, value: &str) -> Node {
        self.environment.retain(|(name, _)| name != key);
        if !value.is_empty() {
            self.environment.push((key.to_owned(), value.to_owned()));
        }
        self
    }

    /// Sets a key of the configuration; `null` takes it away.
    pub fn conf(mut self, key: &str, value: Value) -> Node {
        self.configuration[key] = value;
        self
    }

    /// Calls the plugin for this namespace.
    pub fn call(&self, command: &str, netns: &str) -> Answer {
        let mut environment = self.environment.clone();
        environment.retain(|(key, _)| key != "CNI_COMMAND" && key != "CNI_NETNS");
        environment.push(("CNI_COMMAND".to_owned(), command.to_owned()));
        environment.push(("CNI_NETNS".to_owned(), netns.to_owned()));
        call(&environment, self.configuration.to_string().as_bytes())
    }

    /// Calls the plugin with the environment as it is.
    pub fn call_as_is(&self) -> Answer {
        call(&self.environment, self.configuration.to_string().as_bytes())
    }

    /// The telemetry that waits in the spool, one batch for each call.
    pub fn spooled(&self) -> Vec<Batch> {
        let Ok(entries) = std::fs::read_dir(self.path("spool")) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        // A living agent's note of what it holds is no telemetry.
        files.retain(|file| file.extension().is_none_or(|extension| extension != "held"));
        files.sort();
        files.iter().map(|file| batch_of(file)).collect()
    }
}

fn batch_of(file: &Path) -> Batch {
    let bytes = std::fs::read(file).unwrap();
    match Reader::new(&bytes).collect::<Vec<_>>()[..] {
        [Item::Record(record)] => batch::decode(record).unwrap(),
        ref items => panic!("{}: one record was expected, not {items:?}", file.display()),
    }
}

/// The spans of an ADD, whoever does the work, in the order in which they end where one process does it all.
pub const ADD_SPANS: [&str; 9] = [
    "config.parse",
    "netns.open",
    "agent.call",
    "pod.lookup",
    "redirect.decide",
    "rules.build",
    "rules.apply",
    "rules.verify",
    "cni.add",
];
/// Those of its steps.
pub const ADD_STEPS: &[&str] = ADD_SPANS.split_at(8).0;

/// Calls the plugin with exactly this environment and standard input.
pub fn call(environment: &[(String, String)], stdin: &[u8]) -> Answer {
    call_program(Path::new(env!("CARGO_BIN_EXE_istio-cni")), environment, stdin)
}

/// The same for a plugin that is somewhere else.
pub fn call_program(program: &Path, environment: &[(String, String)], stdin: &[u8]) -> Answer {
    let mut child = Command::new(program)
        .env_clear()
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = stdin.to_vec();
    // The plugin may answer without having read everything; then the pipe breaks.
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    Answer {
        success: output.status.success(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Answer {
    /// The error's code and `msg` (and `; details`), after checking that this is all there is.
    pub fn error(&self) -> (u64, String) {
        assert!(!self.success, "an error was expected: {self:?}");
        let error: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no error: {self:?}"));
        let details = error.get("details").map(|text| format!("; {}", text.as_str().unwrap())).unwrap_or_default();
        let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
        assert!(keys.iter().all(|key| ["code", "msg", "details"].contains(&key.as_str())), "{keys:?}");
        (error["code"].as_u64().unwrap(), format!("{}{details}", error["msg"].as_str().unwrap()))
    }

    /// The result, after checking that the call went well.
    pub fn result(&self) -> Value {
        assert!(self.success, "a result was expected: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no result: {self:?}"))
    }

    /// The messages of standard error at this level.
    pub fn messages(&self, level: &str) -> Vec<String> {
        let lines = self.stderr.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
        lines.filter(|line| line["level"] == level).map(|line| line["msg"].as_str().unwrap().to_owned()).collect()
    }
}

/// How the stand-in for an agent treats a connection.
#[derive(Clone)]
pub enum Mood {
    /// Reads the call, sends these bytes, and reads the telemetry frame after them.
    Says(Vec<u8>),
    /// Reads the call and says nothing until the caller hangs up.
    Silent,
    /// Sends these bytes without reading anything, and hangs up.
    Rushes(Vec<u8>),
    /// Hangs up at once.
    HangsUp,
}

/// What the stand-in heard on a connection.
pub struct Heard {
    /// The call's JSON, if there was a call.
    pub call: Option<Value>,
    /// Whether a descriptor came beside it.
    pub descriptor: bool,
    /// The telemetry that followed, or came first.
    pub telemetry: Option<Batch>,
}

/// A stand-in for the agent: serves `agent.sock` in the run directory and tells what it heard.
pub fn agent(node: &Node, mood: Mood) -> Receiver<Heard> {
    agent_at(&node.path("agent.sock"), mood)
}

/// The same at another path.
pub fn agent_at(socket: &Path, mood: Mood) -> Receiver<Heard> {
    let listener = UnixListener::bind(socket).unwrap();
    let (tell, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = Connection::new(stream.unwrap(), Duration::from_secs(10));
            if let Some(said) = converse(connection, &mood)
                && tell.send(said).is_err()
            {
                return;
            }
        }
    });
    heard
}

fn converse(mut connection: Connection, mood: &Mood) -> Option<Heard> {
    match mood {
        Mood::HangsUp => return None,
        Mood::Rushes(bytes) => {
            connection.send(bytes).unwrap();
            return None;
        }
        Mood::Says(_) | Mood::Silent => {}
    }
    let mut head = [0; HEADER];
    let descriptor = connection.receive_with(&mut head).ok()?.is_some();
    let (kind, length) = wire::header(head).unwrap();
    let mut body = vec![0; length];
    connection.receive(&mut body).ok()?;
    if kind == Kind::Telemetry {
        return Some(Heard { call: None, descriptor, telemetry: batch::decode(&body).ok() });
    }
    let call = serde_json::from_slice(&body).ok();
    if let Mood::Says(bytes) = mood {
        connection.send(bytes).ok()?;
    }
    Some(Heard { call, descriptor, telemetry: telemetry(&mut connection) })
}

fn telemetry(connection: &mut Connection) -> Option<Batch> {
    let mut head = [0; HEADER];
    connection.receive(&mut head).ok()?;
    let (kind, length) = wire::header(head).ok()?;
    let mut body = vec![0; length];
    connection.receive(&mut body).ok()?;
    if kind == Kind::Telemetry { batch::decode(&body).ok() } else { None }
}
