//! What a validator with a collector in its environment sends, and that a pod never waits for it.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;

use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::settings::RedirectSettings;
use nix::mount::{MsFlags, mount};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use otlp::{Collector, Nobody, Speaks, hex, text};
use std::net::UdpSocket;
use support::*;
use tokio::runtime::Runtime;

/// A collector on the pod's own loopback, which rules leave alone.
fn collector_in(pod: &Namespace) -> (Runtime, Collector) {
    pod.run(|| {
        let runtime = Runtime::new().unwrap();
        let collector = runtime.block_on(Collector::start(Speaks::Grpc, None));
        (runtime, collector)
    })
}

fn redirected() -> Wire {
    let wire = Wire::new(Addresses::V4);
    let settings = RedirectSettings { proxy_uid: proxy_uid(), proxy_gid: proxy_uid(), ..default_settings() };
    apply(&wire.pod, Backend::Nftables, &ruleset(&settings, Addresses::V4)).unwrap();
    wire
}

fn telling(url: &str, more: &[&str]) -> Validator {
    Validator::of_proxy(more)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("POD_UID", UID)
        .env("POD_NAME", "web-0")
        .env("POD_NAMESPACE", "shop")
}

#[test]
fn its_spans_stand_in_the_pods_trace_and_the_agent_learns_of_it() {
    let wire = redirected();
    let (_runtime, collector) = collector_in(&wire.pod);
    let found = telling(&collector.url(), &[]).run(&wire.pod);
    assert_eq!(found.passed(), [("ipv4", 1)]);
    let spans = otlp::spans(&collector.received());
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["validate.listen", "validate.connect", "validate"]);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    let whole = &spans[2];
    assert_eq!(hex(&whole.parent_span_id), TRACE[16..]);
    assert!(spans[..2].iter().all(|span| span.parent_span_id == whole.span_id));
    assert_eq!(text(&whole.attributes, "k8s.pod.name").as_deref(), Some("web-0"));
    let told = found.validation().told.unwrap();
    assert_eq!((told.trace_id.to_hex(), told.span_id.to_hex()), (TRACE.to_owned(), hex(&whole.span_id)));
}

#[test]
fn a_failure_is_told_with_its_type() {
    let wire = Wire::new(Addresses::V4);
    let (_runtime, collector) = collector_in(&wire.pod);
    let found = telling(&collector.url(), &["--probe-timeout", "300ms"]).run(&wire.pod);
    assert_eq!(found.failed().0, "redirect_missing");
    let received = collector.received();
    let spans = otlp::spans(&received);
    let connect = spans.iter().find(|span| span.name == "validate.connect").unwrap();
    assert_eq!(connect.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!(text(&connect.attributes, "error.type").as_deref(), Some("redirect_missing"));
    assert!(otlp::logs(&received).iter().any(|log| format!("{:?}", log.body).contains("validation timeout")));
    assert!(found.validation().told.is_some());
}

#[test]
fn a_collector_that_is_not_there_changes_nothing() {
    let wire = redirected();
    let found = telling(&Nobody::new().url(), &[]).run(&wire.pod);
    assert_eq!((found.code, found.validation().told), (Some(0), None), "{found:#?}");
    let unmeshed = Wire::new(Addresses::V4);
    let found = telling(&Nobody::new().url(), &["--probe-timeout", "300ms"]).run(&unmeshed.pod);
    assert_eq!((found.code, found.validation().told), (Some(126), None), "{found:#?}");
}

/// The resolver would wait for half an hour; the validator ends, or this test does not.
#[test]
fn a_collector_whose_name_nobody_resolves_holds_no_pod_up() {
    loopback();
    let wire = redirected();
    let silent = wire.pod.run(|| UdpSocket::bind("127.0.0.1:53").unwrap());
    let resolver = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(resolver.path(), "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n").unwrap();
    let nothing = None::<&str>;
    let at = std::fs::canonicalize("/etc/resolv.conf").unwrap();
    mount(Some(resolver.path()), &at, nothing, MsFlags::MS_BIND, nothing).unwrap();
    std::fs::set_permissions(resolver.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let found = telling("http://collector.test:4317", &[]).run(&wire.pod);
    assert_eq!((found.code, found.validation().told), (Some(0), None), "{found:#?}");
    silent.set_nonblocking(true).unwrap();
    assert!(silent.recv(&mut [0; 512]).is_ok(), "it asked for the name");
}
