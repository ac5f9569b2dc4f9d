//! A watch of exactly the agent's DaemonSet, of its metadata alone: an uninstall deletes first the
//! DaemonSet and then the service account, so when the agent is told to stop, asking may be too
//! late. It costs a request every few minutes, and next to nothing where it is not permitted: then it is asked for until
//! it was seen once, for that it is gone later proves something only then.

use super::client::{ANSWER, ApiClient, List, check_names};
use super::daemonset::{Object, collection, doubt};
use super::error::ApiError;
use super::resource::Resource;
use crate::domain::departure::{DaemonSetName, Doubt, Watched};
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use futures::TryStreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long the server keeps the watch open, seconds; a client may not ask for much more.
const WATCH_SECONDS: u32 = 290;
/// A server that is silent for longer is dead: it ends the watch itself before, and sends bookmarks.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// The watch.
pub struct DaemonSetWatch {
    client: Arc<ApiClient>,
    name: DaemonSetName,
    pauses: Pauses,
    state: watch::Sender<Watched>,
    /// It was there at some time.
    seen: bool,
    /// What was told last, while there is trouble.
    trouble: Option<ErrorType>,
}

/// How long it waits before it tries again.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// After a watch that ended as it should.
    pub between: Duration,
    /// After the first failure; each further one doubles it.
    pub first: Duration,
    /// After any failure, at the most.
    pub longest: Duration,
    /// While the API server does not allow it.
    pub forbidden: Duration,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses {
            between: Duration::from_millis(100),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            forbidden: Duration::from_secs(300),
        }
    }
}

/// What the watch has to tell.
#[derive(Debug)]
pub enum News<'a> {
    /// It is watching, and this is what it sees.
    Watching(&'a Watched),
    /// It is not permitted; told when that begins.
    Forbidden(&'a ApiError),
    /// It failed in another way, and goes on after the pause; told when that begins.
    Failed(&'a ApiError),
}

/// Why a watch ended, when nothing failed.
enum Ended {
    /// Go on from the version that was reached.
    Resume,
    /// The server has forgotten where we were.
    Stale,
}

impl DaemonSetWatch {
    /// A watch, and where it says what it knows.
    pub fn new(
        client: Arc<ApiClient>,
        name: DaemonSetName,
        pauses: Pauses,
    ) -> (DaemonSetWatch, watch::Receiver<Watched>) {
        let (state, states) = watch::channel(Watched::Unknown { seen: false, why: None });
        (DaemonSetWatch { client, name, pauses, state, seen: false, trouble: None }, states)
    }

    /// Watches until it is dropped; `tell` hears of every change of fortune.
    pub async fn run(mut self, mut tell: impl FnMut(News<'_>)) {
        let mut version = String::new();
        let mut pause = self.pauses.first;
        loop {
            match self.round(&mut version, &mut tell).await {
                Ok(ended) => {
                    if matches!(ended, Ended::Stale) {
                        version.clear();
                    }
                    pause = self.pauses.first;
                    tokio::time::sleep(self.pauses.between).await;
                }
                Err(error) => {
                    version.clear();
                    if forbids(&error) && !self.seen {
                        self.ask().await;
                    }
                    self.blinded(&error);
                    let trouble = Some(error.error_type());
                    if self.trouble != trouble {
                        self.trouble = trouble;
                        tell(if forbids(&error) { News::Forbidden(&error) } else { News::Failed(&error) });
                    }
                    tokio::time::sleep(if forbids(&error) { self.pauses.forbidden } else { pause }).await;
                    pause = (pause * 2).min(self.pauses.longest);
                }
            }
        }
    }

    /// One list, unless it is known where to go on, and one watch.
    async fn round(&mut self, version: &mut String, tell: &mut impl FnMut(News<'_>)) -> Result<Ended, ApiError> {
        if version.is_empty() {
            let list = self.list().await?;
            let found =
                list.items.unwrap_or_default().into_iter().find(|object| object.metadata.name == self.name.name);
            self.saw(found.as_ref(), tell);
            *version = list.metadata.resource_version;
        }
        let path = Request::new(collection(&self.name.namespace));
        let mut params = WatchParams::default().fields(&self.selector()).timeout(WATCH_SECONDS);
        params.bookmarks = true;
        let request = path.watch_metadata(&params, version);
        let mut events = match self.client.open::<Object>(Resource::DaemonSets, request).await {
            Ok(events) => pin!(events),
            Err(ApiError::Status { code: 410, .. }) => return Ok(Ended::Stale),
            Err(error) => return Err(error),
        };
        if self.trouble.take().is_some() {
            tell(News::Watching(&self.state.borrow()));
        }
        loop {
            let Ok(event) = timeout(SILENCE, events.try_next()).await else { return Ok(Ended::Resume) };
            let Some(event) = event? else { return Ok(Ended::Resume) };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    newer(version, &object.metadata.resource_version);
                    self.saw(Some(&object), tell);
                }
                WatchEvent::Deleted(object) => {
                    newer(version, &object.metadata.resource_version);
                    self.saw(None, tell);
                }
                WatchEvent::Bookmark(mark) => newer(version, &mark.metadata.resource_version),
                WatchEvent::Error(status) if status.code == 410 => return Ok(Ended::Stale),
                WatchEvent::Error(status) => return Err(ApiError::of_answer(Resource::DaemonSets, &status)),
            }
        }
    }

    async fn list(&self) -> Result<List<Object>, ApiError> {
        check_names(Resource::DaemonSets, &self.name.namespace, &self.name.name)?;
        let params = ListParams::default().fields(&self.selector());
        let request = Request::new(collection(&self.name.namespace)).list_metadata(&params);
        self.client.ask(Resource::DaemonSets, "list", request, ANSWER).await
    }

    fn selector(&self) -> String {
        format!("metadata.name={}", self.name.name)
    }

    fn saw(&mut self, object: Option<&Object>, tell: &mut impl FnMut(News<'_>)) {
        self.seen |= object.is_some();
        let state = match object {
            None => Watched::Gone { seen: self.seen, blind: None },
            Some(object) if object.metadata.deletion_timestamp.is_empty() => Watched::Present,
            Some(_) => Watched::Deleting,
        };
        let changed = self.state.send_if_modified(|known| {
            let changed = *known != state;
            known.clone_from(&state);
            changed
        });
        if changed {
            tell(News::Watching(&state));
        }
    }

    /// Looks once whether it is there, for which another right suffices. No answer is no trouble of its own.
    async fn ask(&mut self) {
        self.seen = matches!(self.client.daemonset(&self.name, ANSWER).await, Ok(Some(_)));
        if self.seen {
            self.state.send_replace(Watched::Unknown { seen: true, why: None });
        }
    }

    /// Nothing is seen from now on. The first trouble that could hide that the DaemonSet came back
    /// is the one that counts.
    fn blinded(&self, error: &ApiError) {
        self.state.send_modify(|known| match known {
            Watched::Unknown { why, .. } => *why = Some(doubt(error)),
            Watched::Gone { blind, .. } if blind.as_ref().is_none_or(Doubt::is_refusal) => {
                *blind = Some(doubt(error));
            }
            _ => {}
        });
    }
}

fn forbids(error: &ApiError) -> bool {
    matches!(error, ApiError::Forbidden { .. })
}

/// An object without a version (no real server sends one) moves nothing.
fn newer(version: &mut String, seen: &str) {
    if !seen.is_empty() {
        seen.clone_into(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_metadata_alone_are_read_as_servers_send_them() {
        let read = |text: &str| serde_json::from_str::<WatchEvent<Object>>(text).unwrap();
        let modified = read(
            r#"{"type":"MODIFIED","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{
                "name":"istio-cni-node","namespace":"istio-system","uid":"u","resourceVersion":"812","generation":2,
                "creationTimestamp":"2026-01-01T00:00:00Z","deletionTimestamp":"2026-01-02T00:00:00Z",
                "deletionGracePeriodSeconds":0,"labels":null,"finalizers":["foregroundDeletion"],"managedFields":[]}}}"#,
        );
        let WatchEvent::Modified(object) = modified else { panic!("{modified:?}") };
        assert_eq!(
            (object.metadata.name.as_str(), object.metadata.resource_version.as_str()),
            ("istio-cni-node", "812")
        );
        assert!(!object.metadata.deletion_timestamp.is_empty());
        let bookmark = read(
            r#"{"type":"BOOKMARK","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{
                "resourceVersion":"900","creationTimestamp":null}}}"#,
        );
        assert!(matches!(bookmark, WatchEvent::Bookmark(mark) if mark.metadata.resource_version == "900"));
        let expired = read(
            r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",
                "message":"too old resource version: 5 (900)","reason":"Expired","code":410}}"#,
        );
        assert!(matches!(expired, WatchEvent::Error(status) if status.code == 410));
    }
}
