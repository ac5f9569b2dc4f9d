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
    /// Looks at pods that are under way, and whether something was heard of the pod since they began.
    looks: Vec<(String, Arc<AtomicBool>)>,
    /// Sandboxes with calls under way.
    calls: HashMap<Sandbox, Calls>,
}

/// A pod's namespace and name, not its UID: a static pod's sandbox has another one than its object; and the
/// sandbox's container.
type Sandbox = (String, String, String);

/// The calls of one sandbox that are under way.
#[derive(Default)]
struct Calls {
    adds: usize,
    all: usize,
    /// How many have begun since there was none.
    begun: u64,
    /// The newest of those that have ended.
    ended: u64,
}

/// A look at a pod's rules.
pub struct Look {
    overtaken: Arc<AtomicBool>,
}

/// A call that sets a pod up or takes it down, until this is dropped.
pub struct UnderWay {
    states: Arc<States>,
    sandbox: Sandbox,
    is_add: bool,
    number: u64,
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
        self.lock().overtake_looks(uid);
        if self.of(uid) == Some(PodState::Redirected) {
            self.forget(uid);
        }
    }

    /// A look at this pod begins.
    pub fn look(&self, uid: &str) -> Look {
        let overtaken = Arc::new(AtomicBool::new(false));
        self.lock().looks.push((uid.to_owned(), overtaken.clone()));
        Look { overtaken }
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

    /// An ADD of this pod begins, or a DEL, with this container.
    pub fn begins(self: &Arc<Self>, pod: &PodRef, container: &str, is_add: bool) -> UnderWay {
        let sandbox = (pod.namespace.clone(), pod.name.clone(), container.to_owned());
        let mut inner = self.lock();
        let calls = inner.calls.entry(sandbox.clone()).or_default();
        calls.adds += usize::from(is_add);
        calls.all += 1;
        calls.begun += 1;
        UnderWay { states: self.clone(), sandbox, is_add, number: calls.begun }
    }

    /// Whether an ADD of this pod is under way.
    pub fn is_set_up(&self, pod: &PodRef) -> bool {
        let is_its = |(namespace, name, _): &Sandbox| *namespace == pod.namespace && *name == pod.name;
        self.lock().calls.iter().any(|(sandbox, calls)| calls.adds > 0 && is_its(sandbox))
    }

    fn change(&self, uid: &str, to: Option<PodState>) -> Option<PodState> {
        let mut inner = self.lock();
        inner.overtake_looks(uid);
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

impl Inner {
    fn overtake_looks(&mut self, uid: &str) {
        self.looks.retain(|(pod, overtaken)| {
            overtaken.fetch_or(pod == uid, Ordering::Relaxed);
            Arc::strong_count(overtaken) > 1
        });
    }
}

impl Look {
    /// Whether nothing else was heard of the pod since the look began: else what it found may be of before.
    pub fn holds(&self) -> bool {
        !self.overtaken.load(Ordering::Relaxed)
    }
}

impl UnderWay {
    /// The call ends; whether what it came to still holds: no call for this sandbox that began later has ended.
    pub fn ends_last(&self) -> bool {
        let mut inner = self.states.lock();
        let Some(calls) = inner.calls.get_mut(&self.sandbox) else { return true };
        let last = calls.ended < self.number;
        calls.ended = calls.ended.max(self.number);
        last
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut inner = self.states.lock();
        if let Some(calls) = inner.calls.get_mut(&self.sandbox) {
            calls.adds -= usize::from(self.is_add);
            calls.all -= 1;
            if calls.all == 0 {
                inner.calls.remove(&self.sandbox);
            }
        }
    }
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
        let first = states.begins(&pod, "c-1", true);
        let second = states.begins(&pod, "c-1", true);
        let taken_down = states.begins(&pod, "c-1", false);
        drop(first);
        assert!(states.is_set_up(&pod));
        drop(second);
        assert!(!states.is_set_up(&pod), "a DEL sets nothing up");
        drop(taken_down);
        assert!(!states.is_set_up(&pod));
    }

    #[test]
    fn a_look_holds_until_something_else_is_heard_of_its_pod() {
        let states = States::new(|_, _| {});
        let looks: Vec<_> = ["set", "doubted", "gone", "left alone"].into_iter().map(|uid| states.look(uid)).collect();
        states.set("set", PodState::Redirected);
        states.doubt("doubted");
        states.forget("gone");
        assert_eq!(looks.iter().map(Look::holds).collect::<Vec<_>>(), [false, false, false, true]);
        drop(looks);
        assert!(states.look("set").holds());
        states.set("other", PodState::Skipped);
        assert!(states.lock().looks.is_empty());
    }

    #[test]
    fn a_call_that_ends_after_a_later_one_decides_nothing() {
        let states = States::new(|_, _| {});
        let pod = PodRef { namespace: "shop".into(), name: "web-0".into(), uid: None };
        let (add, del) = (states.begins(&pod, "c-1", true), states.begins(&pod, "c-1", false));
        assert!(del.ends_last());
        drop(del);
        assert!(!add.ends_last(), "the sandbox was taken down meanwhile");
        drop(add);
        let (add, old) = (states.begins(&pod, "c-2", true), states.begins(&pod, "c-1", false));
        assert!(old.ends_last() && add.ends_last(), "another sandbox was");
        drop((add, old));
        assert!(states.begins(&pod, "c-1", true).ends_last());
        assert!(states.lock().calls.is_empty());
    }
}
