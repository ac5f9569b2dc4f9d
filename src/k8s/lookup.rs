//! Finding the pod that a runtime means, in the agent: the cache, a moment's wait for the watch, then
//! the API server.

use super::cache::PodCache;
use super::client::ApiClient;
use super::error::ApiError;
use super::resource::Resource;
use super::search::{Start, Ways, search};
use crate::domain::pod::{PodFacts, PodRef};
use crate::domain::request::Bounds;
use crate::ops::ports::{BoxedError, Lookup, PodSource};
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
        let pod = self.runtime.block_on(self.client.pod(namespace, name, limit))?;
        pod.asked_for(namespace, name).map_err(|reason| ApiError::Invalid { resource: Resource::Pods, reason })
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
}

impl PodSource for Pods {
    fn find(&self, pod: &PodRef, bounds: &Bounds) -> Lookup {
        let started = Instant::now();
        // Never so long that the plugin has given the agent up meanwhile.
        let most = bounds.agent_timeout.mul_f64(0.8);
        let end = Some(started + most);
        if !pod.has_uid() {
            return search(self, pod, bounds, &Start { at: started, looked: 0, grace: Duration::ZERO, end });
        }
        if let Some(facts) = self.cache.wait_for_watch(pod, started + WATCH_GRACE.min(most)) {
            return Lookup { source: "cache", attempts: 1, found: Ok((*facts).clone()) };
        }
        search(self, pod, bounds, &Start { at: started, looked: 1, grace: WATCH_GRACE, end })
    }
}

impl Ways for Pods {
    fn ask(&self, pod: &PodRef, limit: Duration) -> Result<PodFacts, BoxedError> {
        self.api.pod(&pod.namespace, &pod.name, limit).map_err(BoxedError::new)
    }

    /// The watch may bring the pod before the pause is over.
    fn pause(&self, pod: &PodRef, until: Instant) -> Option<PodFacts> {
        self.cache.wait(pod, until).map(|facts| (*facts).clone())
    }

    fn is_stopping(&self) -> bool {
        self.cache.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Classify;
    use crate::domain::step::ErrorType;
    use std::sync::Mutex;

    /// Answers with what it was given, in order; the last answer again and again.
    struct Scripted(Mutex<Vec<Result<PodFacts, u16>>>);

    impl AskApi for Scripted {
        fn pod(&self, _: &str, _: &str, _: Duration) -> Result<PodFacts, ApiError> {
            let mut script = self.0.lock().unwrap();
            let answer = if script.len() > 1 { script.remove(0) } else { script[0].clone() };
            answer.map_err(|code| super::super::error::of_status(Resource::Pods, code, "no".into()))
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
        let found = pods(&cache, &[Err(500)]).find(&wanted("u-1"), &bounds());
        assert_eq!((found.source, found.attempts, found.found.is_ok()), ("cache", 1, true));
    }

    #[test]
    fn a_pod_that_is_not_cached_is_asked_for() {
        let cache = Arc::new(PodCache::default());
        cache.put(pod("u-0"));
        let found = pods(&cache, &[Ok(pod("u-1"))]).find(&wanted("u-1"), &bounds());
        assert_eq!((found.source, found.attempts, found.found.unwrap().uid.as_str()), ("api", 2, "u-1"));
    }

    #[test]
    fn a_runtime_without_uids_is_believed_by_name_but_not_by_the_cache() {
        let cache = Arc::new(PodCache::default());
        cache.put(pod("u-0"));
        let found = pods(&cache, &[Ok(pod("u-1"))]).find(&wanted(""), &bounds());
        assert_eq!((found.source, found.attempts, found.found.unwrap().uid.as_str()), ("api", 1, "u-1"));
    }

    #[test]
    fn a_lasting_trouble_is_named_with_all_attempts() {
        let cache = Arc::new(PodCache::default());
        let lookup = pods(&cache, &[Err(403)]).find(&wanted("u-1"), &bounds());
        assert_eq!((lookup.source, lookup.attempts), ("api", 4), "the cache, and three requests");
        let error = lookup.found.err().unwrap();
        assert_eq!(error.error_type(), ErrorType::ApiForbidden);
        assert!(error.to_string().contains(" (asked 3 times in 0."), "{error}");
    }

    #[test]
    fn the_watch_ends_a_pause_and_stopping_ends_the_lookup() {
        let cache = Arc::new(PodCache::default());
        let patient = Bounds { pod_interval: Duration::from_secs(10), ..bounds() };
        let waiting = {
            let pods = pods(&cache, &[Err(404)]);
            let patient = patient.clone();
            std::thread::spawn(move || pods.find(&wanted("u-1"), &patient))
        };
        cache.put(pod("u-1"));
        let lookup = waiting.join().unwrap();
        assert_eq!((lookup.source, lookup.found.is_ok()), ("cache", true));
        cache.close();
        let lookup = pods(&cache, &[Err(404)]).find(&wanted("u-9"), &patient);
        assert_eq!((lookup.source, lookup.attempts), ("cache", 1), "nobody is asked any more");
        let error = lookup.found.err().unwrap();
        assert_eq!(error.error_type(), ErrorType::AgentBusy);
    }
}
