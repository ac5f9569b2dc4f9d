//! A node with an agent whose page is looked at, and what happens on it: real ADDs, and telemetry as plugins tell it.

#![allow(dead_code, reason = "each test file uses another part of this")]

use super::support::agent::{Agent, PATIENCE};
use super::support::api::Api;
use super::support::{Namespace, Node, loopback, pod};
use istio_cni_otel::domain::identity::TraceId;
use istio_cni_otel::telemetry::batch;
use istio_cni_otel::telemetry::story::Batch;
use istio_cni_otel::wire::agent::{Kind, frame};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Otlp};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A node, its agent and its API server.
pub struct Scene {
    pub node: Node,
    pub api: Api,
    pub agent: Agent,
    /// The page's port.
    pub port: u16,
}

/// A node whose agent was killed.
pub struct Dead {
    node: Node,
    api: Api,
    port: u16,
}

impl Dead {
    /// Another agent, whose page has the same address.
    pub fn revive(self) -> Scene {
        let address = format!("127.0.0.1:{}", self.port);
        let mut scene = Scene::of(self.node, self.api, &[("PAGE_ADDRESS", &address)]);
        scene.agent.wait_for("ms after the start");
        scene
    }
}

impl Scene {
    /// An agent that is ready, with these variables besides.
    pub fn start(environment: &[(&str, &str)]) -> Scene {
        let mut scene = Scene::start_with(Api::start(), environment);
        scene.agent.wait_for("ms after the start");
        scene
    }

    /// An agent that serves its page, and has yet to become ready.
    pub fn start_with(api: Api, environment: &[(&str, &str)]) -> Scene {
        Scene::of(Node::new(), api, environment)
    }

    /// The same on a node that is there already.
    pub fn of(node: Node, api: Api, environment: &[(&str, &str)]) -> Scene {
        node.write_kubeconfig(&format!("http://{}", api.address));
        loopback();
        let mut all = vec![("PAGE_ADDRESS", "127.0.0.1:0"), ("AUDIT_INTERVAL", "0")];
        all.extend(environment);
        let mut agent = Agent::start_with(&node, &all);
        let port = agent.wait_for("serving the page on")["server.port"].as_u64().unwrap();
        Scene { node, api, agent, port: u16::try_from(port).unwrap() }
    }

    /// Kills the agent; gives the node without one.
    pub fn kill(self) -> Dead {
        let Scene { node, api, agent, port } = self;
        agent.kill();
        Dead { node, api, port }
    }

    /// The address of a page.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// One plain request by the right name: the status, and the head with the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        get_as(self.port, path, "localhost")
    }

    /// The same, as JSON.
    pub fn json(&self, path: &str) -> Value {
        let (status, text) = self.get(path);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// A real ADD of a pod shop/NAME through the plugin; gives the pod's trace id.
    pub fn add(&mut self, name: &str, number: u16, annotations: Value) -> String {
        let uid = format!("{number:08x}-2222-4333-8444-555555555555");
        let mut object = pod(annotations);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["uid"] = json!(uid);
        self.api.put(&object);
        let namespace = Namespace::new();
        namespace.ip("addr add 10.1.0.5/32 dev lo");
        self.add_pod(&object, &namespace);
        let trace = TraceId::of_pod(&uid).to_hex();
        // The plugin's own part comes after its answer.
        self.wait_for_trace(&trace, "cni.add");
        trace
    }

    /// A real ADD of a pod that the API server has, in its namespace; what is told of it may come later.
    pub fn add_pod(&mut self, object: &Value, namespace: &Namespace) {
        let said = |key: &str| object["metadata"][key].as_str().unwrap().to_owned();
        let (name, uid) = (said("name"), said("uid"));
        let container = format!("cafe{}", uid.replace('-', ""));
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID={uid}"
        );
        self.node.environment.retain(|(key, _)| key != "CNI_ARGS" && key != "CNI_CONTAINERID");
        self.node.environment.push(("CNI_ARGS".to_owned(), args));
        self.node.environment.push(("CNI_CONTAINERID".to_owned(), container));
        self.node.call("ADD", &namespace.path());
    }

    /// Waits until a trace has a span of this name.
    pub fn wait_for_trace(&self, trace: &str, span: &str) {
        let deadline = Instant::now() + PATIENCE;
        let named = format!("\"name\":\"{span}\"");
        while !self.get(&format!("/api/v1/traces/{trace}")).1.contains(&named) {
            assert!(Instant::now() < deadline, "no {span} in trace {trace}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Tells the agent spans and log records, as a plugin does after its call.
    pub fn tell(&self, spans: Vec<Span>, logs: Vec<LogRecord>) {
        let body = batch::encode(&Batch { spans, logs, ..Batch::default() });
        let mut stream = UnixStream::connect(self.node.path("agent.sock")).unwrap();
        stream.write_all(&frame(Kind::Telemetry, &body).unwrap()).unwrap();
    }
}

/// One plain request with this name of the host.
pub fn get_as(port: u16, path: &str, host: &str) -> (u16, String) {
    ask(port, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
}

/// One request as it is written: the status, and the head with the body.
pub fn ask(port: u16, request: &str) -> (u16, String) {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    (text.split_whitespace().nth(1).unwrap_or("0").parse().unwrap(), text)
}

/// Now, in nanoseconds since the epoch.
pub fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// An attribute.
pub fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Otlp::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A span of a pod's trace: numbers name it and its parent, times are in microseconds since `began_ns`.
pub struct Told<'a> {
    pub trace: TraceId,
    pub pod: (&'a str, &'a str),
    pub began_ns: u64,
}

impl Told<'_> {
    pub fn span(&self, id: u8, parent: u8, name: &str, from_us: u64, to_us: u64) -> Span {
        let bytes = |id: u8| if id == 0 { Vec::new() } else { vec![id; 8] };
        Span {
            trace_id: self.trace.0.to_vec(),
            span_id: bytes(id),
            parent_span_id: bytes(parent),
            name: name.to_owned(),
            kind: 1,
            start_time_unix_nano: self.began_ns + from_us * 1_000,
            end_time_unix_nano: self.began_ns + to_us * 1_000,
            attributes: vec![text("k8s.namespace.name", self.pod.0), text("k8s.pod.name", self.pod.1)],
            ..Span::default()
        }
    }
}

/// The same span, failed.
pub fn failed(mut span: Span, error_type: &str, message: &str) -> Span {
    span.attributes.push(text("error.type", error_type));
    span.status = Some(Status { code: 2, message: message.to_owned() });
    span
}

/// A log record of a span.
pub fn log(span: &Span, at_us: u64, severity: i32, body: &str) -> LogRecord {
    LogRecord {
        time_unix_nano: span.start_time_unix_nano + at_us * 1_000,
        severity_number: severity,
        body: text("", body).value,
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        attributes: span.attributes.clone(),
        ..LogRecord::default()
    }
}
