//! Waiting for the decision about the node's backend, within a bound: a kernel or a tool that does
//! not come back must not keep the agent from answering.

use super::backend::{Chosen, Decision};
use super::readiness::{Condition, Readiness};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long calls may wait for the decision in the socket's queue; trying nf_tables takes some
/// milliseconds, trying iptables some tens of them.
const PATIENCE: Duration = Duration::from_secs(3);

/// The decision that is waited for. Until it falls, and where no pod can be set up with what was
/// decided, the agent is not ready.
pub struct Choice {
    decision: Decision,
    telemetry: Telemetry,
    usable: Condition,
}

/// There will be no decision.
#[derive(Debug, thiserror::Error)]
#[error("trying what the kernel has broke off: this is a defect, please report it")]
pub struct NoDecision;

impl Choice {
    /// Holds readiness back from now on.
    pub fn new(decision: Decision, telemetry: Telemetry, readiness: &Arc<Readiness>) -> Choice {
        Choice { decision, telemetry, usable: readiness.condition("a usable backend") }
    }

    /// Waits for a moment; what lasts longer is told.
    pub async fn soon(&mut self) {
        self.within(PATIENCE).await;
    }

    async fn within(&mut self, limit: Duration) {
        if timeout(limit, self.decision.wait_for(Option::is_some)).await.is_err() {
            let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            let late = AgentEvent::BackendUndecided { limit_ms };
            self.usable.unmet(&late.message());
            self.telemetry.event(late);
        }
    }

    /// Tells the decision when it falls, and holds readiness back for ever where it is of no use.
    pub async fn run(mut self) -> Result<(), NoDecision> {
        let chosen = match self.decision.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(chosen)) => chosen.clone(),
            Ok(None) | Err(_) => return Err(NoDecision),
        };
        let Chosen { backend, cause, trouble } = chosen;
        let backend = backend.name().to_owned();
        self.telemetry.event(AgentEvent::BackendChosen { backend: backend.clone(), cause });
        let Some(trouble) = trouble else {
            self.usable.met();
            return pending().await;
        };
        self.usable.unmet(&trouble.message);
        self.telemetry.event(AgentEvent::BackendUnusable { backend, problem: trouble.message });
        pending().await
    }
}
