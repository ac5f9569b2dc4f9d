//! DEL and GC: the rules go with their namespace, so there is nothing to take down. What is gone
//! already is no error, and the agent is told without being waited for.

use super::agent_call::{self, Reached};
use super::session::{Done, Session};
use crate::domain::request::{Answer, Command, Request};
use crate::domain::step::Step;
use crate::host::netns::{self, NetnsError, OwnNamespace};
use crate::host::pod_netns::Records;
use crate::telemetry::outcome::CallPath;
use std::path::Path;
use std::time::Duration;

/// The agent may take no longer to hear of a sandbox that is gone.
const PATIENCE: Duration = Duration::from_millis(500);

/// Says goodbye to a sandbox (DEL) or to all that are not valid any more (GC).
pub fn run(session: &Session<'_>, command: Command) -> Done {
    if let Err(failure) = refuse_own_namespace(session) {
        return (Err(failure), CallPath::Standalone);
    }
    let request = session.request(command);
    let limit = request.bounds.agent_timeout.min(PATIENCE);
    // Whether the agent heard it is told by the step; the sandbox is gone either way.
    let path = match agent_call::call(session, &request, None, limit) {
        Reached::Concluded(_) => CallPath::Agent,
        Reached::Nobody(_) | Reached::Failed(_) => {
            forget(session, &request);
            CallPath::Standalone
        }
    };
    (Ok(Answer::Done), path)
}

/// Takes away what was recorded of the sandbox.
fn forget(session: &Session<'_>, request: &Request) {
    if let (Command::Del, Some(uid), true) = (request.command, &request.pod.uid, session.has_run_dir()) {
        Records::new(&session.settings().run_dir).forget(uid, &request.container_id);
    }
}

/// The one mistake that DEL reports, as the reference does: the runtime names its own namespace.
fn refuse_own_namespace(session: &Session<'_>) -> Result<(), crate::domain::failure::Failure> {
    if session.call.netns.is_empty() || session.call.own_netns_allowed {
        return Ok(());
    }
    match netns::open(Path::new(&session.call.netns), OwnNamespace::Refused) {
        Err(error @ NetnsError::Host { .. }) => session.story.step(Step::NetnsOpen, |_| Err(error)),
        _ => Ok(()),
    }
}
