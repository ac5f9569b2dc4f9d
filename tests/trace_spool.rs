//! ADDs that the plugin made alone: their telemetry waits in the spool, and arrives once, in the
//! same form, when there is an agent again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use istio_cni_otel::domain::step::ErrorType;
use otlp::Speaks;
use serde_json::json;
use std::os::unix::net::UnixListener;
use support::*;
use told::Told;
use world::{World, same};

/// How many pods were got, or not, with this status.
fn asked(told: &Told, code: &str) -> Option<f64> {
    told.counter("istio_cni_api_requests_total", &[("verb", "get"), ("resource", "pods"), ("code", code)])
}

/// Starts an agent, waits until it has taken the spool over, and stops it.
fn collected(world: &mut World) -> Told {
    world.start_agent();
    world.wait_for_an_empty_spool();
    let told = world.told();
    let damaged = told.logs.iter().filter(|(_, log)| log.event_name == "istio_cni.spool.damaged");
    assert_eq!(damaged.count(), 0);
    told
}

#[test]
fn an_add_without_an_agent_is_told_by_the_next_one() {
    let mut world = World::new(Speaks::Http, &[pod(json!({}))]);
    let wire = world.wire();
    for _ in 0..2 {
        assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    }
    assert_eq!(world.node.spooled().len(), 2);
    let told = collected(&mut world);
    same(
        &told.story(TRACE),
        r#"
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=standalone network.interface.name=eth0
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=absent
  pod.lookup (plugin) istio_cni.pod.attempts=1 istio_cni.pod.source=api
  redirect.decide (plugin) istio_cni.decision=enroll
  rules.build (plugin) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
  rules.apply (plugin) istio_cni.rules.backend=nftables istio_cni.rules.changed=true
  rules.verify (plugin) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=standalone network.interface.name=eth0
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=absent
  pod.lookup (plugin) istio_cni.pod.attempts=1 istio_cni.pod.source=api
  redirect.decide (plugin) istio_cni.decision=enroll
  rules.build (plugin) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
  rules.apply (plugin) istio_cni.rules.backend=nftables istio_cni.rules.changed=false
  rules.verify (plugin) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
--
warn istio_cni.request.progress (plugin, cni.add) | the node agent does not answer at RUN_DIR/agent.sock (No such file or directory (os error 2)); the plugin goes on alone
info istio_cni.request.progress (plugin, cni.add) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (plugin, cni.add) | ============= End nftables configuration for web-0 =============
warn istio_cni.request.progress (plugin, cni.add) | the node agent does not answer at RUN_DIR/agent.sock (No such file or directory (os error 2)); the plugin goes on alone
info istio_cni.request.progress (plugin, cni.add) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (plugin, cni.add) | ============= End nftables configuration for web-0 =============
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
    );
    let labels = [("command", "add"), ("outcome", "enrolled"), ("path", "standalone")];
    assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(2.0));
    let step = [("step", "rules.apply"), ("outcome", "done")];
    assert_eq!(told.histogram("istio_cni_step_duration_seconds", &step).unwrap().0, 2);
    assert_eq!(asked(&told, "200"), Some(2.0));
    let again = collected(&mut world);
    let adds = again.spans.iter().filter(|(_, span)| span.name == "cni.add").count();
    assert_eq!(adds, 2, "the agent after it has nothing more to tell");
}

#[test]
fn nothing_is_lost_when_the_agent_is_killed_between_two_adds() {
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    let wire = world.wire();
    world.start_agent();
    assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    eventually("all of the first ADD", || {
        let told = world.told_so_far();
        let ended = told.logs.iter().any(|(_, log)| format!("{:?}", log.body).contains("= End "));
        (ended && told.spans.len() == 9).then_some(())
    });
    world.agent.take().unwrap().kill();
    assert!(world.node.path("agent.sock").exists(), "its socket is still there, and nobody serves it");
    assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    let told = collected(&mut world);
    same(
        &told.story(TRACE),
        r#"
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=agent network.interface.name=eth0
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source=cache
    redirect.decide (agent) istio_cni.decision=enroll
    rules.build (agent) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
    rules.apply (agent) istio_cni.rules.backend=nftables istio_cni.rules.changed=true
    rules.verify (agent) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=standalone network.interface.name=eth0
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=absent
  pod.lookup (plugin) istio_cni.pod.attempts=1 istio_cni.pod.source=api
  redirect.decide (plugin) istio_cni.decision=enroll
  rules.build (plugin) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
  rules.apply (plugin) istio_cni.rules.backend=nftables istio_cni.rules.changed=false
  rules.verify (plugin) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
--
info istio_cni.request.progress (agent, agent.call) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (agent, agent.call) | ============= End nftables configuration for web-0 =============
warn istio_cni.request.progress (plugin, cni.add) | the node agent does not answer at RUN_DIR/agent.sock (Connection refused (os error 111)); the plugin goes on alone
info istio_cni.request.progress (plugin, cni.add) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (plugin, cni.add) | ============= End nftables configuration for web-0 =============
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
    );
}

#[test]
fn an_agent_that_is_told_to_stop_at_its_start_loses_nothing() {
    for _ in 0..4 {
        let mut world = World::new(Speaks::Http, &[pod(json!({}))]);
        let wire = world.wire();
        assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
        world.agent = Some(world.launch_agent(&[]));
        world.wait_for_an_empty_spool();
        assert_eq!(world.told().tree(TRACE, &TRACE[16..]).0.lines().count(), 9);
    }
}

/// The story of an ADD whose agent is there, but of no use.
const TROUBLED: &str = r#"
cni.add (plugin) container.id=cafe istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=standalone network.interface.name=eth0
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) error.type=ERROR_TYPE
    ! ERROR
  pod.lookup (plugin) istio_cni.pod.attempts=1 istio_cni.pod.source=api
  redirect.decide (plugin) istio_cni.decision=enroll
  rules.build (plugin) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
  rules.apply (plugin) istio_cni.rules.backend=nftables istio_cni.rules.changed=true
  rules.verify (plugin) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
--
error istio_cni.step.failed (plugin, agent.call) error.type=ERROR_TYPE istio_cni.step=agent.call | agent.call failed after TIME: ERROR
info istio_cni.request.progress (plugin, cni.add) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (plugin, cni.add) | ============= End nftables configuration for web-0 =============
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#;

/// An ADD while a stand-in for the agent treats the plugin like this, told by a real agent later.
fn troubled(mood: Mood, kind: ErrorType, error: &str) {
    let mut world =
        World::new(Speaks::Http, &[pod(json!({}))]).call_with(|node| node.conf("agent_timeout_ms", json!(300)));
    let wire = world.wire();
    let _heard = agent(&world.node, mood);
    assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    assert!(!wire.pod.nft_tables().is_empty());
    let told = collected(&mut world);
    let story = TROUBLED.replace("ERROR_TYPE", kind.as_str()).replace("ERROR", error);
    same(&told.story(TRACE), &story);
    let step = [("step", "agent.call"), ("outcome", "failed"), ("error.type", kind.as_str())];
    assert_eq!(told.histogram("istio_cni_step_duration_seconds", &step).unwrap().0, 1);
    let labels = [("command", "add"), ("outcome", "enrolled"), ("path", "standalone")];
    assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(1.0));
}

#[test]
fn an_agent_that_talks_nonsense_is_a_failed_step_and_the_plugins_own_follow() {
    troubled(
        Mood::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ErrorType::AgentProtocol,
        "what the process that serves RUN_DIR/agent.sock says is no answer of a node agent: \
         unknown frame kind 0x48, expected 0x43 (call), 0x52 (conclusion) or 0x54 (telemetry)",
    );
}

#[test]
fn an_agent_that_hangs_is_a_failed_step_and_the_plugins_own_follow() {
    let error = "the node agent at RUN_DIR/agent.sock did not answer within 300 ms (agent_timeout_ms)";
    troubled(Mood::Silent, ErrorType::AgentTimeout, error);
}

#[test]
fn an_agent_that_hangs_up_is_a_failed_step_and_the_plugins_own_follow() {
    let error = "the node agent at RUN_DIR/agent.sock hung up without an answer";
    troubled(Mood::HangsUp, ErrorType::AgentProtocol, error);
}

#[test]
fn a_failed_add_without_an_agent_is_told_with_its_error() {
    let mut world = World::new(Speaks::Grpc, &[]);
    let wire = world.wire();
    drop(UnixListener::bind(world.node.path("agent.sock")).unwrap());
    let (code, message) = world.node.call("ADD", &wire.pod.path()).error();
    assert_eq!(code, 999);
    assert!(wire.pod.nft_tables().is_empty(), "nothing is half done");
    let told = collected(&mut world).with_error(&message, TRACE);
    same(
        &told.story(TRACE),
        r#"
cni.add (plugin) container.id=cafe error.type=pod_not_found istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=failed istio_cni.path=standalone istio_cni.reason=pod_not_found network.interface.name=eth0
  ! THE ERROR
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=absent
  pod.lookup (plugin) error.type=pod_not_found istio_cni.pod.attempts=2 istio_cni.pod.source=api
    ! pod shop/web-0 could not be looked up: the API server API knows no pod shop/web-0 (404: the stand-in says 404): it was deleted, or its object has not arrived yet; the runtime tries again while the pod is wanted (asked 2 times in TIME)
--
warn istio_cni.request.progress (plugin, cni.add) | the node agent does not answer at RUN_DIR/agent.sock (Connection refused (os error 111)); the plugin goes on alone
warn istio_cni.request.progress (plugin, pod.lookup) | in a degraded state and web-0 is not a CNI pod, podNamespace: shop, conf pod namespace: istio-system
error istio_cni.request.progress (plugin, pod.lookup) | Failed to get pod info: pod shop/web-0 could not be looked up: the API server API knows no pod shop/web-0 (404: the stand-in says 404): it was deleted, or its object has not arrived yet; the runtime tries again while the pod is wanted (asked 2 times in TIME)
error istio_cni.step.failed (plugin, pod.lookup) error.type=pod_not_found istio_cni.step=pod.lookup | pod.lookup failed after TIME: pod shop/web-0 could not be looked up: the API server API knows no pod shop/web-0 (404: the stand-in says 404): it was deleted, or its object has not arrived yet; the runtime tries again while the pod is wanted (asked 2 times in TIME)
error istio_cni.request.progress (plugin, cni.add) | istio-cni cmdAdd error: THE ERROR; step pod.lookup, trace 11111111222243338444555555555555
error istio_cni.request.failed (plugin, cni.add) error.type=pod_not_found | istio-cni failed with: THE ERROR; step pod.lookup, trace 11111111222243338444555555555555
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
    );
    let labels = [("command", "add"), ("outcome", "failed"), ("path", "standalone"), ("reason", "pod_not_found")];
    assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(1.0));
    assert_eq!(asked(&told, "404"), Some(2.0), "the plugin's requests are counted by the agent");
}
