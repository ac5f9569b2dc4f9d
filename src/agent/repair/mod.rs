//! Pods that started without their redirection: found among what the watch of this node's pods tells,
//! and repaired, deleted or labelled, a few at a time. The watch never waits for it.

mod brake;
mod drift;
mod memory;
mod queue;
mod worker;

use super::config::Settings;
use super::config::repair::RepairSettings;
use super::readiness::Condition;
use super::site::NodeSite;
use crate::domain::identity::TraceLink;
use crate::domain::pod::{PodFacts, PodRef};
use crate::domain::repair::{Broken, Mode, Policy};
use crate::domain::repeats::Repeats;
use crate::k8s::cache::{Listener, PodCache, Seen};
use crate::k8s::events::Events;
use crate::k8s::pod_changes::BlockingChanges;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use crate::wire::termination;
use brake::Brake;
use memory::Memory;
use queue::{Key, Queue};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

/// So many pods are worked on at once, each by one thread.
const AT_ONCE: usize = 4;

/// The broken pods of this node, as far as the watch has told of them.
pub struct Found {
    settings: RepairSettings,
    policy: Policy,
    node: String,
    state: Mutex<State>,
    bell: Notify,
}

/// Never held while anything is waited for.
struct State {
    queue: Queue,
    memory: Memory,
    /// What the audit found of pods that are offered for that.
    drifted: HashMap<String, String>,
    brake: Brake,
    /// Whose pods are deleted over and over.
    repeats: Repeats,
}

/// What does not get better by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// The broken pods, by UID, that may not be deleted now, because too many were.
    pub held: Vec<String>,
    /// Whose pods were deleted over and over, and how often.
    pub often: Vec<(String, usize)>,
    /// The pods, by UID, that were repaired, and whose validation failed again.
    pub in_vain: Vec<String>,
}

/// What is done about them.
pub struct Repair {
    found: Arc<Found>,
    cache: Arc<PodCache>,
    telemetry: Telemetry,
    hands: Hands,
    /// Taken by each pod that is worked on.
    room: Arc<Semaphore>,
}

/// What the rest of the agent lends.
pub struct Hands {
    pub site: Arc<NodeSite>,
    pub changes: BlockingChanges,
    /// Where the pods and the node are told.
    pub pods: Events,
    pub node: Events,
    /// Unmet while broken pods may not be deleted; only where they are.
    pub allowed: Option<Condition>,
    /// The installation pass that is in force.
    pub install: Box<dyn Fn() -> Option<TraceLink> + Send + Sync>,
    /// Hears of pods whose rules were read back.
    pub repaired: Box<dyn Fn(&PodRef) + Send + Sync>,
    /// Whether another agent has taken over this node.
    pub superseded: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Found {
    /// Nothing yet; nothing ever, unless the settings ask for something to be done about broken pods.
    pub fn new(settings: &Settings, telemetry: &Telemetry) -> Option<Arc<Found>> {
        let Some(repair) = &settings.repair else {
            telemetry.event(AgentEvent::RepairDisabled {});
            return None;
        };
        telemetry.event(AgentEvent::RepairStarting {});
        let policy = repair.policy.clone()?;
        let state = State {
            queue: Queue::default(),
            memory: Memory::new(repair.attempts),
            drifted: HashMap::new(),
            brake: Brake::new(repair.limit_per_minute),
            repeats: Repeats::default(),
        };
        Some(Arc::new(Found {
            settings: repair.clone(),
            policy,
            node: settings.node.clone(),
            state: Mutex::new(state),
            bell: Notify::new(),
        }))
    }

    /// Hears of the node's pods.
    pub fn listener(self: &Arc<Self>) -> Listener {
        let found = self.clone();
        Box::new(move |seen| match seen {
            Seen::Here(pod) => found.look(pod),
            Seen::Gone(pod) => found.gone(pod),
            Seen::All => {}
        })
    }

    /// Whether broken pods may come to be deleted.
    pub fn deletes(&self) -> bool {
        self.policy.deletes || self.policy.mode == Mode::Delete
    }

    /// What does not get better by itself.
    pub fn troubles(&self) -> Troubles {
        let state = self.lock();
        let often = state.repeats.often(Instant::now());
        Troubles {
            held: state.brake.waiting(),
            often: often.into_iter().map(|(owner, count)| (owner.to_owned(), count)).collect(),
            in_vain: state.memory.in_vain(),
        }
    }

    fn look(&self, pod: &PodFacts) {
        if self.broken(pod).is_some() {
            let (namespace, name, uid) = (pod.namespace.clone(), pod.name.clone(), pod.uid.clone());
            self.lock().queue.offer(Key { namespace, name, uid });
            self.bell.notify_one();
        } else if self.lock().queue.hurry(&pod.uid) {
            self.bell.notify_one();
        }
    }

    /// How the pod is broken, if it is.
    fn broken(&self, pod: &PodFacts) -> Option<Broken> {
        self.settings.detector.look(pod, &self.node, says_not_redirected)
    }

    /// Who waits for it finds that out soon; else it is forgotten.
    fn gone(&self, pod: &PodFacts) {
        let mut state = self.lock();
        state.drifted.remove(&pod.uid);
        if state.queue.hurry(&pod.uid) {
            self.bell.notify_one();
        } else {
            state.memory.gone(&pod.uid);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is the validator's termination message, and says that the redirection is missing.
fn says_not_redirected(message: &str) -> bool {
    termination::decode(message.as_bytes()).is_ok_and(|validation| validation.found_none())
}

impl Repair {
    /// Ready to begin.
    pub fn new(found: Arc<Found>, cache: Arc<PodCache>, telemetry: Telemetry, hands: Hands) -> Arc<Repair> {
        if let Some(allowed) = &hands.allowed {
            allowed.met();
            telemetry.metrics().repair_held(0);
        }
        Arc::new(Repair { found, cache, telemetry, hands, room: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// Works for ever.
    pub async fn run(self: Arc<Self>) -> Result<(), Infallible> {
        loop {
            // The room comes second: whoever waits for the end counts what is taken of it.
            let key = self.next().await;
            let Ok(room) = self.room.clone().acquire_owned().await else { return std::future::pending().await };
            let repair = self.clone();
            // Nobody waits for it but the room.
            drop(tokio::task::spawn_blocking(move || {
                let after = repair.work(&key);
                repair.found.lock().queue.back(&key, after, Instant::now());
                repair.forget_gone(&key);
                repair.found.bell.notify_one();
                drop(room);
            }));
        }
    }

    /// Waits until no pod is worked on, but not for long; no work is begun any more. How many are worked
    /// on still.
    pub async fn drained(&self, limit: Duration) -> usize {
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        if let Ok(Ok(room)) = timeout(limit, self.room.acquire_many(all)).await {
            room.forget();
            return 0;
        }
        AT_ONCE - self.room.available_permits().min(AT_ONCE)
    }

    /// What was learnt of a pod that went while it was worked on would stay for ever. It is out of the
    /// queue by now, or in it once more, so whoever hears later that it is gone finds what there is.
    fn forget_gone(&self, key: &Key) {
        if self.cache.named(&key.namespace, &key.name).is_none_or(|pod| pod.uid != key.uid) {
            self.found.lock().memory.gone(&key.uid);
        }
    }

    async fn next(&self) -> Key {
        loop {
            let due = match self.found.lock().queue.next(Instant::now()) {
                Ok(key) => return key,
                Err(due) => due,
            };
            if self.found.lock().queue.missed() {
                self.cache.all().iter().for_each(|pod| self.found.look(pod));
                continue;
            }
            let news = self.found.bell.notified();
            match due {
                None => news.await,
                Some(due) => _ = tokio::time::timeout_at(due.into(), news).await,
            }
        }
    }
}
