//! Repairs in the pods' traces, as a collector gets them over the wire: each attempt with its steps, its
//! log records and a link to the installation pass that is in force.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "repair/node.rs"]
mod node;
#[path = "support/otlp.rs"]
mod otlp;
#[path = "support/registry.rs"]
mod registry;
mod support;
#[path = "trace/told.rs"]
mod told;
#[path = "trace/world.rs"]
mod world;

use istio_cni_otel::domain::ruleset::Family;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::domain::validation::{AttemptError, FamilyResult, Validation, ValidationFailure};
use istio_cni_otel::telemetry::timestamp::Timestamp;
use istio_cni_otel::wire::termination;
use node::{Sandbox, broken, name, pod, trace, uid};
use otlp::{Speaks, hex};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use support::agent::Agent;
use support::api::Fault;
use support::eventually;
use support::layout::Layout;
use told::Told;
use world::{World, args, same};

/// What an audit says is another test's.
const NO_AUDIT: (&str, &str) = ("AUDIT_INTERVAL", "0");

/// Starts an agent that installs, and waits until it has.
fn start(world: &World, layout: &Layout, more: &[(&str, &str)]) -> Agent {
    let directories = layout.environment();
    let directories = directories.iter().map(|(key, value)| (*key, value.as_str()));
    let more = [NO_AUDIT].into_iter().chain(more.iter().copied());
    let mut agent = world.launch_agent(&directories.chain(more).collect::<Vec<_>>());
    agent.wait_for("validated/reinstalled (start)");
    agent
}

/// A validation that says no more than that it failed, as a tree shows it.
const NOT_REDIRECTED: &str = r"pod.init istio-validation (agent) container.id=containerd://1 error.type=validation_failed istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
  ! its probes were not redirected (exit code 126)";

/// The same in the log.
fn not_redirected(name: &str) -> String {
    format!(
        "error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://1 \
         istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 \
         process.exit.code=126 | istio-validation of pod shop/{name} failed, as in a pod that was set up before the \
         node was ready: its probes were not redirected (exit code 126)"
    )
}

/// Why a pod is repaired after its first validation.
const CAUSE: &str =
    "istio_cni.repair.cause=init container istio-validation ended with exit code 126 (Error), restarts: 1";

/// A repair with its steps and its link to the one installation pass, as a tree shows it below `indent`.
fn repaired(told: &Told, indent: &str) -> String {
    let pass = told.span("install");
    let link = format!("~ {} {} 1 \"\" istio_cni.link.source=install", hex(&pass.trace_id), hex(&pass.span_id));
    let tree = format!(
        r#"repair.pod (agent) istio_cni.repair.attempt=1 {CAUSE} istio_cni.repair.mode=repair istio_cni.repair.result=success
  {link}
  repair.netns (agent) istio_cni.netns.source=proc istio_cni.netns=NETNS
  rules.build (agent) istio_cni.rules.count=20 istio_cni.rules.ipv6=false
  rules.apply (agent) istio_cni.rules.backend=nftables istio_cni.rules.changed=true
  rules.verify (agent) istio_cni.rules.backend=nftables istio_cni.rules.differences=0"#
    );
    tree.lines().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
}

/// The same in the log.
const REPAIR_LOG: &str = r"info istio_cni.repair.progress (agent, repair.pod) | Repairing pod...
debug istio_cni.step.done (agent, repair.netns) istio_cni.step=repair.netns | repair.netns done in TIME
debug istio_cni.step.done (agent, rules.build) istio_cni.step=rules.build | rules.build done in TIME
debug istio_cni.step.done (agent, rules.apply) istio_cni.step=rules.apply | rules.apply done in TIME
debug istio_cni.step.done (agent, rules.verify) istio_cni.step=rules.verify | rules.verify done in TIME
info istio_cni.repair.done (agent, repair.pod) | pod repaired: its rules were read back and are now as they should be";

/// Stops the agent, and gives what it told, all of which is what the registry says.
fn told_by(world: &mut World, agent: Agent) -> Told {
    world.agent = Some(agent);
    let told = world.told();
    is_registered(&told);
    told
}

/// Everything that was told is what the registry says.
fn is_registered(told: &Told) {
    let registry = registry::Registry::read();
    let mut wrong: Vec<String> = told.spans.iter().flat_map(|(_, span)| registry.span(span)).collect();
    wrong.extend(told.logs.iter().flat_map(|(_, log)| registry.log(log)));
    wrong.extend(told.metrics.iter().flat_map(|metric| registry.metric(metric)));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_repair_is_told_in_the_pods_trace_with_its_steps_and_the_installation_in_force() {
    let mut world = World::new(Speaks::Grpc, &[]);
    let layout = Layout::with_primary();
    let mut agent = start(&world, &layout, &[("REPAIR_REPAIR_PODS", "true"), ("REDIRECT_BACKEND", "nftables")]);
    let sandbox = Sandbox::new(5001);
    world.calls(sandbox.path(), "NETNS");
    world.api.put(&broken(5001));
    agent.wait_for("pod repaired");
    let told = told_by(&mut world, agent);
    let (repaired, not_redirected) = (repaired(&told, ""), not_redirected("web-5001"));
    same(
        &told.story(&trace(5001)),
        &format!(
            r#"
{NOT_REDIRECTED}
{repaired}
--
{not_redirected}
{REPAIR_LOG}
-- web-5001 shop 11111111-2222-4333-8444-000000005001
"#
        ),
    );
}

#[test]
fn a_deletion_that_fails_first_is_two_attempts_in_the_pods_trace() {
    let mut world = World::new(Speaks::Http, &[]);
    world.api.fail("delete", Some(Fault::Status(500)));
    let mut agent = world.launch_agent(&[NO_AUDIT, ("REPAIR_DELETE_PODS", "true")]);
    world.api.put(&broken(5002));
    agent.wait_for("retrying (retry count: 1)");
    world.api.fail("delete", None);
    agent.wait_for_metric("istio_cni_repair_pods_repaired_total{type=\"delete\",result=\"success\"}", 1.0);
    let told = told_by(&mut world, agent);
    let not_redirected = not_redirected("web-5002");
    same(
        &told.story(&trace(5002)),
        &format!(
            r#"
{NOT_REDIRECTED}
repair.pod (agent) error.type=api_error istio_cni.repair.attempt=1 {CAUSE} istio_cni.repair.mode=delete istio_cni.repair.result=fail
  ! the API server answered with status 500: the stand-in says 500; check its health and its log
  repair.delete (agent) error.type=api_error
    ! the API server answered with status 500: the stand-in says 500; check its health and its log
repair.pod (agent) istio_cni.repair.attempt=2 {CAUSE} istio_cni.repair.mode=delete istio_cni.repair.result=success
  repair.delete (agent)
--
{not_redirected}
info istio_cni.repair.progress (agent, repair.pod) | Deleting broken pod: shop/web-5002
info istio_cni.repair.progress (agent, repair.pod) | Pod detected as broken, deleting: shop/web-5002
error istio_cni.step.failed (agent, repair.delete) error.type=api_error istio_cni.step=repair.delete | repair.delete failed after TIME: the API server answered with status 500: the stand-in says 500; check its health and its log
error istio_cni.repair.failed (agent, repair.pod) | error handling shop/web-5002, retrying (retry count: 1): the API server answered with status 500: the stand-in says 500; check its health and its log
info istio_cni.repair.progress (agent, repair.pod) | Deleting broken pod: shop/web-5002
info istio_cni.repair.progress (agent, repair.pod) | Pod detected as broken, deleting: shop/web-5002
debug istio_cni.step.done (agent, repair.delete) istio_cni.step=repair.delete | repair.delete done in TIME
-- web-5002 shop 11111111-2222-4333-8444-000000005002
"#
        ),
    );
    assert_eq!(
        told.counter("istio_cni_repair_pods_repaired_total", &[("type", "delete"), ("result", "fail")]),
        Some(1.0)
    );
}

#[test]
fn a_pod_that_the_limit_holds_back_finds_that_in_its_trace() {
    let mut world = World::new(Speaks::Http, &[broken(5003), broken(5004)]);
    let mut agent = world.launch_agent(&[NO_AUDIT, ("REPAIR_DELETE_PODS", "true"), ("REPAIR_LIMIT_PER_MINUTE", "1")]);
    agent.wait_for("the limit of 1 broken pods");
    agent.wait_for_metric("istio_cni_repair_held_pods", 1.0);
    let told = told_by(&mut world, agent);
    let is_held = |number: &u32| told.story(&trace(*number)).contains("repair_limit");
    let number = [5003, 5004].into_iter().find(is_held).unwrap();
    let (name, not_redirected) = (name(number), not_redirected(&name(number)));
    same(
        &told.story(&trace(number)),
        &format!(
            r#"
{NOT_REDIRECTED}
repair.pod (agent) error.type=repair_limit istio_cni.repair.attempt=1 {CAUSE} istio_cni.repair.mode=delete istio_cni.repair.result=skip
  ! the limit of 1 deletions per minute (REPAIR_LIMIT_PER_MINUTE) is reached: it is deleted when there is room again; look at the installation on this node, so many pods do not break otherwise
--
{not_redirected}
warn istio_cni.repair.skipped (agent, repair.pod) | shop/{name} is left for now: the limit of 1 deletions per minute (REPAIR_LIMIT_PER_MINUTE) is reached: it is deleted when there is room again; look at the installation on this node, so many pods do not break otherwise
-- {name} shop 11111111-2222-4333-8444-{number:012}
"#
        ),
    );
}

/// The next whole second of the clock, once it has begun: what the API says of a run has whole seconds.
fn next_second() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    eventually("the next second", || Some(now()).filter(|now| *now > before))
}

/// A second of the clock, as the API writes it.
fn time(second: u64) -> String {
    let time = Timestamp(second * 1_000_000_000).to_string();
    format!("{}Z", time.split('.').next().unwrap())
}

/// How a run of the validator ended that began with this second.
fn ended(second: u64, passed: bool) -> Value {
    let at = |us: u64| second * 1_000_000_000 + us * 1000;
    let mut family = FamilyResult::new(Family::V4, at(20));
    (family.attempts, family.passed, family.end_ns) = (1, passed, at(50));
    let failure = (!passed).then(|| {
        family.failed(AttemptError::TimedOut, "no answer", at(40));
        ValidationFailure { error_type: ErrorType::RedirectMissing, message: "validation timeout".into() }
    });
    let (start_ns, listened_ns, end_ns) = (at(10), at(20), at(60));
    let validation = Validation { start_ns, listened_ns, end_ns, families: vec![family], failure, told: None };
    let message = String::from_utf8(termination::encode(&validation)).unwrap();
    let (code, reason) = if passed { (0, "Completed") } else { (126, "Error") };
    json!({"terminated": {"exitCode": code, "reason": reason, "message": message, "startedAt": time(second),
        "finishedAt": time(second + 1), "containerID": if passed { "containerd://second" } else { "containerd://first" }}})
}

/// A pod with these states of its validation.
fn validated(number: node::Number, restarts: u32, state: &Value, last: &Value) -> Value {
    let mut pod = pod(number);
    pod["status"]["initContainerStatuses"] =
        json!([{"name": "istio-validation", "restartCount": restarts, "state": state, "lastState": last}]);
    pod
}

/// The same pod as one that was created and assigned in the one second and has had its sandbox since the other; if it is
/// ready, then since a third one.
fn started([created, sandbox]: [u64; 2], ready: Option<u64>, mut pod: Value) -> Value {
    let mut conditions = vec![("PodScheduled", created), ("PodReadyToStartContainers", sandbox)];
    if let Some(ready) = ready {
        conditions.extend(["Initialized", "ContainersReady", "Ready"].map(|kind| (kind, ready)));
        let runs = |name: &str| json!({"name": name, "ready": true, "state": {"running": {"startedAt": time(ready)}}});
        pod["status"]["containerStatuses"] = json!([runs("web"), runs("istio-proxy")]);
        pod["status"]["phase"] = json!("Running");
    }
    let condition = |(kind, since)| json!({"type": kind, "status": "True", "lastTransitionTime": time(since)});
    pod["status"]["conditions"] = conditions.into_iter().map(condition).collect();
    pod["status"]["startTime"] = json!(time(created));
    pod["metadata"]["creationTimestamp"] = json!(time(created));
    pod
}

#[test]
fn the_whole_start_of_a_pod_that_broke_and_was_repaired_is_one_trace() {
    let pod_args = args(&name(5005), &uid(5005));
    let mut world = World::new(Speaks::Grpc, &[]).call_with(|node| node.env("CNI_ARGS", &pod_args));
    let layout = Layout::with_primary();
    let settings = [("REPAIR_REPAIR_PODS", "true"), ("REDIRECT_BACKEND", "nftables"), ("STARTUP_TRACES", "meshed")];
    let mut agent = start(&world, &layout, &settings);
    agent.wait_for("ms after the start");
    let sandbox = Sandbox::new(5005);
    world.calls(sandbox.path(), "NETNS");
    let created = next_second();
    // The API server does not know the pod yet: its ADD fails, and it goes on without its rules.
    let (code, message) = world.node.call("ADD", &sandbox.path()).error();
    assert_eq!(code, 999);
    assert!(!sandbox.has_rules());
    let first = next_second();
    let (begun, failed) = ([created, first], ended(first, false));
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    world.api.put(&started(begun, None, validated(5005, 1, &waiting, &failed)));
    agent.wait_for("pod repaired");
    assert!(sandbox.has_rules());
    let second = next_second();
    world.api.put(&started(begun, Some(second + 1), validated(5005, 1, &ended(second, true), &failed)));
    agent.wait_for_metric("istio_cni_validations_total{result=\"passed\"}", 1.0);
    let ready = r#"istio_cni_pod_startup_duration_seconds_count{phase="startup",outcome="ready"}"#;
    agent.wait_for_metric(ready, 1.0);
    world.agent = Some(agent);
    let told = world.told().with_error(&message, &trace(5005));
    is_registered(&told);
    let repaired = repaired(&told, "  ");
    same(
        &told.story(&trace(5005)),
        &format!(
            r#"
pod.startup (agent) istio_cni.startup.events=known istio_cni.startup.outcome=ready istio_cni.time.end_source=condition istio_cni.time.precision=second istio_cni.time.start_source=pod
  pod.sandbox (agent) istio_cni.time.end_source=condition istio_cni.time.precision=second istio_cni.time.start_source=pod
  pod.schedule (agent) istio_cni.time.end_source=condition istio_cni.time.precision=second istio_cni.time.start_source=pod
  cni.add (plugin) container.id=cafe error.type=pod_not_found istio_cni.command=add istio_cni.netns=NETNS istio_cni.outcome=failed istio_cni.path=agent istio_cni.reason=pod_not_found network.interface.name=eth0
    ! THE ERROR
    config.parse (plugin)
    netns.open (plugin)
    agent.call (plugin) istio_cni.agent.presence=answered istio_cni.reason=pod_not_found
      pod.lookup (agent) error.type=pod_not_found istio_cni.pod.attempts=3 istio_cni.pod.source=api
        ! THE ERROR
  pod.init istio-validation (agent) container.id=containerd://first error.type=redirect_missing istio_cni.time.precision=second istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126
    ! validation timeout
    validate (agent) error.type=redirect_missing
      ! validation timeout
      validate.listen (agent)
      validate.connect (agent) error.type=redirect_missing istio_cni.validation.attempts=1 network.type=ipv4
        ! validation timeout
{repaired}
  pod.init istio-validation (agent) container.id=containerd://second istio_cni.time.precision=second istio_cni.validation.result=passed k8s.container.name=istio-validation k8s.container.restart_count=1 process.exit.code=0
    validate (agent)
      validate.listen (agent)
      validate.connect (agent) istio_cni.validation.attempts=1 network.type=ipv4
  pod.container web (agent) istio_cni.time.end_source=next istio_cni.time.precision=second istio_cni.time.start_source=container k8s.container.name=web k8s.container.restart_count=0
  pod.container istio-proxy (agent) istio_cni.time.end_source=next istio_cni.time.precision=second istio_cni.time.start_source=container k8s.container.name=istio-proxy k8s.container.restart_count=0
--
error istio_cni.step.failed (agent, pod.lookup) error.type=pod_not_found istio_cni.step=pod.lookup | pod.lookup failed after TIME: THE ERROR
error istio_cni.request.progress (plugin, cni.add) | istio-cni cmdAdd error: THE ERROR; step pod.lookup, trace 11111111222243338444000000005005
error istio_cni.request.failed (plugin, cni.add) error.type=pod_not_found | istio-cni failed with: THE ERROR; step pod.lookup, trace 11111111222243338444000000005005
warn istio_cni.validation.attempt_failed (agent, validate.connect) istio_cni.validation.attempts=1 istio_cni.validation.error=timed_out network.type=ipv4 | no answer
error istio_cni.validation.failed (agent, pod.init istio-validation) container.id=containerd://first istio_cni.validation.result=failed k8s.container.name=istio-validation k8s.container.restart_count=0 process.exit.code=126 | istio-validation of pod shop/web-5005 failed, as in a pod that was set up before the node was ready: validation timeout
{REPAIR_LOG}
info istio_cni.validation.passed (agent, pod.init istio-validation) container.id=containerd://second istio_cni.validation.result=passed k8s.container.name=istio-validation k8s.container.restart_count=1 process.exit.code=0 | istio-validation of pod shop/web-5005 found its traffic redirected
info istio_cni.pod.started (agent, pod.startup) istio_cni.startup.outcome=ready | pod shop/web-5005 is ready after TIME
-- web-5005 shop 11111111-2222-4333-8444-000000005005
"#
        ),
    );
}
