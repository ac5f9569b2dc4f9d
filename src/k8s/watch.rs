//! Keeps the cache equal to the API server's view of this node's pods: a streaming list where the
//! server has it, else list and watch; after any trouble again, with growing pauses, for ever.

use super::cache::{PodCache, Reach};
use super::client::{ApiClient, WATCH_SECONDS};
use super::error::ApiError;
use super::pod::Pod;
use super::resource::Resource;
use crate::domain::prune::Kept;
use futures::{Stream, TryStreamExt};
use kube::api::WatchEvent;
use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The server ends a watch after [`WATCH_SECONDS`]; when it is silent for longer, the connection
/// is dead.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// How long the initial part of a streaming list may pause before the server is taken for one
/// that does not know streaming lists (it would send everything, but never say that it has).
const INITIAL: Duration = Duration::from_secs(5);
/// Pauses after failures: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The mark on the bookmark that ends the initial part.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What the watch has to tell.
#[derive(Debug)]
pub enum News<'a> {
    /// The server gave a sign of life.
    Heard,
    /// All of the node's pods are known.
    Synced { pods: usize, streamed: bool },
    /// A watch is open again where the last one ended.
    Resumed { pods: usize },
    /// It failed and goes on after the pause.
    Failed { error: &'a ApiError, pause: Duration },
}

/// The watch of this node's pods.
pub struct Watch {
    pub client: Arc<ApiClient>,
    pub cache: Arc<PodCache>,
    pub node: String,
    /// What is kept of a pod.
    pub kept: Kept,
}

/// How a round of watching ended.
enum Ended {
    /// All is known, or the server closed the watch: go on from the version that was reached.
    Resume,
    /// The server has forgotten where we were: start again.
    Stale,
    /// The server does not know streaming lists.
    NoStreaming,
}

impl Watch {
    /// Watches until it is dropped; `tell` hears of every change of fortune.
    pub async fn run(self, mut tell: impl FnMut(News<'_>)) {
        let mut streaming = true;
        let mut version = String::new();
        let mut pause = PAUSES.0;
        loop {
            let before = version.clone();
            let round = if !version.is_empty() {
                self.follow(&mut version, &mut tell).await
            } else if streaming {
                self.stream(&mut version, &mut tell).await
            } else {
                self.list(&mut version, &mut tell).await
            };
            self.cache.set_reach(Reach::Away);
            match round {
                Ok(Ended::Resume) => {
                    // A server that ends every watch at once must not make us spin.
                    if version == before {
                        tokio::time::sleep(PAUSES.0).await;
                    }
                    pause = PAUSES.0;
                }
                Ok(Ended::Stale) => {
                    version.clear();
                    tokio::time::sleep(PAUSES.0).await;
                }
                Ok(Ended::NoStreaming) => streaming = false,
                Err(error) => {
                    tell(News::Failed { error: &error, pause });
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                    if !passes(&error) {
                        version.clear();
                    }
                }
            }
        }
    }

    /// One streaming list and the watch that it turns into.
    async fn stream(&self, version: &mut String, tell: &mut impl FnMut(News<'_>)) -> Result<Ended, ApiError> {
        let started = self.client.watch(&self.node, None).await;
        let mut events = match started {
            Ok(events) => pin!(events),
            Err(error) if refuses_streaming(&error) => return Ok(Ended::NoStreaming),
            Err(error) => return Err(error),
        };
        self.cache.set_reach(Reach::Filling);
        let mut seen = HashSet::new();
        loop {
            match timeout(INITIAL, events.try_next()).await {
                Err(_) => return Ok(Ended::NoStreaming),
                Ok(Ok(None)) => return Ok(Ended::Resume),
                Ok(Ok(Some(WatchEvent::Bookmark(mark)))) if mark.metadata.annotations.contains_key(INITIAL_END) => {
                    self.cache.complete(&seen);
                    self.cache.set_reach(Reach::Live);
                    tell(News::Synced { pods: self.cache.count(), streamed: true });
                    *version = mark.metadata.resource_version;
                    return self.events(events, version, tell).await;
                }
                Ok(Ok(Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod)))) => {
                    seen.insert(pod.metadata.uid.clone());
                    self.put(pod);
                }
                Ok(Ok(Some(WatchEvent::Deleted(pod)))) => self.cache.remove(&pod.into_facts()),
                Ok(Ok(Some(WatchEvent::Bookmark(_)))) => {}
                Ok(Ok(Some(WatchEvent::Error(status)))) => {
                    return Err(ApiError::of_answer(Resource::Pods, &status));
                }
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Lists everything, page by page.
    async fn list(&self, version: &mut String, tell: &mut impl FnMut(News<'_>)) -> Result<Ended, ApiError> {
        let mut seen = HashSet::new();
        let mut next = String::new();
        loop {
            let page = self.client.page(&self.node, &next).await?;
            for pod in page.items.unwrap_or_default() {
                seen.insert(pod.metadata.uid.clone());
                self.put(pod);
            }
            next = page.metadata.next;
            if next.is_empty() {
                self.cache.complete(&seen);
                tell(News::Synced { pods: self.cache.count(), streamed: false });
                *version = page.metadata.resource_version;
                return Ok(Ended::Resume);
            }
        }
    }

    /// Watches from a version on.
    async fn follow(&self, version: &mut String, tell: &mut impl FnMut(News<'_>)) -> Result<Ended, ApiError> {
        match self.client.watch(&self.node, Some(version.as_str())).await {
            Ok(events) => {
                self.cache.set_reach(Reach::Live);
                tell(News::Resumed { pods: self.cache.count() });
                self.events(pin!(events), version, tell).await
            }
            Err(ApiError::Status { code: 410, .. }) => Ok(Ended::Stale),
            Err(error) => Err(error),
        }
    }

    /// Applies events until the watch ends.
    async fn events(
        &self,
        mut events: std::pin::Pin<&mut (impl Stream<Item = Result<WatchEvent<Pod>, ApiError>> + Send)>,
        version: &mut String,
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Ended, ApiError> {
        loop {
            tell(News::Heard);
            let Ok(event) = timeout(SILENCE, events.try_next()).await else { return Ok(Ended::Resume) };
            let Some(event) = event? else { return Ok(Ended::Resume) };
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    newer(version, &pod.metadata.resource_version);
                    self.put(pod);
                }
                WatchEvent::Deleted(pod) => {
                    newer(version, &pod.metadata.resource_version);
                    self.cache.remove(&pod.into_facts());
                }
                WatchEvent::Bookmark(mark) => newer(version, &mark.metadata.resource_version),
                WatchEvent::Error(status) if status.code == 410 => return Ok(Ended::Stale),
                WatchEvent::Error(status) => return Err(ApiError::of_answer(Resource::Pods, &status)),
            }
        }
    }

    fn put(&self, pod: Pod) {
        let mut facts = pod.into_facts();
        self.kept.prune(&mut facts);
        self.cache.put(facts);
    }
}

/// Whether the trouble is with reaching the server, so that what was seen before still stands.
fn passes(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::Unreachable { .. }
            | ApiError::Timeout { .. }
            | ApiError::Unauthorized { .. }
            | ApiError::Forbidden { .. }
    )
}

/// An object without a version (no real server sends one) moves nothing.
fn newer(version: &mut String, seen: &str) {
    if !seen.is_empty() {
        seen.clone_into(version);
    }
}

/// What a server says that does not have, or has switched off, streaming lists.
fn refuses_streaming(error: &ApiError) -> bool {
    matches!(error, ApiError::Status { code: 400 | 422, .. })
}
