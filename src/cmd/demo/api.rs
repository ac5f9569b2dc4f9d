//! A stand-in for the API server with the sample pods: GET, LIST and WATCH over plain HTTP on loopback.

use super::pods::{NAMESPACE, Pod};
use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// The running server.
pub struct Api {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Objects {
    pods: Arc<Vec<Value>>,
    requests: Arc<AtomicUsize>,
}

impl Api {
    /// Serves these pods on a free port of loopback, until the runtime ends.
    pub async fn start(pods: impl Iterator<Item = &Pod>) -> Result<Api> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicUsize::new(0));
        let pods = Arc::new(pods.map(|pod| pod.object.clone()).collect());
        let routes = Router::new()
            .route("/api/v1/pods", get(list))
            .route("/api/v1/namespaces/{namespace}/pods", get(list))
            .route("/api/v1/namespaces/{namespace}/pods/{name}", get(one))
            .fallback(missing)
            .with_state(Objects { pods, requests: Arc::clone(&requests) });
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Api { address, requests })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it had.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
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

async fn list(State(objects): State<Objects>, Query(query): Query<HashMap<String, String>>) -> Response {
    objects.requests.fetch_add(1, Ordering::Relaxed);
    let asked = |key: &str| query.get(key).is_some_and(|value| value == "true" || value == "1");
    if asked("watch") {
        return watch(&objects.pods, asked("sendInitialEvents"));
    }
    let list = json!({
        "apiVersion": "v1",
        "kind": "PodList",
        "metadata": { "resourceVersion": "1" },
        "items": *objects.pods,
    });
    answer(StatusCode::OK, &list)
}

/// A watch that has nothing new to say: these pods do not change.
fn watch(pods: &[Value], initial: bool) -> Response {
    let mut lines = String::new();
    if initial {
        let end = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "resourceVersion": "1", "annotations": { "k8s.io/initial-events-end": "true" } },
        });
        let added = pods.iter().map(|pod| json!({ "type": "ADDED", "object": pod }));
        for event in added.chain([json!({ "type": "BOOKMARK", "object": end })]) {
            lines.push_str(&event.to_string());
            lines.push('\n');
        }
    }
    let events = stream::iter([Ok::<_, Infallible>(Bytes::from(lines))]).chain(stream::pending());
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(events)).into_response()
}

async fn one(State(objects): State<Objects>, Path((namespace, name)): Path<(String, String)>) -> Response {
    objects.requests.fetch_add(1, Ordering::Relaxed);
    let found = objects.pods.iter().find(|pod| namespace == NAMESPACE && pod["metadata"]["name"] == name.as_str());
    match found {
        Some(pod) => answer(StatusCode::OK, pod),
        None => not_found(&format!("pods {name:?} not found")),
    }
}

async fn missing(State(objects): State<Objects>) -> Response {
    objects.requests.fetch_add(1, Ordering::Relaxed);
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
