//! Asking for the Events on pods, which costs the API server a look through all Events of their namespace: one answer
//! for all pods of a namespace that wait for it, few at once, not too many a second, with a pause after a slow answer and
//! growing ones after failures. A start is told with them or without.

use super::Pod;
use super::schedule::{Due, Named};
use crate::domain::notice::{Bucket, Rate};
use crate::domain::startup::{Outcome, PodEvent, was_ready};
use crate::k8s::client::ApiClient;
use crate::k8s::error::ApiError;
use crate::k8s::pod_events::ByPod;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// So many namespaces are asked about at once.
const AT_ONCE: usize = 2;
/// So many pods are told from one answer.
pub const TOGETHER: usize = 256;
/// So many pods of a namespace with very many Events are asked for one by one, at a time.
const SINGLY: usize = 10;
/// Five requests a second: on a hundred nodes that is a lot.
const RATE: Rate = Rate { burst: 20, interval: Duration::from_millis(200) };
/// The pause until it is looked again whether the next may go.
const NEXT: Duration = Duration::from_millis(50);
/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// An answer that takes longer was slow: then nobody is asked for [`REST`] times as long.
const SLOW: Duration = Duration::from_millis(500);
const REST: u32 = 4;
/// How long nobody is asked who did not answer: at first, and at the most.
const AWAY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// How many namespaces with very many Events are remembered.
const BIG: usize = 64;

/// A start that is to be told.
#[derive(Debug)]
pub struct Case {
    pub pod: Pod,
    pub outcome: Outcome,
    /// When that was seen; nanoseconds since the epoch.
    pub seen_ns: u64,
}

/// What was found out.
#[derive(Debug)]
pub enum Answer {
    /// The start, with what is said of the pod; nothing if that is not known.
    Told(Case, Option<Vec<PodEvent>>),
    /// The pod is not late: by now it is something else, which the watch will tell.
    NotLate(Named),
    /// Whether it is late cannot be found out now.
    Unknown(Named),
}

/// Who asks.
pub struct Asking {
    client: Arc<ApiClient>,
    telemetry: Telemetry,
    under_way: JoinSet<Asked>,
    /// The namespaces that are being asked about.
    busy: HashSet<String>,
    /// Those that have too many Events to read them all.
    big: HashSet<String>,
    bucket: Bucket,
    /// A place that the bucket has given.
    admitted: bool,
    /// Until when nobody is asked, because the last answer was slow.
    rests: Option<Instant>,
    /// Until when nobody is asked, because there was no answer.
    until: Option<Instant>,
    /// How many answers failed, one after the other.
    failures: u32,
    /// What is answered without asking.
    ready: Vec<Answer>,
}

struct Asked {
    namespace: String,
    answers: Vec<Answer>,
    took: Duration,
    is_big: bool,
    error: Option<ApiError>,
    /// Whether no Events were asked for, so that it says nothing about them that there is no error.
    paused: bool,
}

impl Asking {
    pub fn new(client: Arc<ApiClient>, telemetry: Telemetry) -> Asking {
        Asking {
            client,
            telemetry,
            under_way: JoinSet::new(),
            busy: HashSet::new(),
            big: HashSet::new(),
            bucket: Bucket::new(RATE, std::time::Instant::now()),
            admitted: false,
            rests: None,
            until: None,
            failures: 0,
            ready: Vec::new(),
        }
    }

    /// When somebody has to look whether there is something to do, if the next pod is due then.
    pub fn next(&self, due: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        if !self.ready.is_empty() {
            return Some(now);
        }
        due.map(|due| if due > now { due } else { now + NEXT })
    }

    /// Whether this can be asked for now, or need not be asked for.
    pub fn has_room(&mut self, due: &Due) -> bool {
        let namespace = match due {
            Due::Over(_) if self.is_away() => return true,
            Due::Over(case) => &case.pod.namespace,
            Due::Late(pod) => &pod.namespace,
        };
        let rests = self.rests.is_some_and(|until| Instant::now() < until);
        if rests || self.under_way.len() >= AT_ONCE || self.busy.contains(namespace) {
            return false;
        }
        self.admitted = self.admitted || self.bucket.take(std::time::Instant::now());
        self.admitted
    }

    /// Whether it is of no use to ask for Events now.
    fn is_away(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Asks for the Events on these pods of one namespace, if there was room for it.
    pub fn ask(&mut self, cases: Vec<Case>) {
        let Some(namespace) = cases.first().map(|case| case.pod.namespace.clone()) else { return };
        if self.is_away() || !std::mem::take(&mut self.admitted) {
            self.ready.extend(cases.into_iter().map(|case| Answer::Told(case, None)));
            return;
        }
        let (client, is_big) = (self.client.clone(), self.big.contains(&namespace));
        self.busy.insert(namespace.clone());
        self.under_way.spawn(events(client, namespace, cases, is_big));
    }

    /// Asks whether this pod, of which nothing else was heard by now, really is late, and for the Events on it.
    pub fn ask_late(&mut self, pod: Named, seen_ns: u64) {
        if !std::mem::take(&mut self.admitted) {
            self.ready.push(Answer::Unknown(pod));
            return;
        }
        self.busy.insert(pod.namespace.clone());
        self.under_way.spawn(late(self.client.clone(), pod, seen_ns, !self.is_away()));
    }

    /// The next answers; never while none are expected.
    pub async fn answers(&mut self) -> Vec<Answer> {
        match self.under_way.join_next().await {
            // A task that panicked ended the process.
            Some(joined) => joined.map(|asked| self.taken(asked)).unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// Answers that are there.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        let mut answers = std::mem::take(&mut self.ready);
        while let Some(joined) = self.under_way.try_join_next() {
            answers.extend(joined.map(|asked| self.taken(asked)).unwrap_or_default());
        }
        answers
    }

    fn taken(&mut self, asked: Asked) -> Vec<Answer> {
        let Asked { namespace, answers, took, is_big, error, paused } = asked;
        self.busy.remove(&namespace);
        let now = Instant::now();
        self.rests = (took >= SLOW).then(|| now + took * REST);
        if is_big && self.big.len() < BIG {
            self.big.insert(namespace);
        }
        match error {
            None if paused => {}
            None => (self.failures, self.until) = (0, None),
            // Of one pod there may be nothing to ask for; that says nothing about the others.
            Some(ApiError::NoName { .. }) => {}
            Some(error) => {
                let pause = AWAY.0.saturating_mul(1 << self.failures.min(8)).min(AWAY.1);
                let pause = if matches!(error, ApiError::Forbidden { .. }) { AWAY.1 } else { pause };
                self.until = Some(now + pause);
                if self.failures == 0 {
                    self.telemetry.event(AgentEvent::StartupEventsUnread { problem: error.whole() });
                }
                self.failures = self.failures.saturating_add(1);
            }
        }
        answers
    }
}

/// The Events on pods of one namespace: on all of them from one answer where there are several.
async fn events(client: Arc<ApiClient>, namespace: String, cases: Vec<Case>, was_big: bool) -> Asked {
    let (began, mut slowest, mut is_big) = (Instant::now(), Duration::ZERO, was_big);
    let (mut found, mut error) = (ByPod::new(), None);
    if cases.len() > 1 && !was_big {
        let pods: Vec<Pod> = cases.iter().map(|case| case.pod.clone()).collect();
        match client.events_of_pods(&namespace, &pods, LIMIT).await {
            Ok(Some(events)) => found = events,
            Ok(None) => is_big = true,
            Err(failed) => error = Some(failed),
        }
        slowest = began.elapsed();
    }
    if cases.len() == 1 || is_big {
        for case in cases.iter().take(SINGLY) {
            let began = Instant::now();
            match client.pod_events(&case.pod, LIMIT).await {
                Ok(events) => _ = found.insert(case.pod.uid.clone(), events),
                Err(failed) => {
                    error = Some(failed);
                    break;
                }
            }
            slowest = slowest.max(began.elapsed());
        }
    }
    let answers = cases.into_iter().map(|case| {
        let events = found.remove(&case.pod.uid);
        Answer::Told(case, events)
    });
    Asked { answers: answers.collect(), took: slowest, is_big, error, namespace, paused: false }
}

/// Whether a pod is late, as the API server has it now: what the watch knows may be older.
async fn late(client: Arc<ApiClient>, named: Named, seen_ns: u64, with_events: bool) -> Asked {
    let (began, namespace) = (Instant::now(), named.namespace.clone());
    let asked =
        |answer, took, error| Asked { namespace, answers: vec![answer], took, is_big: false, error, paused: false };
    let pod = match client.pod(&named.namespace, &named.name, LIMIT).await {
        Ok(pod) => pod.into_facts(),
        Err(ApiError::NotFound { .. }) => {
            return Asked { paused: true, ..asked(Answer::NotLate(named), began.elapsed(), None) };
        }
        Err(error) => return asked(Answer::Unknown(named), began.elapsed(), Some(error)),
    };
    if pod.uid != named.uid || Outcome::of(&pod).is_some() || was_ready(&pod) {
        return Asked { paused: true, ..asked(Answer::NotLate(named), began.elapsed(), None) };
    }
    if !with_events {
        let case = Case { pod: Arc::new(pod), outcome: Outcome::Late, seen_ns };
        return Asked { paused: true, ..asked(Answer::Told(case, None), began.elapsed(), None) };
    }
    let began = Instant::now();
    let (events, error) = match client.pod_events(&pod, LIMIT).await {
        Ok(events) => (Some(events), None),
        Err(error) => (None, Some(error)),
    };
    let case = Case { pod: Arc::new(pod), outcome: Outcome::Late, seen_ns };
    asked(Answer::Told(case, events), began.elapsed(), error)
}
