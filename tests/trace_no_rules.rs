//! ADDs through the real agent that end without rules, because the pod gets none or because
//! something is wrong: the whole trace, every log record and the metrics of each.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use otlp::{Speaks, hex};
use serde_json::json;
use support::*;
use told::Told;
use world::{add, args, same};

/// The UID of a pod that is not there.
const GONE: &str = "99999999-2222-4333-8444-555555555555";
const GONE_TRACE: &str = "99999999222243338444555555555555";

#[test]
fn an_add_that_is_skipped() {
    let mut plain = pod(json!({}));
    plain["spec"]["containers"] = json!([{"name": "web"}]);
    let (told, answer) = add(&[plain], &args("web-0", UID), Speaks::Http);
    assert_eq!(answer.result(), prev_result());
    same(
        &told.story(TRACE),
        r#"
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=skipped istio_cni.path=agent istio_cni.reason=no_proxy_container network.interface.name=eth0
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source=cache
    redirect.decide (agent) istio_cni.decision=skip istio_cni.reason=no_proxy_container
--
info istio_cni.pod.skipped (agent, agent.call) istio_cni.reason=no_proxy_container | excluded because it does not have istio-proxy container (have [web])
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
    );
    let labels = [("command", "add"), ("outcome", "skipped"), ("path", "agent"), ("reason", "no_proxy_container")];
    assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(1.0));
}

#[test]
fn an_add_that_is_skipped_without_a_question() {
    let arguments = args("web-0", UID).replace("shop", "kube-system");
    let (told, answer) = add(&[], &arguments, Speaks::Grpc);
    assert_eq!(answer.result(), prev_result());
    same(
        &told.story(TRACE),
        r#"
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=skipped istio_cni.path=standalone istio_cni.reason=namespace_excluded network.interface.name=eth0
  config.parse (plugin)
--
info istio_cni.pod.skipped (plugin, cni.add) istio_cni.reason=namespace_excluded | pod namespace kube-system excluded
-- web-0 kube-system 11111111-2222-4333-8444-555555555555
"#,
    );
    let labels = [("command", "add"), ("outcome", "skipped"), ("path", "standalone"), ("reason", "namespace_excluded")];
    assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(1.0));
}

#[test]
fn an_add_with_a_wrong_annotation() {
    let wrong = pod(json!({"traffic.sidecar.istio.io/includeOutboundIPRanges": "10.96.0.0/99"}));
    let (told, answer) = add(&[wrong], &args("web-0", UID), Speaks::Grpc);
    let (code, message) = answer.error();
    let told = told.with_error(&message, TRACE);
    assert_eq!(code, 999);
    assert!(message.contains("failed parsing cidr '10.96.0.0/99'"), "{message}");
    same(
        &told.story(TRACE),
        r#"
cni.add (plugin) container.id=cafe error.type=annotation_invalid istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=failed istio_cni.path=agent istio_cni.reason=annotation_invalid network.interface.name=eth0
  ! THE ERROR
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered istio_cni.reason=annotation_invalid
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source=cache
    redirect.decide (agent) error.type=annotation_invalid
      ! THE ERROR
--
error istio_cni.step.failed (agent, redirect.decide) error.type=annotation_invalid istio_cni.step=redirect.decide | redirect.decide failed after TIME: THE ERROR
error istio_cni.request.progress (agent, agent.call) | redirect failed due to bad params: THE ERROR
error istio_cni.request.progress (plugin, cni.add) | istio-cni cmdAdd error: THE ERROR; step redirect.decide, trace 11111111222243338444555555555555
error istio_cni.request.failed (plugin, cni.add) error.type=annotation_invalid | istio-cni failed with: THE ERROR; step redirect.decide, trace 11111111222243338444555555555555
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
    );
    let failed = [("step", "redirect.decide"), ("outcome", "failed"), ("error.type", "annotation_invalid")];
    let (count, exemplars) = told.histogram("istio_cni_step_duration_seconds", &failed).unwrap();
    let span = hex(&told.span("redirect.decide").span_id);
    assert_eq!((count, exemplars), (1, [(TRACE.to_owned(), span)].into()));
}

/// An ADD through the agent of a pod that is not to be had: what is told of it, with the error's
/// words checked.
fn not_found(name: &str, speaks: Speaks, error_type: &str, words: &str) -> Told {
    let (told, answer) = add(&[pod(json!({}))], &args(name, GONE), speaks);
    let (code, message) = answer.error();
    let told = told.with_error(&message, GONE_TRACE);
    assert_eq!(code, 999);
    assert!(message.contains(words), "{message}");
    let tree = format!(
        r#"
cni.add (plugin) container.id=cafe error.type={error_type} istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=failed istio_cni.path=agent istio_cni.reason={error_type} network.interface.name=eth0
  ! THE ERROR
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered istio_cni.reason={error_type}
    pod.lookup (agent) error.type={error_type} istio_cni.pod.attempts=3 istio_cni.pod.source=api
      ! THE ERROR
--
error istio_cni.step.failed (agent, pod.lookup) error.type={error_type} istio_cni.step=pod.lookup | pod.lookup failed after TIME: THE ERROR
error istio_cni.request.progress (plugin, cni.add) | istio-cni cmdAdd error: THE ERROR; step pod.lookup, trace 99999999222243338444555555555555
error istio_cni.request.failed (plugin, cni.add) error.type={error_type} | istio-cni failed with: THE ERROR; step pod.lookup, trace 99999999222243338444555555555555
-- {name} shop 99999999-2222-4333-8444-555555555555
"#
    );
    same(&told.story(GONE_TRACE), &tree);
    told
}

#[test]
fn an_add_of_a_pod_that_the_api_server_does_not_know() {
    let told = not_found("ghost", Speaks::Http, "pod_not_found", "the API server knows no such pod (404)");
    let labels = [("command", "add"), ("outcome", "failed"), ("path", "agent"), ("reason", "pod_not_found")];
    assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(1.0));
}

#[test]
fn an_add_of_a_pod_that_was_replaced() {
    let told = not_found("web-0", Speaks::Grpc, "pod_replaced", "it was replaced meanwhile");
    assert!(told.spans.iter().all(|(_, span)| hex(&span.trace_id) != TRACE), "the successor's trace is not touched");
}
