//! What arrives at a collector, and how.

use crate::scene::{FLUSH, TRACE, UID, enrolled, failed, lost_in_all, start, told};
use crate::support::{Certificates, Collector, Speaks, hex, outline, text};
use istio_cni_otel::domain::request::Answer;
use istio_cni_otel::telemetry::metrics::Signal;
use istio_cni_otel::telemetry::resource::Origin;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use std::collections::BTreeMap;

const SHOWN: &[&str] = &["istio_cni.outcome", "istio_cni.path", "error.type", "k8s.pod.uid"];

#[tokio::test]
async fn a_whole_trace_arrives_over_grpc() {
    a_whole_trace_arrives(Speaks::Grpc, "grpc").await;
}

#[tokio::test]
async fn a_whole_trace_arrives_over_http() {
    a_whole_trace_arrives(Speaks::Http, "http/protobuf").await;
}

async fn a_whole_trace_arrives(speaks: Speaks, protocol: &str) {
    let collector = Collector::start(speaks, None).await;
    let (telemetry, _) = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test%20bed"),
    ]);
    telemetry.ingest(enrolled(), Origin::Plugin);
    telemetry.ingest(failed(), Origin::Agent);

    let spans = collector.spans(4).await;
    assert_eq!(
        outline(&spans, TRACE, SHOWN),
        format!(
            "cni.add istio_cni.outcome=enrolled istio_cni.path=agent k8s.pod.uid={UID} ^9a0c0305e82c3301\n  \
               pod.lookup k8s.pod.uid={UID}\n\
             cni.add istio_cni.outcome=failed istio_cni.path=agent error.type=api_timeout k8s.pod.uid={UID} \
               !no answer within 5 s ^9a0c0305e82c3301\n  \
               pod.lookup error.type=api_timeout k8s.pod.uid={UID} !no answer within 5 s\n"
        )
    );

    // Three records of starting the export come before those of the requests.
    let logs = collector.logs(5).await;
    let born = logs.iter().find(|log| log.event_name == "istio_cni.step.failed").unwrap();
    let failed_step = spans.iter().find(|span| span.name == "pod.lookup" && span.attributes.len() > 3).unwrap();
    assert_eq!((hex(&born.trace_id), &born.span_id), (TRACE.to_owned(), &failed_step.span_id));
    assert_eq!(text(&born.attributes, "k8s.pod.name").as_deref(), Some("cart-0"));
    assert_eq!(born.severity_text, "error");

    telemetry.shutdown(FLUSH).await;
    let metrics = collector.metrics().await;
    let durations = metrics.iter().find(|metric| metric.name == "istio_cni_step_duration_seconds").unwrap();
    let Some(Data::Histogram(histogram)) = &durations.data else { panic!("{durations:?}") };
    let point = histogram.data_points.iter().find(|point| text(&point.attributes, "error.type").is_some()).unwrap();
    assert_eq!(point.exemplars[0].span_id, failed_step.span_id);
    assert_eq!(hex(&point.exemplars[0].trace_id), TRACE);

    let received = collector.received();
    for request in &received {
        for resource in request.resources() {
            let attributes: BTreeMap<_, _> =
                resource.attributes.iter().map(|kv| (kv.key.as_str(), text(&resource.attributes, &kv.key))).collect();
            let expected = [
                ("deployment.environment.name", "test bed"),
                ("k8s.cluster.name", "east"),
                ("k8s.node.name", "node-1"),
                ("service.instance.id", "agent-1"),
                ("service.name", "istio-cni"),
                ("service.version", "1.2.3"),
            ];
            let expected: BTreeMap<_, _> = expected.map(|(key, value)| (key, Some(value.to_owned()))).into();
            assert_eq!(attributes, expected);
        }
        assert!(request.scopes().iter().all(|scope| scope == "istio-cni/agent" || scope == "istio-cni/plugin"));
        if speaks == Speaks::Http {
            assert_eq!(request.path, format!("/v1/{}", request.signal()));
        }
    }
    let scopes: Vec<String> = received.iter().flat_map(|request| request.scopes()).collect();
    assert!(scopes.contains(&"istio-cni/plugin".to_owned()), "{scopes:?}");
    for signal in Signal::ALL {
        assert_eq!(lost_in_all(&telemetry, signal), 0, "{signal:?}");
    }
}

#[tokio::test]
async fn an_own_authority_and_a_client_certificate_make_tls() {
    let certificates = Certificates::new();
    let (own, systems) = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "SSL_CERT_FILE");
    for (speaks, protocol, authority) in [
        (Speaks::Grpc, "grpc", own),
        (Speaks::Http, "http/protobuf", own),
        (Speaks::Grpc, "grpc", systems),
        (Speaks::Http, "http/protobuf", systems),
    ] {
        let collector = Collector::start(speaks, Some(&certificates)).await;
        let (ca, chain, key) =
            (certificates.path("ca.pem"), certificates.path("client.pem"), certificates.path("client.key"));
        let (telemetry, screen) = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            (authority, ca.to_str().unwrap()),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", chain.to_str().unwrap()),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.to_str().unwrap()),
        ]);
        telemetry.ingest(enrolled(), Origin::Plugin);
        telemetry.shutdown(FLUSH).await;
        assert_eq!(collector.spans(2).await.len(), 2, "{}", screen.text());
        assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_turned_away_and_counted() {
    let certificates = Certificates::new();
    for (speaks, protocol) in [(Speaks::Grpc, "grpc"), (Speaks::Http, "http/protobuf")] {
        let collector = Collector::start(speaks, Some(&certificates)).await;
        let (telemetry, screen) = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.path("ca.pem").to_str().unwrap()),
            ("OTEL_BSP_EXPORT_TIMEOUT", "200"),
        ]);
        telemetry.ingest(enrolled(), Origin::Plugin);
        telemetry.shutdown(FLUSH).await;
        assert!(collector.received().is_empty());
        assert_eq!(lost_in_all(&telemetry, Signal::Traces), 2);
        assert!(screen.text().contains(&format!("cannot send traces to {}", collector.url())), "{}", screen.text());
    }
}

#[tokio::test]
async fn renewed_certificates_are_read_without_a_restart() {
    let (certificates, outdated) = (Certificates::new(), Certificates::new());
    let ca = outdated.path("ca.pem");
    let collector = Collector::start(Speaks::Grpc, Some(&certificates)).await;
    let (telemetry, screen) = start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &collector.url()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.to_str().unwrap()),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificates.path("client.pem").to_str().unwrap()),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", certificates.path("client.key").to_str().unwrap()),
        ("OTEL_BSP_EXPORT_TIMEOUT", "2000"),
    ]);
    telemetry.ingest(enrolled(), Origin::Plugin);
    while lost_in_all(&telemetry, Signal::Traces) < 2 {
        tokio::task::yield_now().await;
    }
    std::fs::copy(certificates.path("ca.pem"), ca).unwrap();
    telemetry.ingest(enrolled(), Origin::Plugin);
    collector.spans(2).await;
    telemetry.shutdown(FLUSH).await;
    assert!(screen.text().contains(&format!("sending traces to {} again", collector.url())), "{}", screen.text());
}

#[tokio::test]
async fn headers_and_compression_are_as_the_environment_says() {
    for (speaks, protocol, encoding) in
        [(Speaks::Grpc, "grpc", "grpc-encoding"), (Speaks::Http, "http/protobuf", "content-encoding")]
    {
        let collector = Collector::start(speaks, None).await;
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20dTpw==,x-tenant=shop"),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-tenant=logs"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
        ]);
        telemetry.ingest(enrolled(), Origin::Plugin);
        telemetry.shutdown(FLUSH).await;
        let received = collector.until("three signals", |received| received.len() >= 3).await;
        for request in received {
            let header = |name: &str| request.headers.get(name).map(String::as_str);
            let logs = request.signal() == "logs";
            assert_eq!(header("x-tenant"), Some(if logs { "logs" } else { "shop" }));
            assert_eq!(header("authorization"), (!logs).then_some("Basic dTpw=="));
            assert_eq!(header(encoding), (request.signal() != "metrics").then_some("gzip"));
            assert!(header("user-agent").unwrap().starts_with("istio-cni-otel/"));
        }
    }
}

#[tokio::test]
async fn each_signal_may_go_elsewhere() {
    let (general, traces, logs) = (
        Collector::start(Speaks::Http, None).await,
        Collector::start(Speaks::Http, None).await,
        Collector::start(Speaks::Grpc, None).await,
    );
    let (telemetry, _) = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("{}/otlp/?tenant=7", general.url())),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/mine/traces", traces.url())),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &logs.url()),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
    ]);
    telemetry.ingest(enrolled(), Origin::Plugin);
    telemetry.shutdown(FLUSH).await;
    assert!(traces.received().iter().all(|request| request.path == "/mine/traces"));
    assert_eq!(traces.spans(2).await.len(), 2);
    assert!(logs.logs(1).await.iter().any(|log| log.event_name == "istio_cni.step.done"));
    assert!(!general.metrics().await.is_empty());
    let paths: Vec<String> = general.received().into_iter().map(|request| request.path).collect();
    assert!(paths.iter().all(|path| path == "/otlp/v1/metrics?tenant=7"), "{paths:?}");
}

#[tokio::test]
async fn a_sampler_thins_out_traces_but_no_samples() {
    let collector = Collector::start(Speaks::Grpc, None).await;
    let (telemetry, _) = start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
    ]);
    let low = "3f2504e0-4f89-41d3-9a00-0305e82c3301";
    let high = "3f2504e0-4f89-41d3-9aff-0305e82c3301";
    for uid in [low, high] {
        telemetry.ingest(told(uid, Ok(Answer::Done)), Origin::Plugin);
    }
    telemetry.shutdown(FLUSH).await;
    let spans = collector.spans(2).await;
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == low.replace('-', "")));
    let (_, page) = telemetry.metrics().render(None);
    assert!(page.contains(r#"{command="add",outcome="done",reason="",path="agent"} 2"#), "{page}");
    assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0, "what the sampler leaves out is not lost");
}

#[tokio::test]
async fn the_console_may_show_spans_instead() {
    let (telemetry, screen) = start(&[("OTEL_TRACES_EXPORTER", "console"), ("OTEL_METRICS_EXPORTER", "none")]);
    telemetry.ingest(failed(), Origin::Plugin);
    telemetry.shutdown(FLUSH).await;
    let text = screen.text();
    let line = text.lines().find(|line| line.contains("\ttrace\tspan cni.add (")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(TRACE) && line.contains("< 9a0c0305e82c3301)"), "{line}");
}
