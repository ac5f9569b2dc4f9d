//! The agent looks at the rules of the pods that are there, says what it finds once, and says when it
//! is over: the real agent, real namespaces, an API server of the test's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "repair/node.rs"]
mod node;
mod support;
#[path = "repair/world.rs"]
mod world;

use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::ruleset::{Ruleset, build};
use istio_cni_otel::domain::settings::RedirectSettings;
use istio_cni_otel::host::pod_netns::Records;
use nix::sys::signal::Signal;
use node::{Number, Sandbox, name, pod, trace, uid};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use support::agent::Agent;
use support::*;
use world::{REPAIR, World, repaired};

/// A round every second; the first pods of a test are looked at right after the start.
const OFTEN: (&str, &str) = ("AUDIT_INTERVAL", "1s");

fn series(state: &str) -> String {
    format!(r#"istio_cni_pods{{state="{state}"}}"#)
}

#[track_caller]
fn wait_for_counts(agent: &Agent, [redirected, broken, unknown, skipped]: [f64; 4]) {
    let wanted = [("redirected", redirected), ("broken", broken), ("unknown", unknown), ("skipped", skipped)];
    wanted.into_iter().for_each(|(state, count)| agent.wait_for_metric(&series(state), count));
}

/// How often something was said, two rounds after it was said first.
fn said(agent: &mut Agent, text: &str) -> usize {
    const ROUND: &str = "looked at the rules of";
    let has = |line: &Value, text: &str| line["msg"].as_str().is_some_and(|message| message.contains(text));
    loop {
        agent.wait_for(ROUND);
        let since = agent.log.iter().skip_while(|line| !has(line, text));
        if since.filter(|line| has(line, ROUND)).count() > 2 {
            return agent.log.iter().filter(|line| has(line, text)).count();
        }
    }
}

/// The object of a pod that the plugin is called for, with its address.
fn web_0() -> Value {
    let mut pod = support::pod(json!({}));
    pod["status"] = json!({"phase": "Running", "podIP": "10.1.0.5"});
    pod
}

/// An agent that sees no processes: what it finds, it finds by its records.
fn without_processes(world: &World, proc: &Proc, interval: &str) -> Agent {
    world.start(&[("AUDIT_INTERVAL", interval), ("HOST_PROC", proc.path().to_str().unwrap())])
}

fn record(world: &World) -> PathBuf {
    world.node.path("netns").join(UID)
}

#[test]
fn every_pod_is_in_the_state_in_which_it_is_found() {
    let mut plain = pod(203);
    plain["metadata"]["annotations"] = json!({});
    let mut on_host = pod(204);
    on_host["spec"]["hostNetwork"] = json!(true);
    let mut excluded = pod(205);
    excluded["metadata"]["namespace"] = json!("kube-system");
    let mut without_address = pod(206);
    without_address["status"] = json!({"phase": "Pending"});
    let mut over = pod(207);
    over["status"]["phase"] = json!("Succeeded");
    let pods = [pod(200), pod(201), pod(202), plain, on_host, excluded, without_address, over];
    let world = World::new(&pods);
    let (whole, bare) = (Sandbox::new(200), Sandbox::new(201));
    let settings = default_settings();
    apply(&whole.namespace, Backend::Nftables, &ruleset_of(&settings, 200)).unwrap();

    let mut agent = world.start(&[OFTEN, ("EXCLUDE_NAMESPACES", "kube-system")]);
    wait_for_counts(&agent, [1.0, 1.0, 1.0, 3.0]);
    let broken = agent.wait_for("is not redirected as it should be");
    for (key, value) in [("k8s.pod.name", name(201)), ("k8s.pod.uid", uid(201)), ("trace_id", trace(201))] {
        assert_eq!(broken[key], value, "{broken}");
    }
    assert_eq!((&broken["error.type"], &broken["level"]), (&json!("rules_drifted"), &json!("error")));
    let unknown = agent.wait_for("cannot be found out");
    // Who is not root may not look into the namespaces of root's processes, and cannot know.
    let why = if other_users() { "netns_missing" } else { "permission_denied" };
    assert_eq!((&unknown["k8s.pod.name"], &unknown["error.type"]), (&json!(name(202)), &json!(why)));
    let event = world.event(&name(201), "pod shop/web-201 is not redirected");
    assert_eq!((&event["reason"], &event["type"]), (&json!("RedirectionDrifted"), &json!("Warning")));
    assert!(event["message"].as_str().unwrap().ends_with(&format!("(trace {})", trace(201))), "{event}");

    assert_eq!(said(&mut agent, "is not redirected as it should be"), 1, "once, and not in each round");
    assert_eq!(said(&mut agent, "cannot be found out"), 1);
    assert_eq!(world.events_on(&name(201)).len(), 1);
    assert!(!bare.has_rules(), "it was only looked at");
    pods.iter().take(3).for_each(|pod| world.api.remove(pod));
    wait_for_counts(&agent, [0.0, 0.0, 0.0, 3.0]);
}

/// The rules of a pod of this number without annotations.
fn ruleset_of(settings: &RedirectSettings, number: Number) -> Ruleset {
    build(settings, &[node::address(number).parse().unwrap()]).unwrap()
}

#[test]
fn drift_after_an_add_is_told_once_and_so_is_its_end() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), support::agent::sandbox());
    let mut agent = without_processes(&world, &proc, "1s");
    world.node.call("ADD", &sandbox.path()).result();
    wait_for_counts(&agent, [1.0, 0.0, 0.0, 0.0]);
    sandbox.sh("nft flush ruleset");
    wait_for_counts(&agent, [0.0, 1.0, 0.0, 0.0]);
    world.event("web-0", "pod shop/web-0 is not redirected");
    assert_eq!(said(&mut agent, "is not redirected as it should be"), 1);
    world.node.call("ADD", &sandbox.path()).result();
    wait_for_counts(&agent, [1.0, 0.0, 0.0, 0.0]);
    agent.wait_for("is as it should be again; it was lost until now");
    assert_eq!(world.event("web-0", "the redirection of pod shop/web-0 is as it")["type"], "Normal");
    sandbox.sh("nft flush ruleset");
    agent.wait_for("is not redirected as it should be");
}

#[test]
fn where_rules_are_programmed_drift_is_repaired_but_not_what_was_so_before() {
    let (world, sandbox, before) = (World::new(&[web_0(), pod(230)]), support::agent::sandbox(), Sandbox::new(230));
    let mut agent = world.start(&[OFTEN, REPAIR]);
    world.node.call("ADD", &sandbox.path()).result();
    wait_for_counts(&agent, [1.0, 1.0, 0.0, 0.0]);
    let rules = sandbox.sh("nft -s list ruleset");
    for _ in 0..2 {
        sandbox.sh("nft flush ruleset");
        agent.wait_for("is not redirected as it should be, so its traffic");
        assert_eq!(agent.wait_for("pod repaired")["k8s.pod.name"], "web-0");
        assert_eq!(sandbox.sh("nft -s list ruleset"), rules);
        agent.wait_for("is as it should be again");
        wait_for_counts(&agent, [1.0, 1.0, 0.0, 0.0]);
    }
    agent.wait_for_metric(&repaired("repair", "success"), 2.0);
    assert!(!before.has_rules(), "it was only told");
}

#[test]
fn a_namespace_that_is_gone_is_unknown_and_never_redirected() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), support::agent::sandbox());
    let mut agent = without_processes(&world, &proc, "1s");
    world.node.call("ADD", &sandbox.path()).result();
    wait_for_counts(&agent, [1.0, 0.0, 0.0, 0.0]);
    drop(sandbox);
    wait_for_counts(&agent, [0.0, 0.0, 1.0, 0.0]);
    assert_eq!(agent.wait_for("cannot be found out")["error.type"], "netns_missing");
    world.api.remove(&web_0());
    wait_for_counts(&agent, [0.0; 4]);
}

#[test]
fn a_pod_whose_sandbox_went_or_whose_add_failed_is_not_counted_as_redirected() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), support::agent::sandbox());
    let agent = without_processes(&world, &proc, "1h");
    world.node.call("ADD", &sandbox.path()).result();
    wait_for_counts(&agent, [1.0, 0.0, 0.0, 0.0]);
    world.node.call("DEL", &sandbox.path());
    wait_for_counts(&agent, [0.0, 0.0, 1.0, 0.0]);
    world.node.call("ADD", &sandbox.path()).result();
    wait_for_counts(&agent, [1.0, 0.0, 0.0, 0.0]);
    sandbox.sh("nft flush ruleset");
    let mut wrong = web_0();
    wrong["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = json!("none at all");
    world.api.put(&wrong);
    eventually("an ADD that fails", || (!world.node.call("ADD", &sandbox.path()).success).then_some(()));
    wait_for_counts(&agent, [0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn a_record_outlives_the_agent_and_goes_with_the_sandbox() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), support::agent::sandbox());
    let agent = without_processes(&world, &proc, "0");
    world.node.call("ADD", &sandbox.path()).result();
    let record = record(&world);
    eventually("the record", || record.exists().then_some(()));
    agent.kill();
    let agent = without_processes(&world, &proc, "1h");
    wait_for_counts(&agent, [1.0, 0.0, 0.0, 0.0]);
    world.node.call("DEL", &sandbox.path());
    eventually("the record's end", || (!record.exists()).then_some(()));
}

#[test]
fn a_plugin_that_works_alone_leaves_a_record_too() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), support::agent::sandbox());
    assert!(world.node.call("ADD", &sandbox.path()).success);
    assert!(record(&world).exists());
    let agent = without_processes(&world, &proc, "1h");
    wait_for_counts(&agent, [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(agent.stop().code(), Some(0));
    assert!(world.node.call("DEL", &sandbox.path()).success);
    assert!(!record(&world).exists());
}

#[test]
fn a_record_that_is_garbage_is_told_and_the_pod_is_looked_for() {
    let (world, sandbox) = (World::new(&[web_0()]), support::agent::sandbox());
    let process = Sandboxed::start(&sandbox);
    let proc = Proc::showing([&process]);
    fs::create_dir(world.node.path("netns")).unwrap();
    fs::write(record(&world), "{\"pod\": 7}").unwrap();
    let mut agent = without_processes(&world, &proc, "1s");
    agent.wait_for("is no record of a pod's network namespace");
    wait_for_counts(&agent, [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(said(&mut agent, "is no record"), 1);
    assert!(Records::new(world.node.run_dir.path()).of(UID).unwrap().is_none());
}

#[test]
fn a_pod_that_comes_without_an_add_is_not_left_to_the_next_round() {
    let (world, sandbox) = (World::new(&[]), Sandbox::new(210));
    let agent = world.start(&[("AUDIT_INTERVAL", "1h")]);
    world.api.put(&pod(210));
    agent.wait_for_metric(&series("broken"), 1.0);
    drop(sandbox);
}

#[test]
fn a_hundred_pods_are_looked_at_without_asking_the_api_server() {
    const PODS: std::ops::Range<Number> = 1000..1100;
    let world = World::new(&PODS.map(pod).collect::<Vec<Value>>());
    let sandboxes: Vec<Sandbox> = PODS.map(Sandbox::new).collect();
    for (number, sandbox) in PODS.zip(&sandboxes) {
        apply(&sandbox.namespace, Backend::Nftables, &ruleset_of(&default_settings(), number)).unwrap();
    }
    let agent = world.start(&[("AUDIT_INTERVAL", "1h"), ("LOG_OUTPUT_LEVEL", "info")]);
    wait_for_counts(&agent, [100.0, 0.0, 0.0, 0.0]);
    assert_eq!(world.api.requests().len(), 1, "the watch and nothing else: {:?}", world.api.requests());
}

#[test]
fn without_an_interval_nothing_is_looked_at() {
    let (world, _sandbox) = (World::new(&[pod(220)]), Sandbox::new(220));
    let mut agent = world.start(&[("AUDIT_INTERVAL", "0")]);
    agent.wait_for("watch of pods in sync");
    let mut plain = web_0();
    plain["metadata"]["annotations"] = json!({});
    world.api.put(&plain);
    let sandbox = support::agent::sandbox();
    world.node.call("ADD", &sandbox.path()).result();
    wait_for_counts(&agent, [0.0, 0.0, 0.0, 1.0]);
    agent.signal(Signal::SIGTERM);
    agent.ended();
    let looked = |line: &&Value| line["msg"].as_str().is_some_and(|message| message.contains("looked at the rules of"));
    assert_eq!(agent.log.iter().find(looked), None);
}
