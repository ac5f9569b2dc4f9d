//! The pods of this node as the watch last saw them. The watch writes from the runtime's threads;
//! the threads that serve an ADD read, and wait here for a pod that is on its way.

use crate::domain::pod::{PodFacts, PodRef};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// The cache. Names are unique in a namespace, so a pod that replaces another takes its place.
#[derive(Default)]
pub struct PodCache {
    state: Mutex<State>,
    changed: Condvar,
    listeners: OnceLock<Vec<Listener>>,
}

/// What the cache learnt of a pod.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// It is new, or has changed.
    Here(&'a Arc<PodFacts>),
    /// It is gone.
    Gone(&'a Arc<PodFacts>),
    /// All of the node's pods were seen; those that are gone were told of before.
    All,
}

/// How the watch stands to the API server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// None is open.
    #[default]
    Away,
    /// One is open, and the list that it begins with is on its way: waiting for it makes sense, and a pod may be
    /// another by now than the cache has it.
    Filling,
    /// It is open, and brings changes as they come.
    Live,
}

/// Hears what the cache learns, in its order. It is called with the cache locked: it must not ask
/// the cache, nor wait.
pub type Listener = Box<dyn Fn(Seen<'_>) + Send + Sync>;

#[derive(Default)]
struct State {
    pods: HashMap<String, Arc<PodFacts>>,
    /// Whether the whole of the node's pods was seen at least once.
    synced: bool,
    /// What can be expected of the watch right now.
    reach: Reach,
    /// Whether nobody should wait any more.
    closed: bool,
}

impl PodCache {
    /// Has these hear of everything from now on; asked for once, before the watch begins.
    pub fn listen(&self, listeners: Vec<Listener>) {
        // A second set would miss what came before it: there is none.
        let _ = self.listeners.set(listeners);
    }

    fn tell(&self, seen: Seen<'_>) {
        self.listeners.get().into_iter().flatten().for_each(|listener| listener(seen));
    }

    /// Every pod that is known now.
    pub fn all(&self) -> Vec<Arc<PodFacts>> {
        self.lock().pods.values().cloned().collect()
    }

    /// The pod with this name, if it is known now.
    pub fn named(&self, namespace: &str, name: &str) -> Option<Arc<PodFacts>> {
        self.lock().pods.get(&key(namespace, name)).cloned()
    }

    /// The pod that is meant, if it is known now.
    pub fn get(&self, wanted: &PodRef) -> Option<Arc<PodFacts>> {
        self.lock().find(wanted)
    }

    /// Waits until the pod that is meant is known, at most until `deadline`.
    pub fn wait(&self, wanted: &PodRef, deadline: Instant) -> Option<Arc<PodFacts>> {
        self.wait_while(wanted, deadline, |_| true)
    }

    /// As [`PodCache::wait`], but only as long as a watch is open that could bring the pod.
    pub fn wait_for_watch(&self, wanted: &PodRef, deadline: Instant) -> Option<Arc<PodFacts>> {
        self.wait_while(wanted, deadline, |state| state.reach != Reach::Away)
    }

    fn wait_while(
        &self,
        wanted: &PodRef,
        deadline: Instant,
        worth_it: impl Fn(&State) -> bool,
    ) -> Option<Arc<PodFacts>> {
        let mut state = self.lock();
        loop {
            if let Some(found) = state.find(wanted) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed || !worth_it(&state) {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Puts a pod in, in place of whatever had its name.
    pub fn put(&self, pod: PodFacts) {
        let mut state = self.lock();
        let pod = Arc::new(pod);
        if let Some(former) = state.pods.insert(key(&pod.namespace, &pod.name), pod.clone())
            && former.uid != pod.uid
        {
            self.tell(Seen::Gone(&former));
        }
        self.tell(Seen::Here(&pod));
        self.changed.notify_all();
    }

    /// Takes a pod out, unless another one has its name by now.
    pub fn remove(&self, pod: &PodFacts) {
        let mut state = self.lock();
        let key = key(&pod.namespace, &pod.name);
        if state.pods.get(&key).is_some_and(|known| known.uid == pod.uid) {
            let gone = state.pods.remove(&key);
            gone.iter().for_each(|gone| self.tell(Seen::Gone(gone)));
        }
    }

    /// Says that everything was seen: what is not among these UIDs is gone.
    pub fn complete(&self, seen: &HashSet<String>) {
        let mut state = self.lock();
        state.pods.retain(|_, pod| {
            let here = seen.contains(&pod.uid);
            if !here {
                self.tell(Seen::Gone(pod));
            }
            here
        });
        self.tell(Seen::All);
        state.pods.shrink_to_fit();
        state.synced = true;
        self.changed.notify_all();
    }

    /// Says how the watch stands.
    pub fn set_reach(&self, reach: Reach) {
        self.lock().reach = reach;
        self.changed.notify_all();
    }

    /// Ends all waits, now and later: the agent is stopping.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether the agent is stopping.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether a watch is open right now whose list is complete.
    pub fn is_live(&self) -> bool {
        self.lock().reach == Reach::Live
    }

    /// Whether the whole of the node's pods was seen at least once.
    pub fn is_synced(&self) -> bool {
        self.lock().synced
    }

    /// How many pods are known.
    pub fn count(&self) -> usize {
        self.lock().pods.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A name alone is not enough: by that name the watch may still know a predecessor.
    fn find(&self, wanted: &PodRef) -> Option<Arc<PodFacts>> {
        if !wanted.has_uid() {
            return None;
        }
        self.pods.get(&key(&wanted.namespace, &wanted.name)).filter(|pod| pod.is(wanted)).cloned()
    }
}

/// A slash stands in no name, so the key is unambiguous.
fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pod(name: &str, uid: &str) -> PodFacts {
        PodFacts { namespace: "shop".into(), name: name.into(), uid: uid.into(), ..PodFacts::default() }
    }

    fn wanted(name: &str, uid: Option<&str>) -> PodRef {
        PodRef { namespace: "shop".into(), name: name.into(), uid: uid.map(str::to_owned) }
    }

    #[test]
    fn whoever_listens_hears_of_every_change_in_its_order() {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (cache, log) = (PodCache::default(), heard.clone());
        cache.listen(vec![Box::new(move |seen| {
            log.lock().unwrap().push(match seen {
                Seen::Here(pod) => format!("+{}", pod.uid),
                Seen::Gone(pod) => format!("-{}", pod.uid),
                Seen::All => "all".to_owned(),
            });
        })]);
        cache.put(pod("web-0", "old"));
        cache.put(pod("web-0", "new"));
        cache.remove(&pod("web-0", "old"));
        cache.put(pod("web-1", "u-1"));
        cache.complete(&HashSet::from(["new".to_owned()]));
        cache.remove(&pod("web-0", "new"));
        assert_eq!(*heard.lock().unwrap(), ["+old", "-old", "+new", "+u-1", "-u-1", "all", "-new"]);
        assert!(cache.all().is_empty() && cache.named("shop", "web-0").is_none());
    }

    #[test]
    fn a_replaced_pod_is_not_taken_for_its_predecessor() {
        let cache = PodCache::default();
        cache.put(pod("web-0", "old"));
        assert!(cache.get(&wanted("web-0", Some("new"))).is_none());
        cache.put(pod("web-0", "new"));
        assert_eq!(cache.get(&wanted("web-0", Some("new"))).unwrap().uid, "new");
        assert!(cache.get(&wanted("web-0", Some("old"))).is_none());
        for unknown in [None, Some("")] {
            assert!(cache.get(&wanted("web-0", unknown)).is_none(), "this may be the predecessor");
        }
    }

    #[test]
    fn a_late_deletion_of_the_predecessor_leaves_the_successor() {
        let cache = PodCache::default();
        cache.put(pod("web-0", "new"));
        cache.remove(&pod("web-0", "old"));
        assert_eq!(cache.count(), 1);
        cache.remove(&pod("web-0", "new"));
        assert_eq!(cache.count(), 0);
    }

    #[test]
    fn a_waiting_thread_gets_the_pod_as_soon_as_it_appears() {
        let cache = Arc::new(PodCache::default());
        cache.put(pod("web-0", "old"));
        let waiting = {
            let cache = cache.clone();
            std::thread::spawn(move || cache.wait(&wanted("web-0", Some("new")), far()))
        };
        cache.put(pod("other", "x"));
        cache.put(pod("web-0", "new"));
        assert_eq!(waiting.join().unwrap().unwrap().uid, "new");
    }

    #[test]
    fn nobody_waits_for_a_watch_that_is_not_open_or_an_agent_that_stops() {
        let cache = PodCache::default();
        assert!(cache.wait_for_watch(&wanted("web-0", Some("new")), far()).is_none());
        cache.set_reach(Reach::Filling);
        cache.close();
        assert!(cache.wait_for_watch(&wanted("web-0", Some("new")), far()).is_none());
        assert!(cache.wait(&wanted("web-0", Some("new")), far()).is_none());
    }

    #[test]
    fn a_complete_view_drops_what_went_away_unseen() {
        let cache = PodCache::default();
        cache.put(pod("a", "1"));
        cache.put(pod("b", "2"));
        assert!(!cache.is_synced());
        cache.complete(&HashSet::from(["2".to_owned()]));
        assert!(cache.is_synced());
        assert!(cache.get(&wanted("a", Some("1"))).is_none());
        assert!(cache.get(&wanted("b", Some("2"))).is_some());
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }
}
