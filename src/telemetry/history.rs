//! The agent's memory of recent traces: what `explain` and the page answer from, with or without a
//! collector, and whatever is sampled. It is filled where the pipeline takes batches in, keeps items
//! as the bytes that OTLP has for them, and is bounded in bytes: the trace that was told of longest
//! ago goes first, and of one that grows too large on its own the first items and the newest stay.
//! Nothing here waits for anybody, or fails.

mod chunk;
mod entry;
mod facts;

use super::story::Batch;
use crate::domain::identity::TraceId;
use crate::domain::pod::PodRef;
use chunk::Part;
use entry::Entry;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How many bytes are kept unless somebody says otherwise: some 600 traces of an ADD.
pub const DEFAULT_BYTES: usize = 4 << 20;
/// One trace may have this part of all that is kept.
const TRACE_PART: usize = 16;
/// Below this, a trace could not even keep one ADD.
const SMALLEST_TRACE: usize = 16 << 10;

/// What a trace, or a part of it, is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A pod was to be set up.
    Add,
    /// A pod's sandbox went.
    Del,
    /// A pod's rules were compared.
    Check,
    /// The plugin was installed on the node, or removed from it.
    Install,
    /// A broken pod was repaired.
    Repair,
    /// A pod's redirection was validated from inside.
    Validation,
    /// A pod's way from created to ready.
    Startup,
    /// Anything else.
    Other,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] =
        [Kind::Add, Kind::Del, Kind::Check, Kind::Install, Kind::Repair, Kind::Validation, Kind::Startup, Kind::Other];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Add => "add",
            Kind::Del => "del",
            Kind::Check => "check",
            Kind::Install => "install",
            Kind::Repair => "repair",
            Kind::Validation => "validation",
            Kind::Startup => "startup",
            Kind::Other => "other",
        }
    }

    /// The kind that this word is for.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which traces are asked for; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Part of `namespace/name`, of the UID, the trace id, the title or the error; case does not matter.
    pub text: String,
    /// Those with something of this kind in them.
    pub kind: Option<Kind>,
    /// Those whose last word is an error.
    pub failed: bool,
}

/// A trace in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub trace: TraceId,
    /// What is in it; at least one.
    pub kinds: Vec<Kind>,
    /// `namespace/name` of the pod, else what was done and why.
    pub title: String,
    pub pod: Option<PodRef>,
    /// When its first item began, in nanoseconds since the epoch.
    pub began_ns: u64,
    /// When its last item ended.
    pub ended_ns: u64,
    /// The `error.type` of what failed last and has not gone well since.
    pub error: Option<String>,
    /// What that error says.
    pub message: Option<String>,
    /// How many spans were told, those that are forgotten too.
    pub spans: usize,
    /// How many of its spans and log records are forgotten, because it grew too large.
    pub forgotten: u64,
    /// Grows with each change of any trace.
    pub version: u64,
}

/// A trace with what is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub summary: Summary,
    /// By start time.
    pub spans: Vec<Span>,
    /// By time.
    pub logs: Vec<LogRecord>,
}

/// How full the memory is, and what did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many traces there are.
    pub traces: usize,
    /// How many bytes they take.
    pub bytes: usize,
    /// How many bytes they may take; 0: nothing is remembered.
    pub capacity: usize,
    /// How many whole traces were forgotten since the start.
    pub forgotten_traces: u64,
    /// How many items of traces that are still there were forgotten.
    pub forgotten_items: u64,
}

/// The memory of recent traces.
pub struct History {
    capacity: usize,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    traces: HashMap<TraceId, Entry>,
    /// The traces by the version of their last change.
    order: BTreeMap<u64, TraceId>,
    version: u64,
    bytes: usize,
    forgotten_traces: u64,
    forgotten_items: u64,
}

impl History {
    /// Remembers up to so many bytes; 0 is nothing.
    pub fn new(capacity: usize) -> Arc<History> {
        Arc::new(History { capacity, state: Mutex::default(), changed: watch::Sender::new(0) })
    }

    /// Keeps what a batch tells. Items that are there already are not kept twice: what waited in the
    /// spool may come back to whoever put it there.
    pub fn remember(&self, batch: &Batch) {
        if self.capacity == 0 {
            return;
        }
        let most = self.most_of_a_trace();
        let parts = chunk::parts(batch, most / 4);
        if parts.is_empty() {
            return;
        }
        let mut state = self.lock();
        for part in parts {
            state.add(part, most);
        }
        state.shrink(self.capacity);
        let version = state.version;
        drop(state);
        self.changed.send_if_modified(|seen| std::mem::replace(seen, version) < version);
    }

    /// The traces that a filter lets through, those that ended last first, at most so many.
    pub fn summaries(&self, filter: &Filter, most: usize) -> Vec<Summary> {
        let text = filter.text.trim().to_ascii_lowercase();
        let state = self.lock();
        let passes = |(trace, entry): &(&TraceId, &Entry)| {
            filter.kind.is_none_or(|kind| entry.facts.has(kind))
                && (!filter.failed || entry.facts.failure().is_some())
                && (text.is_empty() || entry.facts.mentions(**trace, &text))
        };
        let mut found: Vec<_> = state.traces.iter().filter(passes).collect();
        found.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse((entry.facts.ended_ns, entry.version)));
        found.into_iter().take(most).map(|(trace, entry)| entry.summary(*trace)).collect()
    }

    /// One trace.
    pub fn trace(&self, id: TraceId) -> Option<Trace> {
        let state = self.lock();
        let entry = state.traces.get(&id)?;
        let (summary, chunks) = (entry.summary(id), entry.bytes());
        drop(state);
        let (spans, logs) = chunk::read(&chunks);
        Some(Trace { summary, spans, logs })
    }

    /// One trace in short.
    pub fn summary(&self, id: TraceId) -> Option<Summary> {
        self.lock().traces.get(&id).map(|entry| entry.summary(id))
    }

    /// Whether a trace is there.
    pub fn contains(&self, id: TraceId) -> bool {
        self.lock().traces.contains_key(&id)
    }

    /// The traces that tell of pods that `is` recognises, those that ended last first; of each the
    /// pod, and the trace.
    pub fn of_pods(&self, is: impl Fn(&PodRef) -> bool) -> Vec<(PodRef, TraceId)> {
        let state = self.lock();
        let mut found: Vec<_> = state
            .traces
            .iter()
            .filter_map(|(trace, entry)| Some((entry.facts.ended_ns, entry.facts.pod(&is)?.clone(), *trace)))
            .collect();
        drop(state);
        found.sort_unstable_by_key(|(ended_ns, ..)| std::cmp::Reverse(*ended_ns));
        found.into_iter().map(|(_, pod, trace)| (pod, trace)).collect()
    }

    /// Tells of each change; its value is the version.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How full it is.
    pub fn extent(&self) -> Extent {
        let state = self.lock();
        Extent {
            traces: state.traces.len(),
            bytes: state.bytes,
            capacity: self.capacity,
            forgotten_traces: state.forgotten_traces,
            forgotten_items: state.forgotten_items,
        }
    }

    fn most_of_a_trace(&self) -> usize {
        (self.capacity / TRACE_PART).max(SMALLEST_TRACE).min(self.capacity)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds to a trace what it does not have yet.
    fn add(&mut self, part: Part, most: usize) {
        let id = part.trace;
        let entry = self.traces.entry(id).or_default();
        let before = if entry.is_new() { 0 } else { entry.size() };
        let forgotten = entry.forgotten;
        if !entry.add(part, most) {
            return;
        }
        self.version += 1;
        self.order.remove(&std::mem::replace(&mut entry.version, self.version));
        self.order.insert(self.version, id);
        self.bytes = (self.bytes + entry.size()).saturating_sub(before);
        self.forgotten_items += entry.forgotten - forgotten;
    }

    /// Forgets the traces that changed longest ago until the rest fits.
    fn shrink(&mut self, capacity: usize) {
        while self.bytes > capacity {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            if let Some(entry) = self.traces.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(entry.size());
                self.forgotten_traces += 1;
            }
        }
    }
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
