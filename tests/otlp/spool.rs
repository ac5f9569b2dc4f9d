//! What plugins left behind, and what a collector did not take, waits in the spool and arrives as a
//! whole, however much it is; only what a collector will never take is given up.

use crate::scene::{FLUSH, enrolled, lost, lost_in_all, start, start_keeping};
use crate::support::{Answer, Collector, Nobody, Speaks};
use istio_cni_otel::agent::spool::Drain;
use istio_cni_otel::host::spool::Spool;
use istio_cni_otel::telemetry::batch;
use istio_cni_otel::telemetry::metrics::Signal;
use istio_cni_otel::telemetry::pipeline::Telemetry;
use istio_cni_otel::telemetry::resource::Origin;
use istio_cni_otel::telemetry::story::{Batch, Lost};
use istio_cni_otel::wire::spool;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// Spans with ids of their own.
fn spans(ids: std::ops::Range<usize>) -> Batch {
    let span = enrolled().spans.remove(0);
    let with_id = |id: usize| {
        let mut span = span.clone();
        span.span_id = (id as u64 + 1).to_be_bytes().into();
        span
    };
    Batch { spans: ids.map(with_id).collect(), ..Batch::default() }
}

/// As a plugin leaves them.
fn leave(run_dir: &Path, batch: &Batch) {
    let record = spool::record(&batch::encode(batch)).unwrap();
    Spool::in_run_dir(run_dir).leave(&[&spool::MAGIC[..], &record].concat(), Lost::default()).unwrap();
}

fn waiting(run_dir: &Path) -> usize {
    Spool::in_run_dir(run_dir).waiting().unwrap().len()
}

fn traces_to(url: &str) -> [(&'static str, &str); 2] {
    [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]
}

/// An agent that starts now sends these spans, each once, and leaves nothing in the spool. Says
/// which scopes they had, and what its metrics are.
async fn arrives_later(run_dir: &Path, count: usize) -> (BTreeSet<String>, String) {
    let collector = Collector::start(Speaks::Grpc, None).await;
    let (telemetry, _) = start_keeping(&traces_to(&collector.url()), run_dir);
    let drain = tokio::spawn(Drain::new(run_dir, telemetry.clone()).run());
    let arrived = collector.spans(count).await;
    let ids: BTreeSet<_> = arrived.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!((arrived.len(), ids.len()), (count, count));
    empty(run_dir).await;
    drain.abort();
    telemetry.shutdown(FLUSH).await;
    let scopes = collector.received().iter().flat_map(crate::support::Received::scopes).collect();
    (scopes, telemetry.metrics().render(None).1)
}

async fn empty(run_dir: &Path) {
    let gone = async {
        while waiting(run_dir) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(FLUSH, gone).await.unwrap();
}

fn samples(page: &str) -> bool {
    page.contains("istio_cni_step_duration_seconds_count{")
}

/// Ends it; nothing is counted as lost.
async fn ends_without_loss(telemetry: Telemetry) {
    telemetry.shutdown(Duration::from_millis(300)).await;
    assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0, "{:?}", lost(&telemetry, Signal::Traces));
}

#[tokio::test]
async fn a_spool_larger_than_the_queue_is_sent_without_loss() {
    const FILES: usize = 1000;
    const SPANS: usize = 8;
    let run_dir = tempfile::tempdir().unwrap();
    for file in 0..FILES {
        leave(run_dir.path(), &spans(file * SPANS..(file + 1) * SPANS));
    }
    let collector = Collector::start(Speaks::Grpc, None).await;
    // While the first request waits for its second chance, everything else would meet a full queue.
    collector.answer([Answer::ComeAgain(8, 1)], Answer::Take);
    let (telemetry, _) = start(&traces_to(&collector.url()));
    let drain = tokio::spawn(Drain::new(run_dir.path(), telemetry.clone()).run());
    assert_eq!(collector.spans(FILES * SPANS).await.len(), FILES * SPANS);
    empty(run_dir.path()).await;
    drain.abort();
    telemetry.shutdown(FLUSH).await;
    assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
}

#[tokio::test]
async fn what_a_collector_that_is_away_did_not_get_the_next_agent_sends() {
    let run_dir = tempfile::tempdir().unwrap();
    let nobody = Nobody::new();
    let (telemetry, screen) = start_keeping(&traces_to(&nobody.url()), run_dir.path());
    telemetry.ingest(spans(0..700), Origin::Agent);
    telemetry.ingest(spans(700..900), Origin::Plugin);
    let counted = telemetry.metrics().render(None).1;
    assert!(samples(&counted));
    ends_without_loss(telemetry).await;
    assert!(screen.text().contains("items of traces in the spool, for the next agent to send"), "{}", screen.text());
    let (scopes, page) = arrives_later(run_dir.path(), 900).await;
    assert_eq!(scopes, ["istio-cni/agent".to_owned(), "istio-cni/plugin".to_owned()].into());
    assert!(!samples(&page), "the first agent has counted them: {page}");
}

#[tokio::test]
async fn what_a_collector_that_hangs_may_have_the_next_agent_sends() {
    let run_dir = tempfile::tempdir().unwrap();
    let collector = Collector::start(Speaks::Grpc, None).await;
    collector.answer([], Answer::Hang);
    leave(run_dir.path(), &spans(0..10));
    let (telemetry, _) = start_keeping(&traces_to(&collector.url()), run_dir.path());
    let drain = tokio::spawn(Drain::new(run_dir.path(), telemetry.clone()).run());
    collector.until("the request that hangs", |received| received.len() == 1).await;
    telemetry.ingest(spans(10..30), Origin::Plugin);
    drain.abort();
    assert!(samples(&telemetry.metrics().render(None).1));
    ends_without_loss(telemetry).await;
    let (_, page) = arrives_later(run_dir.path(), 30).await;
    assert!(!samples(&page), "the first agent has counted those of the plugin too: {page}");
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_what_failed_while_it_was_away() {
    let run_dir = tempfile::tempdir().unwrap();
    let collector = Collector::start(Speaks::Grpc, None).await;
    // More than the attempts of two requests.
    collector.answer(vec![Answer::Refuse(14); 40], Answer::Take);
    (0..5).for_each(|file| leave(run_dir.path(), &spans(file * 4..file * 4 + 4)));
    let url = collector.url();
    let soon = [traces_to(&url).to_vec(), vec![("OTEL_BSP_EXPORT_TIMEOUT", "300")]].concat();
    let (telemetry, screen) = start_keeping(&soon, run_dir.path());
    telemetry.ingest(spans(20..30), Origin::Agent);
    let drain = tokio::spawn(Drain::new(run_dir.path(), telemetry.clone()).run());
    collector.spans(30).await;
    empty(run_dir.path()).await;
    drain.abort();
    telemetry.shutdown(FLUSH).await;
    let arrived = crate::support::spans(&collector.received());
    let ids: BTreeSet<_> = arrived.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), 30, "each at least once");
    assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
    let page = telemetry.metrics().render(None).1;
    let lookups = page.lines().find(|line| line.starts_with("istio_cni_step_duration_seconds_count"));
    assert!(lookups.is_some_and(|line| line.ends_with(" 30")), "each is counted once: {page}");
    assert_eq!(screen.text().matches("took over 20 spans").count(), 1, "{}", screen.text());
}

#[tokio::test]
async fn what_a_collector_refuses_for_good_is_given_up_and_counted() {
    let run_dir = tempfile::tempdir().unwrap();
    let collector = Collector::start(Speaks::Grpc, None).await;
    collector.answer([], Answer::Refuse(3));
    leave(run_dir.path(), &spans(0..4));
    let (telemetry, _) = start_keeping(&traces_to(&collector.url()), run_dir.path());
    let drain = tokio::spawn(Drain::new(run_dir.path(), telemetry.clone()).run());
    empty(run_dir.path()).await;
    telemetry.ingest(spans(4..6), Origin::Agent);
    drain.abort();
    telemetry.shutdown(FLUSH).await;
    assert_eq!(lost(&telemetry, Signal::Traces), [("export_failed", 6)]);
    assert_eq!(waiting(run_dir.path()), 0);
}

#[tokio::test]
async fn what_finds_no_room_in_the_spool_is_counted_by_whoever_comes_next() {
    let run_dir = tempfile::tempdir().unwrap();
    let directory = run_dir.path().join("spool");
    std::fs::create_dir(&directory).unwrap();
    (0..512).for_each(|number| std::fs::write(directory.join(format!("of-others-{number}")), "").unwrap());
    let nobody = Nobody::new();
    let (telemetry, _) = start_keeping(&traces_to(&nobody.url()), run_dir.path());
    telemetry.ingest(spans(0..9), Origin::Agent);
    ends_without_loss(telemetry).await;
    let (next, _) = start_keeping(&[], run_dir.path());
    let drain = tokio::spawn(Drain::new(run_dir.path(), next.clone()).run());
    let counted = async {
        while lost_in_all(&next, Signal::Traces) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(FLUSH, counted).await.unwrap();
    assert_eq!(lost(&next, Signal::Traces), [("spool_full", 9)]);
    drain.abort();
    next.shutdown(FLUSH).await;
}

#[tokio::test]
async fn without_a_collector_files_are_counted_and_go_at_once() {
    let run_dir = tempfile::tempdir().unwrap();
    leave(run_dir.path(), &enrolled());
    let (telemetry, screen) = start_keeping(&[], run_dir.path());
    let drain = tokio::spawn(Drain::new(run_dir.path(), telemetry.clone()).run());
    empty(run_dir.path()).await;
    drain.abort();
    telemetry.shutdown(FLUSH).await;
    assert!(samples(&telemetry.metrics().render(None).1));
    assert!(screen.text().contains("pod.lookup done"), "{}", screen.text());
}
