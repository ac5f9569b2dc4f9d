//! A request's story: the recorder that runs its steps and collects spans and log records until
//! the request is answered, so that telling it never delays the answer.
//!
//! Whoever finished the request hands the collected [`Batch`] on: the plugin to the agent or the
//! spool, the agent to its pipeline, which also derives the histogram samples from the spans.

use super::api_request::ApiRequest;
pub use super::attribute::{Attribute, attribute, text_attribute};
pub use super::clock::Clock;
use super::event::{self, EventName, Level};
use super::keys;
pub use super::open_span::{Open, random_span_id, random_trace_id};
use crate::domain::failure::{Classify, Failure};
use crate::domain::identity::{SpanId, TraceId};
use crate::domain::pod::PodRef;
use crate::domain::step::{ErrorType, Step};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Finished spans and log records, in OTLP's own types, without their resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The finished spans, inner ones before outer ones.
    pub spans: Vec<Span>,
    /// The log records in their order.
    pub logs: Vec<LogRecord>,
    /// Requests to the API server that are to be counted, and how many ended the same way.
    pub api_requests: Vec<(ApiRequest, u32)>,
    /// What should be here and could not be kept; it travels along so that it is counted.
    pub lost: Lost,
}

/// How many items were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Spans.
    pub spans: u64,
    /// Log records.
    pub logs: u64,
}

/// The recorder of one request. Shared by reference with the thread that enters the namespace.
pub struct Story {
    clock: Clock,
    state: Mutex<State>,
    /// Sees each log record as it is made (the plugin's standard error).
    console: Option<fn(&LogRecord, &PodRef)>,
}

struct State {
    level: Level,
    trace: TraceId,
    /// The request's parent in a trace that is given from outside, not by the pod.
    pinned: Option<Pin>,
    pod: PodRef,
    parent: Option<SpanId>,
    batch: Batch,
}

/// Where a story stands in a trace of somebody else.
#[derive(Clone, Copy)]
struct Pin {
    parent: SpanId,
    /// The W3C flags that the trace came with; the lowest bit says that it is sampled.
    flags: u8,
}

impl Pin {
    /// The flags of a span below `parent`: that it is known whether the parent is remote tells
    /// the sampler that the trace is somebody else's.
    fn span_flags(self, parent: &[u8]) -> u32 {
        let remote = if parent == self.parent.0 { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
        u32::from(self.flags) | SpanFlags::ContextHasIsRemoteMask as u32 | remote
    }
}

/// The flags of spans and log records in a pod's own trace: sampled.
pub(super) const SAMPLED: u8 = 1;

impl Story {
    /// Begins the story of one request. `parent` is the span under which this process' steps
    /// stand; `console` sees each log record as it is made.
    pub fn begin(
        clock: Clock,
        trace: TraceId,
        parent: Option<SpanId>,
        pod: PodRef,
        level: Level,
        console: Option<fn(&LogRecord, &PodRef)>,
    ) -> Story {
        let state = State { level, trace, pinned: None, pod, parent, batch: Batch::default() };
        Story { clock, state: Mutex::new(state), console }
    }

    /// From now on only records of at least this level are made; a level is known only once the
    /// configuration is read.
    pub fn set_level(&self, level: Level) {
        lock(&self.state).level = level;
    }

    /// Tells the story in the trace of somebody else, whatever the pod; the request, also one that
    /// is under way, stands below the span `parent` of it. `flags` are the trace's W3C flags, by
    /// which a parent-based sampler goes.
    pub fn pin(&self, trace: TraceId, parent: SpanId, flags: u8) {
        let mut state = lock(&self.state);
        (state.trace, state.pinned) = (trace, Some(Pin { parent, flags }));
    }

    /// The flags of the trace of somebody else that it is told in, if it is.
    pub fn pinned_flags(&self) -> Option<u8> {
        lock(&self.state).pinned.map(|pin| pin.flags)
    }

    /// Runs a step: a span with the outcome, and one log record (debug when it went well, error
    /// where the error was born). Steps inside `run` become its children.
    pub fn step<T, E: Classify>(&self, step: Step, run: impl FnOnce(&Open) -> Result<T, E>) -> Result<T, Failure> {
        let open = Open::begin(step.name(), self.clock.now_ns());
        let outer = lock(&self.state).parent.replace(open.id());
        let result = run(&open).map_err(|error| Failure::from_error(step, &error));
        lock(&self.state).parent = outer;
        let span = open.end(outer, self.clock.now_ns(), result.as_ref().err());
        self.log_step(step, &span, result.as_ref().err());
        lock(&self.state).batch.spans.push(span);
        result
    }

    /// Runs the whole request as the span `name`, below the pod's root span or where it is pinned.
    pub fn request<T>(&self, name: &'static str, run: impl FnOnce(&Open) -> Result<T, Failure>) -> Result<T, Failure> {
        let open = Open::begin(name, self.clock.start_ns());
        let outer = lock(&self.state).parent.replace(open.id());
        let result = run(&open);
        // What is said of the request afterwards still stands on its span.
        let mut state = lock(&self.state);
        let parent = state.pinned.map(|pin| pin.parent).or_else(|| outer.map(|_| state.trace.root_span()));
        state.batch.spans.push(open.end(parent, self.clock.now_ns(), result.as_ref().err()));
        drop(state);
        result
    }

    /// Once the pod is known, its API UID names the trace, unless that is pinned, and stands on
    /// every span and log.
    pub fn identify(&self, pod_uid: &str) {
        let mut state = lock(&self.state);
        if state.pinned.is_none() {
            state.trace = TraceId::of_pod(pod_uid);
        }
        state.pod.uid = Some(pod_uid.to_owned());
    }

    /// The span under which a step of another process belongs now, and the trace.
    pub fn context(&self) -> (TraceId, Option<SpanId>) {
        let state = lock(&self.state);
        (state.trace, state.parent)
    }

    /// Writes a log record of this request, unless its level is below the threshold.
    pub fn log(&self, level: Level, event_name: EventName, message: &str, attributes: Vec<KeyValue>) {
        if !self.shows(level) {
            return;
        }
        let span_id = lock(&self.state).parent.map(|id| id.0.to_vec()).unwrap_or_default();
        self.write_log(level, event_name, message, attributes, span_id);
    }

    /// Keeps a request to the API server for whoever counts.
    pub fn count(&self, request: ApiRequest) {
        let counts = &mut lock(&self.state).batch.api_requests;
        match counts.iter_mut().find(|(same, _)| *same == request) {
            Some((_, count)) => *count += 1,
            None => counts.push((request, 1)),
        }
    }

    /// How much is told so far: what has ended.
    pub fn so_far(&self) -> Lost {
        let state = lock(&self.state);
        Lost { spans: state.batch.spans.len() as u64, logs: state.batch.logs.len() as u64 }
    }

    /// Ends the story: every record gets the trace id and the pod's identity known by now.
    pub fn into_batch(self) -> Batch {
        let State { trace, pod, pinned, mut batch, .. } =
            self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let identity = identity_attributes(&pod);
        for span in &mut batch.spans {
            span.trace_id = trace.0.to_vec();
            span.flags = pinned.map_or(SAMPLED.into(), |pin| pin.span_flags(&span.parent_span_id));
            span.attributes.extend(identity.iter().cloned());
        }
        for log in &mut batch.logs {
            log.trace_id = trace.0.to_vec();
            log.flags = pinned.map_or(SAMPLED, |pin| pin.flags).into();
            log.attributes.extend(identity.iter().cloned());
        }
        batch
    }

    fn log_step(&self, step: Step, span: &Span, failure: Option<&Failure>) {
        let level = if failure.is_some() { Level::Error } else { Level::Debug };
        if !self.shows(level) {
            return;
        }
        let name = step.name();
        let took = Millis(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano));
        let mut attributes = vec![attribute(keys::STEP, name)];
        let message = match failure {
            Some(failure) => {
                attributes.push(attribute(keys::ERROR_TYPE, failure.error_type.as_str()));
                format!("{name} failed after {took}: {}", failure.message)
            }
            None => {
                // A call of the agent that met nobody is done, too.
                let agent = text_attribute(&span.attributes, keys::AGENT);
                let found = agent.map(|agent| format!(": {agent}")).unwrap_or_default();
                format!("{name} done in {took}{found}")
            }
        };
        let event_name = if failure.is_some() { event::STEP_FAILED } else { event::STEP_DONE };
        self.write_log(level, event_name, &message, attributes, span.span_id.clone());
    }

    fn shows(&self, level: Level) -> bool {
        level != Level::Off && level >= lock(&self.state).level
    }

    fn write_log(
        &self,
        level: Level,
        event_name: EventName,
        message: &str,
        attributes: Vec<KeyValue>,
        span_id: Vec<u8>,
    ) {
        let now = self.clock.now_ns();
        let mut record = LogRecord {
            time_unix_nano: now,
            observed_time_unix_nano: now,
            severity_number: level.severity().into(),
            severity_text: level.name().to_owned(),
            body: Attribute::from(message).into_value(),
            attributes,
            span_id,
            event_name: event_name.as_str().to_owned(),
            ..LogRecord::default()
        };
        let mut state = lock(&self.state);
        if state.pinned.is_some() || state.pod.uid.is_some() {
            record.trace_id = state.trace.0.to_vec();
        }
        if let Some(console) = self.console {
            console(&record, &state.pod);
        }
        state.batch.logs.push(record);
    }
}

/// Milliseconds with three decimals, for people.
struct Millis(u64);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

pub(super) fn identity_attributes(pod: &PodRef) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(3);
    if !pod.name.is_empty() {
        attributes.push(attribute(keys::POD_NAME, pod.name.as_str()));
        attributes.push(attribute(keys::POD_NAMESPACE, pod.namespace.as_str()));
    }
    if let Some(uid) = pod.uid.as_deref().filter(|uid| !uid.is_empty()) {
        attributes.push(attribute(keys::POD_UID, uid));
    }
    attributes
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `error.type` of a span, read back from its attributes.
pub fn error_type_of(span: &Span) -> Option<ErrorType> {
    text_attribute(&span.attributes, keys::ERROR_TYPE).and_then(ErrorType::from_text)
}
