//! The installation as a thing that is looked at, put right and, at the very end, removed. Whoever
//! looks, a probe, a scrape or a change of a file, makes readiness what was found, at once.

use super::node::Node;
use super::said::Said;
use crate::agent::readiness::Condition;
use crate::domain::culprit;
use crate::domain::identity::TraceId;
use crate::domain::install::{Finding, Part, Reason};
use crate::domain::pod::PodRef;
use crate::domain::reverts::Reverts;
use crate::ops::install::{self, InstallTarget};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use crate::telemetry::resource::Origin;
use crate::telemetry::story::{Clock, Story, random_span_id};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a probe or a scrape waits until the installation has been looked at.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The installation of this agent.
pub struct Installation {
    node: Node,
    telemetry: Telemetry,
    ready: Condition,
    /// The path of the socket, if another agent has taken it over.
    successor: Box<dyn Fn() -> Option<PathBuf> + Send + Sync>,
    /// Tells the node that somebody keeps undoing the installation.
    complain: Box<dyn Fn(String) + Send + Sync>,
    state: Mutex<State>,
    /// Rung when somebody found something to be done.
    pub(super) bell: Notify,
}

/// Something that a pass is to be gone through for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub reason: Reason,
    /// What was found, to tell the same trouble from another one.
    found: Vec<Finding>,
}

#[derive(Default)]
struct State {
    /// What was found last, in the order of the parts.
    found: Vec<Finding>,
    reverts: Reverts,
    /// The plugin's entry was right since the last time that somebody undid it.
    was_right: bool,
    waiting: Said,
    superseded: bool,
    /// It was taken back, and stays so.
    removed: bool,
}

/// What the installation needs of the rest of the agent.
pub struct Around {
    pub telemetry: Telemetry,
    pub ready: Condition,
    pub successor: Box<dyn Fn() -> Option<PathBuf> + Send + Sync>,
    pub complain: Box<dyn Fn(String) + Send + Sync>,
}

impl Installation {
    /// Nothing is done yet.
    pub fn new(node: Node, around: Around) -> Arc<Installation> {
        let Around { telemetry, ready, successor, complain } = around;
        let (state, bell) = (Mutex::default(), Notify::new());
        Arc::new(Installation { node, telemetry, ready, successor, complain, state, bell })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Looks at everything; readiness is what was found. Gives why a pass is to be gone through, if
    /// there is something to do. Blocks for as long as files do.
    pub fn look(&self) -> Option<Work> {
        let mut state = self.lock();
        if state.removed || self.is_superseded(&mut state) {
            return None;
        }
        let found: Vec<Finding> = Part::ALL.into_iter().map(|part| self.node.look(part)).collect();
        let troubles: Vec<&str> = found.iter().filter_map(Finding::trouble).collect();
        match troubles.is_empty() {
            true => self.ready.met(),
            false => self.ready.unmet(&troubles.join("; ")),
        }
        self.tell_reverts(&mut state, &found);
        self.tell_waiting(&mut state, &found);
        let reason = reason(&state.found, &found);
        state.found.clone_from(&found);
        reason.map(|reason| Work { reason, found })
    }

    /// Looks, for somebody who waits for readiness to be true; rings for whoever puts things right.
    pub async fn looked_at(self: Arc<Self>) {
        let installation = self.clone();
        let looking = tokio::task::spawn_blocking(move || {
            if installation.look().is_some() {
                installation.bell.notify_one();
            }
        });
        if tokio::time::timeout(LOOK_WITHIN, looking).await.is_err() {
            self.ready.unmet("looking at the installation takes longer than a second: check the node's disk");
        }
    }

    /// Goes through an installation. True when everything is in place. Blocks for as long as files do.
    pub fn pass(&self, reason: Reason) -> bool {
        let mut state = self.lock();
        if state.removed || self.is_superseded(&mut state) {
            return false;
        }
        let story = self.story();
        let done = install::install(&story, &self.node, reason);
        self.telemetry.ingest(story.into_batch(), Origin::Agent);
        state.reverts.corrected(Instant::now());
        state.was_right |= done.is_ok();
        done.is_ok()
    }

    /// Takes the installation back for good; `between` is run after the network configuration is changed.
    pub fn remove(&self, between: impl FnOnce()) -> bool {
        let mut state = self.lock();
        if self.is_superseded(&mut state) {
            return false;
        }
        state.removed = true;
        let story = self.story();
        let done = install::uninstall(&story, &self.node, between);
        self.telemetry.ingest(story.into_batch(), Origin::Agent);
        done.is_ok()
    }

    /// How long to wait before putting right what was found wrong just now.
    pub fn pause(&self) -> Duration {
        self.lock().reverts.pause(Instant::now())
    }

    fn story(&self) -> Story {
        let (first, second) = (random_span_id().0, random_span_id().0);
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&first);
        trace[8..].copy_from_slice(&second);
        Story::begin(Clock::start(), TraceId(trace), None, PodRef::default(), self.telemetry.level(), None)
    }

    fn is_superseded(&self, state: &mut State) -> bool {
        let Some(path) = (self.successor)() else {
            state.superseded = false;
            return false;
        };
        let path = path.display().to_string();
        self.ready.unmet(&format!("another agent has taken over the socket {path}"));
        if !std::mem::replace(&mut state.superseded, true) {
            self.telemetry.event(AgentEvent::Superseded { path });
        }
        true
    }

    /// Counts what somebody undid since it was right, and complains when that happens often.
    fn tell_reverts(&self, state: &mut State, found: &[Finding]) {
        let now = match found.get(Part::Conflist as usize) {
            Some(Finding::Right | Finding::Stale(_)) => {
                state.was_right = true;
                return;
            }
            Some(Finding::Wrong(now)) if now.reverted => now.clone(),
            // Whoever writes a file in place empties it first: what it becomes is still to come.
            _ => return,
        };
        if !std::mem::take(&mut state.was_right) {
            return;
        }
        self.telemetry.metrics().config_reverted(1);
        let path = self.node.conflist().unwrap_or_default();
        self.telemetry.event(AgentEvent::ConfigReverted { path: path.clone(), problem: now.why });
        if state.reverts.reverted(Instant::now()) {
            let advice = culprit::likely(&self.node.names());
            let event = AgentEvent::ConfigFought { path, advice };
            (self.complain)(event.message());
            self.telemetry.event(event);
        }
    }

    fn tell_waiting(&self, state: &mut State, found: &[Finding]) {
        let waiting = found.iter().filter_map(|finding| match finding {
            Finding::Waiting(why) => Some((self.node.net_dir(), why.clone())),
            _ => None,
        });
        for (path, problem) in state.waiting.news(waiting) {
            self.telemetry.event(AgentEvent::InstallWaiting { path, problem });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a pass is to be gone through: the first part that has something to be done.
fn reason(before: &[Finding], found: &[Finding]) -> Option<Reason> {
    let (part, finding) = Part::ALL.into_iter().zip(found).find(|(_, finding)| finding.wants_pass())?;
    let waited = before.get(part as usize).is_some_and(|before| matches!(before, Finding::Waiting(_)));
    Some(match (finding, part) {
        (Finding::Stale(reason), _) => *reason,
        (_, Part::Binaries) => Reason::BinaryChanged,
        (_, Part::Kubeconfig) => Reason::KubeconfigChanged,
        (Finding::Wrong(wrong), Part::Conflist) if waited && !wrong.reverted => Reason::PrimaryArrived,
        (_, Part::Conflist) => Reason::ConflistChanged,
    })
}
