//! Finding out, when the agent is told to stop, whether that is an uninstall: the API server is
//! asked for the DaemonSet and, if need be, for the node, within a bounded time.

use super::client::ApiClient;
use super::daemonset::doubt;
use super::error::ApiError;
use crate::domain::departure::{Asked, DaemonSetName, Departure, Doubt, Findings, Kept, NodeLabels, Watched, decide};
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The DaemonSet that this agent belongs to, and who can tell of it.
pub struct Parent {
    pub client: Arc<ApiClient>,
    pub name: DaemonSetName,
    /// This node.
    pub node: String,
    /// What the watch knows.
    pub watched: watch::Receiver<Watched>,
    pub patience: Patience,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For everything together.
    pub total: Duration,
    /// How often each thing is asked for.
    pub attempts: u32,
    /// For one answer.
    pub answer: Duration,
    /// Between two attempts.
    pub pause: Duration,
    /// Before a DaemonSet that is gone is believed not to come back: who replaces it by force
    /// deletes it and creates it again.
    pub settle: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            total: Duration::from_secs(6),
            attempts: 3,
            answer: Duration::from_secs(2),
            pause: Duration::from_millis(500),
            settle: Duration::from_secs(2),
        }
    }
}

impl Parent {
    /// Decides what becomes of the plugin, within the patience's total.
    pub async fn departure(&self) -> Departure {
        let deadline = Instant::now() + self.patience.total;
        let first = self.look(deadline).await;
        let Departure::Remove(proof) = &first else { return first };
        if !proof.may_pass() {
            return first;
        }
        tokio::time::sleep(self.patience.settle).await;
        let second = self.look(deadline).await;
        let came_back = *self.watched.borrow() == Watched::Present;
        match second {
            // The uninstall has come to our own rights: what was known before still stands.
            Departure::Keep(Kept::Unproven(_)) if !came_back => first,
            second => second,
        }
    }

    async fn look(&self, deadline: Instant) -> Departure {
        let asked = match self.asking(deadline, |limit| self.client.daemonset(&self.name, limit)).await {
            Ok(Some(facts)) => Asked::Found(facts),
            Ok(None) => Asked::Missing,
            Err(doubt) => Asked::Unknown(doubt),
        };
        let node = match &asked {
            Asked::Found(facts) if facts.needs_node() => {
                let labels = self.asking(deadline, |limit| self.client.node_labels(&self.node, limit)).await;
                Some(labels.map_or_else(NodeLabels::Unknown, NodeLabels::Known))
            }
            _ => None,
        };
        let watched = self.watched.borrow().clone();
        decide(&self.node, &Findings { asked, watched, node })
    }

    /// Asks until there is an answer, or time or attempts run out. A token that was refused is read
    /// anew for the next attempt.
    async fn asking<T, F: Future<Output = Result<T, ApiError>>>(
        &self,
        deadline: Instant,
        ask: impl Fn(Duration) -> F,
    ) -> Result<T, Doubt> {
        let mut last = Doubt { error_type: ErrorType::ApiTimeout, problem: "there was no time left to ask".to_owned() };
        for attempt in 1..=self.patience.attempts.max(1) {
            let limit = self.patience.answer.min(deadline.saturating_duration_since(Instant::now()));
            if limit.is_zero() {
                break;
            }
            match ask(limit).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    last = doubt(&error);
                    if !error.retryable() || attempt == self.patience.attempts {
                        break;
                    }
                }
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + self.patience.pause)).await;
        }
        Err(last)
    }
}
