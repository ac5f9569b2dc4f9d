//! ADDs through the real agent that set a pod up: the whole trace, every log record and the metrics
//! of each, as a collector gets them over the wire.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use nix::sys::signal::Signal;
use otlp::{Speaks, hex};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::agent::get;
use support::*;
use told::Told;
use world::{World, add, args, same};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CREATOR: &str = "00-cccccccccccccccccccccccccccccccc-dddddddddddddddd-00";

#[test]
fn an_add_and_its_repetition() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let mut world = World::new(speaks, &[pod(json!({"tracing.k8s.io/traceparent": CREATOR}))])
            .call_with(|node| node.env("TRACEPARENT", PARENT).env("TRACESTATE", "vendor=1").env("BAGGAGE", "team=net"));
        let wire = world.wire();
        world.start_agent();
        for _ in 0..2 {
            assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
        }
        let counted = r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"}"#;
        let agent = world.agent.as_ref().unwrap();
        agent.wait_for_metric(counted, 2.0);
        let page = get(agent.metrics, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").1;
        let told = world.told();
        same(
            &told.story(TRACE),
            r#"
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=agent network.interface.name=eth0
  ~ 0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 1 "vendor=1" istio_cni.link.baggage.team=net istio_cni.link.source=environment
  ~ cccccccccccccccccccccccccccccccc dddddddddddddddd 0 "" istio_cni.link.source=annotation
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source=cache
    redirect.decide (agent) istio_cni.decision=enroll
    rules.build (agent) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
    rules.apply (agent) istio_cni.rules.backend=nftables istio_cni.rules.changed=true
    rules.verify (agent) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=agent network.interface.name=eth0
  ~ 0af7651916cd43dd8448eb211c80319c b7ad6b7169203331 1 "vendor=1" istio_cni.link.baggage.team=net istio_cni.link.source=environment
  ~ cccccccccccccccccccccccccccccccc dddddddddddddddd 0 "" istio_cni.link.source=annotation
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source=cache
    redirect.decide (agent) istio_cni.decision=enroll
    rules.build (agent) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
    rules.apply (agent) istio_cni.rules.backend=nftables istio_cni.rules.changed=false
    rules.verify (agent) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
--
info istio_cni.request.progress (agent, agent.call) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (agent, agent.call) | ============= End nftables configuration for web-0 =============
info istio_cni.request.progress (agent, agent.call) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (agent, agent.call) | ============= End nftables configuration for web-0 =============
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
        );
        assert_eq!(
            told.resource(),
            [
                "deployment.environment.name=test",
                "k8s.cluster.name=cluster-1",
                "k8s.node.name=node-a",
                "service.name=istio-cni",
                concat!("service.version=", env!("CARGO_PKG_VERSION")),
            ]
        );
        measured(&told, &page);
    }
}

/// Two ADDs through the agent are in the metrics, with their spans as exemplars; those that went to
/// the collector and those that a scraper got.
fn measured(told: &Told, page: &str) {
    let labels = [("command", "add"), ("outcome", "enrolled"), ("path", "agent")];

    assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(2.0));
    let ids = |name: &str| -> BTreeSet<(String, String)> {
        let spans = told.spans.iter().map(|(_, span)| span).filter(|span| span.name == name);
        spans.map(|span| (hex(&span.trace_id), hex(&span.span_id))).collect()
    };
    let sampled = |name: &str, metric: &str, labels: &[(&str, &str)], label: &str| {
        let (count, exemplars) = told.histogram(metric, labels).unwrap();
        assert_eq!((count, ids(name).len()), (2, 2), "{name}");
        assert!(!exemplars.is_empty() && exemplars.is_subset(&ids(name)), "{name}: {exemplars:?}");
        let lines: Vec<&str> =
            page.lines().filter(|line| line.starts_with(&format!("{metric}_bucket{{{label}"))).collect();
        let shown = |(trace, span): &(String, String)| {
            let exemplar = format!("# {{trace_id=\"{trace}\",span_id=\"{span}\"}}");
            lines.iter().any(|line| line.contains(&exemplar))
        };
        assert!(ids(name).iter().any(shown), "{name}: {lines:#?}");
    };
    sampled("cni.add", "istio_cni_request_duration_seconds", &labels, r#"command="add""#);
    for step in ADD_STEPS.iter().copied() {
        let labels = [("step", step), ("outcome", "done")];
        sampled(step, "istio_cni_step_duration_seconds", &labels, &format!("step=\"{step}\""));
    }
    let lost: Vec<&str> = page.lines().filter(|line| line.starts_with("istio_cni_telemetry_dropped_total{")).collect();
    assert!(!lost.is_empty() && lost.iter().all(|line| line.ends_with(" 0")), "{lost:?}");
}

/// One ADD that enrolled the pod through the agent, which found it in this way: all of it in the
/// pod's trace.
fn enrolled_in_the_pods_trace(told: &Told, source: &str) {
    let tree = format!(
        r#"
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=agent network.interface.name=eth0
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source={source}
    redirect.decide (agent) istio_cni.decision=enroll
    rules.build (agent) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
    rules.apply (agent) istio_cni.rules.backend=nftables istio_cni.rules.changed=true
    rules.verify (agent) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
--
info istio_cni.request.progress (agent, agent.call) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (agent, agent.call) | ============= End nftables configuration for web-0 =============
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#
    );
    same(&told.story(TRACE), &tree);
    assert!(told.spans.iter().all(|(_, span)| hex(&span.trace_id) == TRACE), "nothing is told elsewhere");
}

#[test]
fn a_static_pod_is_told_in_the_trace_of_its_mirror_pod() {
    let hash = "fedcba9876543210fedcba9876543210";
    let (told, answer) = add(&[pod(json!({"kubernetes.io/config.hash": hash}))], &args("web-0", hash), Speaks::Http);
    assert_eq!(answer.result(), prev_result());
    enrolled_in_the_pods_trace(&told, "cache");
}

#[test]
fn a_runtime_that_gives_no_uid_is_told_of_in_the_pods_trace_too() {
    let (told, answer) = add(&[pod(json!({}))], &args("web-0", ""), Speaks::Grpc);
    assert_eq!(answer.result(), prev_result());
    enrolled_in_the_pods_trace(&told, "api");
}

#[test]
fn an_add_in_the_runtimes_own_trace() {
    let mut world = World::new(Speaks::Grpc, &[pod(json!({"tracing.k8s.io/traceparent": CREATOR}))])
        .call_with(|node| node.env("TRACEPARENT", PARENT).conf("trace_parent", json!("parent")));
    let wire = world.wire();
    world.start_agent();
    let answer = world.node.call("ADD", &wire.pod.path());
    assert_eq!(answer.result(), prev_result());
    let mut agent = world.agent.take().unwrap();
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    let told = world.told_so_far();
    let [_, trace, parent, _] = PARENT.split('-').collect::<Vec<_>>()[..] else { panic!("{PARENT}") };
    same(
        &told.story_below(trace, parent),
        r#"
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=agent network.interface.name=eth0
  ~ cccccccccccccccccccccccccccccccc dddddddddddddddd 0 "" istio_cni.link.source=annotation
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source=cache
    redirect.decide (agent) istio_cni.decision=enroll
    rules.build (agent) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
    rules.apply (agent) istio_cni.rules.backend=nftables istio_cni.rules.changed=true
    rules.verify (agent) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
--
info istio_cni.request.progress (agent, agent.call) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (agent, agent.call) | ============= End nftables configuration for web-0 =============
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
    );
    let of_plugin = answer.stderr.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = of_plugin.chain(agent.log.clone()).collect();
    let named: Vec<&str> = lines.iter().filter_map(|line| line["trace_id"].as_str()).collect();
    assert!(!named.is_empty() && named.iter().all(|named| *named == trace), "{named:?}");
    assert!(told.spans.iter().all(|(_, span)| hex(&span.trace_id) == trace), "nothing is told elsewhere");
    let (_, exemplars) =
        told.histogram("istio_cni_step_duration_seconds", &[("step", "rules.apply"), ("outcome", "done")]).unwrap();
    assert_eq!(exemplars, [(trace.to_owned(), hex(&told.span("rules.apply").span_id))].into());
}
