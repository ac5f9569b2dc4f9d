//! How the stand-in answers each request.

use super::changes::{delete, evict, label};
use super::forward::forward;
use super::{Fault, Shared, Streaming, key};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

type Words = Query<HashMap<String, String>>;

/// Every path that is served.
pub(super) fn all(shared: &Arc<Shared>) -> Router {
    type Name = Path<(String, String)>;
    let pod = async |shared, uri, Path((namespace, name)): Name| one(shared, uri, "pods", namespace, name).await;
    let daemonset =
        async |shared, uri, Path((namespace, name)): Name| one(shared, uri, "daemonsets", namespace, name).await;
    let node = async |shared, uri, Path(name): Path<String>| one(shared, uri, "nodes", String::new(), name).await;
    let daemonsets = async |shared, uri, query| collection(shared, uri, query, "daemonsets").await;
    Router::new()
        .route("/api/v1/pods", get(async |shared, uri, query| collection(shared, uri, query, "pods").await))
        .route(
            "/api/v1/namespaces/{namespace}/pods",
            get(async |shared, uri, query| collection(shared, uri, query, "pods").await),
        )
        .route("/api/v1/namespaces/{namespace}/pods/{name}/portforward", get(forward))
        .route("/api/v1/namespaces/{namespace}/pods/{name}", get(pod).delete(delete))
        .route("/api/v1/namespaces/{namespace}/pods/{name}/eviction", post(evict))
        .route("/api/v1/namespaces/{namespace}/pods/{name}/status", patch(label))
        .route("/apis/apps/v1/namespaces/{namespace}/daemonsets", get(daemonsets))
        .route("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}", get(daemonset))
        .route("/api/v1/nodes", get(async |shared, uri, query| collection(shared, uri, query, "nodes").await))
        .route("/api/v1/nodes/{name}", get(node))
        .route("/api/v1/namespaces/{namespace}/events", get(events_on).post(create))
        .route("/api/v1/namespaces/{namespace}/events/{name}", patch(change))
        .layer(from_fn_with_state(shared.clone(), authorized))
        .with_state(shared.clone())
}

/// Whoever has not the token that is taken is refused, and written down.
async fn authorized(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let wanted = shared.lock().token.as_ref().map(|token| format!("Bearer {token}"));
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if wanted.is_some() && given != wanted.as_deref() {
        shared.lock().requests.push(format!("refused {}", request.uri()));
        shared.news();
        return status(401, "Unauthorized", json!({}));
    }
    next.run(request).await
}

async fn one(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    resource: &'static str,
    namespace: String,
    name: String,
) -> Response {
    if let Some(fault) = shared.asked(resource, "get", &uri) {
        return failed(fault).await;
    }
    let key = (resource, namespace, name);
    let found = shared.lock().objects.get(&key).cloned();
    found.map_or_else(|| missing(resource, &key.2), |object| json_answer(200, &object))
}

/// The Events on one object, as the selector by its UID has them, or on all pods; a page is what `limit` says.
async fn events_on(State(shared): State<Arc<Shared>>, uri: Uri, Query(query): Words) -> Response {
    if let Some(fault) = shared.asked("events", "list", &uri) {
        return failed(fault).await;
    }
    let selector = query.get("fieldSelector").unwrap();
    let uid = selector.strip_prefix("involvedObject.uid=");
    assert!(uid.is_some() || selector == "involvedObject.kind=Pod", "{selector}");
    let number = |key: &str| query.get(key).map_or(0, |text| text.parse::<usize>().unwrap());
    let (from, most) = (number("continue"), number("limit"));
    let namespace = uri.path().split('/').nth(4).unwrap();
    let objects = shared.lock();
    let of = |key: &super::Key, event: &Value| {
        (key.0, key.1.as_str()) == ("events", namespace) && uid.is_none_or(|uid| event["involvedObject"]["uid"] == uid)
    };
    let items: Vec<&Value> = objects.objects.iter().filter(|(key, event)| of(key, event)).map(|(_, it)| it).collect();
    let page: Vec<&Value> = items.iter().skip(from).take(most).copied().collect();
    let next = if from + page.len() < items.len() { (from + page.len()).to_string() } else { String::new() };
    json_answer(200, &json!({"kind": "EventList", "apiVersion": "v1", "metadata": {"continue": next}, "items": page}))
}

async fn create(State(shared): State<Arc<Shared>>, uri: Uri, event: String) -> Response {
    if let Some(fault) = shared.asked("events", "create", &uri) {
        return failed(fault).await;
    }
    let event: Value = serde_json::from_str(&event).unwrap();
    let namespace = uri.path().split('/').nth(4);
    assert_eq!(event["metadata"]["namespace"].as_str(), namespace, "an Event in another namespace than its path's");
    let taken = shared.lock().objects.insert(key(&event), event.clone()).is_some();
    assert!(!taken, "an Event of this name is there: {event}");
    shared.news();
    json_answer(201, &event)
}

/// A merge patch of an Event, of its outermost keys alone.
async fn change(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    Path((namespace, name)): Path<(String, String)>,
    changes: String,
) -> Response {
    if let Some(fault) = shared.asked("events", "patch", &uri) {
        return failed(fault).await;
    }
    let key = ("events", namespace, name);
    let mut objects = shared.lock();
    let Some(event) = objects.objects.get_mut(&key) else { return missing("events", &key.2) };
    let changes: Value = serde_json::from_str(&changes).unwrap();
    event.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let event = event.clone();
    drop(objects);
    shared.news();
    json_answer(200, &event)
}

async fn collection(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    Query(query): Words,
    resource: &'static str,
) -> Response {
    let is = |key: &str| query.get(key).is_some_and(|value| value == "true");
    let verb = if is("watch") { "watch" } else { "list" };
    if let Some(fault) = shared.asked(resource, verb, &uri) {
        return failed(fault).await;
    }
    let wanted = Wanted {
        resource,
        name: query.get("fieldSelector").and_then(|text| text.strip_prefix("metadata.name=")),
        namespace: uri.path().strip_prefix("/api/v1/namespaces/").and_then(|path| path.strip_suffix("/pods")),
        label: query.get("labelSelector").and_then(|text| text.split_once('=')),
    };
    if verb == "watch" {
        return watch_answer(&shared, &wanted, is("sendInitialEvents"), query.get("resourceVersion"));
    }
    list(&shared, &wanted, query.get("continue"))
}

/// Which objects a list or a watch is of. A node's name, as a selector, selects all.
struct Wanted<'a> {
    resource: &'static str,
    name: Option<&'a str>,
    /// Of pods, in lists.
    namespace: Option<&'a str>,
    /// Key and value that it must have.
    label: Option<(&'a str, &'a str)>,
}

impl Wanted<'_> {
    fn has(&self, resource: &str, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.resource == resource
            && self.name.is_none_or(|name| metadata["name"] == name)
            && self.namespace.is_none_or(|namespace| metadata["namespace"] == namespace)
            && self.label.is_none_or(|(key, value)| metadata["labels"][key] == value)
    }
}

/// Two objects to a page at the most, so that every list of more is in pages.
fn list(shared: &Shared, wanted: &Wanted<'_>, from: Option<&String>) -> Response {
    const PAGE: usize = 2;
    let objects = shared.lock();
    let start: usize = from.map_or(0, |text| text.parse().unwrap());
    let all = objects.objects.iter().filter(|(key, object)| wanted.has(key.0, object));
    let all: Vec<&Value> = all.map(|(_, object)| object).collect();
    let items: Vec<&Value> = all.iter().skip(start).take(PAGE).copied().collect();
    let next = start + items.len();
    let mark = if next < all.len() { next.to_string() } else { String::new() };
    let metadata = json!({"resourceVersion": objects.version.to_string(), "continue": mark});
    json_answer(200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
}

fn watch_answer(shared: &Arc<Shared>, wanted: &Wanted<'_>, initial: bool, from: Option<&String>) -> Response {
    let objects = shared.lock();
    let from = from.filter(|text| !text.is_empty()).map_or(0, |text| text.parse().unwrap());
    if initial && objects.streaming == Streaming::Refused {
        return status(422, "Invalid", json!({}));
    }
    if !initial && from < objects.oldest {
        return status(410, "Expired", json!({}));
    }
    let mut first = Vec::new();
    if initial {
        let all = objects.objects.iter().filter(|(key, object)| wanted.has(key.0, object));
        first.extend(all.map(|(_, object)| json!({"type": "ADDED", "object": object})));
        if objects.streaming == Streaming::Yes {
            first.push(json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {
                "resourceVersion": objects.version.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"}}}}));
        }
    }
    let from = if initial { objects.version } else { from };
    let (resource, name) = (wanted.resource, wanted.name.map(str::to_owned));
    let later = events(shared.clone(), from, objects.epoch, move |of, object| {
        Wanted { resource, name: name.as_deref(), namespace: None, label: None }.has(of, object)
    });
    let lines = stream::iter(first).chain(later).map(|event| Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))));
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response()
}

/// The wanted events after a version, as they come, until the watch is ended.
fn events(
    shared: Arc<Shared>,
    from: u64,
    epoch: u64,
    wanted: impl Fn(&str, &Value) -> bool + Send + 'static,
) -> impl Stream<Item = Value> {
    let changed = shared.changed.subscribe();
    stream::unfold((shared, changed, wanted, from), move |(shared, mut changed, wanted, seen)| async move {
        loop {
            {
                let objects = shared.lock();
                if objects.epoch != epoch {
                    return None;
                }
                let mut news = objects.events.iter().filter(|(version, ..)| *version > seen && !objects.held);
                let next = news.find(|(_, resource, event)| wanted(resource, &event["object"]));
                if let Some((version, _, event)) = next.cloned() {
                    drop(objects);
                    return Some((event, (shared, changed, wanted, version)));
                }
            }
            changed.changed().await.ok()?;
        }
    })
}

pub(super) async fn failed(fault: Fault) -> Response {
    match fault {
        Fault::Status(code) => status(code, "Failed", json!({})),
        Fault::Garbage => "<html>not what you expected</html>".into_response(),
        Fault::Silence => std::future::pending().await,
        Fault::Busy(seconds) => {
            let headers = [(header::RETRY_AFTER, seconds.to_string())];
            (StatusCode::TOO_MANY_REQUESTS, headers, "Too many requests, please try again later.").into_response()
        }
        Fault::Budget(seconds) => {
            let causes =
                json!([{"reason": "DisruptionBudget", "message": "The disruption budget web needs 1 healthy pods"}]);
            status(429, "TooManyRequests", json!({"causes": causes, "retryAfterSeconds": seconds}))
        }
    }
}

pub(super) fn missing(resource: &str, name: &str) -> Response {
    status(404, "NotFound", json!({"name": name, "kind": resource}))
}

pub(super) fn status(code: u16, reason: &str, details: Value) -> Response {
    let message = format!("the stand-in says {code}");
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": message, "metadata": {}, "details": details});
    json_answer(code, &status)
}

pub(super) fn json_answer(code: u16, body: &Value) -> Response {
    (StatusCode::from_u16(code).unwrap(), [(header::CONTENT_TYPE, "application/json")], body.to_string())
        .into_response()
}
