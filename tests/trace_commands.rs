//! CHECK, DEL, STATUS and GC through the real agent, and what a collector that is away costs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use otlp::{Nobody, Speaks, hex};
use serde_json::json;
use support::*;
use told::Told;
use world::{World, same};

/// The trace of the one request of this name.
fn trace_of(told: &Told, name: &str) -> String {
    hex(&told.span(name).trace_id)
}

#[test]
fn a_check_that_is_good_and_one_that_finds_drift() {
    let mut world = World::new(Speaks::Http, &[pod(json!({}))]);
    let wire = world.wire();
    world.start_agent();
    let path = wire.pod.path();
    assert!(world.node.call("ADD", &path).success);
    assert!(world.node.call("CHECK", &path).success);
    // Somebody lets one port past the proxy.
    let tables = wire.pod.nft_tables();
    let [table] = &tables[..] else { panic!("{tables:?}") };
    let listed = wire.pod.sh(&format!("nft list table {table}"));
    let chain = listed.lines().find_map(|line| line.trim().strip_prefix("chain ")).unwrap().trim_end_matches(" {");
    wire.pod.sh(&format!("nft add rule {table} {chain} tcp dport 7 return"));
    let (code, message) = world.node.call("CHECK", &path).error();
    assert_eq!(code, 999);
    assert!(message.contains(chain) && message.contains("dport 7"), "{message}");
    let told = world.told().with_error(&message, TRACE);
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
cni.check (plugin) container.id=cafe istio_cni.command=check istio_cni.netns=NETNS istio_cni.outcome=enrolled istio_cni.path=agent network.interface.name=eth0
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source=cache
    redirect.decide (agent) istio_cni.decision=enroll
    rules.build (agent) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
    rules.verify (agent) istio_cni.rules.backend=nftables istio_cni.rules.differences=0
cni.check (plugin) container.id=cafe error.type=rules_drifted istio_cni.command=check istio_cni.netns=NETNS istio_cni.outcome=failed istio_cni.path=agent istio_cni.reason=rules_drifted network.interface.name=eth0
  ! THE ERROR
  config.parse (plugin)
  netns.open (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered istio_cni.reason=rules_drifted
    pod.lookup (agent) istio_cni.pod.attempts=1 istio_cni.pod.source=cache
    redirect.decide (agent) istio_cni.decision=enroll
    rules.build (agent) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
    rules.verify (agent) error.type=rules_drifted istio_cni.rules.backend=nftables istio_cni.rules.differences=1
      ! THE ERROR
--
info istio_cni.request.progress (agent, agent.call) | ============= Start nftables configuration for web-0 =============
info istio_cni.request.progress (agent, agent.call) | ============= End nftables configuration for web-0 =============
error istio_cni.step.failed (agent, rules.verify) error.type=rules_drifted istio_cni.step=rules.verify | rules.verify failed after TIME: THE ERROR
error istio_cni.request.progress (plugin, cni.check) | istio-cni cmdCheck error: THE ERROR; step rules.verify, trace 11111111222243338444555555555555
error istio_cni.request.failed (plugin, cni.check) error.type=rules_drifted | istio-cni failed with: THE ERROR; step rules.verify, trace 11111111222243338444555555555555
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
    );
    for (outcome, reason) in [("enrolled", None), ("failed", Some("rules_drifted"))] {
        let labels = [("command", "check"), ("outcome", outcome), ("path", "agent")];
        let labels: Vec<_> = labels.into_iter().chain(reason.map(|reason| ("reason", reason))).collect();
        assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(1.0), "{outcome}");
    }
}

#[test]
fn a_del_is_told_in_the_pods_trace() {
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    let wire = world.wire();
    world.start_agent();
    assert!(world.node.call("DEL", &wire.pod.path()).success);
    let told = world.told();
    same(
        &told.story(TRACE),
        r#"
cni.del (plugin) container.id=cafe istio_cni.command=del istio_cni.netns=NETNS istio_cni.outcome=done istio_cni.path=agent network.interface.name=eth0
  config.parse (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
--
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#,
    );
    let labels = [("command", "del"), ("outcome", "done"), ("path", "agent")];
    assert_eq!(told.counter("istio_cni_requests_total", &labels), Some(1.0));
}

#[test]
fn status_and_gc_have_traces_of_their_own() {
    let mut world = World::new(Speaks::Http, &[]).call_with(|node| {
        let node = node.conf("cniVersion", json!("1.1.0")).conf("prevResult", json!(null));
        node.env("CNI_ARGS", "")
            .env("CNI_CONTAINERID", "")
            .env("CNI_IFNAME", "")
            .conf("cni.dev/valid-attachments", json!([]))
    });
    world.start_agent();
    for command in ["STATUS", "GC"] {
        let answer = world.node.call(command, "");
        assert!(answer.success, "{command}: {answer:?}");
    }
    let told = world.told();
    for command in ["status", "gc"] {
        let tree = format!(
            r#"
cni.{command} (plugin) istio_cni.command={command} istio_cni.outcome=done istio_cni.path=agent
  config.parse (plugin)
  agent.call (plugin) istio_cni.agent.presence=answered
--
-- 
"#
        );
        same(&told.story_below(&trace_of(&told, &format!("cni.{command}")), ""), &tree);
    }
    assert_ne!(trace_of(&told, "cni.status"), trace_of(&told, "cni.gc"));
}

#[test]
fn a_collector_that_is_away_costs_time_and_no_telemetry() {
    const ADDS: usize = 6;
    /// What an ADD through the agent tells.
    const SPANS: usize = 9;
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    let wire = world.wire();
    let nobody = Nobody::new();
    let small = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "12"), ("OTEL_BSP_EXPORT_TIMEOUT", "1000")];
    let mut agent = world.launch_without_collector(&nobody, &small);
    for _ in 0..ADDS {
        assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    }
    let counted = r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"}"#;
    agent.wait_for_metric(counted, ADDS as f64);
    agent.wait_for("cannot send traces to ");
    world.collector = world.wait(nobody.collector(Speaks::Grpc));
    assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    world.wait(world.collector.spans((ADDS + 1) * SPANS));
    agent.wait_for(&format!("sending traces to {} again", world.collector.url()));
    agent.wait_for_metric(counted, (ADDS + 1) as f64);
    for reason in ["queue_full", "export_failed", "shutdown", "spool_full"] {
        let series = format!(r#"istio_cni_telemetry_dropped_total{{signal="traces",reason="{reason}"}}"#);
        assert_eq!(agent.metric(&series), Some(0.0), "{reason}");
    }
    assert!(agent.stop().success());
    let told = world.told_so_far();
    let (tree, _) = told.tree(TRACE, &TRACE[16..]);
    assert_eq!(tree.lines().filter(|line| line.starts_with("cni.add (plugin) ")).count(), ADDS + 1, "{tree}");
    assert_eq!(tree.matches("\n    rules.apply (agent) ").count(), ADDS + 1, "{tree}");
    let said: Vec<&str> = told.logs.iter().map(|(_, log)| log.event_name.as_str()).collect();
    assert!(said.contains(&"istio_cni.telemetry.export_recovered"), "{said:?}");
}
