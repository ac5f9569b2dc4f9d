//! What the validator sends itself, where its environment names a collector.

use super::settings::Settings;
use crate::domain::identity::{SpanId, TraceId};
use crate::domain::validation::Told;
use crate::domain::validation_run::VALIDATE;
use crate::telemetry::console_writer::Format;
use crate::telemetry::event::Level;
use crate::telemetry::keys;
use crate::telemetry::metrics::{DropReason, Signal};
use crate::telemetry::otlp::config::Config;
use crate::telemetry::pipeline::{Setup, Telemetry};
use crate::telemetry::receipt::{Outcome, Receipt};
use crate::telemetry::resource::{Identity, Origin};
use crate::telemetry::story::{Batch, Story, random_span_id};
use std::sync::mpsc;
use std::time::Duration;

/// How long a pod whose redirection is in place waits for its validator's telemetry to arrive, at
/// most: its containers start afterwards.
const LIMIT_PASSED: Duration = Duration::from_millis(250);
/// The same for one that is not started anyway.
const LIMIT_FAILED: Duration = Duration::from_secs(2);

/// The pod's UID, where `OTEL_RESOURCE_ATTRIBUTES` has it.
pub fn uid_of_resource() -> Option<String> {
    let attributes = Config::from_env(&super::variable).0.resource_attributes;
    let uid = attributes.into_iter().find(|(key, _)| key == keys::POD_UID.as_str());
    uid.map(|(_, uid)| uid).filter(|uid| !uid.is_empty())
}

/// Sends the story, if there is somebody to send it to, and says where its spans are if they have
/// arrived.
pub fn tell(
    story: Story,
    settings: &Settings,
    passed: bool,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Option<Told> {
    let (mut config, warnings) = Config::from_env(variable);
    // Counters that begin anew with each container say nothing.
    config.metrics = None;
    if config.traces.is_none() && config.logs.is_none() {
        return None;
    }
    let exports_traces = config.traces.is_some();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let said = |name: &str| variable(name).unwrap_or_default();
    let telemetry = Telemetry::start(
        Setup {
            config: (config, warnings),
            identity: Identity {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                instance: random_span_id().to_hex(),
                node: said("NODE_NAME"),
                cluster: said("K8S_CLUSTER_NAME"),
            },
            revision: "",
            // The story's lines are shown already; what remains is trouble with sending it.
            level: settings.level.max(Level::Warn),
            console: Box::new(std::io::stdout()),
            format: if settings.json { Format::Json } else { Format::Tabs },
            keeper: None,
            history: 0,
        },
        runtime.handle(),
    );
    let Batch { spans, logs, .. } = story.into_batch();
    let told = spans.iter().find(|span| span.name == VALIDATE).and_then(|span| {
        let (trace, id) = (span.trace_id.as_slice().try_into(), span.span_id.as_slice().try_into());
        Some(Told { trace_id: TraceId(trace.ok()?), span_id: SpanId(id.ok()?) })
    });
    let arrived = send(&telemetry, Batch { spans, ..Batch::default() });
    drop(send(&telemetry, Batch { logs, ..Batch::default() }));
    runtime.block_on(telemetry.shutdown(if passed { LIMIT_PASSED } else { LIMIT_FAILED }));
    // A name that nobody resolves is waited for by a thread of the runtime: the pod does not.
    runtime.shutdown_background();
    let lost = [DropReason::ExportFailed, DropReason::Rejected, DropReason::Shutdown]
        .into_iter()
        .any(|reason| telemetry.metrics().dropped_so_far(Signal::Traces, reason) > 0);
    let settled = arrived.try_recv() == Ok(Outcome::Settled);
    told.filter(|_| exports_traces && settled && !lost)
}

/// Hands a batch to the exporter; what becomes of it can be received once everything is sent.
fn send(telemetry: &Telemetry, batch: Batch) -> mpsc::Receiver<Outcome> {
    let (tell, told) = mpsc::channel();
    let receipt = Receipt::new(move |outcome| _ = tell.send(outcome));
    telemetry.take_over(batch, Origin::Validator, true, &receipt);
    receipt.settle();
    told
}
