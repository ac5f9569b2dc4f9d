//! Deleting, evicting and labelling one pod: exactly the one that was looked at, in exactly that
//! state, or the API server refuses.

use super::client::{ApiClient, check_names};
use super::daemonset::Object;
use super::error::ApiError;
use super::resource::Resource;
use crate::domain::pod::PodFacts;
use crate::ops::ports::{BoxedError, Changed, PodChanges};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use tokio::runtime::Handle;
use ureq::http::Request as HttpRequest;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// The API client with the runtime that drives it, for threads outside the runtime.
pub struct BlockingChanges {
    client: Arc<ApiClient>,
    runtime: Handle,
}

impl BlockingChanges {
    /// Drives `client` on `runtime`.
    pub fn new(client: Arc<ApiClient>, runtime: Handle) -> BlockingChanges {
        BlockingChanges { client, runtime }
    }

    fn ask(
        &self,
        resource: Resource,
        verb: &'static str,
        pod: &PodFacts,
        request: impl FnOnce(Request) -> Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Changed, BoxedError> {
        check_names(resource, &pod.namespace, &pod.name).map_err(BoxedError::new)?;
        let request = request(Request::new(format!("/api/v1/namespaces/{}/pods", pod.namespace)));
        let (client, (tell, answer)) = (self.client.clone(), channel());
        // It is driven by the runtime alone: a thread that did would panic where the runtime ends first.
        self.runtime.spawn(async move {
            // The answer is the pod or a Status; all that counts is that it is no refusal.
            let _ = tell.send(client.ask::<Object>(resource, verb, request, ANSWER).await);
        });
        match answer.recv().unwrap_or(Err(ApiError::Timeout { limit: ANSWER })) {
            Ok(_) => Ok(Changed::Done),
            Err(ApiError::NotFound { object, .. }) if object == pod.name => Ok(Changed::Gone),
            Err(error) => Err(BoxedError::new(error)),
        }
    }
}

impl PodChanges for BlockingChanges {
    fn delete(&self, pod: &PodFacts) -> Result<Changed, BoxedError> {
        let (uid, resource_version) = (Some(pod.uid.clone()), Some(pod.status.resource_version.clone()));
        let preconditions = Some(Preconditions { uid, resource_version });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        self.ask(Resource::PodDeletion, "delete", pod, |pods| pods.delete(&pod.name, &params))
    }

    fn evict(&self, pod: &PodFacts) -> Result<Changed, BoxedError> {
        let body = eviction(pod).to_string().into_bytes();
        self.ask(Resource::Evictions, "create", pod, |pods| {
            pods.create_subresource("eviction", &pod.name, &PostParams::default(), body)
        })
    }

    fn label(&self, pod: &PodFacts, key: &str, value: &str) -> Result<Changed, BoxedError> {
        let patch = Patch::Merge(labelled(pod, key, value));
        self.ask(Resource::PodStatus, "patch", pod, |pods| {
            pods.patch_subresource("status", &pod.name, &PatchParams::default(), &patch)
        })
    }
}

/// The client library's own eviction has its options under a name that the API does not know, and
/// would so lose the preconditions.
fn eviction(pod: &PodFacts) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": {"preconditions": {"uid": pod.uid, "resourceVersion": pod.status.resource_version}},
    })
}

/// A merge patch whose UID and version make the API server refuse it for any other pod or state.
fn labelled(pod: &PodFacts, key: &str, value: &str) -> Value {
    let (uid, version) = (&pod.uid, &pod.status.resource_version);
    json!({"metadata": {"uid": uid, "resourceVersion": version, "labels": {key: value}}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_status::PodStatus;

    fn pod() -> PodFacts {
        let status = PodStatus { resource_version: "7".into(), ..PodStatus::default() };
        PodFacts { namespace: "shop".into(), name: "web-0".into(), uid: "u-1".into(), status, ..PodFacts::default() }
    }

    #[test]
    fn an_eviction_names_the_pod_and_its_state() {
        assert_eq!(
            eviction(&pod()),
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-0", "namespace": "shop"},
                "deleteOptions": {"preconditions": {"uid": "u-1", "resourceVersion": "7"}}})
        );
    }

    #[test]
    fn a_label_is_put_on_one_state_of_one_pod() {
        let patch = labelled(&pod(), "cni.istio.io/uninitialized", "true");
        let labels = json!({"cni.istio.io/uninitialized": "true"});
        assert_eq!(patch, json!({"metadata": {"uid": "u-1", "resourceVersion": "7", "labels": labels}}));
    }
}
