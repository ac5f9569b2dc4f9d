//! A stand-in for the API server with the sample pods: GET, LIST and WATCH, and Events that are created, over plain HTTP
//! on loopback.

use super::pods::{NAMESPACE, Pod};
use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The running server.
pub struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    objects: Mutex<Objects>,
    /// The latest version: a change wakes the watches, and whoever waits for an Event.
    changed: watch::Sender<u64>,
    requests: AtomicUsize,
}

#[derive(Default)]
struct Objects {
    pods: Vec<Value>,
    /// The lines that a watch is told, with their versions.
    changes: Vec<(u64, String)>,
    /// The Events, in the order in which they came.
    events: Vec<Value>,
    version: u64,
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message of the first Event on the object with this UID.
    fn event_on(&self, uid: &str) -> Option<String> {
        let objects = self.objects();
        let event = objects.events.iter().find(|event| event["involvedObject"]["uid"] == uid)?;
        event["message"].as_str().map(str::to_owned)
    }

    fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes something, and tells whoever waits.
    fn change<T>(&self, change: impl FnOnce(&mut Objects) -> T) -> T {
        let mut objects = self.objects();
        objects.version += 1;
        let (version, result) = (objects.version, change(&mut objects));
        drop(objects);
        self.changed.send_replace(version);
        result
    }
}

type Server = State<Arc<Shared>>;

impl Api {
    /// Serves these pods on a free port of loopback, until the runtime ends.
    pub async fn start(pods: impl Iterator<Item = &Pod>) -> Result<Api> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let pods = pods.map(|pod| pod.object.clone()).collect();
        let objects = Mutex::new(Objects { pods, version: 1, ..Objects::default() });
        let shared = Arc::new(Shared { objects, changed: watch::Sender::new(1), requests: AtomicUsize::new(0) });
        let routes = Router::new()
            .route("/api/v1/pods", get(list))
            .route("/api/v1/namespaces/{namespace}/pods", get(list))
            .route("/api/v1/namespaces/{namespace}/pods/{name}", get(one))
            .route("/api/v1/namespaces/{namespace}/events", post(create))
            .fallback(missing)
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Api { address, shared })
    }

    /// Puts another state of a pod in the place of the one that is there.
    pub fn replace(&self, mut pod: Value) {
        self.shared.change(|objects| {
            pod["metadata"]["resourceVersion"] = json!(objects.version.to_string());
            let line = format!("{}\n", json!({ "type": "MODIFIED", "object": pod }));
            objects.changes.push((objects.version, line));
            for known in objects.pods.iter_mut().filter(|known| known["metadata"]["uid"] == pod["metadata"]["uid"]) {
                *known = pod.clone();
            }
        });
    }

    /// Waits for an Event on this pod, and returns its message.
    pub async fn event_on(&self, pod: &Pod, limit: Duration) -> Result<String> {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            loop {
                changed.borrow_and_update();
                if let Some(message) = self.shared.event_on(&pod.uid) {
                    return Ok(message);
                }
                changed.changed().await?;
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(result) => result,
            Err(_) => bail!("the agent made no Event on {NAMESPACE}/{} within {} s", pod.name, limit.as_secs()),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it had.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Writes a kubeconfig that leads to it.
    pub fn write_kubeconfig(&self, directory: &FilePath) -> Result<PathBuf> {
        let path = directory.join("istio-cni-kubeconfig");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "demo", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "istio-cni", "user": {} }],
            "contexts": [{ "name": "demo", "context": { "cluster": "demo", "user": "istio-cni" } }],
            "current-context": "demo",
        });
        std::fs::write(&path, kubeconfig.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

async fn list(State(shared): Server, Query(query): Query<HashMap<String, String>>) -> Response {
    shared.asked();
    let asked = |key: &str| query.get(key).is_some_and(|value| value == "true" || value == "1");
    if asked("watch") {
        let from = query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        return watch(&shared, asked("sendInitialEvents"), from);
    }
    let objects = shared.objects();
    let list = json!({
        "apiVersion": "v1",
        "kind": "PodList",
        "metadata": { "resourceVersion": objects.version.to_string() },
        "items": objects.pods,
    });
    answer(StatusCode::OK, &list)
}

/// What there is, where that is asked for, and then every change, or the changes after the version `from`.
fn watch(shared: &Arc<Shared>, initial: bool, from: u64) -> Response {
    let mut first = String::new();
    let objects = shared.objects();
    let from = if initial { objects.version } else { from };
    if initial {
        let end = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "resourceVersion": objects.version.to_string(),
                "annotations": { "k8s.io/initial-events-end": "true" },
            },
        });
        let added = objects.pods.iter().map(|pod| json!({ "type": "ADDED", "object": pod }));
        for event in added.chain([json!({ "type": "BOOKMARK", "object": end })]) {
            first.push_str(&format!("{event}\n"));
        }
    }
    drop(objects);
    let lines = stream::iter([first]).chain(changes_after(Arc::clone(shared), from));
    let lines = lines.map(|lines| Ok::<_, Infallible>(Bytes::from(lines)));
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response()
}

/// The lines of each change after this version, as they come.
fn changes_after(shared: Arc<Shared>, from: u64) -> impl Stream<Item = String> {
    let changed = shared.changed.subscribe();
    stream::unfold((shared, changed, from), async |(shared, mut changed, seen)| {
        loop {
            changed.borrow_and_update();
            let next = shared.objects().changes.iter().find(|(version, _)| *version > seen).cloned();
            if let Some((version, line)) = next {
                return Some((line, (shared, changed, version)));
            }
            changed.changed().await.ok()?;
        }
    })
}

async fn one(State(shared): Server, Path((namespace, name)): Path<(String, String)>) -> Response {
    shared.asked();
    let objects = shared.objects();
    let found = objects.pods.iter().find(|pod| namespace == NAMESPACE && pod["metadata"]["name"] == name.as_str());
    match found {
        Some(pod) => answer(StatusCode::OK, pod),
        None => not_found(&format!("pods {name:?} not found")),
    }
}

async fn create(State(shared): Server, event: Bytes) -> Response {
    shared.asked();
    let Ok(event) = serde_json::from_slice::<Value>(&event) else {
        return answer(StatusCode::BAD_REQUEST, &json!({ "kind": "Status", "status": "Failure", "code": 400 }));
    };
    shared.change(|objects| objects.events.push(event.clone()));
    answer(StatusCode::CREATED, &event)
}

async fn missing(State(shared): Server) -> Response {
    shared.asked();
    not_found("the server could not find the requested resource")
}

fn not_found(message: &str) -> Response {
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": "NotFound",
        "code": 404,
        "message": message,
        "metadata": {},
    });
    answer(StatusCode::NOT_FOUND, &status)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
