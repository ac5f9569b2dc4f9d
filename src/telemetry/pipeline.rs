//! Where the agent's telemetry comes together: batches of requests and the agent's own events go
//! in; metrics, console lines and OTLP come out. Nothing here makes its caller wait.

use super::agent_event::AgentEvent;
use super::console_writer::{Console, Format};
use super::core::Core;
use super::drops::Drops;
use super::event::Level;
use super::export::Exports;
use super::held::Share;
use super::history::History;
use super::keep::{Keeper, Queued, Source};
use super::metrics::{DropReason, Metrics, Signal};
use super::otlp::config::Config;
use super::otlp::env::Warning;
use super::otlp::queue::Queue;
use super::otlp::sampler::SAMPLED;
use super::receipt::Receipt;
use super::resource::{Identity, Origin, resource};
use super::story::{Batch, Lost};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// What the telemetry of an agent is set up with.
pub struct Setup {
    /// The export's settings, and what was wrong with them.
    pub config: (Config, Vec<Warning>),
    /// The agent, as it knows itself.
    pub identity: Identity,
    /// The source revision of this build; may be empty.
    pub revision: &'static str,
    /// The threshold of the agent's own events, and of all lines on its console.
    pub level: Level,
    /// Where console lines go.
    pub console: Box<dyn Write + Send>,
    /// The form of console lines.
    pub format: Format,
    /// Where what cannot be sent is kept; without one it is counted as lost.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// How many bytes of recent traces are remembered; 0: none.
    pub history: usize,
}

/// The agent's telemetry; clones are handles to the same.
#[derive(Clone)]
pub struct Telemetry(Arc<Shared>);

struct Shared {
    core: Arc<Core>,
    config: Config,
    resource: Resource,
    history: Arc<History>,
    spans: Option<Arc<Queue<Queued<Span>>>>,
    exports: Mutex<Option<Exports>>,
}

impl Telemetry {
    /// Starts the console's thread and the export's tasks. `runtime` must have its timers and its
    /// I/O enabled.
    pub fn start(setup: Setup, runtime: &Handle) -> Telemetry {
        let (config, warnings) = setup.config;
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), setup.revision));
        let console = Console::start(setup.console, setup.format, Arc::clone(&metrics));
        let core = Arc::new(Core::new(setup.level, metrics, console, &config, setup.keeper));
        let resource = resource(&setup.identity, config.service_name.as_deref(), &config.resource_attributes);
        for Warning { variable, problem } in warnings {
            core.event(AgentEvent::ConfigIgnored { variable, problem });
        }
        let (exports, spans) = Exports::start(&core, &config, &resource, runtime);
        let history = History::new(setup.history);
        Telemetry(Arc::new(Shared { core, config, resource, history, spans, exports: Mutex::new(Some(exports)) }))
    }

    /// The metrics, to count into and to render.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.core.metrics
    }

    /// The memory of recent traces.
    pub fn history(&self) -> &Arc<History> {
        &self.0.history
    }

    /// Who is telling.
    pub fn resource(&self) -> &Resource {
        &self.0.resource
    }

    /// Where each signal goes, as its setting shows it; nothing for those that go nowhere.
    pub fn destinations(&self) -> Vec<(Signal, String)> {
        let Config { traces, logs, metrics, .. } = &self.0.config;
        let all = [(Signal::Traces, traces), (Signal::Logs, logs), (Signal::Metrics, metrics)];
        all.into_iter().filter_map(|(signal, export)| Some((signal, export.as_ref()?.endpoint.shown()))).collect()
    }

    /// The signals whose last export failed, and why.
    pub fn failing(&self) -> Vec<(Signal, String)> {
        self.0.core.failing()
    }

    /// The threshold of the agent's own events.
    pub fn level(&self) -> Level {
        self.0.core.level()
    }

    /// Changes the threshold while running, and says so while it can be heard.
    pub fn set_level(&self, level: Level) {
        let event = AgentEvent::LevelChanged { level: level.name().to_owned() };
        if level < self.level() {
            self.0.core.set_level(level);
            self.event(event);
        } else {
            self.event(event);
            self.0.core.set_level(level);
        }
    }

    /// Tells an event of the agent itself, unless its level is below the threshold.
    pub fn event(&self, event: AgentEvent) {
        self.0.core.event(event);
    }

    /// Takes over what a request told: samples from its spans, lines from its log records, and
    /// both to the collector. Never waits; what does not fit is counted as dropped.
    pub fn ingest(&self, batch: Batch, origin: Origin) {
        self.ingest_held(batch, origin, &mut self.hold(Lost::default()));
    }

    /// The same; `done` runs when nothing of the batch is in this process' memory any more: it has arrived, is in the
    /// spool, or is lost and counted. It may run on any thread, and must not wait.
    pub fn ingest_then(&self, batch: Batch, origin: Origin, done: impl FnOnce() + Send + 'static) {
        let mut share = self.hold(Lost::default());
        share.then(done);
        self.ingest_held(batch, origin, &mut share);
    }

    /// The same for what is held already, at least in part: the share parts with it.
    pub fn ingest_held(&self, batch: Batch, origin: Origin, share: &mut Share) {
        share.cover(self.to_send(&batch));
        self.0.history.remember(&batch);
        self.tell(&batch, origin);
        self.send(batch, origin, Source::Memory(share));
    }

    /// Notes that so many items are in this process' memory, or will be at once, and nowhere else.
    /// Only what goes to a collector can miss it.
    pub fn hold(&self, items: Lost) -> Share {
        let (spans, logs) = (self.0.spans.is_some(), self.0.core.log_queue.is_some());
        let exported = |is: bool, items| if is { items } else { 0 };
        self.0.core.held.hold(Lost { spans: exported(spans, items.spans), logs: exported(logs, items.logs) })
    }

    /// How many items of a batch go to a collector.
    pub fn to_send(&self, batch: &Batch) -> Lost {
        let samples = |span: &&Span| self.0.config.sampler.samples(span);
        let spans = self.0.spans.as_ref().map_or(0, |_| batch.spans.iter().filter(samples).count());
        let logs = self.0.core.log_queue.as_ref().map_or(0, |_| batch.logs.len());
        Lost { spans: spans as u64, logs: logs as u64 }
    }

    /// Lowers the note of what is held, after a share of it went.
    pub fn settle(&self) {
        self.0.core.held.settle();
    }

    /// Notes what is held, if that could not be done before, or if nothing was held yet.
    pub fn note_again(&self) {
        if self.0.spans.is_some() || self.0.core.log_queue.is_some() {
            self.0.core.held.retry();
        }
    }

    /// Why it cannot be noted what is held, said once.
    pub fn unnoted(&self) -> Option<String> {
        self.0.core.held.take_problem()
    }

    /// Takes what another process held from its note into this one's, so that it is still noted
    /// somewhere when the other note is gone.
    pub fn inherit(&self, held: Lost) -> Share {
        self.0.core.held.hold(held)
    }

    /// Counts what a killed process held, and says so.
    pub fn bury(&self, inherited: Share) {
        let Lost { spans, logs } = inherited.items();
        self.killed(Lost { spans, logs });
        self.0.core.event_holding(AgentEvent::TelemetryKilled { spans, logs }, inherited);
        // Without a collector of logs it is told by now.
        self.settle();
    }

    /// Counts what went with a process that was killed.
    pub fn killed(&self, items: Lost) {
        self.metrics().dropped(Signal::Traces, DropReason::Killed, items.spans);
        self.metrics().dropped(Signal::Logs, DropReason::Killed, items.logs);
    }

    /// Takes over what waited in the spool: it is sent, and nothing of it is dropped for want of
    /// room, so [`Telemetry::has_room`] is to be asked first. The receipt is settled by what has
    /// arrived. Unless it was `told` before, samples are taken and lines shown as well.
    pub fn take_over(&self, batch: Batch, origin: Origin, told: bool, receipt: &Receipt) {
        self.0.history.remember(&batch);
        if !told {
            self.tell(&batch, origin);
        }
        self.send(batch, origin, Source::Spool(receipt));
    }

    /// Whether anything is sent at all.
    pub fn has_collector(&self) -> bool {
        self.0.spans.is_some() || self.0.core.log_queue.is_some()
    }

    /// Whether the queues are half empty at most. Without a collector there is always room.
    pub fn has_room(&self) -> bool {
        let spans = self.0.spans.as_ref().is_none_or(|queue| queue.has_room());
        spans && self.0.core.log_queue.as_ref().is_none_or(|queue| queue.has_room())
    }

    /// The part of telling that is for this process: samples and lines.
    fn tell(&self, batch: &Batch, origin: Origin) {
        let core = &self.0.core;
        for (request, count) in &batch.api_requests {
            core.metrics.api_requests(*request, *count);
        }
        core.metrics.dropped(Signal::Traces, DropReason::SpoolFull, batch.lost.spans);
        core.metrics.dropped(Signal::Logs, DropReason::SpoolFull, batch.lost.logs);
        for span in &batch.spans {
            core.metrics.observe_span(span);
            if self.0.config.traces_on_console {
                core.show_span(span);
            }
        }
        core.show_logs(&batch.logs, origin);
    }

    /// The part that is for the collector.
    fn send(&self, batch: Batch, origin: Origin, mut source: Source<'_>) {
        let Batch { mut spans, logs, .. } = batch;
        let core = &self.0.core;
        if let Some(queue) = &self.0.spans {
            spans.retain(|span| self.0.config.sampler.samples(span));
            for span in &mut spans {
                span.flags |= SAMPLED;
                self.0.config.span_limits.cut_span(span);
            }
            core.queue(queue, spans, origin, source.again());
        }
        core.send_logs(logs, origin, source);
    }

    /// Sends what is waiting and ends, within `limit`. What is left then is kept where there is a
    /// keeper with room, else counted as dropped.
    pub async fn shutdown(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let exports = self.0.exports.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(exports) = exports {
            let reported = exports.shutdown(deadline).await;
            // The collector cannot be told any more; whoever reads the console can.
            for event in Drops::since(&self.0.core.metrics, reported).events {
                self.0.core.console_event(&event);
            }
        }
        self.0.core.console.shutdown(deadline).await;
        self.0.core.held.close();
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
