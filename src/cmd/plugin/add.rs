//! ADD and CHECK: what is answered without any I/O, then the agent, then the plugin on its own.

use super::agent_call::{self, Reached};
use super::alone;
use super::session::{Done, Session};
use crate::domain::decision::{Skip, skip_by_name};
use crate::domain::request::{Answer, Command, Conclusion, Request};
use crate::domain::settings::SkipReason;
use crate::domain::step::Step;
use crate::host::dry_run::DRY_RUN_FILE_PATH;
use crate::host::netns::{self, OwnNamespace};
use crate::host::pod_netns::Record;
use crate::telemetry::event::{self, Level};
use crate::telemetry::keys;
use crate::telemetry::outcome::CallPath;
use crate::telemetry::story::{Open, attribute};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Programs (ADD) or compares (CHECK) the rules of the call's pod.
pub fn run(session: &Session<'_>, command: Command, open: &Open) -> Done {
    if let Some(reason) = skipped_without_io(session) {
        return (Ok(Answer::Skipped(reason)), CallPath::Standalone);
    }
    if session.settings().ambient_enabled {
        session.say(
            Level::Warn,
            "ambient_enabled is set, but ambient mode is not supported: the pod is treated as not ambient",
        );
    }
    let own = OwnNamespace::allowed_if(session.call.own_netns_allowed);
    let opened = session.story.step(Step::NetnsOpen, |_| netns::open(Path::new(&session.call.netns), own));
    match opened {
        Ok(netns) => with_namespace(session, command, open, netns.as_fd()),
        Err(failure) => (Err(failure), CallPath::Standalone),
    }
}

/// The cases that need neither kubeconfig nor agent, for the agent's own pod must start without.
fn skipped_without_io(session: &Session<'_>) -> Option<SkipReason> {
    let (pod, settings) = (&session.pod, session.settings());
    let Skip { reason, message } =
        skip_by_name(&pod.namespace, &pod.name, &settings.pod_namespace, &settings.exclude_namespaces)?;
    let level = if reason == SkipReason::NotKubernetes { Level::Debug } else { Level::Info };
    session.story.log(level, event::POD_SKIPPED, &message, vec![attribute(keys::REASON, reason.name())]);
    Some(reason)
}

fn with_namespace(session: &Session<'_>, command: Command, open: &Open, netns: BorrowedFd<'_>) -> Done {
    let request = session.request(command);
    if let Some(file) = std::env::var_os(DRY_RUN_FILE_PATH).filter(|path| !path.is_empty()) {
        return dry_run(session, open, &request, netns, PathBuf::from(file));
    }
    let (conclusion, path) = match agent_call::call(session, &request, Some(netns), request.bounds.agent_timeout) {
        Reached::Concluded(conclusion) => (conclusion, CallPath::Agent),
        Reached::Nobody(absent) => (alone::without_agent(session, &request, netns, &absent), CallPath::Standalone),
        Reached::Failed(agent) => (alone::despite_agent(session, &request, netns, &agent), CallPath::Standalone),
    };
    learn(session, open, &conclusion);
    if let (CallPath::Standalone, Command::Add, Ok(Answer::Enrolled { .. }), Some(uid)) =
        (path, command, &conclusion.result, &conclusion.pod_uid)
    {
        session.set_up.replace(Record::of_add(&request, uid, &netns));
    }
    (conclusion.result, path)
}

/// Takes what was learnt about the pod into the call's span.
fn learn(session: &Session<'_>, open: &Open, conclusion: &Conclusion) {
    if let Some(uid) = &conclusion.pod_uid {
        session.story.identify(uid);
    }
    for link in &conclusion.links {
        open.link(link);
    }
}

/// The same work with nothing programmed. The file is one of this process' own mount namespace, so
/// the agent is not asked.
fn dry_run(session: &Session<'_>, open: &Open, request: &Request, netns: BorrowedFd<'_>, file: PathBuf) -> Done {
    let warning = format!(
        "{DRY_RUN_FILE_PATH} is set: the rules of this pod are written to {}, nothing is programmed or compared, and \
         its traffic is not redirected",
        file.display()
    );
    session.say(Level::Warn, &warning);
    let conclusion = alone::dry_run(session, request, netns, file);
    learn(session, open, &conclusion);
    (conclusion.result, CallPath::Standalone)
}
