//! How the stand-in deletes, evicts and labels a pod: exactly the one that is meant, or it refuses. A
//! deletion leaves the pod there, marked, as a real server does until the kubelet has ended it.

use super::routes::{failed, json_answer, missing, status};
use super::{Objects, Shared};
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;

type Server = State<Arc<Shared>>;
type Name = Path<(String, String)>;

pub async fn delete(State(shared): Server, uri: Uri, Path(name): Name, body: String) -> Response {
    if let Some(fault) = shared.asked("pods", "delete", &uri) {
        return failed(fault).await;
    }
    let options: Value = serde_json::from_str(&body).unwrap();
    change(&shared, name, &options["preconditions"], |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    })
}

pub async fn evict(State(shared): Server, uri: Uri, Path(name): Name, body: String) -> Response {
    if let Some(fault) = shared.asked("pods/eviction", "create", &uri) {
        return failed(fault).await;
    }
    let eviction: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&eviction["apiVersion"], &eviction["kind"]), (&json!("policy/v1"), &json!("Eviction")));
    assert_eq!(eviction["metadata"]["name"], json!(name.1));
    change(&shared, name, &eviction["deleteOptions"]["preconditions"], |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    })
}

pub async fn label(State(shared): Server, uri: Uri, Path(name): Name, body: String) -> Response {
    if let Some(fault) = shared.asked("pods/status", "patch", &uri) {
        return failed(fault).await;
    }
    let patch: Value = serde_json::from_str(&body).unwrap();
    let metadata = &patch["metadata"];
    change(&shared, name, metadata, |pod| {
        for (key, value) in metadata["labels"].as_object().unwrap() {
            pod["metadata"]["labels"][key] = value.clone();
        }
    })
}

/// Changes the pod if it is the one that is meant, which must be said, and tells the watches.
fn change(
    shared: &Shared,
    (namespace, name): (String, String),
    meant: &Value,
    change: impl FnOnce(&mut Value),
) -> Response {
    let mut objects = shared.lock();
    objects.version += 1;
    let Objects { objects: all, version, events, .. } = &mut *objects;
    let Some(pod) = all.get_mut(&("pods", namespace, name.clone())) else { return missing("pods", &name) };
    for key in ["uid", "resourceVersion"] {
        assert!(meant[key].is_string(), "without {key} it could be another pod: {meant}");
        if meant[key] != pod["metadata"][key] {
            return status(409, "Conflict", json!({"name": name, "kind": "pods"}));
        }
    }
    change(pod);
    pod["metadata"]["resourceVersion"] = json!(version.to_string());
    let pod = pod.clone();
    events.push((*version, "pods", json!({"type": "MODIFIED", "object": pod})));
    drop(objects);
    shared.news();
    json_answer(200, &pod)
}
