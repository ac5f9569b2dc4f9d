//! Finding the pod that a runtime means: the cache, a moment's wait for the watch, then the API
//! server, again and again within the request's bounds.

use super::cache::PodCache;
use super::client::ApiClient;
use super::error::ApiError;
use crate::domain::failure::Classify;
use crate::domain::pod::{PodFacts, PodRef};
use crate::domain::request::Bounds;
use crate::domain::step::ErrorType;
use crate::ops::ports::{BoxedError, FoundPod, PodSource};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an open watch is given to bring the pod before the API server is asked. The kubelet
/// learns of a pod by the same kind of watch, so the gap between the two is milliseconds.
const WATCH_GRACE: Duration = Duration::from_millis(250);

/// Asks the API server for one pod, from a thread outside the runtime.
pub trait AskApi: Send + Sync {
    /// The pod, within `limit`.
    fn pod(&self, namespace: &str, name: &str, limit: Duration) -> Result<PodFacts, ApiError>;
}

/// The API client with the runtime that drives it.
pub struct BlockingApi {
    client: Arc<ApiClient>,
    runtime: tokio::runtime::Handle,
}

impl BlockingApi {
    /// Drives `client` on `runtime`.
    pub fn new(client: Arc<ApiClient>, runtime: tokio::runtime::Handle) -> BlockingApi {
        BlockingApi { client, runtime }
    }
}

impl AskApi for BlockingApi {
    fn pod(&self, namespace: &str, name: &str, limit: Duration) -> Result<PodFacts, ApiError> {
        let asked =
            self.runtime.block_on(async { tokio::time::timeout(limit, self.client.pod(namespace, name)).await });
        let pod = asked.map_err(|_| ApiError::Timeout { limit })??;
        if pod.metadata.uid.is_empty() || pod.metadata.name != name {
            return Err(ApiError::Invalid { reason: "it has no UID, or another name".to_owned() });
        }
        Ok(pod.into_facts())
    }
}

/// The pods of this node, from cache and API server.
pub struct Pods {
    cache: Arc<PodCache>,
    api: Box<dyn AskApi>,
}

impl Pods {
    /// Looks into `cache` first and asks `api` for what is not there.
    pub fn new(cache: Arc<PodCache>, api: impl AskApi + 'static) -> Pods {
        Pods { cache, api: Box::new(api) }
    }

    fn ask(&self, wanted: &PodRef, limit: Duration) -> Result<PodFacts, LookupError> {
        let facts = self.api.pod(&wanted.namespace, &wanted.name, limit).map_err(|source| LookupError::Api {
            namespace: wanted.namespace.clone(),
            name: wanted.name.clone(),
            asked: 1,
            after: limit,
            source: Box::new(source),
        })?;
        if facts.is(wanted) { Ok(facts) } else { Err(LookupError::replaced(wanted, facts.uid)) }
    }
}

impl PodSource for Pods {
    fn find(&self, pod: &PodRef, bounds: &Bounds) -> Result<FoundPod, BoxedError> {
        let cached = |facts: Arc<PodFacts>, attempts| FoundPod { facts: (*facts).clone(), source: "cache", attempts };
        let started = Instant::now();
        let end = started + longest(bounds);
        if let Some(facts) = self.cache.wait_for_watch(pod, started + WATCH_GRACE.min(longest(bounds))) {
            return Ok(cached(facts, 1));
        }
        let mut attempts = 1;
        loop {
            if self.cache.is_closed() {
                return Err(BoxedError::new(LookupError::Stopping));
            }
            attempts += 1;
            let limit = bounds.api_timeout.min(end.saturating_duration_since(Instant::now()));
            let error = match self.ask(pod, limit) {
                Ok(facts) => return Ok(FoundPod { facts, source: "api", attempts }),
                Err(error) => error,
            };
            let last =
                attempts > bounds.pod_attempts || !error.retryable() || Instant::now() + bounds.pod_interval >= end;
            if last {
                return Err(BoxedError::new(error.after(attempts - 1, started.elapsed())));
            }
            // The watch may bring the pod before the pause is over.
            if let Some(facts) = self.cache.wait(pod, Instant::now() + bounds.pod_interval) {
                return Ok(cached(facts, attempts));
            }
        }
    }
}

/// How long a lookup may take in all: its attempts and pauses, and one request that hangs, but never
/// so long that the plugin has given the agent up meanwhile.
fn longest(bounds: &Bounds) -> Duration {
    let attempts = bounds.pod_interval.saturating_mul(bounds.pod_attempts);
    let requests = bounds.api_timeout.saturating_mul(2);
    attempts.saturating_add(requests).saturating_add(WATCH_GRACE).min(bounds.agent_timeout.mul_f64(0.8))
}

/// Why one attempt to find a pod failed.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("pod {namespace}/{name} was not got, asked for {asked} times in {after:.1?}")]
    Api { namespace: String, name: String, asked: u32, after: Duration, source: Box<ApiError> },
    #[error(
        "pod {namespace}/{name} has UID {found} at the API server, but the runtime sets up the one with UID {wanted}: it was replaced meanwhile, and the runtime will call again for the new one"
    )]
    Replaced { namespace: String, name: String, wanted: String, found: String },
    #[error("the node agent is stopping; the request can be made again")]
    Stopping,
}

impl LookupError {
    fn replaced(wanted: &PodRef, found: String) -> LookupError {
        LookupError::Replaced {
            namespace: wanted.namespace.clone(),
            name: wanted.name.clone(),
            wanted: wanted.uid.clone().unwrap_or_default(),
            found,
        }
    }

    /// The error with all the attempts that were made.
    fn after(self, times: u32, time: Duration) -> LookupError {
        match self {
            LookupError::Api { namespace, name, source, .. } => {
                LookupError::Api { namespace, name, asked: times, after: time, source }
            }
            other => other,
        }
    }
}

impl Classify for LookupError {
    fn error_type(&self) -> ErrorType {
        match self {
            LookupError::Api { source, .. } => source.error_type(),
            LookupError::Replaced { .. } => ErrorType::PodReplaced,
            LookupError::Stopping => ErrorType::AgentBusy,
        }
    }

    /// A static pod's mirror is replaced a moment after the pod itself, so that is waited for. The
    /// runtime knows a static pod by the hash of its configuration, which has no dashes.
    fn retryable(&self) -> bool {
        match self {
            LookupError::Api { source, .. } => source.retryable(),
            LookupError::Replaced { wanted, .. } => !wanted.contains('-'),
            LookupError::Stopping => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Answers with what it was given, in order; the last answer again and again.
    struct Scripted(Mutex<Vec<Result<PodFacts, u16>>>);

    impl AskApi for Scripted {
        fn pod(&self, _: &str, _: &str, _: Duration) -> Result<PodFacts, ApiError> {
            let mut script = self.0.lock().unwrap();
            let answer = if script.len() > 1 { script.remove(0) } else { script[0].clone() };
            answer.map_err(|code| super::super::error::of_status(code, "no".into()))
        }
    }

    fn pod(uid: &str) -> PodFacts {
        PodFacts { namespace: "shop".into(), name: "web-0".into(), uid: uid.into(), ..PodFacts::default() }
    }

    fn wanted(uid: &str) -> PodRef {
        PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some(uid.into()) }
    }

    fn pods(cache: &Arc<PodCache>, script: &[Result<PodFacts, u16>]) -> Pods {
        Pods::new(cache.clone(), Scripted(Mutex::new(script.to_vec())))
    }

    fn bounds() -> Bounds {
        Bounds { pod_attempts: 3, pod_interval: Duration::from_millis(1), ..Bounds::default() }
    }

    #[test]
    fn a_cached_pod_costs_no_request() {
        let cache = Arc::new(PodCache::default());
        cache.put(pod("u-1"));
        let found = pods(&cache, &[Err(500)]).find(&wanted("u-1"), &bounds()).unwrap();
        assert_eq!((found.source, found.attempts), ("cache", 1));
    }

    #[test]
    fn a_pod_that_is_not_cached_is_asked_for() {
        let cache = Arc::new(PodCache::default());
        cache.put(pod("u-0"));
        let found = pods(&cache, &[Ok(pod("u-1"))]).find(&wanted("u-1"), &bounds()).unwrap();
        assert_eq!((found.source, found.attempts, found.facts.uid.as_str()), ("api", 2, "u-1"));
    }

    #[test]
    fn a_passing_trouble_is_retried_and_a_lasting_one_named() {
        let cache = Arc::new(PodCache::default());
        let found = pods(&cache, &[Err(500), Err(404), Ok(pod("u-1"))]).find(&wanted("u-1"), &bounds()).unwrap();
        assert_eq!(found.attempts, 4);
        let error = pods(&cache, &[Err(403)]).find(&wanted("u-1"), &bounds()).err().unwrap();
        assert_eq!(error.error_type(), ErrorType::ApiForbidden);
        assert!(error.to_string().starts_with("pod shop/web-0 was not got, asked for 3 times"), "{error}");
    }

    #[test]
    fn a_replaced_pod_is_an_answer_at_once_but_a_mirror_pod_is_waited_for() {
        let cache = Arc::new(PodCache::default());
        let script = [Ok(pod("u-2")), Ok(pod("u-1"))];
        let error = pods(&cache, &script).find(&wanted("u-1"), &bounds()).err().unwrap();
        assert_eq!(error.error_type(), ErrorType::PodReplaced);
        let mut mirror = pod("u-1");
        mirror.annotations.insert(PodFacts::CONFIG_HASH.into(), "b0a1".into());
        let found = pods(&cache, &[Ok(pod("u-2")), Ok(mirror)]).find(&wanted("b0a1"), &bounds()).unwrap();
        assert_eq!(found.attempts, 3);
    }

    #[test]
    fn the_watch_ends_a_pause_and_stopping_ends_the_lookup() {
        let cache = Arc::new(PodCache::default());
        let patient = Bounds { pod_interval: Duration::from_secs(10), ..bounds() };
        let waiting = {
            let pods = pods(&cache, &[Err(404)]);
            let patient = patient.clone();
            std::thread::spawn(move || pods.find(&wanted("u-1"), &patient).map(|found| found.source))
        };
        cache.put(pod("u-1"));
        assert_eq!(waiting.join().unwrap().unwrap(), "cache");
        cache.close();
        let error = pods(&cache, &[Err(404)]).find(&wanted("u-9"), &patient).err().unwrap();
        assert_eq!(error.error_type(), ErrorType::AgentBusy);
    }
}
