//! What pods' validation containers found, in the pods' traces: told by the real agent from what
//! the API server says of their runs, as a collector gets it over the wire.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/otlp.rs"]
mod otlp;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use istio_cni_otel::domain::identity::{SpanId, TraceId};
use istio_cni_otel::domain::ruleset::Family;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::domain::validation::{
    AttemptError, FamilyResult, Told as ToldItself, Validation, ValidationFailure,
};
use istio_cni_otel::wire::termination;
use nix::sys::signal::Signal;
use otlp::Speaks;
use serde_json::{Value, json};
use support::agent::Agent;
use support::*;
use world::{World, same};

/// 2026-11-22T10:00:00Z in nanoseconds.
const START: u64 = 1_795_341_600_000_000_000;
const REFUSED: &str =
    "Error connecting to 127.0.0.6:15002: dial tcp 127.0.0.1:0->127.0.0.6:15002: connect: connection refused";
const PASSED: &str = r#"istio_cni_validations_total{result="passed"}"#;
const FAILED: &str = r#"istio_cni_validations_total{result="failed"}"#;
const BROKE: &str = r#"istio_cni_validations_total{result="broke"}"#;

/// Starts an agent that looks at no rules: what it says of them is another test's.
fn start(world: &mut World) -> &mut Agent {
    let mut agent = world.launch_agent(&[("AUDIT_INTERVAL", "0")]);
    agent.wait_for("ms after the start");
    world.agent.insert(agent)
}

/// A validation that began so many milliseconds after [`START`].
fn validation(after_ms: u64, failed: bool) -> Validation {
    let at = |ms: u64| START + (after_ms + ms) * 1_000_000;
    let mut family = FamilyResult::new(Family::V4, at(0));
    (family.attempts, family.passed) = (3, !failed);
    for ms in [2, 3] {
        family.failed(AttemptError::Refused, REFUSED, at(ms));
    }
    let failure = failed.then(|| {
        family.failed(AttemptError::TimedOut, "no answer", at(4));
        ValidationFailure { error_type: ErrorType::RedirectMissing, message: "validation timeout".into() }
    });
    family.end_ns = at(5);
    Validation { start_ns: at(0), listened_ns: at(1), end_ns: at(6), families: vec![family], failure, told: None }
}

fn message(validation: &Validation) -> String {
    String::from_utf8(termination::encode(validation)).unwrap()
}

/// How a run ended that began so many seconds after [`START`].
fn ended(code: i32, after: u64, message: &str) -> Value {
    let (started, finished) = (format!("2026-11-22T10:00:{after:02}Z"), format!("2026-11-22T10:00:{:02}Z", after + 5));
    json!({"terminated": {"exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
        "containerID": format!("containerd://run-{after}"), "startedAt": started, "finishedAt": finished,
        "message": message}})
}

fn with_status(mut pod: Value, restarts: u32, state: Value, last: Value) -> Value {
    pod["status"] = json!({"phase": "Pending", "podIP": "10.1.0.5", "initContainerStatuses": [
        {"name": "istio-validation", "restartCount": restarts, "state": state, "lastState": last}]});
    pod
}

fn backing_off() -> Value {
    json!({"waiting": {"reason": "CrashLoopBackOff"}})
}

const STORY: &str = r#"
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=redirect_missing istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! validation timeout
  validate (agent) error.type=redirect_missing
    ! validation timeout
    validate.listen (agent)
    validate.connect (agent) error.type=redirect_missing istio_cni.validation.attempts=3 network.type=ipv4
      ! validation timeout
pod.init istio-validation (agent) container.id=containerd://run-10 istio_cni.time.precision=second istio_cni.validation.result=passed k8s.container.name=istio-validation k8s.container.restart_count=1 process.exit.code=0
  validate (agent)
    validate.listen (agent)
    validate.connect (agent) istio_cni.validation.attempts=3 network.type=ipv4
--
warn istio_cni.validation.attempt_failed (agent, validate.connect) istio_cni.validation.attempts=2 istio_cni.validation.error=refused network.type=ipv4 | Error connecting to 127.0.0.6:15002: dial tcp 127.0.0.1:0->127.0.0.6:15002: connect: connection refused (2 times)
warn istio_cni.validation.attempt_failed (agent, validate.connect) istio_cni.validation.attempts=1 istio_cni.validation.error=timed_out network.type=ipv4 | no answer
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-0 failed, as in a pod that was set up before the node was ready: validation timeout
warn istio_cni.validation.attempt_failed (agent, validate.connect) istio_cni.validation.attempts=2 istio_cni.validation.error=refused network.type=ipv4 | Error connecting to 127.0.0.6:15002: dial tcp 127.0.0.1:0->127.0.0.6:15002: connect: connection refused (2 times)
info istio_cni.validation.passed (agent, pod.init istio-validation) container.id=containerd://run-10 istio_cni.validation.result=passed k8s.container.name=istio-validation k8s.container.restart_count=1 process.exit.code=0 | istio-validation of pod shop/web-0 found its traffic redirected
-- web-0 shop 11111111-2222-4333-8444-555555555555
"#;

const STORIES: &str = r#"
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=validation_failed istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! its probes were not redirected (exit code 126)
--
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-0 failed, as in a pod that was set up before the node was ready: its probes were not redirected (exit code 126)
-- web-0 shop 11111111-2222-4333-8444-000000000000
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=validation_failed istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! its probes were not redirected (exit code 126); its last words: 2026-11-22T10:00:05Z error iptables validation failed; workload is not ready for Istio.  [31m
--
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-1 failed, as in a pod that was set up before the node was ready: its probes were not redirected (exit code 126); its last words: 2026-11-22T10:00:05Z error iptables validation failed; workload is not ready for Istio.  [31m
-- web-1 shop 11111111-2222-4333-8444-000000000001
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=validation_failed istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! its probes were not redirected (exit code 126); its last words: ……xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
--
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-2 failed, as in a pod that was set up before the node was ready: its probes were not redirected (exit code 126); its last words: …xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
-- web-2 shop 11111111-2222-4333-8444-000000000002
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=validation_failed istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! its probes were not redirected (exit code 126); the termination message is no whole JSON object of the format: key must be a string at line 1 column 27
--
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-3 failed, as in a pod that was set up before the node was ready: its probes were not redirected (exit code 126); the termination message is no whole JSON object of the format: key must be a string at line 1 column 27
-- web-3 shop 11111111-2222-4333-8444-000000000003
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=validation_failed istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! its probes were not redirected (exit code 126); the termination message is of version 99, and this agent reads version 1: update the agent
--
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-4 failed, as in a pod that was set up before the node was ready: its probes were not redirected (exit code 126); the termination message is of version 99, and this agent reads version 1: update the agent
-- web-4 shop 11111111-2222-4333-8444-000000000004
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=validation_failed istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! its probes were not redirected (exit code 126); the termination message has a wrong time
--
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-5 failed, as in a pod that was set up before the node was ready: its probes were not redirected (exit code 126); the termination message has a wrong time
-- web-5 shop 11111111-2222-4333-8444-000000000005
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=redirect_missing istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! validation timeout
--
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-6 failed, as in a pod that was set up before the node was ready: validation timeout
-- web-6 shop 11111111-2222-4333-8444-000000000006
pod.init istio-validation (agent) container.id=containerd://run-0 error.type=internal istio_cni.time.precision=second istio_cni.validation.result=broke k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=137
  ! it ended with exit code 137 (Error)
--
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://run-0 istio_cni.validation.result=broke k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=137 | istio-validation of pod shop/web-7 found out nothing: it ended with exit code 137 (Error)
-- web-7 shop 11111111-2222-4333-8444-000000000007
"#;

#[test]
fn a_validation_that_fails_and_then_passes_is_told_once() {
    let failed = ended(126, 0, &message(&validation(100, true)));
    let mut world = World::new(Speaks::Grpc, &[with_status(pod(json!({})), 1, backing_off(), failed.clone())]);
    start(&mut world).wait_for_metric(FAILED, 1.0);
    // The run moves from the last state on, and the watch may bring it again and again.
    for restarts in [1, 1, 2] {
        world.api.put(&with_status(pod(json!({})), restarts, json!({"running": {}}), failed.clone()));
    }
    let passed = ended(0, 10, &message(&validation(10_100, false)));
    world.api.put(&with_status(pod(json!({})), 1, passed.clone(), failed.clone()));
    world.agent.as_ref().unwrap().wait_for_metric(PASSED, 1.0);
    world.api.put(&with_status(pod(json!({})), 1, passed.clone(), json!({})));
    let agent = world.agent.as_mut().unwrap();
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    // Neither the next agent nor one after a crash tells it again.
    let agent = start(&mut world);
    agent.signal(Signal::SIGKILL);
    agent.ended();
    start(&mut world);
    assert_eq!(world.agent.as_ref().unwrap().metric(PASSED), None);
    let told = world.told();
    same(&told.story(TRACE), STORY);
}

#[test]
fn what_a_message_is_instead_of_ours_costs_its_details_only() {
    let itself = |told: Option<ToldItself>| message(&Validation { told, ..validation(100, true) });
    let trace_id = TraceId::of_pod(&uid(6));
    let messages = [
        String::new(),
        "2026-11-22T10:00:05Z error iptables validation failed; workload is not ready for Istio.\n\u{1b}[31m\n".to_owned(),
        "x".repeat(100_000),
        format!("{{\"istio_cni_validation\":1,{}", "[".repeat(5000)),
        r#"{"istio_cni_validation":99}"#.to_owned(),
        r#"{"istio_cni_validation":1,"result":"failed","error_type":"redirect_missing","message":"m","start_unix_nano":18446744073709551615,"listened_us":1,"end_us":2}"#.to_owned(),
        itself(Some(ToldItself { trace_id, span_id: SpanId([1; 8]) })),
    ];
    let mut pods = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        let mut pod = with_status(pod(json!({})), 1, backing_off(), ended(126, 0, message));
        pod["metadata"]["uid"] = json!(uid(n));
        pod["metadata"]["name"] = json!(format!("web-{n}"));
        pods.push(pod);
    }
    let mut killed = with_status(pod(json!({})), 0, ended(137, 0, ""), json!({}));
    killed["metadata"]["uid"] = json!(uid(7));
    killed["metadata"]["name"] = json!("web-7");
    pods.push(killed);
    // Killed once it has said what it found.
    let mut killed = with_status(pod(json!({})), 0, ended(137, 0, &messages[6]), json!({}));
    killed["metadata"]["uid"] = json!(uid(8));
    killed["metadata"]["name"] = json!("web-8");
    pods.push(killed);
    // What is wrong about it quotes it.
    let quoted = format!(r#"{{"istio_cni_validation":1,"attempts":"{0}","result":"{0}"}}"#, r"\u001b".repeat(600));
    let mut hostile = with_status(pod(json!({})), 1, backing_off(), ended(126, 0, &quoted));
    hostile["metadata"]["uid"] = json!(uid(9));
    hostile["metadata"]["name"] = json!("web-9");
    pods.push(hostile);
    let mut world = World::new(Speaks::Grpc, &pods);
    let agent = start(&mut world);
    agent.wait_for_metric(FAILED, 9.0);
    agent.wait_for_metric(BROKE, 1.0);
    let told = world.told();
    assert!(told.story(&uid(8).replace('-', "")).contains("istio_cni.validation.result=failed"));
    let hostile = told.story(&uid(9).replace('-', ""));
    assert!(hostile.contains("its probes were not redirected (exit code 126); "), "{hostile}");
    assert!(hostile.lines().all(|line| line.len() < 1000), "{hostile}");
    let stories: Vec<String> = (0..8).map(|n| told.story(&uid(n).replace('-', ""))).collect();
    same(&stories.concat().replace(&"x".repeat(200), "…"), STORIES);
}

#[test]
fn times_that_cannot_be_true_are_not_told() {
    const HOUR: u64 = 3_600_000;
    let shifted = |shift: &dyn Fn(u64) -> u64| {
        let mut forged = validation(100, true);
        for time in [&mut forged.start_ns, &mut forged.listened_ns, &mut forged.end_ns] {
            *time = shift(*time);
        }
        let family = &mut forged.families[0];
        family.end_ns = shift(family.end_ns);
        for run in &mut family.errors {
            (run.first_ns, run.last_ns) = (shift(run.first_ns), shift(run.last_ns));
        }
        message(&forged)
    };
    let ns = |ms: u64| ms * 1_000_000;
    let mut timeless = ended(126, 0, &shifted(&|time| time));
    for key in ["startedAt", "finishedAt"] {
        timeless["terminated"][key] = Value::Null;
    }
    let runs = [
        ended(126, 0, &shifted(&|time| time - ns(HOUR))),
        ended(126, 0, &shifted(&|time| time + ns(HOUR))),
        ended(0, 0, &message(&validation(HOUR, false))),
        timeless,
        // The API server's times are cut to seconds.
        ended(126, 0, &shifted(&|time| time - ns(1_500))),
        ended(126, 0, &shifted(&|time| time + ns(6_500))),
    ];
    let mut pods = Vec::new();
    for (n, run) in runs.into_iter().enumerate() {
        let mut pod = with_status(pod(json!({})), 1, backing_off(), run);
        pod["metadata"]["uid"] = json!(uid(n));
        pod["metadata"]["name"] = json!(format!("web-{n}"));
        pods.push(pod);
    }
    let mut world = World::new(Speaks::Http, &pods);
    let agent = start(&mut world);
    agent.wait_for_metric(FAILED, 4.0);
    agent.wait_for_metric(PASSED, 1.0);
    let line = agent.wait_for("nothing shows whether the times in its message are true");
    assert_eq!(line["k8s.pod.name"], "web-3", "{line}");
    let told = world.told();
    for n in [0, 1, 2, 4, 5] {
        let story = told.story(&uid(n).replace('-', ""));
        let has = |words: &str| story.contains(words);
        let spans = ["pod.init istio-validation (agent)", "  validate (agent)"].map(|span| has(&format!("{span} ")));
        let expected = match n {
            0..=2 => ([true, false], true),
            _ => ([true, true], false),
        };
        assert_eq!((spans, has("times that cannot be true")), expected, "{story}");
    }
    let received = otlp::spans(&world.collector.received());
    let timeless = TraceId::of_pod(&uid(3)).0;
    assert!(received.iter().all(|span| span.trace_id != timeless), "no time, no span");
    let (first, last) = (START - ns(2_000), START + ns(7_000));
    assert!(
        received.len() > 5
            && received.iter().all(|span| { span.start_time_unix_nano >= first && span.end_time_unix_nano <= last })
    );
}

fn uid(n: usize) -> String {
    format!("11111111-2222-4333-8444-{n:012x}")
}
