//! Real agents that are stopped and killed while their collector is away: what they were told
//! arrives when there is an agent and a collector again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use otlp::{Nobody, Speaks};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::*;
use told::Told;
use world::World;

/// How many spans of each name there are.
fn names(told: &Told) -> BTreeMap<&str, usize> {
    let mut names = BTreeMap::new();
    for (_, span) in &told.spans {
        *names.entry(span.name.as_str()).or_default() += 1;
    }
    names
}

fn told_files(world: &World) -> usize {
    let entries = std::fs::read_dir(world.node.path("spool")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".told.spool")).count()
}

/// Whether the agents that sent this counted requests of ADDs.
fn counted(told: &Told, path: &str) -> Option<f64> {
    told.counter("istio_cni_requests_total", &[("command", "add"), ("outcome", "enrolled"), ("path", path)])
}

#[test]
fn an_agent_that_is_killed_while_its_collector_is_away_leaves_the_spool_to_the_next() {
    const CALLS: usize = 3;
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    let wire = world.wire();
    for _ in 0..CALLS {
        assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    }
    let nobody = Nobody::new();
    let mut agent = world.launch_without_collector(&nobody, &[]);
    agent.wait_for("took over ");
    assert_eq!(told_files(&world), CALLS);
    agent.kill();
    assert_eq!(told_files(&world), CALLS);
    world.start_agent();
    world.wait_for_an_empty_spool();
    let told = world.told();
    let steps = ["config.parse", "netns.open", "agent.call", "pod.lookup", "redirect.decide"];
    let all = steps.into_iter().chain(["rules.build", "rules.apply", "rules.verify", "cni.add"]);
    assert_eq!(names(&told), all.map(|name| (name, CALLS)).collect());
    assert_eq!(told.story(TRACE).matches(" configuration for web-0 =====").count(), 2 * CALLS);
    assert_eq!(counted(&told, "standalone"), None, "the agent that was killed has counted them");
}

#[test]
fn an_agent_that_is_stopped_while_its_collector_is_away_leaves_everything_to_the_next() {
    for speaks in [Speaks::Grpc, Speaks::Http] {
        let mut world = World::new(speaks, &[pod(json!({}))]);
        let wire = world.wire();
        assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
        let nobody = Nobody::new();
        let mut agent = world.launch_without_collector(&nobody, &[]);
        agent.wait_for("took over ");
        agent.wait_for("ms after the start");
        assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
        agent.wait_for_metric(
            r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"}"#,
            1.0,
        );
        agent.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(agent.ended().success());
        agent.wait_for("items of traces in the spool, for the next agent to send");
        agent.wait_for("items of logs in the spool, for the next agent to send");
        let lost = |line: &&Value| line["msg"].as_str().unwrap().starts_with("lost ");
        let lost: Vec<_> = agent.log.iter().filter(lost).map(|line| &line["istio_cni.telemetry.signal"]).collect();
        assert!(lost.iter().all(|signal| *signal == "metrics"), "later numbers say more: {lost:?}");
        an_agent_that_sends_nothing_leaves_it_where_it_is(&world);

        world.start_agent();
        world.wait_for_an_empty_spool();
        let told = world.told();
        let names = names(&told);
        assert_eq!(names.len(), 9, "{names:?}");
        assert!(names.values().all(|count| *count == 2), "one ADD alone, one with the agent: {names:?}");
        let story = told.story(TRACE);
        assert!(story.contains("\n    rules.apply (agent) "), "{story}");
        assert!(story.contains("\n  rules.apply (plugin) "), "{story}");
        let events = |name: &str| told.logs.iter().filter(|(_, log)| log.event_name == name).count();
        assert_eq!((events("istio_cni.agent.starting"), events("istio_cni.agent.stopping")), (2, 2));
        assert_eq!((counted(&told, "agent"), counted(&told, "standalone")), (None, None), "counted by the first");
    }
}

/// Somebody may have forgotten to say where the collector is.
fn an_agent_that_sends_nothing_leaves_it_where_it_is(world: &World) {
    let waiting = told_files(world);
    assert!(waiting > 0);
    let exporters = ["OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_METRICS_EXPORTER"];
    let mut agent = world.launch_agent(&exporters.map(|exporter| (exporter, "none")));
    agent.wait_for("ms after the start");
    eventually("a look at the spool", || agent.metric("istio_cni_telemetry_spool_bytes").filter(|size| *size > 0.0));
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(agent.ended().success());
    assert_eq!(told_files(world), waiting);
}

#[test]
fn what_does_not_fit_the_spool_is_counted_by_the_next_agent() {
    let mut world = World::new(Speaks::Grpc, &[pod(json!({}))]);
    let wire = world.wire();
    std::fs::create_dir(world.node.path("spool")).unwrap();
    (0..512).for_each(|number| std::fs::write(world.node.path(&format!("spool/of-others-{number}")), "").unwrap());
    let nobody = Nobody::new();
    let mut agent = world.launch_without_collector(&nobody, &[]);
    agent.wait_for("ms after the start");
    assert_eq!(world.node.call("ADD", &wire.pod.path()).result(), prev_result());
    agent.wait_for_metric(r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"}"#, 1.0);
    assert!(agent.stop().success());
    let agent = world.start_agent();
    agent.wait_for_metric(r#"istio_cni_telemetry_dropped_total{signal="traces",reason="spool_full"}"#, 9.0);
    assert!(world.told().spans.is_empty());
}
