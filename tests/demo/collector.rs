//! The demo that sends what it tells on to a collector.

use crate::installed::{Installed, assert_shown, texts};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// A path, and what was sent to it.
type Taken = (String, Vec<u8>);

/// A collector that takes everything, and remembers what it was sent where.
struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Collector {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let remembered = Arc::clone(&taken);
        let take = move |uri: axum::http::Uri, body: axum::body::Bytes| async move {
            remembered.lock().unwrap().push((uri.path().to_owned(), body.to_vec()));
            [(axum::http::header::CONTENT_TYPE, "application/x-protobuf")]
        };
        runtime.spawn(async move { axum::serve(listener, axum::Router::new().fallback(take)).await });
        Collector { address, taken, _runtime: runtime }
    }

    fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let taken = self.taken.lock().unwrap();
        taken.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }
}

#[test]
fn a_collector_gets_the_same_trace() {
    let collector = Collector::start();
    let installed = Installed::new();
    let url = format!("http://{}", collector.address);
    let output = installed.demo(&["--otlp", &url]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_shown(&stdout, &["TRACE ", &format!("SENT ON to {url}"), "✓ the collector took "]);

    let id = stdout.split_once("TRACE ").unwrap().1.split(':').next().unwrap();
    let traces = collector.bodies("/v1/traces").into_iter().flat_map(|body| {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans)
    });
    let of_pod = traces.filter(|span| span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == id);
    let names: BTreeSet<String> = of_pod.map(|span| span.name).collect();
    for name in ["cni.add", "agent.call", "rules.apply", "rules.verify", "cni.check", "cni.del"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    assert!(!collector.bodies("/v1/metrics").is_empty() && !collector.bodies("/v1/logs").is_empty());
}

#[test]
fn a_collector_that_is_not_there_is_an_error_in_the_end() {
    // A port that was free a moment ago, and is nobody's.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let installed = Installed::new();
    let output = installed.demo(&["--otlp", &format!("http://{address}")]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stderr.starts_with(&format!("istio-cni-otel: ✗ the collector http://{address}")), "{stderr}");
    let end = ": does a collector listen there? The demo itself went well; nothing is left behind.\n";
    assert!(stderr.ends_with(end), "{stderr}");
    assert!(!stdout.contains("SENT ON") && !stdout.contains("All as it should be"), "{stdout}");
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}

#[test]
fn an_address_that_is_no_collectors_is_refused_before_anything_is_made() {
    let installed = Installed::new();
    let output = installed.demo(&["--otlp", "localhost"]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
    let expected =
        "istio-cni-otel: cannot send to the collector: --otlp: localhost must begin with http:// or https://\n";
    assert_eq!(stderr, expected);
}
