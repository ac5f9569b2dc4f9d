//! The settings of the export, from the `OTEL_*` variables.
//!
//! Without an endpoint nothing is exported: a DaemonSet that was not told of a collector must not
//! knock at a default address on every node. `OTEL_TRACES_EXPORTER=otlp` (and so on) asks for the
//! specification's default address.

use super::endpoint::{Endpoint, Protocol, Scope};
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
            resource_attributes: list(env, "OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exporter {
    Otlp,
    Console,
    None,
}

fn exporters(env: &mut Env<'_>, variable: &str, console: bool) -> Option<Vec<Exporter>> {
    let words = [("otlp", Exporter::Otlp), ("none", Exporter::None), ("console", Exporter::Console)];
    let known = if console { &words[..] } else { &words[..2] };
    // A list without a known word is as good as unset.
    env.words(variable, known).filter(|named| !named.is_empty())
}

fn only(env: &mut Env<'_>, variable: &str, allowed: &str) {
    let _ = env.word(variable, &[(allowed, ())]);
}

fn list(env: &mut Env<'_>, variable: &str) -> Option<Vec<(String, String)>> {
    let text = env.text(variable)?;
    pairs::parse(&text).map_err(|problem| env.warn(variable, problem)).ok()
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

/// The settings for all signals, which those of one signal override.
struct General {
    endpoint: Option<String>,
    insecure: Option<bool>,
    protocol: Option<Protocol>,
    headers: Option<Vec<(String, String)>>,
    timeout: Option<Duration>,
    gzip: Option<bool>,
    tls: TlsFiles,
}

const PREFIX: &str = "OTEL_EXPORTER_OTLP_";

impl General {
    fn read(env: &mut Env<'_>) -> General {
        General::read_for(env, "")
    }

    fn read_for(env: &mut Env<'_>, signal: &str) -> General {
        let name = |suffix: &str| format!("{PREFIX}{signal}{suffix}");
        let path = |env: &Env<'_>, suffix: &str| env.text(&name(suffix)).map(PathBuf::from);
        let protocols = [("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)];
        General {
            endpoint: env.text(&name("ENDPOINT")),
            insecure: env.flag(&name("INSECURE")),
            protocol: env.word(&name("PROTOCOL"), &protocols),
            headers: headers(env, &name("HEADERS")),
            timeout: env.millis(&name("TIMEOUT")),
            gzip: env.word(&name("COMPRESSION"), &[("gzip", true), ("none", false)]),
            tls: TlsFiles {
                ca: path(env, "CERTIFICATE"),
                certificate: path(env, "CLIENT_CERTIFICATE"),
                key: path(env, "CLIENT_KEY"),
                system_ca: env.text("SSL_CERT_FILE").map(PathBuf::from),
            },
        }
    }

    fn export(
        &self,
        env: &mut Env<'_>,
        signal: Signal,
        exporters: Option<&[Exporter]>,
        disabled: bool,
    ) -> Option<Export> {
        let word = signal.name().to_ascii_uppercase();
        let own = General::read_for(env, &format!("{word}_"));
        let wanted = match exporters {
            Some(named) => named.contains(&Exporter::Otlp),
            None => own.endpoint.is_some() || self.endpoint.is_some(),
        };
        if !wanted || disabled {
            return None;
        }
        let protocol = own.protocol.or(self.protocol);
        let insecure = own.insecure.or(self.insecure).unwrap_or(false);
        let endpoint = self.endpoint(env, &own, signal, protocol, insecure)?;
        Some(Export {
            endpoint,
            headers: own.headers.or_else(|| self.headers.clone()).unwrap_or_default(),
            timeout: own.timeout.or(self.timeout).unwrap_or(Duration::from_secs(10)),
            gzip: own.gzip.or(self.gzip).unwrap_or(false),
            tls: TlsFiles {
                ca: own.tls.ca.or_else(|| self.tls.ca.clone()),
                certificate: own.tls.certificate.or_else(|| self.tls.certificate.clone()),
                key: own.tls.key.or_else(|| self.tls.key.clone()),
                system_ca: own.tls.system_ca,
            },
        })
    }

    fn endpoint(
        &self,
        env: &mut Env<'_>,
        own: &General,
        signal: Signal,
        protocol: Option<Protocol>,
        insecure: bool,
    ) -> Option<Endpoint> {
        let path = format!("v1/{}", signal.name());
        let own_variable = format!("{PREFIX}{}_ENDPOINT", signal.name().to_ascii_uppercase());
        let candidates = [
            (own_variable, own.endpoint.as_deref(), Scope::Signal),
            (format!("{PREFIX}ENDPOINT"), self.endpoint.as_deref(), Scope::General),
        ];
        for (variable, text, scope) in candidates {
            let Some(text) = text else { continue };
            match Endpoint::parse(text, scope, &path, protocol, insecure) {
                Ok(endpoint) => return Some(endpoint),
                Err(problem) => env.warn(&variable, problem),
            }
        }
        if own.endpoint.is_some() || self.endpoint.is_some() {
            // The default address instead of the one that the operator meant would be worse than none.
            return None;
        }
        let default = match protocol {
            Some(Protocol::Grpc) => "http://localhost:4317",
            _ => "http://localhost:4318",
        };
        Endpoint::parse(default, Scope::General, &path, protocol, insecure).ok()
    }
}

fn headers(env: &mut Env<'_>, variable: &str) -> Option<Vec<(String, String)>> {
    let mut kept = Vec::new();
    for (name, value) in list(env, variable)? {
        let name = name.to_ascii_lowercase();
        let token = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        // A binary header of gRPC would have to be encoded, and nobody writes one into a variable.
        if !token || name.ends_with("-bin") || !value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            env.warn(
                variable,
                format!("header {name:?} cannot be sent: names are HTTP tokens, values printable ASCII"),
            );
        } else {
            kept.push((name, value));
        }
    }
    Some(kept)
}
