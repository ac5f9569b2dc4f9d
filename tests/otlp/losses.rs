//! A collector that is away, slow or refusing costs losses that are counted to the item, and
//! nothing else.

use crate::scene::{FLUSH, enrolled, lost, lost_in_all, start};
use crate::support::{Answer, Collector, Nobody, Speaks};
use istio_cni_otel::telemetry::metrics::Signal;
use istio_cni_otel::telemetry::resource::Origin;
use istio_cni_otel::telemetry::story::Batch;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

const GRPC: (Speaks, &str) = (Speaks::Grpc, "grpc");
const HTTP: (Speaks, &str) = (Speaks::Http, "http/protobuf");

fn many(spans: usize) -> Batch {
    let mut batch = enrolled();
    let span = batch.spans.remove(0);
    Batch { spans: vec![span; spans], ..Batch::default() }
}

#[tokio::test]
async fn nobody_there_costs_counted_items() {
    for (_, protocol) in [GRPC, HTTP] {
        let nobody = Nobody::new();
        let (telemetry, screen) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &nobody.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "100"),
        ]);
        telemetry.ingest(many(100), Origin::Agent);
        telemetry.shutdown(FLUSH).await;
        assert_eq!(lost_in_all(&telemetry, Signal::Traces), 100, "{:?}", lost(&telemetry, Signal::Traces));
        assert!(
            lost(&telemetry, Signal::Traces).iter().all(|(reason, _)| ["export_failed", "shutdown"].contains(reason))
        );
        let text = screen.text();
        assert_eq!(text.matches("cannot send traces").count(), 1, "{text}");
        assert!(text.contains("lost ") && text.contains(" items of traces: export_failed"), "{text}");
    }
}

#[tokio::test]
async fn metrics_that_do_not_arrive_are_no_loss_while_an_export_follows() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (telemetry, screen) = start(&[
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &format!("http://{free}/metrics")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "20"),
    ]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !screen.text().contains("; the next export carries the same totals: ") {
        assert!(Instant::now() < deadline, "{}", screen.text());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(lost(&telemetry, Signal::Metrics), []);
    telemetry.shutdown(FLUSH).await;
    assert_eq!(screen.text().matches("cannot send metrics to ").count(), 1, "{}", screen.text());
    let lost = lost(&telemetry, Signal::Metrics);
    assert!(matches!(lost[..], [("export_failed", _)]), "the last ones, which no export follows: {lost:?}");
}

#[tokio::test]
async fn a_refusal_for_good_is_not_repeated() {
    for ((speaks, protocol), refusal) in [(GRPC, 16), (GRPC, 8), (HTTP, 401), (HTTP, 500)] {
        let collector = Collector::start(speaks, None).await;
        collector.answer([Answer::Refuse(refusal)], Answer::Take);
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/traces", collector.url())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        telemetry.ingest(many(3), Origin::Agent);
        collector.until("the refused request", |received| received.len() == 1).await;
        telemetry.ingest(many(2), Origin::Agent);
        assert_eq!(collector.spans(2).await.len(), 2, "the second request, not the first once more");
        telemetry.shutdown(FLUSH).await;
        assert_eq!(lost(&telemetry, Signal::Traces), [("export_failed", 3)], "{refusal}");
        assert_eq!(collector.received().len(), 2);
    }
}

#[tokio::test]
async fn a_passing_failure_is_tried_again() {
    for ((speaks, protocol), refusal) in [(GRPC, 14), (GRPC, 4), (HTTP, 503), (HTTP, 429)] {
        let collector = Collector::start(speaks, None).await;
        collector.answer([Answer::Refuse(refusal), Answer::Refuse(refusal)], Answer::Take);
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/traces", collector.url())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        telemetry.ingest(many(3), Origin::Agent);
        assert_eq!(collector.spans(3).await.len(), 3);
        telemetry.shutdown(FLUSH).await;
        assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
        assert_eq!(collector.received().len(), 3);
    }
}

#[tokio::test]
async fn a_collector_that_wants_time_gets_it() {
    for ((speaks, protocol), refusal) in [(GRPC, 8), (HTTP, 429)] {
        let collector = Collector::start(speaks, None).await;
        collector.answer([Answer::ComeAgain(refusal, 1)], Answer::Take);
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/traces", collector.url())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        let begun = Instant::now();
        telemetry.ingest(many(1), Origin::Agent);
        collector.spans(1).await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
        telemetry.shutdown(FLUSH).await;
        assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
    }
}

#[tokio::test]
async fn items_that_the_collector_rejects_are_counted_and_told() {
    for (speaks, protocol) in [GRPC, HTTP] {
        let collector = Collector::start(speaks, None).await;
        collector.answer([], Answer::Reject(2, "too old"));
        let (telemetry, screen) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/traces", collector.url())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        telemetry.ingest(many(5), Origin::Agent);
        telemetry.shutdown(FLUSH).await;
        assert_eq!(lost(&telemetry, Signal::Traces), [("rejected", 2)]);
        assert!(screen.text().contains("the collector rejected 2 items of traces: too old"), "{}", screen.text());
    }
}

#[tokio::test]
async fn a_collector_that_hangs_never_holds_up_a_request() {
    for (speaks, protocol) in [GRPC, HTTP] {
        let collector = Collector::start(speaks, None).await;
        collector.answer([], Answer::Hang);
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/traces", collector.url())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "20"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"),
        ]);
        telemetry.ingest(many(10), Origin::Agent);
        collector.until("the first request", |received| received.len() == 1).await;
        // Ten are on their way for ever, twenty fit the queue. Nothing awaits here, so whatever
        // waited for the collector would wait for ever.
        telemetry.ingest(many(50), Origin::Agent);
        telemetry.ingest(many(1), Origin::Agent);
        assert_eq!(lost(&telemetry, Signal::Traces), [("queue_full", 31)]);
        let begun = Instant::now();
        telemetry.shutdown(Duration::from_millis(200)).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(lost(&telemetry, Signal::Traces), [("queue_full", 31), ("shutdown", 30)]);
        telemetry.ingest(many(2), Origin::Agent);
        assert_eq!(lost(&telemetry, Signal::Traces), [("queue_full", 31), ("shutdown", 32)]);
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    for (speaks, protocol) in [GRPC, HTTP] {
        let collector = Collector::start(speaks, None).await;
        collector.answer([Answer::Hang], Answer::Take);
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/traces", collector.url())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ]);
        telemetry.ingest(many(4), Origin::Agent);
        assert_eq!(collector.spans(4).await.len(), 4, "sent again after the time limit of one attempt");
        telemetry.shutdown(FLUSH).await;
        assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
    }
}

#[tokio::test]
async fn a_connection_that_went_dead_in_silence_is_replaced() {
    for (speaks, protocol) in [GRPC, HTTP] {
        let collector = Collector::start(speaks, None).await;
        let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = between.local_addr().unwrap();
        let behind = collector.address;
        let forwarder = tokio::spawn(async move {
            let (_held, _) = between.accept().await.unwrap();
            while let Ok((mut later, _)) = between.accept().await {
                let mut behind = TcpStream::connect(behind).await.unwrap();
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut later, &mut behind).await });
            }
        });
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("http://{address}/traces")),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ]);
        telemetry.ingest(many(4), Origin::Agent);
        assert_eq!(collector.spans(4).await.len(), 4);
        telemetry.shutdown(FLUSH).await;
        assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
        forwarder.abort();
    }
}

#[tokio::test]
async fn a_collector_that_comes_late_gets_what_waits() {
    for (speaks, protocol) in [GRPC, HTTP] {
        let nobody = Nobody::new();
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/traces", nobody.url())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        telemetry.ingest(many(7), Origin::Agent);
        let collector = nobody.collector(speaks).await;
        assert_eq!(collector.spans(7).await.len(), 7);
        telemetry.shutdown(FLUSH).await;
        assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
    }
}

#[tokio::test]
async fn shutting_down_sends_all_that_waits() {
    for (speaks, protocol) in [GRPC, HTTP] {
        let collector = Collector::start(speaks, None).await;
        let (telemetry, _) = start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "3600000"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
        ]);
        telemetry.ingest(many(99), Origin::Agent);
        telemetry.ingest(enrolled(), Origin::Plugin);
        telemetry.shutdown(FLUSH).await;
        assert_eq!(collector.spans(101).await.len(), 101);
        assert!(collector.logs(4).await.iter().any(|log| log.event_name == "istio_cni.step.done"));
        assert!(!collector.metrics().await.is_empty());
        for signal in Signal::ALL {
            assert_eq!(lost_in_all(&telemetry, signal), 0, "{signal:?}");
        }
    }
}
