//! A stand-in for the API server in which nothing happens but that pods become ready, when it is told so: GET, LIST
//! and WATCH of pods and DaemonSets, with field selectors, streaming lists and the time that a watch asks for. It counts
//! what it is asked.

use super::objects::{daemonset, pods, ready, selected};
use super::server::{Server, respond};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The version at which everything stands.
const VERSION: &str = "10";

/// How soon a watch tells of a pod that became ready.
const SOON: Duration = Duration::from_millis(20);

/// The server.
pub struct Api {
    server: Server,
    asked: Arc<Mutex<Requests>>,
    /// So many pods are ready, from the first on.
    ready: Arc<AtomicUsize>,
}

/// How often what was asked.
pub type Requests = BTreeMap<Asked, usize>;

/// A kind of request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// `get`, `list`, `watch` or, for what this server does not know, the method.
    pub verb: String,
    pub resource: String,
    /// After how long the server is to end it, seconds: a watch's `timeoutSeconds`.
    pub seconds: Option<u64>,
}

/// A request's target, taken apart.
struct Target {
    asked: Asked,
    name: Option<String>,
    query: BTreeMap<String, String>,
}

impl Api {
    /// A cluster of so many pods, of which `ours` are this node's.
    pub fn start(all: usize, ours: usize) -> Api {
        Api::hurried(all, ours, 1)
    }

    /// The same, but each watch ends `times` as early as it asks for.
    pub fn hurried(all: usize, ours: usize, times: u32) -> Api {
        let asked = Arc::<Mutex<Requests>>::default();
        let counted = Arc::clone(&asked);
        let ready = Arc::<AtomicUsize>::default();
        let told = Arc::clone(&ready);
        let collections: BTreeMap<&str, Vec<Value>> =
            [("pods", pods(all, ours)), ("daemonsets", vec![daemonset()]), ("events", Vec::new())].into();
        let server = Server::start(move |line, stream| {
            let target = Target::read(line);
            *counted.lock().unwrap_or_else(PoisonError::into_inner).entry(target.asked.clone()).or_default() += 1;
            let objects = collections.get(target.asked.resource.as_str());
            match (target.asked.verb.as_str(), objects) {
                ("watch", Some(objects)) => target.watch(objects, times, &told, stream),
                ("list", Some(objects)) => respond(stream, "200 OK", &target.list(objects)),
                ("get", Some(objects)) => target.get(objects, stream),
                _ => respond(stream, "404 Not Found", &missing()),
            }
        });
        Api { server, asked, ready }
    }

    /// One pod more becomes ready, in the order of their numbers.
    pub fn next_is_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.server.address
    }

    /// How often it was asked anything.
    pub fn total(&self) -> usize {
        self.asked().values().sum()
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Requests {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Target {
    fn read(line: &str) -> Target {
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.replace("%3D", "=").replace("%2F", "/")))
            .collect();
        // /api/v1/… or /apis/GROUP/v1/…, then the namespace, then resource and name.
        let mut path: Vec<&str> = path.trim_matches('/').split('/').collect();
        path.drain(..path.len().min(if path[0] == "apis" { 3 } else { 2 }));
        if path.len() > 2 && path[0] == "namespaces" {
            path.drain(..2);
        }
        let resource = path.first().copied().unwrap_or_default().to_owned();
        let name = path.get(1).map(|name| (*name).to_owned());
        let watches = query.get("watch").is_some_and(|value| value == "true" || value == "1");
        let verb = match (method, &name) {
            ("GET", _) if watches => "watch",
            ("GET", Some(_)) => "get",
            ("GET", None) => "list",
            (method, _) => method,
        };
        let seconds = query.get("timeoutSeconds").and_then(|text| text.parse().ok());
        Target { asked: Asked { verb: verb.to_owned(), resource, seconds }, name, query }
    }

    fn wanted<'a>(&self, objects: &'a [Value]) -> impl Iterator<Item = &'a Value> {
        let selector = self.query.get("fieldSelector").map(String::as_str);
        objects.iter().filter(move |object| selected(object, selector))
    }

    fn get(&self, objects: &[Value], stream: &mut TcpStream) -> bool {
        let name = self.name.as_deref().unwrap_or_default();
        match objects.iter().find(|object| object["metadata"]["name"] == name) {
            Some(object) => respond(stream, "200 OK", &object.to_string()),
            None => respond(stream, "404 Not Found", &missing()),
        }
    }

    fn list(&self, objects: &[Value]) -> String {
        let items: Vec<&Value> = self.wanted(objects).collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": VERSION}, "items": items})
            .to_string()
    }

    /// What is there, if that is asked for too; then the pods that become ready, until the watch's time is over or the
    /// client hangs up.
    fn watch(&self, objects: &[Value], times: u32, now_ready: &AtomicUsize, stream: &mut TcpStream) -> bool {
        let mut text = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n".to_owned();
        if self.query.get("sendInitialEvents").is_some_and(|value| value == "true") {
            for object in self.wanted(objects) {
                text += &format!("{}\n", json!({"type": "ADDED", "object": object}));
            }
            let mark = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1",
                "metadata": {"resourceVersion": VERSION, "annotations": {"k8s.io/initial-events-end": "true"}}}});
            text += &format!("{mark}\n");
        }
        let asked = self.asked.seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        let end = asked.map(|limit| Instant::now() + limit / times);
        let sent = stream.write_all(text.as_bytes()).and_then(|()| stream.set_read_timeout(Some(SOON)));
        let mut told = 0;
        while sent.is_ok() && end.is_none_or(|end| Instant::now() < end) {
            // Nothing comes from the client; that there is nothing is the pause.
            match stream.read(&mut [0; 1]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => return false,
            }
            if self.asked.resource != "pods" {
                continue;
            }
            let by_now = now_ready.load(Ordering::Relaxed);
            let news: String =
                (told..by_now).map(|n| format!("{}\n", json!({"type": "MODIFIED", "object": ready(n)}))).collect();
            if stream.write_all(news.as_bytes()).is_err() {
                return false;
            }
            told = by_now;
        }
        false
    }
}

fn missing() -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "metadata": {}, "message": "not found"})
    .to_string()
}
