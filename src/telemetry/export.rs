//! The export's tasks: one for each signal that goes to a collector, and one that tells of losses.

use super::agent_event::AgentEvent;
use super::core::Core;
use super::drops::{Counts, Drops};
use super::keep::Queued;
use super::metrics::{Signal, otlp};
use super::otlp::config::{Config, Export};
use super::otlp::queue::Queue;
use super::otlp::quiet;
use super::otlp::request::Request;
use super::otlp::stop::{Stop, Stopper, stop};
use super::otlp::worker::{Sender, drain, report};
use super::resource::{Origin, SCHEMA_URL};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// How often losses are told in the log.
const LOSSES_EVERY: Duration = Duration::from_secs(30);
/// How much later than the deadline the tasks may end: they only count then.
const GRACE: Duration = Duration::from_millis(500);

/// The version in the instrumentation scope.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The running tasks.
pub struct Exports {
    items: (Stopper, Vec<JoinHandle<()>>),
    metrics: (Stopper, Option<JoinHandle<()>>),
    losses: (Stopper, JoinHandle<Counts>),
}

/// The queue of spans, where they are exported.
pub type Spans = Option<Arc<Queue<Queued<Span>>>>;

impl Exports {
    /// Starts the tasks; gives back the queue of spans.
    pub fn start(core: &Arc<Core>, config: &Config, resource: &Resource, runtime: &Handle) -> (Exports, Spans) {
        let (items_stopper, items_stop) = stop();
        let (metrics_stopper, metrics_stop) = stop();
        let (losses_stopper, losses_stop) = stop();
        let mut tasks = Vec::new();
        let spans = config.traces.as_ref().map(|export| {
            let queue = Arc::new(Queue::new(config.span_batches.queue, config.span_batches.size));
            let sender = sender(core, Signal::Traces, export, config, config.span_batches.timeout, &items_stop);
            let resource = resource.clone();
            let request = move |spans: &[_]| trace_request(&resource, spans);
            tasks.push(runtime.spawn(quiet::task(drain(Arc::clone(&queue), config.span_batches, sender, request))));
            queue
        });
        if let (Some(export), Some(queue)) = (&config.logs, &core.log_queue) {
            let sender = sender(core, Signal::Logs, export, config, config.log_batches.timeout, &items_stop);
            let resource = resource.clone();
            let request = move |logs: &[_]| log_request(&resource, logs);
            tasks.push(runtime.spawn(quiet::task(drain(Arc::clone(queue), config.log_batches, sender, request))));
        }
        let metrics = config.metrics.as_ref().map(|export| {
            let sender = sender(core, Signal::Metrics, export, config, config.metric_timeout, &metrics_stop);
            let collect = collector(Arc::clone(core), resource.clone(), config.exemplars);
            runtime.spawn(quiet::task(report(config.metric_interval, sender, collect)))
        });
        let losses = runtime.spawn(tell_losses(Arc::clone(core), losses_stop));
        let exports = Exports {
            items: (items_stopper, tasks),
            metrics: (metrics_stopper, metrics),
            losses: (losses_stopper, losses),
        };
        (exports, spans)
    }

    /// Flushes spans and log records, then the metrics, which count the losses of the former. Says
    /// which losses were told.
    pub async fn shutdown(self, deadline: Instant) -> Counts {
        self.losses.0.by(deadline);
        let told = timeout_at(deadline + GRACE, self.losses.1).await;
        self.items.0.by(deadline);
        for task in self.items.1 {
            let _ = timeout_at(deadline + GRACE, task).await;
        }
        self.metrics.0.by(deadline);
        if let Some(task) = self.metrics.1 {
            let _ = timeout_at(deadline + GRACE, task).await;
        }
        told.ok().and_then(Result::ok).unwrap_or_default()
    }
}

fn sender(core: &Arc<Core>, signal: Signal, export: &Export, config: &Config, limit: Duration, stop: &Stop) -> Sender {
    core.event(AgentEvent::ExportStarted {
        signal: signal.name().to_owned(),
        endpoint: export.endpoint.shown(),
        protocol: export.endpoint.protocol.name().to_owned(),
    });
    Sender::new(Arc::clone(core), signal, export.clone(), config.retry, limit, stop.clone())
}

async fn tell_losses(core: Arc<Core>, stop: Stop) -> Counts {
    let mut told = Counts::default();
    loop {
        tokio::select! {
            () = sleep(LOSSES_EVERY) => {}
            _ = stop.requested() => return told,
        }
        let drops = Drops::since(&core.metrics, told);
        told = drops.counts;
        drops.events.into_iter().for_each(|event| core.event(event));
    }
}

fn by_scope<T: Clone>(items: &[Queued<T>]) -> BTreeMap<Origin, Vec<T>> {
    let mut scopes: BTreeMap<Origin, Vec<T>> = BTreeMap::new();
    for queued in items {
        scopes.entry(queued.origin).or_default().push(queued.item.clone());
    }
    scopes
}

fn trace_request(resource: &Resource, spans: &[Queued<Span>]) -> Request {
    let scope = |(origin, spans): (Origin, _)| ScopeSpans {
        scope: Some(origin.scope(VERSION)),
        spans,
        schema_url: SCHEMA_URL.to_owned(),
    };
    Request::Traces(ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: by_scope(spans).into_iter().map(scope).collect(),
            schema_url: SCHEMA_URL.to_owned(),
        }],
    })
}

fn log_request(resource: &Resource, logs: &[Queued<LogRecord>]) -> Request {
    let scope = |(origin, log_records): (Origin, _)| ScopeLogs {
        scope: Some(origin.scope(VERSION)),
        log_records,
        schema_url: SCHEMA_URL.to_owned(),
    };
    Request::Logs(ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource.clone()),
            scope_logs: by_scope(logs).into_iter().map(scope).collect(),
            schema_url: SCHEMA_URL.to_owned(),
        }],
    })
}

fn collector(core: Arc<Core>, resource: Resource, exemplars: bool) -> impl FnMut() -> (Request, u64) {
    let start_ns = core.clock().start_ns();
    let mut previous_ns = 0;
    move || {
        let now_ns = core.clock().now_ns();
        let window = otlp::Window { start_ns, previous_ns: if exemplars { previous_ns } else { u64::MAX }, now_ns };
        previous_ns = now_ns;
        let metrics = otlp::metrics(&core.metrics.snapshot(), window);
        let points = otlp::points(&metrics);
        let scope =
            ScopeMetrics { scope: Some(Origin::Agent.scope(VERSION)), metrics, schema_url: SCHEMA_URL.to_owned() };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource.clone()),
                scope_metrics: vec![scope],
                schema_url: SCHEMA_URL.to_owned(),
            }],
        };
        (Request::Metrics(request), points)
    }
}
