//! How pods start, in their traces: told by the real agent from what the API server says, as a collector
//! gets it over the wire.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
#[path = "support/registry.rs"]
mod registry;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use istio_cni_otel::telemetry::timestamp::Timestamp;
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use otlp::{Speaks, hex, text};
use registry::Registry;
use serde_json::{Value, json};

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};
use support::agent::Agent;
use support::api::{Fault, Streaming};
use support::*;
use told::Told;
use world::{World, args, same};

const ROOT: &str = "8444555555555555";
const READY: &str = r#"istio_cni_pod_startup_duration_seconds_count{phase="startup",outcome="ready"}"#;
const LATE: &str = r#"istio_cni_pod_startup_duration_seconds_count{phase="startup",outcome="late"}"#;
const DELETED: &str = r#"istio_cni_pod_startup_duration_seconds_count{phase="startup",outcome="deleted"}"#;
const TRACES: (&str, &str) = ("STARTUP_TRACES", "meshed");

/// Starts an agent that tells of starts, and looks at no rules.
fn start<'a>(world: &'a mut World, more: &[(&str, &str)]) -> &'a mut Agent {
    let usual = [("AUDIT_INTERVAL", "0"), TRACES];
    let mut agent = world.launch_agent(&usual.iter().chain(more).copied().collect::<Vec<_>>());
    agent.wait_for("ms after the start");
    world.agent.insert(agent)
}

/// So many seconds before this process asked first, as the API writes it.
fn ago(seconds: u64) -> String {
    static NOW: OnceLock<u64> = OnceLock::new();
    let now = *NOW.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    let time = Timestamp((now - seconds) * 1_000_000_000).to_string();
    format!("{}Z", time.split('.').next().unwrap())
}

fn condition(kind: &str, met: bool, ago_s: u64) -> Value {
    json!({"type": kind, "status": if met { "True" } else { "False" }, "lastTransitionTime": ago(ago_s)})
}

/// The pod, created 20 seconds ago, with a validation that has passed and a container that runs.
fn begun() -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["creationTimestamp"] = json!(ago(20));
    pod["metadata"]["annotations"]["sidecar.istio.io/status"] = json!("{}");
    let passed = json!({"terminated": {"exitCode": 0, "reason": "Completed", "containerID": "containerd://v",
        "startedAt": ago(17), "finishedAt": ago(16)}});
    let runs = json!({"running": {"startedAt": ago(15)}});
    pod["status"] = json!({"phase": "Pending", "startTime": ago(19),
        "conditions": [condition("PodScheduled", true, 20), condition("PodReadyToStartContainers", true, 18)],
        "initContainerStatuses": [{"name": "istio-validation", "ready": true, "restartCount": 0, "state": passed}],
        "containerStatuses": [{"name": "web", "ready": false, "restartCount": 0, "state": runs}]});
    pod
}

/// The same, ready since five seconds.
fn ready(mut pod: Value) -> Value {
    let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
    conditions.extend([condition("ContainersReady", true, 5), condition("Ready", true, 5)]);
    pod["status"]["phase"] = json!("Running");
    pod["status"]["containerStatuses"][0]["ready"] = json!(true);
    pod
}

/// An Event on the pod, of the kubelet.
fn event(reason: &str, message: &str, ago_s: u64, container: &str) -> Value {
    let path = if container.is_empty() { String::new() } else { format!("spec.containers{{{container}}}") };
    let kind = if reason.starts_with("Failed") || reason == "Unhealthy" { "Warning" } else { "Normal" };
    json!({"apiVersion": "v1", "kind": "Event", "type": kind, "reason": reason, "message": message, "count": 1,
        "metadata": {"namespace": "shop", "name": format!("web-0.{reason}"), "creationTimestamp": ago(ago_s)},
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-0", "uid": UID, "fieldPath": path},
        "source": {"component": "kubelet"}, "firstTimestamp": ago(ago_s), "lastTimestamp": ago(ago_s)})
}

/// A trace, one line a span below its parent: the name, whole seconds, what was asked for, and the error.
fn outline(told: &Told, shown: &[&str]) -> String {
    let mut spans: Vec<&Span> = told.spans.iter().map(|(_, span)| span).collect();
    spans.retain(|span| hex(&span.trace_id) == TRACE);
    spans.sort_by_key(|span| (span.start_time_unix_nano, span.name.clone()));
    let mut out = String::new();
    write(&mut out, &spans, "", 0, shown);
    out
}

fn write(out: &mut String, spans: &[&Span], parent: &str, depth: usize, shown: &[&str]) {
    for span in spans.iter().filter(|span| hex(&span.parent_span_id) == parent) {
        let took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000_000;
        let _ = write!(out, "{}{} {took}s", "  ".repeat(depth), span.name);
        for key in shown {
            if let Some(value) = text(&span.attributes, key) {
                let _ = write!(out, " {}={value}", key.rsplit('.').next().unwrap());
            }
        }
        if let Some(status) = span.status.as_ref().filter(|status| status.code() == StatusCode::Error) {
            let _ = write!(out, " !{}", status.message);
        }
        out.push('\n');
        write(out, spans, &hex(&span.span_id), depth + 1, shown);
    }
}

/// What is said of whole starts.
fn lines(told: &Told) -> Vec<String> {
    let ours = |name: &str| name.starts_with("istio_cni.pod.");
    let logs = told.logs.iter().map(|(_, log)| log).filter(|log| ours(&log.event_name));
    let body = |log: &opentelemetry_proto::tonic::logs::v1::LogRecord| {
        let body = opentelemetry_proto::tonic::common::v1::KeyValue {
            key: "body".into(),
            value: log.body.clone(),
            ..Default::default()
        };
        text(&[body], "body").unwrap()
    };
    logs.map(|log| format!("{} {} | {}", log.severity_text, log.event_name, body(log))).collect()
}

const PAGE: (&str, &str) = ("PAGE_ADDRESS", "127.0.0.1:0");

/// What `explain` says of the pod on this node.
fn explained(world: &World) -> Value {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
    command.args(["explain", "shop/web-0", "--output", "json", "--run-dir"]).arg(world.node.run_dir.path()).env_clear();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn as_the_registry_says(told: &Told) {
    let registry = Registry::read();
    let mut wrong: Vec<String> = told.spans.iter().flat_map(|(_, span)| registry.span(span)).collect();
    wrong.extend(told.logs.iter().flat_map(|(_, log)| registry.log(log)));
    wrong.extend(told.metrics.iter().flat_map(|metric| registry.metric(metric)));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_pod_that_becomes_ready_is_one_trace_with_its_add_inside() {
    let mut world = World::new(Speaks::Grpc, &[begun()]).call_with(|node| node.env("CNI_ARGS", &args("web-0", UID)));
    for event in [
        event("FailedCreatePodSandBox", "Failed to create pod sandbox: no network", 19, ""),
        event("Pulling", "Pulling image \"web:1\"", 16, "web"),
        event("Pulled", "Successfully pulled image \"web:1\" in 812ms (1s including waiting)", 15, "web"),
    ] {
        world.api.put(&event);
    }
    let wire = world.wire();
    start(&mut world, &[]);
    assert!(world.node.call("ADD", &wire.pod.path()).success);
    world.api.put(&ready(begun()));
    world.agent.as_ref().unwrap().wait_for_metric(READY, 1.0);
    let told = world.told();
    let shown = [
        "istio_cni.startup.outcome",
        "istio_cni.time.precision",
        "istio_cni.startup.attempts",
        "istio_cni.image.pull_ms",
    ];
    let outline = outline(&told, &shown);
    let starts: String = outline
        .lines()
        .filter(|line| !line.starts_with("    "))
        .fold(String::new(), |all, line| all + line.split_once("cni.add").map_or(line, |_| "  cni.add") + "\n");
    same(
        &starts,
        "
pod.startup 15s outcome=ready precision=second
  pod.schedule 0s precision=second
  pod.sandbox 1s precision=second attempts=2
  pod.init istio-validation 1s precision=second
  pod.image web 1s precision=second attempts=1 pull_ms=812
  pod.container web 10s precision=second
  cni.add
",
    );
    assert_eq!(hex(&told.span("pod.startup").span_id), ROOT);
    assert_eq!(told.span("pod.init istio-validation").trace_id, told.span("cni.add").trace_id);
    let said = lines(&told);
    assert!(said.contains(&"info istio_cni.pod.started | pod shop/web-0 is ready after 15 s".to_owned()), "{said:?}");
    let warned = "warn istio_cni.pod.event | Failed to create pod sandbox: no network".to_owned();
    assert!(said.contains(&warned), "{said:?}");
    let (count, exemplars) = told
        .histogram("istio_cni_pod_startup_duration_seconds", &[("phase", "startup"), ("outcome", "ready")])
        .unwrap();
    assert_eq!((count, exemplars.into_iter().next().unwrap()), (1, (TRACE.to_owned(), ROOT.to_owned())));
    let samples = |phase| {
        told.histogram("istio_cni_pod_startup_duration_seconds", &[("phase", phase), ("outcome", "done")]).unwrap().0
    };
    assert_eq!(["schedule", "sandbox", "image", "init", "container"].map(samples), [1; 5]);
    as_the_registry_says(&told);
}

#[test]
fn restarts_and_crashes_of_the_agent_neither_repeat_nor_lose_a_start() {
    let named = |name: &str, number: usize, pod: Value| {
        let mut pod = pod;
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["uid"] = json!(uid(number));
        pod
    };
    let told_before = named("told", 0, begun());
    let open = named("open", 1, begun());
    let mut world = World::new(Speaks::Grpc, &[told_before, open]);
    start(&mut world, &[]);
    world.api.put(&named("told", 0, ready(begun())));
    let agent = world.agent.as_mut().unwrap();
    agent.wait_for_metric(READY, 1.0);
    let remembered = world.node.path("startups");
    eventually("the told pod in the file", || {
        std::fs::read_to_string(&remembered).ok().filter(|text| text.contains(&format!("{} told", uid(0))))
    });
    let agent = world.agent.as_mut().unwrap();
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    // One starts and becomes ready while there is no agent, the other only becomes ready.
    world.api.put(&named("open", 1, ready(begun())));
    world.api.put(&named("missed", 2, ready(begun())));
    let agent = start(&mut world, &[]);
    agent.wait_for_metric(READY, 2.0);
    eventually("both in the file", || {
        std::fs::read_to_string(&remembered).ok().filter(|text| text.matches(" told").count() == 3)
    });
    // What was told arrives before the crash, so that nothing but the book keeps it from being told again.
    world.wait(world.collector.until("three starts", |received| {
        otlp::spans(received).iter().filter(|span| span.name == "pod.startup").count() == 3
    }));
    let agent = world.agent.as_mut().unwrap();
    agent.signal(Signal::SIGKILL);
    agent.ended();
    world.api.put(&named("new", 3, begun()));
    start(&mut world, &[]);
    world.api.put(&named("new", 3, ready(begun())));
    world.agent.as_ref().unwrap().wait_for_metric(READY, 1.0);
    let told = world.told();
    let mut roots: Vec<String> =
        told.spans.iter().filter(|(_, span)| span.name == "pod.startup").map(|(_, span)| hex(&span.trace_id)).collect();
    roots.sort();
    let wanted: Vec<String> = (0..4).map(|number| uid(number).replace('-', "")).collect();
    assert_eq!(roots, wanted, "each once");
}

#[test]
fn a_pod_that_is_late_is_told_with_the_reason_and_later_what_came_of_it() {
    let mut world = World::new(Speaks::Grpc, &[]);
    world.api.put(&event("Unhealthy", "Readiness probe failed: connection refused", 3, "web"));
    start(&mut world, &[("STARTUP_LIMIT", "1s"), PAGE]);
    world.api.put(&begun());
    world.agent.as_ref().unwrap().wait_for_metric(LATE, 1.0);
    world.api.put(&ready(begun()));
    world.wait(world.collector.until("what came of it", |received| {
        otlp::logs(received).iter().any(|log| log.event_name == "istio_cni.pod.started_late")
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
        otlp::logs(received).iter().any(|log| log.event_name == "istio_cni.pod.start_unseen")
    }));
    eventually("an empty book", || std::fs::read_to_string(&remembered).ok().filter(|text| text == "scope meshed\n"));
    let told = world.told();
    let said = lines(&told);
    let sentence = "pod shop/web-0, which was starting when the agent ended, is gone; what came of it nobody saw";
    assert!(said.contains(&format!("info istio_cni.pod.start_unseen | {sentence}")), "{said:?}");
    as_the_registry_says(&told);
}

#[test]
fn pods_that_become_ready_together_are_told_from_one_answer_for_their_namespace() {
    let named = |number: usize| {
        let mut pod = ready(begun());
        pod["metadata"]["name"] = json!(format!("web-{number}"));
        pod["metadata"]["uid"] = json!(uid(number));
        // Their validations are another test's.
        pod["status"]["initContainerStatuses"] = json!([]);
        pod
    };
    let pods: Vec<Value> = (0..40).map(named).collect();
    let mut world = World::new(Speaks::Grpc, &pods);
    for number in 0..40 {
        let mut said = event("Pulling", "Pulling image \"web:1\"", 16, "web");
        said["metadata"]["name"] = json!(format!("web-{number}.pulling"));
        said["involvedObject"]["uid"] = json!(uid(number));
        world.api.put(&said);
        said["reason"] = json!("Pulled");
        said["message"] = json!("Successfully pulled image \"web:1\" in 812ms");
        said["metadata"]["name"] = json!(format!("web-{number}.pulled"));
        world.api.put(&said);
    }
    start(&mut world, &[]);
    world.agent.as_ref().unwrap().wait_for_metric(READY, 40.0);
    let told = world.told();
    let images = told.spans.iter().filter(|(_, span)| span.name == "pod.image web").count();
    assert_eq!(images, 40, "each has its own Events");
    assert!(world.api.count("events.list") <= 4, "{:?}", world.api.count("events.list"));
}

#[test]
fn whose_starts_are_told_a_setting_says() {
    let mut plain = ready(begun());
    plain["metadata"]["annotations"] = json!({});
    plain["metadata"]["uid"] = json!(uid(1));
    plain["metadata"]["name"] = json!("plain");
    for (scope, names) in [("meshed", &["web-0"][..]), ("all", &["plain", "web-0"]), ("off", &[])] {
        let mut world = World::new(Speaks::Grpc, &[ready(begun()), plain.clone()]);
        let agent = start(&mut world, &[("STARTUP_TRACES", scope)]);
        if names.is_empty() {
            // The validation is told in any case; by then a start would be on its way.
            agent.wait_for_metric(r#"istio_cni_validations_total{result="passed"}"#, 1.0);
        } else {
            agent.wait_for_metric(READY, names.len() as f64);
        }
        let told = world.told();
        let roots = told.spans.iter().map(|(_, span)| span).filter(|span| span.name == "pod.startup");
        let mut found: Vec<String> = roots.map(|span| text(&span.attributes, "k8s.pod.name").unwrap()).collect();
        found.sort();
        assert_eq!(found, names, "{scope}");
        // Whoever tells writes down whom, as soon as all pods are known.
        assert_eq!(world.node.path("startups").exists(), !names.is_empty(), "{scope}");
    }
}

/// A node with far more pods than it may have, which started long ago; then many at once.
#[test]
fn five_thousand_pods_cost_little_memory_and_no_requests_and_many_that_start_at_once_are_all_told() {
    const MANY: usize = 5000;
    const AT_ONCE: usize = 150;
    let named = |number: usize, ago_s: u64| {
        let mut pod = ready(begun());
        pod["metadata"]["name"] = json!(format!("web-{number}"));
        pod["metadata"]["uid"] = json!(uid(number));
        pod["status"]["startTime"] = json!(ago(ago_s));
        // Their validations are another test's.
        pod["status"]["initContainerStatuses"] = json!([]);
        pod
    };
    let pods: Vec<Value> = (0..MANY).map(|number| named(number, 100_000)).collect();
    let resident = |world: &mut World, scope: &str| start(world, &[("STARTUP_TRACES", scope)]).resident();
    let without = resident(&mut World::new(Speaks::Grpc, &pods), "off");
    let mut world = World::new(Speaks::Grpc, &pods);
    let with = resident(&mut world, "meshed");
    println!("{without} kB without, {with} kB with");
    assert!(with < without + 4 * 5000, "more than 4 kB a pod: {without} kB without, {with} kB with");
    let remembered = world.node.path("startups");
    let told = |count: usize| {
        eventually("all in the file", || {
            let text = std::fs::read_to_string(&remembered).ok()?;
            (text.matches(" told").count() == count).then_some(())
        });
    };
    told(MANY);
    assert_eq!(world.api.count("events.list"), 0);
    (MANY..MANY + AT_ONCE).for_each(|number| world.api.put(&named(number, 10)));
    let agent = world.agent.as_ref().unwrap();
    agent.wait_for_metric(READY, AT_ONCE as f64);
    assert!(world.api.count("events.list") <= AT_ONCE / 10, "one answer is for many");
    told(MANY + AT_ONCE);
}

fn uid(number: usize) -> String {
    format!("11111111-2222-4333-8444-{number:012}")
}
