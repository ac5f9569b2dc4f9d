//! What the exporter itself needs of the pipeline: to count, and to say what happens to it.

use super::agent_event::AgentEvent;
use super::console::{self, hex};
use super::console_writer::Console;
use super::event::Level;
use super::held::{Held, Share};
use super::keep::{Item, Keeper, Place, Queued, Source, put_back};
use super::metrics::{DropReason, Metrics, Signal};
use super::otlp::config::Config;
use super::otlp::limits::Limits;
use super::otlp::queue::{Queue, Refused};
use super::resource::Origin;
use super::story::{Attribute, Clock, Lost};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Metrics, console and the queue of log records.
pub struct Core {
    pub(super) metrics: Arc<Metrics>,
    pub(super) console: Console,
    pub(super) log_queue: Option<Arc<Queue<Queued<LogRecord>>>>,
    pub(super) keeper: Option<Arc<dyn Keeper>>,
    pub(super) held: Held,
    /// The signals whose last export failed, and why.
    failing: Mutex<BTreeMap<Signal, String>>,
    clock: Clock,
    level: AtomicU8,
    limits: Limits,
}

impl Core {
    /// A core with a queue for log records where they are exported.
    pub fn new(
        level: Level,
        metrics: Arc<Metrics>,
        console: Console,
        config: &Config,
        keeper: Option<Arc<dyn Keeper>>,
    ) -> Core {
        let batches = config.log_batches;
        Core {
            metrics,
            console,
            log_queue: config.logs.as_ref().map(|_| Arc::new(Queue::new(batches.queue, batches.size))),
            held: Held::new(keeper.clone()),
            failing: Mutex::default(),
            keeper,
            clock: Clock::start(),
            level: AtomicU8::new(level as u8),
            limits: config.log_limits,
        }
    }

    /// The last export of a signal failed for this, or went well.
    pub(super) fn exported(&self, signal: Signal, problem: Option<&str>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => _ = failing.insert(signal, problem.to_owned()),
            None => _ = failing.remove(&signal),
        }
    }

    /// The signals whose last export failed, and why.
    pub(super) fn failing(&self) -> Vec<(Signal, String)> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.iter().map(|(signal, problem)| (*signal, problem.clone())).collect()
    }

    /// The clock of the agent's own events.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The threshold.
    pub fn level(&self) -> Level {
        Level::of_index(self.level.load(Ordering::Relaxed))
    }

    /// Changes the threshold.
    pub fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Tells an event of the agent on the console and to the collector.
    pub fn event(&self, event: AgentEvent) {
        self.event_holding(event, self.held.hold(Lost::default()));
    }

    /// The same, with a share of what is held that goes when the collector has been told.
    pub fn event_holding(&self, event: AgentEvent, mut share: Share) {
        if !self.shows(event.level()) {
            return;
        }
        let mut log = self.record(&event);
        self.console.show(&log, Origin::Agent.console_scope());
        if let Some(queue) = &self.log_queue {
            self.limits.cut_log(&mut log);
            let Lost { spans, logs } = share.items();
            share.cover(Lost { spans, logs: logs + 1 });
            self.push(queue, vec![Queued { origin: Origin::Agent, item: log, place: Place::Memory(share) }]);
        }
    }

    /// Tells an event of the agent on the console alone.
    pub fn console_event(&self, event: &AgentEvent) {
        if self.shows(event.level()) {
            self.console.show(&self.record(event), Origin::Agent.console_scope());
        }
    }

    /// Shows log records on the console: those of the threshold, the plugin's too; the plugin's
    /// own threshold decided about the rest already.
    pub fn show_logs(&self, logs: &[LogRecord], origin: Origin) {
        for log in logs.iter().filter(|log| self.shows(console::level(log))) {
            self.console.show(log, origin.console_scope());
        }
    }

    /// Hands log records to the exporter.
    pub fn send_logs(&self, mut logs: Vec<LogRecord>, origin: Origin, source: Source<'_>) {
        let Some(queue) = &self.log_queue else { return };
        logs.iter_mut().for_each(|log| self.limits.cut_log(log));
        self.queue(queue, logs, origin, source);
    }

    /// Shows a span on the console, for `OTEL_TRACES_EXPORTER=console`.
    pub fn show_span(&self, span: &Span) {
        let millis = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64 / 1e6;
        let text =
            format!("span {} ({} < {}) {millis:.3} ms", span.name, hex(&span.span_id), hex(&span.parent_span_id));
        let record = LogRecord {
            time_unix_nano: span.start_time_unix_nano,
            severity_number: Level::Info.severity().into(),
            body: Attribute::from(text).into_value(),
            attributes: span.attributes.clone(),
            trace_id: span.trace_id.clone(),
            ..LogRecord::default()
        };
        self.console.show(&record, "trace");
    }

    /// Queues items. Those that are kept elsewhere meanwhile go in whole or stay there; of the
    /// others, what finds no room is counted, and what comes after the end is put back.
    pub fn queue<T: Item>(&self, queue: &Queue<Queued<T>>, items: Vec<T>, origin: Origin, mut source: Source<'_>) {
        let queued = items.into_iter().map(|item| Queued { origin, item, place: source.place::<T>() }).collect();
        match source {
            Source::Spool(_) => queue.push_all(queued),
            Source::Memory(_) => self.push(queue, queued),
        }
    }

    fn push<T: Item>(&self, queue: &Queue<Queued<T>>, items: Vec<Queued<T>>) {
        match queue.push(items) {
            Ok(()) => {}
            Err(Refused::Full(items)) => {
                self.metrics.dropped(T::SIGNAL, DropReason::QueueFull, items as u64);
                self.held.settle();
            }
            Err(Refused::Closed(items)) => _ = put_back(self, items, DropReason::Shutdown),
        }
    }

    fn shows(&self, level: Level) -> bool {
        let threshold = self.level();
        level >= threshold && threshold != Level::Off
    }

    fn record(&self, event: &AgentEvent) -> LogRecord {
        let now = self.clock.now_ns();
        LogRecord {
            time_unix_nano: now,
            observed_time_unix_nano: now,
            severity_number: event.level().severity().into(),
            severity_text: event.level().name().to_owned(),
            body: Attribute::from(event.message()).into_value(),
            attributes: event.attributes(),
            event_name: event.name().as_str().to_owned(),
            ..LogRecord::default()
        }
    }
}
