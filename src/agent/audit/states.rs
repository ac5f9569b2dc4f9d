//! What is known of each pod's rules, and how many pods are in which state.

use crate::domain::pod::PodRef;
use crate::domain::pod_state::PodState;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hears how many pods are in each state, whenever that changes.
type Count = Box<dyn Fn(PodState, usize) + Send + Sync>;

/// The states of this node's pods, by UID.
pub struct States {
    inner: Mutex<Inner>,
    /// Whether a round over all pods is over.
    all_seen: AtomicBool,
    count: Count,
}

#[derive(Default)]
struct Inner {
    known: HashMap<String, PodState>,
    /// Of those, the ones that were redirected at some time.
    were_right: HashSet<String>,
    counts: [usize; PodState::ALL.len()],
    /// How often anything was doubted.
    doubts: u64,
    /// Pods with an ADD under way, by namespace and name, and how many there are.
    set_up: HashMap<(String, String), usize>,
}

/// An ADD that is under way, until this is dropped.
pub struct SettingUp {
    states: Arc<States>,
    pod: (String, String),
}

impl States {
    /// Nothing is known yet.
    pub fn new(count: impl Fn(PodState, usize) + Send + Sync + 'static) -> Arc<States> {
        Arc::new(States { inner: Mutex::default(), all_seen: AtomicBool::new(false), count: Box::new(count) })
    }

    /// Whether all pods were looked at since the agent started, as far as they could be.
    pub fn all_seen(&self) -> bool {
        self.all_seen.load(Ordering::Relaxed)
    }

    /// A round over all pods is over.
    pub fn round_over(&self) {
        self.all_seen.store(true, Ordering::Relaxed);
    }

    /// The state of a pod, if one is known.
    pub fn of(&self, uid: &str) -> Option<PodState> {
        self.lock().known.get(uid).copied()
    }

    /// The UIDs of the pods in this state.
    pub fn in_state(&self, state: PodState) -> Vec<String> {
        let inner = self.lock();
        inner.known.iter().filter(|(_, known)| **known == state).map(|(uid, _)| uid.clone()).collect()
    }

    /// Whether the pod was redirected since this agent started.
    pub fn was_right(&self, uid: &str) -> bool {
        self.lock().were_right.contains(uid)
    }

    /// A pod is in this state from now on; gives the one before.
    pub fn set(&self, uid: &str, state: PodState) -> Option<PodState> {
        self.change(uid, Some(state))
    }

    /// What was found of a pod until now says nothing any more.
    pub fn doubt(&self, uid: &str) {
        self.lock().doubts += 1;
        if self.of(uid) == Some(PodState::Redirected) {
            self.forget(uid);
        }
    }

    /// How often anything was doubted: what was found meanwhile may be of before.
    pub fn doubts(&self) -> u64 {
        self.lock().doubts
    }

    /// The pod is gone, or nothing is known of it any more.
    pub fn forget(&self, uid: &str) {
        self.change(uid, None);
    }

    /// Forgets all but these.
    pub fn keep(&self, here: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.lock().known.keys().filter(|uid| !here(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.forget(uid));
    }

    /// An ADD of this pod begins.
    pub fn setting_up(self: &Arc<Self>, pod: &PodRef) -> SettingUp {
        let pod = key(pod);
        *self.lock().set_up.entry(pod.clone()).or_default() += 1;
        SettingUp { states: self.clone(), pod }
    }

    /// Whether an ADD of this pod is under way.
    pub fn is_set_up(&self, pod: &PodRef) -> bool {
        self.lock().set_up.contains_key(&key(pod))
    }

    fn change(&self, uid: &str, to: Option<PodState>) -> Option<PodState> {
        let mut inner = self.lock();
        let before = match to {
            Some(state) => inner.known.insert(uid.to_owned(), state),
            None => inner.known.remove(uid),
        };
        match to {
            Some(PodState::Redirected) => _ = inner.were_right.insert(uid.to_owned()),
            Some(_) => {}
            None => _ = inner.were_right.remove(uid),
        }
        if before != to {
            for (state, now) in PodState::ALL.into_iter().zip(&mut inner.counts) {
                *now += usize::from(to == Some(state));
                *now = now.saturating_sub(usize::from(before == Some(state)));
            }
            // Told under the lock, so that the last word is the newest.
            PodState::ALL.into_iter().zip(inner.counts).for_each(|(state, count)| (self.count)(state, count));
        }
        before
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SettingUp {
    fn drop(&mut self) {
        let mut inner = self.states.lock();
        if let Some(count) = inner.set_up.get_mut(&self.pod) {
            *count -= 1;
            if *count == 0 {
                inner.set_up.remove(&self.pod);
            }
        }
    }
}

/// Not the UID: a static pod's sandbox has another one than its object.
fn key(pod: &PodRef) -> (String, String) {
    (pod.namespace.clone(), pod.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_those_of_the_pods_that_are_there() {
        let told: Arc<Mutex<HashMap<PodState, usize>>> = Arc::default();
        let heard = told.clone();
        let states = States::new(move |state, count| _ = heard.lock().unwrap().insert(state, count));
        let counts = || PodState::ALL.map(|state| told.lock().unwrap().get(&state).copied().unwrap_or_default());
        assert_eq!(states.set("a", PodState::Redirected), None);
        states.set("b", PodState::Redirected);
        states.set("c", PodState::Skipped);
        assert_eq!(counts(), [2, 0, 0, 1]);
        assert_eq!(states.set("a", PodState::Broken), Some(PodState::Redirected));
        states.forget("c");
        states.forget("never seen");
        assert_eq!(counts(), [1, 1, 0, 0]);
        assert_eq!((states.of("a"), states.of("c")), (Some(PodState::Broken), None));
        assert!(states.was_right("a") && !states.was_right("c"));
    }

    #[test]
    fn a_pod_is_being_set_up_until_its_last_add_is_over() {
        let states = States::new(|_, _| {});
        let pod = PodRef { namespace: "shop".into(), name: "web-0".into(), uid: None };
        let first = states.setting_up(&pod);
        let second = states.setting_up(&pod);
        drop(first);
        assert!(states.is_set_up(&pod));
        drop(second);
        assert!(!states.is_set_up(&pod));
    }
}
