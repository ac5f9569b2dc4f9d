//! STATUS: whether an ADD of a meshed pod could succeed now. In the lenient mode this is said in
//! the log and in the telemetry, but is no error: a runtime takes a node's network down when a
//! plugin's STATUS fails, and then the agent's own pod, which would mend it, cannot start.

use super::agent_call::{self, Reached};
use super::alone::{self, Unhelpful};
use super::session::{Done, Session};
use crate::domain::failure::Failure;
use crate::domain::request::{Answer, Command, Request};
use crate::domain::step::Step;
use crate::host::trial::try_backend;
use crate::telemetry::event::Level;
use crate::telemetry::outcome::CallPath;
use crate::wire::cni::{CODE_LIMITED, CODE_NOT_AVAILABLE};
use crate::wire::netconf::StatusMode;
use std::time::Duration;

/// A runtime asks often, so the agent gets no more than this to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says whether the plugin is ready.
pub fn run(session: &Session<'_>) -> Done {
    let request = session.request(Command::Status);
    let limit = request.bounds.agent_timeout.min(PATIENCE);
    let (readiness, path) = match agent_call::call(session, &request, None, limit) {
        Reached::Concluded(conclusion) => (conclusion.result.map(|_| ()), CallPath::Agent),
        Reached::Nobody(absent) => {
            (ready_alone(session, &request, CODE_NOT_AVAILABLE, &(&absent).into()), CallPath::Standalone)
        }
        // A broken agent also looks after no pod that is there already.
        Reached::Failed(agent) => {
            (ready_alone(session, &request, CODE_LIMITED, &(&agent).into()), CallPath::Standalone)
        }
    };
    match readiness {
        Err(failure) if session.settings().status_mode == StatusMode::Strict => (Err(failure), path),
        Err(failure) => {
            session.say(Level::Warn, &format!("an ADD of a meshed pod could not succeed now: {failure}"));
            (Ok(Answer::Done), path)
        }
        Ok(()) => (Ok(Answer::Done), path),
    }
}

/// Whether the plugin could do the work on its own: it needs a kubeconfig, and a kernel that
/// takes rules. `agent` says what became of the agent.
fn ready_alone(session: &Session<'_>, request: &Request, code: u32, agent: &Unhelpful) -> Result<(), Failure> {
    let try_rules = || session.story.step(Step::RulesApply, |_| try_backend(request.backend, &request.bounds));
    alone::could_look_up(session, agent)
        .and_then(|()| try_rules().map_err(|failure| agent.nor_alone(failure)))
        .map_err(|failure| Failure { code, ..failure })
}
