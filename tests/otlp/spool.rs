//! What plugins left behind arrives as a whole, however much it is.

use crate::scene::{FLUSH, enrolled, lost_in_all, start};
use crate::support::{Answer, Collector, Speaks};
use istio_cni_otel::agent::spool::Drain;
use istio_cni_otel::host::spool::Spool;
use istio_cni_otel::telemetry::batch;
use istio_cni_otel::telemetry::metrics::Signal;
use istio_cni_otel::telemetry::story::{Batch, Lost};
use istio_cni_otel::wire::spool;

#[tokio::test]
async fn a_spool_larger_than_the_queue_is_sent_without_loss() {
    const FILES: usize = 1000;
    const SPANS: usize = 8;
    let run_dir = tempfile::tempdir().unwrap();
    let left = Batch { spans: vec![enrolled().spans.remove(0); SPANS], ..Batch::default() };
    let record = spool::record(&batch::encode(&left)).unwrap();
    let file = [&spool::MAGIC[..], &record].concat();
    for _ in 0..FILES {
        Spool::in_run_dir(run_dir.path()).leave(&file, Lost::default()).unwrap();
    }
    let collector = Collector::start(Speaks::Grpc, None).await;
    // While the first request waits for its second chance, everything else would meet a full queue.
    collector.answer([Answer::ComeAgain(8, 1)], Answer::Take);
    let (telemetry, _) =
        start(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &collector.url()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
    let drain = tokio::spawn(Drain::new(run_dir.path(), telemetry.clone()).run());
    assert_eq!(collector.spans(FILES * SPANS).await.len(), FILES * SPANS);
    drain.abort();
    telemetry.shutdown(FLUSH).await;
    assert_eq!(lost_in_all(&telemetry, Signal::Traces), 0);
}
