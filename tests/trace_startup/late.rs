//! Starts that do not end well or in time, and those that nobody saw.

use crate::otlp::{Speaks, hex, text};
use crate::scene::{
    DELETED, LATE, PAGE, READY, ago, as_the_registry_says, begun, condition, event, explained, lines, ready, start, uid,
};
use crate::support::api::{Fault, Streaming};
use crate::support::*;
use crate::world::World;
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

#[test]
fn a_pod_that_is_late_is_told_with_the_reason_and_later_what_came_of_it() {
    let mut world = World::new(Speaks::Grpc, &[]);
    world.api.put(&event("Unhealthy", "Readiness probe failed: connection refused", 3, "web"));
    start(&mut world, &[("STARTUP_LIMIT", "1s"), PAGE]);
    world.api.put(&begun());
    world.agent.as_ref().unwrap().wait_for_metric(LATE, 1.0);
    world.api.put(&ready(begun()));
    world.wait(world.collector.until("what came of it", |received| {
        crate::otlp::logs(received).iter().any(|log| log.event_name == "istio_cni.pod.started_late")
    }));
    let timeline = explained(&world)["timeline"].as_array().unwrap().clone();
    let late = timeline.iter().find(|entry| entry["what"] == "pod.started_late").unwrap();
    assert_eq!((&late["outcome"], &late["at"]), (&json!("ok"), &json!(ago(5))), "{late}");
    assert!(late["text"].as_str().unwrap().contains("is ready after all"), "{late}");
    let told = world.told();
    let root = told.span("pod.startup");
    assert_eq!(text(&root.attributes, "error.type").as_deref(), Some("pod_not_ready"));
    let why = "container web runs and is not ready: Readiness probe failed: connection refused";
    assert!(root.status.as_ref().unwrap().message.ends_with(why), "{root:?}");
    let said = lines(&told);
    let after_all =
        "info istio_cni.pod.started_late | pod shop/web-0, which was late, is ready after all, 15 s after its start";
    assert!(said.iter().any(|line| line == after_all), "{said:?}");
    as_the_registry_says(&told);
}

#[test]
fn a_pod_that_is_deleted_or_vanishes_before_it_is_ready_is_told_without_events_where_nobody_gives_them() {
    let mut gone = begun();
    gone["metadata"]["name"] = json!("gone");
    gone["metadata"]["uid"] = json!(uid(9));
    let mut world = World::new(Speaks::Grpc, &[begun(), gone.clone()]);
    world.api.fail("events.list", Some(Fault::Status(403)));
    start(&mut world, &[]);
    let mut deleting = begun();
    deleting["metadata"]["deletionTimestamp"] = json!(ago(0));
    deleting["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    world.api.put(&deleting);
    world.api.remove(&gone);
    let agent = world.agent.as_mut().unwrap();
    agent.wait_for_metric(DELETED, 2.0);
    let warned = agent.wait_for("told without what the Events on them say");
    assert!(warned["msg"].as_str().unwrap().contains("list of events (STARTUP_TRACES)"), "{warned}");
    assert!(world.api.count("events.list") <= 2, "who is refused does not keep asking");
    let told = world.told();
    let roots: Vec<&Span> = told.spans.iter().map(|(_, span)| span).filter(|span| span.name == "pod.startup").collect();
    assert_eq!(roots.len(), 2);
    for root in roots {
        assert_eq!(text(&root.attributes, "error.type").as_deref(), Some("pod_deleted"));
        assert_eq!(text(&root.attributes, "istio_cni.startup.events").as_deref(), Some("unknown"));
        let why = "the pod was deleted before it was ready: container web runs and is not ready";
        assert_eq!(root.status.as_ref().unwrap().message, why);
    }
    as_the_registry_says(&told);
}

/// A pod that nobody says when the kubelet saw it, so that all its time is left when the agent sees it first.
fn fresh() -> Value {
    let mut pod = begun();
    pod["status"].as_object_mut().unwrap().remove("startTime");
    pod
}

#[test]
fn a_pod_is_not_late_because_nothing_is_heard_of_it() {
    let mut world = World::new(Speaks::Grpc, &[fresh()]);
    world.api.set_streaming(Streaming::Refused);
    world.api.fail("watch", Some(Fault::Status(400)));
    start(&mut world, &[("STARTUP_LIMIT", "1s")]);
    // It is listed, and the pauses of 100 ms between watches that do not open add up to more than the limit.
    world.api.wait_for("watch", 25);
    assert_eq!(world.api.count("get "), 0, "nobody asks about a pod while the server is away");
    world.api.put(&ready(fresh()));
    world.api.fail("watch", None);
    let agent = world.agent.as_ref().unwrap();
    agent.wait_for_metric(READY, 1.0);
    assert_eq!(agent.metric(LATE), None);
}

#[test]
fn a_pod_that_only_the_api_server_knows_to_be_ready_is_not_late() {
    let mut world = World::new(Speaks::Grpc, &[fresh()]);
    // The watch is open, and what it brings hangs behind; what is asked for gets no answer until it is decided.
    world.api.hold_watches(true);
    world.api.fail("get", Some(Fault::Status(500)));
    start(&mut world, &[("STARTUP_LIMIT", "1s")]);
    world.api.wait_for("get", 1);
    world.api.put(&ready(fresh()));
    world.api.fail("get", None);
    world.api.wait_for("get", 2);
    world.api.hold_watches(false);
    let agent = world.agent.as_ref().unwrap();
    agent.wait_for_metric(READY, 1.0);
    assert_eq!(agent.metric(LATE), None);
}

#[test]
fn of_a_pod_that_was_ready_before_the_agent_came_no_start_is_made_up() {
    let mut leaving = ready(begun());
    leaving["metadata"]["deletionTimestamp"] = json!(ago(0));
    leaving["status"]["conditions"][3] = condition("Ready", false, 2);
    let mut other = ready(begun());
    other["metadata"]["name"] = json!("other");
    other["metadata"]["uid"] = json!(uid(1));
    let mut world = World::new(Speaks::Grpc, &[leaving.clone()]);
    start(&mut world, &[PAGE]);
    let said = explained(&world);
    assert!(said["timeline"].as_array().unwrap().iter().all(|entry| entry["what"] != "pod.startup"), "{said}");
    let begins = "the pod was ready before and is not now";
    let notes: Vec<&str> = said["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(notes.iter().any(|note| note.starts_with(begins)), "{said}");
    world.api.remove(&leaving);
    // What is told of another pod after that shows that nothing is told of this one.
    world.api.put(&other);
    world.agent.as_ref().unwrap().wait_for_metric(READY, 1.0);
    let told = world.told();
    let roots: Vec<String> =
        told.spans.iter().filter(|(_, span)| span.name == "pod.startup").map(|(_, span)| hex(&span.trace_id)).collect();
    assert_eq!(roots, [uid(1).replace('-', "")]);
}

#[test]
fn what_a_container_says_at_its_end_is_in_no_span_and_no_log_record() {
    let mut failed = begun();
    let ended = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "password=hunter2",
        "startedAt": ago(15), "finishedAt": ago(10)}});
    failed["status"]["phase"] = json!("Failed");
    failed["status"]["containerStatuses"][0]["state"] = ended;
    let mut world = World::new(Speaks::Grpc, &[failed]);
    let agent = start(&mut world, &[]);
    agent.wait_for_metric(r#"istio_cni_pod_startup_duration_seconds_count{phase="startup",outcome="failed"}"#, 1.0);
    let told = world.told();
    let root = told.span("pod.startup");
    assert_eq!(root.status.as_ref().unwrap().message, "container web ended with exit code 3 (Error)");
    assert!(!format!("{:?} {:?}", told.spans, told.logs).contains("hunter2"));
}

#[test]
fn of_a_pod_that_started_and_went_while_there_was_no_agent_it_is_told_that_nobody_saw_it() {
    let mut world = World::new(Speaks::Grpc, &[fresh()]);
    start(&mut world, &[]);
    let remembered = world.node.path("startups");
    eventually("the pod in the file", || {
        std::fs::read_to_string(&remembered).ok().filter(|text| text.contains(&format!("{UID} open shop/web-0")))
    });
    let agent = world.agent.as_mut().unwrap();
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    world.api.remove(&fresh());
    start(&mut world, &[]);
    world.wait(world.collector.until("what nobody saw", |received| {
        crate::otlp::logs(received).iter().any(|log| log.event_name == "istio_cni.pod.start_unseen")
    }));
    eventually("an empty book", || std::fs::read_to_string(&remembered).ok().filter(|text| text == "scope meshed\n"));
    let told = world.told();
    let said = lines(&told);
    let sentence = "pod shop/web-0, which was starting when the agent ended, is gone; what came of it nobody saw";
    assert!(said.contains(&format!("info istio_cni.pod.start_unseen | {sentence}")), "{said:?}");
    as_the_registry_says(&told);
}
