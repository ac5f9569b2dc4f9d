//! The installation as a thing that is looked at, put right and, at the very end, removed. Whoever
//! looks, a probe, a scrape or a change of a file, makes readiness what was found, at once; those
//! who come while somebody looks share the next look.

use super::node::Node;
use super::watchful::{Memory, Work};
use crate::agent::readiness::Condition;
use crate::domain::culprit;
use crate::domain::identity::{SpanId, TraceId, TraceLink};
use crate::domain::install::{Finding, INSTALL, Part, Reason};
use crate::domain::pod::PodRef;
use crate::ops::install::{self, InstallTarget};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use crate::telemetry::resource::Origin;
use crate::telemetry::story::{Batch, Clock, Story, random_span_id};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a probe or a scrape waits until the installation has been looked at.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// The longest pause before the plugin is given a new token or new settings: nobody reverts those,
/// and the old ones may not do for long.
const LONGEST_FOR_NEWS: Duration = Duration::from_millis(200);
/// How long a removal waits for a pass that is under way.
const PASS_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether the pass is over.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The installation of this agent.
pub struct Installation {
    node: Node,
    around: Around,
    /// Held by whoever looks, with what the last look came to.
    looking: Arc<tokio::sync::Mutex<LastLook>>,
    /// Held by whoever writes.
    writing: Mutex<()>,
    /// Never held while files are read or written.
    memory: Mutex<Memory>,
    /// The last pass that put everything in place.
    in_force: Mutex<Option<TraceLink>>,
    /// Rung when somebody found something to be done.
    pub(super) bell: Notify,
}

#[derive(Default)]
struct LastLook {
    began: Option<Instant>,
    work: Option<Work>,
}

/// What the installation needs of the rest of the agent.
pub struct Around {
    pub telemetry: Telemetry,
    pub ready: Condition,
    /// The path of the socket, if another agent has taken it over.
    pub successor: Box<dyn Fn() -> Option<PathBuf> + Send + Sync>,
    /// Tells the node that somebody keeps undoing the installation.
    pub complain: Box<dyn Fn(String) + Send + Sync>,
}

impl Installation {
    /// Nothing is done yet.
    pub fn new(node: Node, around: Around) -> Arc<Installation> {
        Arc::new(Installation {
            node,
            around,
            looking: Arc::default(),
            writing: Mutex::default(),
            memory: Mutex::default(),
            in_force: Mutex::default(),
            bell: Notify::new(),
        })
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What somebody undid last, and where.
    pub fn undone(&self) -> Option<String> {
        self.memory().undone.clone()
    }

    /// Looks at everything; readiness is what was found. Gives what there is to do.
    pub async fn look(self: &Arc<Self>) -> Option<Work> {
        let asked = Instant::now();
        let mut last = self.looking.clone().lock_owned().await;
        if last.began.is_some_and(|began| began > asked) {
            return last.work.clone();
        }
        let installation = self.clone();
        // The lock goes with the work: who does not wait for it any more must not let another begin.
        let look = move || {
            last.began = Some(Instant::now());
            last.work = installation.look_now();
            last.work.clone()
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Looks, for somebody who waits for readiness to be true; rings for whoever puts things right.
    pub async fn looked_at(self: Arc<Self>) {
        match tokio::time::timeout(LOOK_WITHIN, self.look()).await {
            Ok(None) => {}
            Ok(Some(_)) => self.bell.notify_one(),
            Err(_) => {
                self.around.ready.unmet("looking at it takes longer than a second: check the node's disk");
            }
        }
    }

    fn look_now(&self) -> Option<Work> {
        if self.memory().removed || self.is_superseded() {
            return None;
        }
        let found: Vec<Finding> = Part::ALL.into_iter().map(|part| self.node.look(part)).collect();
        let mut memory = self.memory();
        match memory.troubles(&found) {
            troubles if troubles.is_empty() => self.around.ready.met(),
            troubles => self.around.ready.unmet(&troubles.join("; ")),
        }
        let reverted = memory.reverted(&found);
        let waiting = memory.waiting(&self.node.net_dir(), &found);
        let work = memory.work(found);
        drop(memory);
        if let Some(reverted) = reverted {
            self.tell_reverted(reverted.why, reverted.often);
        }
        for problem in waiting {
            self.around.telemetry.event(AgentEvent::InstallWaiting { path: self.node.net_dir(), problem });
        }
        work
    }

    /// Goes through an installation. True when everything is in place. Blocks for as long as files do.
    pub fn pass(&self, reason: Reason) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.memory().removed || self.is_superseded() {
            return false;
        }
        let story = self.story();
        let done = install::install(&story, &self.node, reason);
        let batch = story.into_batch();
        if done.is_ok() {
            *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = link_to(&batch);
        }
        self.around.telemetry.ingest(batch, Origin::Agent);
        let failure = done.err().map(|failure| failure.message);
        let done = failure.is_none();
        self.memory().passed(failure);
        done
    }

    /// The span of the pass that what is installed comes from.
    pub fn in_force(&self) -> Option<TraceLink> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the installation back for good; `between` is run after the network configuration is
    /// changed. False when something is left.
    pub fn remove(&self, between: impl FnOnce()) -> bool {
        // No pass begins any more; one that is under way is waited for, unless it hangs.
        self.memory().removed = true;
        let deadline = Instant::now() + PASS_WITHIN;
        let _writing = loop {
            match self.writing.try_lock() {
                Ok(writing) => break writing,
                Err(TryLockError::Poisoned(writing)) => break writing.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => return false,
                Err(TryLockError::WouldBlock) => std::thread::sleep(ASK_AGAIN),
            }
        };
        if self.is_superseded() {
            return true;
        }
        let go_on = || {
            between();
            !self.is_superseded()
        };
        let story = self.story();
        let done = install::uninstall(&story, &self.node, go_on);
        self.around.telemetry.ingest(story.into_batch(), Origin::Agent);
        done.is_ok()
    }

    /// How long to wait before the next pass.
    pub fn pause(&self, reason: Option<Reason>) -> Duration {
        let pause = self.memory().pause();
        match reason {
            // Without a reason it is a pause between looks, in which news may come.
            None | Some(Reason::CredentialsRotated | Reason::SettingsChanged) => pause.min(LONGEST_FOR_NEWS),
            _ => pause,
        }
    }

    fn story(&self) -> Story {
        let (first, second) = (random_span_id().0, random_span_id().0);
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&first);
        trace[8..].copy_from_slice(&second);
        Story::begin(Clock::start(), TraceId(trace), None, PodRef::default(), self.around.telemetry.level(), None)
    }

    fn is_superseded(&self) -> bool {
        let successor = (self.around.successor)();
        let known = std::mem::replace(&mut self.memory().superseded, successor.is_some());
        let Some(path) = successor else { return false };
        let path = path.display().to_string();
        self.around.ready.unmet(&format!("another agent has taken over the socket {path}"));
        if !known {
            self.around.telemetry.event(AgentEvent::Superseded { path });
        }
        true
    }

    /// Counts what somebody undid, and complains when that happens often.
    fn tell_reverted(&self, problem: String, often: bool) {
        let telemetry = &self.around.telemetry;
        telemetry.metrics().config_reverted(1);
        let path = self.node.conflist().unwrap_or_default();
        self.memory().undone = Some(format!("{path}: {problem}"));
        telemetry.event(AgentEvent::ConfigReverted { path: path.clone(), problem });
        if often {
            let event = AgentEvent::ConfigFought { path, advice: culprit::likely(&self.node.names()) };
            (self.around.complain)(event.message());
            telemetry.event(event);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link to the span of the pass that was told.
fn link_to(told: &Batch) -> Option<TraceLink> {
    let pass = told.spans.iter().find(|span| span.name == INSTALL)?;
    let (trace_id, span_id) =
        (TraceId(pass.trace_id.as_slice().try_into().ok()?), SpanId(pass.span_id.as_slice().try_into().ok()?));
    let flags = u8::try_from(pass.flags & 0xff).unwrap_or_default();
    Some(TraceLink { trace_id, span_id, flags, state: String::new(), source: "install", baggage: Vec::new() })
}
