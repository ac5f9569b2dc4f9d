//! What the tests of the export share: an agent's telemetry, and requests that are told to it.

use super::screen::Screen;
use istio_cni_otel::agent::spool::SpoolKeeper;
use istio_cni_otel::domain::failure::{CODE_ISTIO, Failure};
use istio_cni_otel::domain::identity::TraceId;
use istio_cni_otel::domain::pod::PodRef;
use istio_cni_otel::domain::request::{Answer, Backend};
use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::telemetry::console_writer::Format;
use istio_cni_otel::telemetry::event::Level;
use istio_cni_otel::telemetry::keep::Keeper;
use istio_cni_otel::telemetry::metrics::{DropReason, Signal};
use istio_cni_otel::telemetry::otlp::config::{Config, Retry};
use istio_cni_otel::telemetry::outcome::{CallPath, describe};
use istio_cni_otel::telemetry::pipeline::{Setup, Telemetry};
use istio_cni_otel::telemetry::resource::Identity;
use istio_cni_otel::telemetry::story::{Batch, Clock, Story};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The pod of the tests, and its trace.
pub const UID: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
pub const TRACE: &str = "3f2504e04f8941d39a0c0305e82c3301";

/// Long enough for whatever must be sent at the end.
pub const FLUSH: Duration = Duration::from_secs(10);

/// An agent's telemetry with this environment. Spans and log records are sent at once rather than
/// after seconds, and failed requests are repeated sooner.
pub fn start(environment: &[(&str, &str)]) -> (Telemetry, Screen) {
    start_with(environment, None)
}

/// The same, keeping in this run directory's spool what cannot be sent.
pub fn start_keeping(environment: &[(&str, &str)], run_dir: &Path) -> (Telemetry, Screen) {
    start_with(environment, Some(Arc::new(SpoolKeeper::new(run_dir))))
}

fn start_with(environment: &[(&str, &str)], keeper: Option<Arc<dyn Keeper>>) -> (Telemetry, Screen) {
    let lookup = |name: &str| {
        let given = environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        given.or_else(|| name.ends_with("_SCHEDULE_DELAY").then(|| "1".to_owned()))
    };
    let (mut config, warnings) = Config::from_env(&lookup);
    config.retry = Retry { first: Duration::from_millis(5), longest: Duration::from_millis(20) };
    let screen = Screen::default();
    let setup = Setup {
        config: (config, warnings),
        identity: Identity {
            version: "1.2.3".into(),
            instance: "agent-1".into(),
            node: "node-1".into(),
            cluster: "east".into(),
        },
        revision: "abc",
        level: Level::Debug,
        console: Box::new(screen.clone()),
        format: Format::Tabs,
        keeper,
        history: 0,
    };
    (Telemetry::start(setup, &Handle::current()), screen)
}

/// A request that enrolled the pod: two spans, one log record.
pub fn enrolled() -> Batch {
    told(UID, Ok(Answer::Enrolled { backend: Backend::Nftables, changed: true }))
}

/// A request whose lookup failed: two spans, one log record.
pub fn failed() -> Batch {
    let failure = Failure {
        step: Step::PodLookup,
        error_type: ErrorType::ApiTimeout,
        code: CODE_ISTIO,
        message: "no answer within 5 s".to_owned(),
        retryable: true,
    };
    told(UID, Err(failure))
}

/// A request about the pod with this UID.
pub fn told(uid: &str, result: Result<Answer, Failure>) -> Batch {
    let trace = TraceId::of_pod(uid);
    let pod = PodRef { namespace: "shop".into(), name: "cart-0".into(), uid: Some(uid.into()) };
    let story = Story::begin(Clock::start(), trace, Some(trace.root_span()), pod, Level::Debug, None);
    let _ = story.request("cni.add", |open| {
        let looked_up = story.step(Step::PodLookup, |_| result.clone().map(|_| ()));
        let result = looked_up.and(result);
        describe(open, &result, CallPath::Agent);
        result
    });
    story.into_batch()
}

/// How much of a signal was lost, by reason; reasons without losses are left out.
pub fn lost(telemetry: &Telemetry, signal: Signal) -> Vec<(&'static str, u64)> {
    let counts = DropReason::ALL.map(|reason| (reason.name(), telemetry.metrics().dropped_so_far(signal, reason)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// How much of a signal was lost for any reason.
pub fn lost_in_all(telemetry: &Telemetry, signal: Signal) -> u64 {
    lost(telemetry, signal).into_iter().map(|(_, count)| count).sum()
}
