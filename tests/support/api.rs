//! A stand-in for the API server whose pods change while it runs: GET, LIST and WATCH (with and
//! without streaming lists) over plain HTTP on loopback; it can be told to fail, hang and hold back.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a kind of request meets instead of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error status.
    Status(u16),
    /// A 200 with something that is no JSON.
    Garbage,
    /// No answer until the caller gives up.
    Silence,
}

/// How a watch that asks for a streaming list is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// As servers since 1.34 do.
    Yes,
    /// Refused, as by a server that has it switched off.
    Refused,
    /// The initial events come, but never the mark of their end, as from an old server.
    Unmarked,
}

/// The server; it ends, with all its connections, when this is dropped.
pub struct Api {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    state: Mutex<Pods>,
    /// The latest version; a change wakes the watches and whoever waits for a request.
    changed: watch::Sender<u64>,
}

struct Pods {
    objects: BTreeMap<(String, String), Value>,
    events: Vec<(u64, Value)>,
    version: u64,
    /// Watches that are older than this are told 410.
    oldest: u64,
    held: bool,
    /// Raised to end every open watch.
    epoch: u64,
    streaming: Streaming,
    faults: HashMap<&'static str, Fault>,
    requests: Vec<String>,
}

impl Api {
    /// Serves on a free port.
    pub fn start() -> Api {
        Api::start_at("127.0.0.1:0".parse().unwrap())
    }

    /// Serves at this address, for instance that of one that is gone.
    pub fn start_at(address: SocketAddr) -> Api {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let pods = Pods {
            objects: BTreeMap::new(),
            events: Vec::new(),
            version: 10,
            oldest: 0,
            held: false,
            epoch: 0,
            streaming: Streaming::Yes,
            faults: HashMap::new(),
            requests: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(pods), changed: watch::Sender::new(0) });
        let routes = Router::new()
            .route("/api/v1/pods", get(collection))
            .route("/api/v1/namespaces/{namespace}/pods/{name}", get(one))
            .with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Api { address, shared, _runtime: runtime }
    }

    /// Puts a pod there, or another one in its place.
    pub fn put(&self, pod: &Value) {
        self.change(|pods| {
            let mut pod = pod.clone();
            pod["metadata"]["resourceVersion"] = json!(pods.version.to_string());
            let kind = if pods.objects.insert(key(&pod), pod.clone()).is_some() { "MODIFIED" } else { "ADDED" };
            pods.events.push((pods.version, json!({"type": kind, "object": pod})));
        });
    }

    /// Takes a pod away.
    pub fn remove(&self, pod: &Value) {
        self.change(|pods| {
            let mut pod = pods.objects.remove(&key(pod)).unwrap();
            pod["metadata"]["resourceVersion"] = json!(pods.version.to_string());
            pods.events.push((pods.version, json!({"type": "DELETED", "object": pod})));
        });
    }

    /// Keeps events from the watches until it is called with false.
    pub fn hold_watches(&self, held: bool) {
        self.change(|pods| pods.held = held);
    }

    /// Ends every open watch, and forgets the events before now if `forget` is set.
    pub fn end_watches(&self, forget: bool) {
        self.change(|pods| {
            pods.epoch += 1;
            if forget {
                pods.oldest = pods.version;
            }
        });
    }

    /// How streaming lists are treated.
    pub fn set_streaming(&self, streaming: Streaming) {
        self.change(|pods| pods.streaming = streaming);
    }

    /// What requests of this kind (`get`, `list`, `watch`) meet from now on.
    pub fn fail(&self, verb: &'static str, fault: Option<Fault>) {
        self.change(|pods| match fault {
            Some(fault) => drop(pods.faults.insert(verb, fault)),
            None => drop(pods.faults.remove(verb)),
        });
    }

    /// The requests so far, as `verb path?query`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().requests.clone()
    }

    /// How many requests of this kind there were.
    pub fn count(&self, verb: &str) -> usize {
        self.requests().iter().filter(|request| request.starts_with(verb)).count()
    }

    /// Waits until there were so many requests of this kind.
    pub fn wait_for(&self, verb: &str, count: usize) {
        let mut changed = self.shared.changed.subscribe();
        let deadline = Instant::now() + Duration::from_secs(10);
        self._runtime.block_on(async {
            while self.count(verb) < count {
                let news = tokio::time::timeout_at(deadline.into(), changed.changed()).await;
                assert!(news.is_ok(), "no {count} requests {verb:?}, only {:?}", self.requests());
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Pods)) {
        let mut pods = self.shared.lock();
        pods.version += 1;
        change(&mut pods);
        drop(pods);
        self.shared.news();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pods> {
        self.state.lock().unwrap()
    }

    fn news(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Writes a request down; what it meets instead of its answer, if anything.
    fn asked(&self, verb: &'static str, uri: &Uri) -> Option<Fault> {
        let mut pods = self.lock();
        pods.requests.push(format!("{verb} {uri}"));
        let fault = pods.faults.get(verb).copied();
        drop(pods);
        self.news();
        fault
    }
}

fn key(pod: &Value) -> (String, String) {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
    (text("namespace"), text("name"))
}

async fn one(State(shared): State<Arc<Shared>>, uri: Uri, Path(path): Path<(String, String)>) -> Response {
    if let Some(fault) = shared.asked("get", &uri) {
        return failed(fault).await;
    }
    let found = shared.lock().objects.get(&path).cloned();
    found.map_or_else(|| status(404, "NotFound"), |pod| json_answer(200, &pod))
}

async fn collection(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let is = |key: &str| query.get(key).is_some_and(|value| value == "true");
    let verb = if is("watch") { "watch" } else { "list" };
    if let Some(fault) = shared.asked(verb, &uri) {
        return failed(fault).await;
    }
    if verb == "watch" {
        return watch_answer(&shared, is("sendInitialEvents"), query.get("resourceVersion"));
    }
    list(&shared, &query)
}

/// Two pods to a page at the most, so that every list of more is in pages.
fn list(shared: &Shared, query: &HashMap<String, String>) -> Response {
    const PAGE: usize = 2;
    let pods = shared.lock();
    let start: usize = query.get("continue").map_or(0, |text| text.parse().unwrap());
    let items: Vec<&Value> = pods.objects.values().skip(start).take(PAGE).collect();
    let next = start + items.len();
    let mark = if next < pods.objects.len() { next.to_string() } else { String::new() };
    let metadata = json!({"resourceVersion": pods.version.to_string(), "continue": mark});
    json_answer(200, &json!({"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

fn watch_answer(shared: &Arc<Shared>, initial: bool, from: Option<&String>) -> Response {
    let pods = shared.lock();
    let from = from.filter(|text| !text.is_empty()).map_or(0, |text| text.parse().unwrap());
    if initial && pods.streaming == Streaming::Refused {
        return status(422, "Invalid");
    }
    if !initial && from < pods.oldest {
        return status(410, "Expired");
    }
    let mut first = Vec::new();
    if initial {
        first.extend(pods.objects.values().map(|pod| json!({"type": "ADDED", "object": pod})));
        if pods.streaming == Streaming::Yes {
            first.push(json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {
                "resourceVersion": pods.version.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"}}}}));
        }
    }
    let from = if initial { pods.version } else { from };
    let later = events(shared.clone(), from, pods.epoch);
    let lines = stream::iter(first).chain(later).map(|event| Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))));
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response()
}

/// The events after a version, as they come, until the watch is ended.
fn events(shared: Arc<Shared>, from: u64, epoch: u64) -> impl Stream<Item = Value> {
    let changed = shared.changed.subscribe();
    stream::unfold((shared, changed, from), move |(shared, mut changed, seen)| async move {
        loop {
            {
                let pods = shared.lock();
                if pods.epoch != epoch {
                    return None;
                }
                let next = pods.events.iter().find(|(version, _)| *version > seen && !pods.held).cloned();
                drop(pods);
                if let Some((version, event)) = next {
                    return Some((event, (shared, changed, version)));
                }
            }
            changed.changed().await.ok()?;
        }
    })
}

async fn failed(fault: Fault) -> Response {
    match fault {
        Fault::Status(code) => status(code, "Failed"),
        Fault::Garbage => "<html>not what you expected</html>".into_response(),
        Fault::Silence => std::future::pending().await,
    }
}

fn status(code: u16, reason: &str) -> Response {
    let message = format!("the stand-in says {code}");
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": message, "metadata": {}});
    json_answer(code, &status)
}

fn json_answer(code: u16, body: &Value) -> Response {
    (StatusCode::from_u16(code).unwrap(), [(header::CONTENT_TYPE, "application/json")], body.to_string())
        .into_response()
}
