//! The settings of the export, from the `OTEL_*` variables.
//!
//! Without an endpoint nothing is exported: a DaemonSet that was not told of a collector must not
//! knock at a default address on every node. `OTEL_TRACES_EXPORTER=otlp` (and so on) asks for the
//! specification's default address.

use super::destination::{Exporter, General, exporters};
use super::endpoint::Endpoint;
use super::env::{Env, Warning};
use super::limits::Limits;
use super::pairs;
use super::propagators::Propagators;
use super::sampler::Sampler;
use crate::telemetry::metrics::Signal;
use std::path::PathBuf;
use std::time::Duration;

/// All settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `OTEL_SERVICE_NAME`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, decoded.
    pub resource_attributes: Vec<(String, String)>,
    /// Where spans go; `None` is nowhere.
    pub traces: Option<Export>,
    /// Where log records go, besides the console.
    pub logs: Option<Export>,
    /// Where metrics go, besides `/metrics`.
    pub metrics: Option<Export>,
    /// Whether spans are shown on the console too.
    pub traces_on_console: bool,
    /// How spans are gathered.
    pub span_batches: Batches,
    /// How log records are gathered.
    pub log_batches: Batches,
    /// How often metrics are sent.
    pub metric_interval: Duration,
    /// How long one export of metrics may take, with its retries.
    pub metric_timeout: Duration,
    /// Whether data points carry exemplars.
    pub exemplars: bool,
    /// Which spans are sent.
    pub sampler: Sampler,
    /// The limits of spans.
    pub span_limits: Limits,
    /// The limits of log records.
    pub log_limits: Limits,
    /// Which context of the environment counts.
    pub propagators: Propagators,
    /// How failed requests are repeated; not a variable.
    pub retry: Retry,
}

/// Where and how one signal is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The collector.
    pub endpoint: Endpoint,
    /// Headers of every request; may hold secrets.
    pub headers: Vec<(String, String)>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// Files for TLS.
    pub tls: TlsFiles,
}

/// Files in PEM form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities to trust; the system's where this is `None`.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain.
    pub certificate: Option<PathBuf>,
    /// The client's private key.
    pub key: Option<PathBuf>,
    /// The system's bundle, where `SSL_CERT_FILE` names one.
    pub system_ca: Option<PathBuf>,
}

/// How items are gathered into requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// The longest wait before items are sent.
    pub delay: Duration,
    /// How long one export may take, with its retries.
    pub timeout: Duration,
    /// How many items may wait.
    pub queue: usize,
    /// How many items go into one request.
    pub size: usize,
}

/// The pauses between attempts, which double from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// After the first failed attempt.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { first: Duration::from_millis(500), longest: Duration::from_secs(5) }
    }
}

/// The most items that may wait, whatever the environment says: they are held in memory.
const MOST_WAITING: usize = 1 << 20;

impl Config {
    /// Reads the environment.
    pub fn from_env(lookup: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<Warning>) {
        let mut env = Env::new(lookup);
        let config = Config::read(&mut env);
        (config, env.into_warnings())
    }

    fn read(env: &mut Env<'_>) -> Config {
        let disabled = env.flag("OTEL_SDK_DISABLED").unwrap_or(false);
        let general = General::read(env);
        let traces = exporters(env, "OTEL_TRACES_EXPORTER", true);
        let logs = exporters(env, "OTEL_LOGS_EXPORTER", true);
        let metrics = exporters(env, "OTEL_METRICS_EXPORTER", false);
        only(env, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative");
        only(env, "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram");
        let exemplar_words = [("trace_based", true), ("always_on", true), ("always_off", false)];
        Config {
            service_name: env.text("OTEL_SERVICE_NAME"),
            resource_attributes: pairs::read(env, "OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
            traces: general.export(env, Signal::Traces, traces.as_deref(), disabled),
            logs: general.export(env, Signal::Logs, logs.as_deref(), disabled),
            metrics: general.export(env, Signal::Metrics, metrics.as_deref(), disabled),
            traces_on_console: !disabled && traces.is_some_and(|named| named.contains(&Exporter::Console)),
            span_batches: batches(env, "OTEL_BSP", Duration::from_secs(5)),
            log_batches: batches(env, "OTEL_BLRP", Duration::from_secs(1)),
            metric_interval: env.millis("OTEL_METRIC_EXPORT_INTERVAL").unwrap_or(Duration::from_secs(60)),
            metric_timeout: env.millis("OTEL_METRIC_EXPORT_TIMEOUT").unwrap_or(Duration::from_secs(30)),
            exemplars: env.word("OTEL_METRICS_EXEMPLAR_FILTER", &exemplar_words).unwrap_or(true),
            sampler: Sampler::from_env(env),
            span_limits: Limits::spans(env),
            log_limits: Limits::logs(env),
            propagators: Propagators::from_env(env),
            retry: Retry::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::from_env(&|_| None).0
    }
}

fn only(env: &mut Env<'_>, variable: &str, allowed: &str) {
    let _ = env.word(variable, &[(allowed, ())]);
}

fn batches(env: &mut Env<'_>, prefix: &str, delay: Duration) -> Batches {
    let name = |suffix: &str| format!("{prefix}_{suffix}");
    let queue = env.number(&name("MAX_QUEUE_SIZE"), 1..=MOST_WAITING).unwrap_or(2048);
    let size_name = name("MAX_EXPORT_BATCH_SIZE");
    let mut size = env.number(&size_name, 1..=MOST_WAITING).unwrap_or(512.min(queue));
    if size > queue {
        env.warn(&size_name, format!("{size} is more than the queue's {queue}, which is used instead"));
        size = queue;
    }
    Batches {
        delay: env.millis(&name("SCHEDULE_DELAY")).unwrap_or(delay),
        timeout: env.millis(&name("EXPORT_TIMEOUT")).unwrap_or(Duration::from_secs(30)),
        queue,
        size,
    }
}
