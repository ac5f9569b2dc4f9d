//! The `OTEL_*` variables, one by one.

use istio_cni_otel::telemetry::otlp::config::{Batches, Config};
use istio_cni_otel::telemetry::otlp::endpoint::Protocol;
use istio_cni_otel::telemetry::otlp::env::Warning;
use std::path::Path;
use std::time::Duration;

fn read(environment: &[(&str, &str)]) -> (Config, Vec<String>) {
    let lookup = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let (config, warnings) = Config::from_env(&lookup);
    (config, warnings.into_iter().map(|Warning { variable, problem }| format!("{variable}: {problem}")).collect())
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

fn exported(config: &Config) -> [bool; 3] {
    [config.traces.is_some(), config.logs.is_some(), config.metrics.is_some()]
}

#[test]
fn nothing_is_exported_unless_somebody_says_where() {
    let (config, warnings) = read(&[]);
    assert_eq!(exported(&config), [false; 3]);
    assert!(warnings.is_empty());
    assert_eq!(exported(&read(&[ENDPOINT]).0), [true; 3]);
    assert_eq!(exported(&read(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://c:1/x")]).0), [false, true, false]);
    assert_eq!(exported(&read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).0), [false; 3], "empty is unset");
}

#[test]
fn an_exporter_that_is_asked_for_has_the_default_address() {
    let traces = |environment: &[(&str, &str)]| read(environment).0.traces.unwrap().endpoint;
    let http = traces(&[("OTEL_TRACES_EXPORTER", "otlp")]);
    assert_eq!((http.url.as_str(), http.protocol), ("http://localhost:4318/v1/traces", Protocol::HttpProtobuf));
    let grpc = traces(&[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    assert_eq!((grpc.url.as_str(), grpc.protocol), ("http://localhost:4317", Protocol::Grpc));
}

#[test]
fn exporters_can_be_turned_off() {
    assert_eq!(exported(&read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]).0), [false, true, true]);
    assert_eq!(exported(&read(&[ENDPOINT, ("OTEL_LOGS_EXPORTER", "console")]).0), [true, false, true]);
    assert_eq!(exported(&read(&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "none")]).0), [true, true, false]);
    assert_eq!(exported(&read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]).0), [false; 3]);
    assert_eq!(exported(&read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")]).0), [true; 3]);
    let (config, warnings) = read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "otlp,console,zipkin")]);
    assert!(config.traces.is_some() && config.traces_on_console);
    assert_eq!(warnings, [r#"OTEL_TRACES_EXPORTER: "zipkin" is not known here; allowed: otlp, none, console"#]);
}

#[test]
fn settings_of_one_signal_override_the_general_ones() {
    let (config, warnings) = read(&[
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "500"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "c=3"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
        ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "/logs-ca"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "/metrics-chain"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector:9"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "false"),
        ("OTEL_EXPORTER_OTLP_METRICS_INSECURE", "true"),
        ("SSL_CERT_FILE", "/system-ca"),
    ]);
    assert!(warnings.is_empty(), "{warnings:?}");
    let (traces, logs, metrics) = (config.traces.unwrap(), config.logs.unwrap(), config.metrics.unwrap());
    assert_eq!([traces.timeout, logs.timeout].map(|timeout| timeout.as_millis()), [500, 2000]);
    assert_eq!(logs.headers, [("c".to_owned(), "3".to_owned())]);
    assert_eq!(traces.headers.len(), 2);
    assert_eq!([traces.gzip, logs.gzip, metrics.gzip], [true, true, false]);
    assert_eq!(traces.tls.ca.as_deref(), Some(Path::new("/ca")));
    assert_eq!(logs.tls.ca.as_deref(), Some(Path::new("/logs-ca")));
    assert_eq!(logs.tls.key.as_deref(), Some(Path::new("/key")));
    assert_eq!(metrics.tls.certificate.as_deref(), Some(Path::new("/metrics-chain")));
    assert_eq!(metrics.tls.system_ca.as_deref(), Some(Path::new("/system-ca")));
    assert_eq!((metrics.endpoint.url.as_str(), metrics.endpoint.secure), ("http://collector:9", false));
}

#[test]
fn batches_and_intervals_are_read() {
    let (config, _) = read(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "6"),
    ]);
    let millis = Duration::from_millis;
    assert_eq!(config.span_batches, Batches { delay: millis(1), timeout: millis(2), queue: 4, size: 3 });
    let default = Batches { delay: millis(1000), timeout: millis(30_000), queue: 2048, size: 512 };
    assert_eq!(config.log_batches, default);
    assert_eq!((config.metric_interval, config.metric_timeout), (millis(5), millis(6)));
    let (config, _) = read(&[]);
    assert_eq!(config.span_batches, Batches { delay: millis(5000), ..default });
    assert_eq!((config.metric_interval, config.metric_timeout), (millis(60_000), millis(30_000)));
}

#[test]
fn wrong_values_are_ignored_and_each_is_named_once() {
    let (config, mut warnings) = read(&[
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "password"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a b=1,good=2,bin-bin=x"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "user:secret@collector/x"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "11"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "-1"),
    ]);
    assert_eq!(exported(&config), [true; 3]);
    assert_eq!(config.traces.unwrap().endpoint.url, "http://collector:4318/v1/traces", "the general address holds");
    assert_eq!(config.logs.unwrap().headers, [("good".to_owned(), "2".to_owned())]);
    assert_eq!(config.log_batches.size, 10);
    warnings.sort();
    insta::assert_snapshot!(warnings.join("\n"));
    assert!(!warnings.join("\n").contains("secret") && !warnings.join("\n").contains("password"));
}

#[test]
fn an_address_that_means_nothing_does_not_become_the_default_one() {
    let (config, warnings) = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector")]);
    assert_eq!(exported(&config), [false; 3]);
    assert_eq!(warnings, ["OTEL_EXPORTER_OTLP_ENDPOINT: ftp://collector must begin with http:// or https://"]);
}

#[test]
fn who_is_telling_is_read() {
    let (config, _) = read(&[("OTEL_SERVICE_NAME", "mine"), ("OTEL_RESOURCE_ATTRIBUTES", "a=x%2Cy,b=")]);
    assert_eq!(config.service_name.as_deref(), Some("mine"));
    assert_eq!(config.resource_attributes, [("a".into(), "x,y".into()), ("b".into(), String::new())]);
}
