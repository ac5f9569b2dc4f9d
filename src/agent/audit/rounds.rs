//! The rounds in which the pods are looked at: one pod after the other, with pauses, so that they take
//! no more than a small part of one processor.

use super::verdict::Verdicts;
use crate::domain::decision::{Decision, decide, skip_by_name};
use crate::domain::failure::Failure;
use crate::domain::pod::PodFacts;
use crate::domain::pod_state::PodState;
use crate::host::pod_netns::Records;
use crate::k8s::cache::{Listener, PodCache, Seen};
use crate::ops::repair::Looked;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

/// A pod that came without an ADD that we know of is looked at after this; more may come until then.
const SETTLE: Duration = Duration::from_secs(2);
/// What looks broken is looked at again after this: it may have been set up just then.
const CONFIRM: Duration = Duration::from_secs(1);
/// After each look so many times its length is waited, and never less or more than this.
const SHARE: u32 = 4;
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));
/// How often the records are swept where there are no rounds.
const SWEEP: Duration = Duration::from_secs(600);

/// A pod whose rules are not as they should be.
#[derive(Debug)]
pub struct Drift<'a> {
    pub pod: &'a Arc<PodFacts>,
    /// What differs.
    pub problem: &'a Failure,
    /// Whether its rules were right since this agent started. Else it may be like this for long: by the
    /// reference's plugin, or by what happened while no agent was there.
    pub was_right: bool,
}

/// Has a broken pod repaired, where that is wanted. It is called in each round as long as the pod is
/// broken, and must not wait.
pub type OnBroken = Box<dyn Fn(&Drift<'_>) + Send + Sync>;

/// How one pod is looked at; it may wait.
pub type Look = Arc<dyn Fn(&PodFacts) -> Looked + Send + Sync>;

/// The rounds, and what they work with.
pub struct Audit {
    pub cache: Arc<PodCache>,
    pub verdicts: Arc<Verdicts>,
    pub look: Look,
    pub on_broken: OnBroken,
    pub records: Records,
    pub telemetry: Telemetry,
    /// The time from one round to the next; without one there are no rounds.
    pub interval: Option<Duration>,
    /// Namespaces whose pods the plugin leaves alone, and the one of the agent's own pod.
    pub excluded: Vec<String>,
    pub own_namespace: String,
    /// Something came that no ADD told of.
    pub news: Arc<Notify>,
}

/// What is to be done about a pod.
enum Wanted {
    /// It has no rules, and is to have none.
    Skipped,
    /// It is to be looked at.
    Look,
    /// Nothing can be said of it now.
    Later,
    /// It has ended.
    Over,
}

impl Audit {
    /// Has the audit hear of pods that come and go.
    pub fn listener(verdicts: &Arc<Verdicts>, news: &Arc<Notify>) -> Listener {
        let (states, news) = (verdicts.states().clone(), news.clone());
        Box::new(move |seen| match seen {
            Seen::Here(pod) if pod.status.addresses.is_empty() || states.of(&pod.uid).is_some() => {}
            Seen::Here(_) | Seen::All => news.notify_one(),
            Seen::Gone(pod) => states.forget(&pod.uid),
        })
    }

    /// Looks for ever.
    pub async fn run(self) -> Result<(), Infallible> {
        while !self.cache.is_synced() {
            self.news.notified().await;
        }
        loop {
            self.sweep().await;
            let next = Instant::now() + self.interval.unwrap_or(SWEEP);
            if self.interval.is_some() {
                self.round(|_| true).await;
                self.verdicts.states().round_over();
            }
            // What comes between two rounds and was not set up by us is not left to the next one.
            while tokio::time::timeout_at(next.into(), self.news.notified()).await.is_ok() {
                if self.interval.is_some() {
                    sleep_until((Instant::now() + SETTLE).min(next).into()).await;
                    self.round(|pod| self.verdicts.states().of(&pod.uid).is_none()).await;
                }
            }
        }
    }

    /// Looks at these pods, and again at those that seem broken.
    async fn round(&self, which: impl Fn(&PodFacts) -> bool) {
        let began = Instant::now();
        let (mut looked_at, mut suspects) = (0_u64, Vec::new());
        for pod in self.cache.all().into_iter().filter(|pod| which(pod)) {
            if let Some(looked) = self.pod(&pod).await {
                looked_at += 1;
                match looked.state {
                    PodState::Broken => suspects.push(pod),
                    _ => self.verdicts.looked(&pod.reference(), &looked),
                }
            }
        }
        if !suspects.is_empty() {
            sleep(CONFIRM).await;
        }
        for pod in suspects {
            // It may have changed since, or be gone.
            let Some(pod) = self.current(&pod) else { continue };
            if let Some(looked) = self.pod(&pod).await {
                self.settle(&pod, &looked);
            }
        }
        if looked_at > 0 {
            let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.telemetry.event(AgentEvent::AuditDone { pods: looked_at, duration_ms });
        }
    }

    fn settle(&self, pod: &Arc<PodFacts>, looked: &Looked) {
        self.verdicts.looked(&pod.reference(), looked);
        if let (PodState::Broken, Some(problem)) = (looked.state, &looked.problem) {
            let was_right = self.verdicts.states().was_right(&pod.uid);
            (self.on_broken)(&Drift { pod, problem, was_right });
        }
    }

    /// Looks at one pod, if there is something to look at; then waits, for the sake of others.
    async fn pod(&self, pod: &Arc<PodFacts>) -> Option<Looked> {
        let states = self.verdicts.states();
        match self.wanted(pod) {
            Wanted::Skipped => {
                states.set(&pod.uid, PodState::Skipped);
                return None;
            }
            Wanted::Over => {
                states.forget(&pod.uid);
                return None;
            }
            Wanted::Later => return None,
            Wanted::Look => {}
        }
        let began = Instant::now();
        let (look, looked_at, under_way) = (self.look.clone(), pod.clone(), states.look(&pod.uid));
        let looked = tokio::task::spawn_blocking(move || look(&looked_at)).await;
        sleep((began.elapsed() * SHARE).clamp(PAUSES.0, PAUSES.1)).await;
        // An ADD knows better, and of a pod that is gone nothing is kept; nor is what may have been found before
        // a DEL: whoever doubts has the pods looked at anew.
        let holds = || !states.is_set_up(&pod.reference()) && self.current(pod).is_some() && under_way.holds();
        looked.ok().filter(|_| holds())
    }

    /// The pod as it is now, if it is still there.
    fn current(&self, pod: &PodFacts) -> Option<Arc<PodFacts>> {
        self.cache.named(&pod.namespace, &pod.name).filter(|now| now.uid == pod.uid)
    }

    fn wanted(&self, pod: &PodFacts) -> Wanted {
        let status = &pod.status;
        if status.is_over() {
            return Wanted::Over;
        }
        let by_name = skip_by_name(&pod.namespace, &pod.name, &self.own_namespace, &self.excluded).is_some();
        if status.host_network || by_name || matches!(decide(pod), Ok(Decision::Skip(_))) {
            return Wanted::Skipped;
        }
        if status.deleting || status.addresses.is_empty() || self.verdicts.states().is_set_up(&pod.reference()) {
            return Wanted::Later;
        }
        Wanted::Look
    }

    /// Forgets what is still known of pods that are gone.
    async fn sweep(&self) {
        let here: HashSet<String> = self.cache.all().iter().map(|pod| pod.uid.clone()).collect();
        self.verdicts.states().keep(|pod| here.contains(pod));
        let records = self.records.clone();
        let sweep = move || records.sweep(|pod| here.contains(pod));
        // Where it breaks off, the next one sweeps.
        let _ = tokio::task::spawn_blocking(sweep).await;
    }
}
