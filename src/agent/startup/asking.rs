//! Asking for the Events on pods: a few at once, not too many a second, and not for a while where it is of no
//! use. A start is told with them or without.

use super::Pod;
use crate::domain::notice::{Bucket, Rate};
use crate::domain::pod::PodFacts;
use crate::domain::startup::{Outcome, PodEvent};
use crate::k8s::client::ApiClient;
use crate::k8s::error::ApiError;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// So many requests are under way at once.
const AT_ONCE: usize = 4;
/// A whole node's pods may start at once; ten a second are many.
const RATE: Rate = Rate { burst: 50, interval: Duration::from_millis(50) };
/// The pause until the next may go.
const NEXT: Duration = Duration::from_millis(50);
/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How long nobody is asked who did not answer.
const AWAY: Duration = Duration::from_secs(10);
/// How long nobody is asked who does not allow it.
const FORBIDDEN: Duration = Duration::from_secs(300);

/// A pod with what is said of it.
#[derive(Debug)]
pub struct Answer {
    pub pod: Pod,
    pub outcome: Outcome,
    /// Nothing if it is not known.
    pub events: Option<Vec<PodEvent>>,
}

/// Who asks.
pub struct Asking {
    client: Arc<ApiClient>,
    telemetry: Telemetry,
    under_way: JoinSet<(Pod, Outcome, Result<Vec<PodEvent>, ApiError>)>,
    bucket: Bucket,
    /// A place that the bucket has given.
    admitted: bool,
    /// Until when nobody is asked.
    until: Option<Instant>,
    /// Whether that was said.
    failing: bool,
    /// What is answered without asking.
    ready: Vec<Answer>,
}

impl Asking {
    pub fn new(client: Arc<ApiClient>, telemetry: Telemetry) -> Asking {
        let bucket = Bucket::new(RATE, std::time::Instant::now());
        let under_way = JoinSet::new();
        Asking { client, telemetry, under_way, bucket, admitted: false, until: None, failing: false, ready: Vec::new() }
    }

    /// When somebody has to look whether there is something to do, if the next pod is due then.
    pub fn next(&self, due: Option<Instant>) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(Instant::now());
        }
        // Without room the next answer wakes.
        due.filter(|_| self.under_way.len() < AT_ONCE).map(|due| due.max(Instant::now() + NEXT / 10))
    }

    /// Whether one more can be asked for now.
    pub fn has_room(&mut self) -> bool {
        if self.under_way.len() >= AT_ONCE {
            return false;
        }
        self.admitted = self.admitted || self.bucket.take(std::time::Instant::now());
        self.admitted
    }

    /// Asks for the Events on this pod, if there was room for it.
    pub fn ask(&mut self, pod: Pod, outcome: Outcome) {
        let admitted = std::mem::take(&mut self.admitted);
        if !admitted || self.until.is_some_and(|until| Instant::now() < until) {
            self.ready.push(Answer { pod, outcome, events: None });
            return;
        }
        let client = self.client.clone();
        self.under_way.spawn(async move {
            let about: &PodFacts = &pod;
            let answer = client.pod_events(about, LIMIT).await;
            (pod, outcome, answer)
        });
    }

    /// The next answer; nothing while none is expected.
    pub async fn answer(&mut self) -> Option<Answer> {
        let joined = self.under_way.join_next().await?;
        // A task that panicked ended the process.
        joined.ok().map(|(pod, outcome, answer)| self.taken(pod, outcome, answer))
    }

    /// An answer that is there.
    pub fn try_answer(&mut self) -> Option<Answer> {
        if let Some(ready) = self.ready.pop() {
            return Some(ready);
        }
        let joined = self.under_way.try_join_next()?;
        joined.ok().map(|(pod, outcome, answer)| self.taken(pod, outcome, answer))
    }

    fn taken(&mut self, pod: Pod, outcome: Outcome, answer: Result<Vec<PodEvent>, ApiError>) -> Answer {
        let events = match answer {
            Ok(events) => {
                (self.failing, self.until) = (false, None);
                Some(events)
            }
            Err(error) => {
                // Of one pod there may be nothing to ask for; that says nothing about the others.
                if !matches!(error, ApiError::NoName { .. }) {
                    let pause = if matches!(error, ApiError::Forbidden { .. }) { FORBIDDEN } else { AWAY };
                    self.until = Some(Instant::now() + pause);
                }
                if !std::mem::replace(&mut self.failing, true) {
                    self.telemetry.event(AgentEvent::StartupEventsUnread { problem: error.whole() });
                }
                None
            }
        };
        Answer { pod, outcome, events }
    }
}
