//! `explain` as a person meets it: the real agent, real calls of the plugin in real namespaces, and the tool
//! itself as a process, on the node and through an API server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "explain/asking.rs"]
mod asking;
#[path = "repair/node.rs"]
mod node;
#[path = "explain/starting.rs"]
mod starting;
mod support;
#[path = "explain/tool.rs"]
mod tool;
#[path = "repair/world.rs"]
mod world;

use istio_cni_otel::cmd::demo::style::Style;
use istio_cni_otel::cmd::explain::text::text;
use istio_cni_otel::wire::explain::Explanation;
use node::{Sandbox, broken};
use serde_json::{Value, json};
use support::agent::sandbox;
use support::*;
use tool::*;
use world::{REPAIR, World};

/// The steps of a call or a repair by name, with how each came out.
fn steps(of: &Value) -> Vec<String> {
    let steps = of["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            format!(
                "{}{} {}",
                "  ".repeat(step["depth"].as_u64().unwrap() as usize),
                step["name"].as_str().unwrap(),
                step["outcome"].as_str().unwrap()
            )
        })
        .collect()
}

/// Whether some line of the rules says so.
fn has_rule(rules: &Value, text: &str) -> bool {
    rules.as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains(text))
}

/// What changes from run to run, made the same: times, durations, paths and versions.
fn steady(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match key.as_str() {
                    "at" | "now" | "last" if value.is_string() => *value = json!("2026-01-02T03:04:05.678901Z"),
                    "took_ns" if value.is_number() => *value = json!(1_234_567),
                    "netns" => *value = json!("/run/netns/x"),
                    "version" if value.is_string() => *value = json!("1.2.3"),
                    _ => steady(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(steady),
        _ => {}
    }
}

#[test]
fn a_redirected_pod_is_explained_from_decision_to_rules() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), sandbox());
    let url = ("TRACE_URL", "http://jaeger/trace/{trace_id}");
    let _agent = world.start(&[("HOST_PROC", proc.path().to_str().unwrap()), ("REDIRECT_BACKEND", "nftables"), url]);
    world.node.call("ADD", &sandbox.path()).result();
    let said = once(&world, "a whole call", |said| said["calls"][0]["outcome"] == "enrolled");
    assert_eq!(said["summary"]["state"], "redirected", "{said}");
    assert_eq!(said["trace"]["url"], format!("http://jaeger/trace/{TRACE}"));
    assert_eq!(said["decision"]["result"], "enroll");
    assert_eq!(said["errors"], json!([]));
    assert_eq!(
        steps(&said["calls"][0]),
        [
            "config.parse ok",
            "netns.open ok",
            "agent.call ok",
            "  pod.lookup ok",
            "  redirect.decide ok",
            "  rules.build ok",
            "  rules.apply ok",
            "  rules.verify ok"
        ]
    );
    assert_eq!((&said["rules"]["backend"], &said["rules"]["differences"]), (&json!("nftables"), &json!([])));
    assert!(said["rules"]["count"].as_u64().unwrap() > 10 && said["rules"]["wanted"].as_array().unwrap().len() > 20);

    assert!(said["rules"]["found"].as_array().unwrap().contains(&json!("table inet istio-proxy-nat {")));
    assert!(has_rule(&said["rules"]["found"], "redirect to :15001"), "{}", said["rules"]["found"]);

    let mut golden = said;
    steady(&mut golden);
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&golden).unwrap());
    let explanation: Explanation = serde_json::from_value(golden).unwrap();
    let page = text(&explanation, Style { colour: false, width: 80 }, false);
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    insta::assert_snapshot!("text", page);
}

#[test]
fn rules_that_differ_are_shown_beside_those_that_should_be() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), sandbox());
    let _agent = world.start(&[("HOST_PROC", proc.path().to_str().unwrap()), ("REDIRECT_BACKEND", "nftables")]);
    world.node.call("ADD", &sandbox.path()).result();
    sandbox.sh("nft flush chain inet istio-proxy-nat istio-redirect");
    let said = once(&world, "broken rules", |said| said["rules"]["state"] == "broken");
    assert_eq!(said["summary"]["state"], "broken");
    let differences = said["rules"]["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert!(differences[0]["place"].as_str().unwrap().contains("istio-redirect"), "{differences:?}");
    assert!(has_rule(&said["rules"]["wanted"], "redirect to :15001"), "{}", said["rules"]["wanted"]);
    assert!(!has_rule(&said["rules"]["found"], "redirect to :15001"), "{}", said["rules"]["found"]);
    assert!(has_rule(&said["rules"]["found"], "chain istio-redirect {"), "{}", said["rules"]["found"]);
    sandbox.sh("nft flush ruleset");
    let is_missing = |said: &Value| said["rules"]["differences"][0]["what"] == "the table is missing";
    let whole = once(&world, "no rules at all", is_missing);
    assert_eq!(whole["rules"]["found"], json!(["# nothing of ours is there"]));
    let page = text(&serde_json::from_value(whole).unwrap(), Style { colour: false, width: 80 }, false);
    assert!(page.contains("  as they are:\n    # nothing of ours is there\n  as they should be:\n"), "{page}");
    assert!(
        page.contains("as they should be:\n    # nft -f -\n") && page.contains("\tchain istio-redirect {"),
        "{page}"
    );
}

#[test]
fn what_stands_beside_the_tables_is_told_too() {
    let mut pod = web_0();
    pod["status"]["podIP"] = json!("fd00::5");
    let (world, proc, sandbox) = (World::new(&[pod]), Proc::new(), sandbox());
    sandbox.ip("addr del 10.1.0.5/32 dev lo");
    sandbox.ip("addr add fd00::5/128 dev lo nodad");
    let _agent = world.start(&[("HOST_PROC", proc.path().to_str().unwrap()), ("REDIRECT_BACKEND", "nftables")]);
    world.node.call("ADD", &sandbox.path()).result();
    let address = json!("# ip -6 addr add ::6/128 dev lo");
    let said = once(&world, "the rules", |said| said["rules"]["state"] == "redirected");
    for rules in ["wanted", "found"] {
        assert_eq!(said["rules"][rules].as_array().unwrap().last(), Some(&address), "{rules}");
    }
    sandbox.ip("addr del ::6/128 dev lo");
    let said = once(&world, "an address that is missing", |said| said["rules"]["state"] == "broken");
    assert_eq!(said["rules"]["differences"][0]["place"], "lo", "{}", said["rules"]["differences"]);
    assert!(!said["rules"]["found"].as_array().unwrap().contains(&address), "{}", said["rules"]["found"]);
}

#[test]
fn the_rules_of_iptables_are_shown_as_its_own_tool_prints_them() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), sandbox());
    let _agent = world.start(&[("HOST_PROC", proc.path().to_str().unwrap()), ("REDIRECT_BACKEND", "iptables")]);
    world.node.call("ADD", &sandbox.path()).result();
    let said = once(&world, "the rules", |said| said["rules"]["state"] == "redirected");
    let (backend, found) = (&said["rules"]["backend"], &said["rules"]["found"]);
    assert_eq!((backend, &found[0]), (&json!("iptables"), &json!("# iptables-save")), "{found}");
    assert!(has_rule(found, "-A ISTIO_REDIRECT") && has_rule(found, "--to-ports 15001"), "{found}");
}

#[test]
fn a_failed_add_is_explained_with_what_to_do() {
    let mut pod = web_0();
    pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = json!("none at all");
    let (world, proc, sandbox) = (World::new(&[pod]), Proc::new(), sandbox());
    let _agent = world.start(&[("HOST_PROC", proc.path().to_str().unwrap())]);
    for _ in 0..3 {
        assert!(!world.node.call("ADD", &sandbox.path()).success);
    }
    let said = once(&world, "three calls", |said| said["calls"].as_array().unwrap().len() == 3);
    assert_eq!(said["summary"]["state"], "failed");
    assert_eq!(said["decision"]["result"], "refuse");
    let errors = said["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "the same error, told once: {errors:#?}");
    let error = &errors[0];
    assert_eq!(
        (&error["step"], &error["error_type"], &error["count"]),
        (&json!("redirect.decide"), &json!("annotation_invalid"), &json!(3))
    );
    assert!(error["message"].as_str().unwrap().contains("excludeInboundPorts"), "{error}");
    assert!(error["next"].as_str().unwrap().contains("annotation"), "{error}");
    assert!(steps(&said["calls"][2]).iter().any(|step| step.trim() == "redirect.decide failed"));
    assert_eq!(
        said["timeline"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["outcome"] == "failed" && entry["what"] == "cni.add")
            .count(),
        3
    );
}

#[test]
fn a_pod_that_gets_no_rules_is_explained() {
    let mut pod = web_0();
    pod["metadata"]["annotations"] = json!({});
    let (world, sandbox) = (World::new(&[pod]), sandbox());
    let _agent = world.start(&[]);
    world.node.call("ADD", &sandbox.path()).result();
    let said = once(&world, "a skipped call", |said| said["calls"][0]["outcome"] == "skipped");
    assert_eq!((&said["summary"]["state"], &said["decision"]["reason"]), (&json!("skipped"), &json!("not_injected")));
    assert_eq!(said["rules"]["state"], "skipped");
}

#[test]
fn a_repaired_pod_shows_its_repair() {
    let world = World::new(&[broken(310)]);
    let _sandbox = Sandbox::new(310);
    let mut agent = world.start(&[REPAIR]);
    agent.wait_for("pod repaired");
    let said = eventually("the repair", || {
        let said = on_node(&world, &["--uid", &node::uid(310)]).json();
        (said["repairs"].as_array().unwrap().len() == 1 && said["validations"].as_array().unwrap().len() == 1)
            .then_some(said)
    });
    let repair = &said["repairs"][0];
    assert_eq!((&repair["mode"], &repair["result"]), (&json!("repair"), &json!("success")), "{repair}");
    assert_eq!(steps(repair), ["repair.netns ok", "rules.build ok", "rules.apply ok", "rules.verify ok"]);
    assert_eq!((&said["summary"]["state"], &said["rules"]["state"]), (&json!("redirected"), &json!("redirected")));
    let validation = &said["validations"][0];
    assert_eq!((&validation["exit_code"], &validation["container"]), (&json!(126), &json!("istio-validation")));
    assert!(said["notes"][0].as_str().unwrap().contains("no call of the plugin"), "{}", said["notes"]);
}

#[test]
fn a_pod_that_is_gone_is_remembered_and_told_from_its_successor() {
    let (world, proc, one) = (World::new(&[web_0()]), Proc::new(), sandbox());
    let mut agent = world.start(&[("HOST_PROC", proc.path().to_str().unwrap())]);
    world.node.call("ADD", &one.path()).result();
    world.node.call("DEL", &one.path());
    world.api.remove(&web_0());
    let gone = once(&world, "a pod that is gone", |said| {
        said["pod"]["presence"] == "gone" && said["calls"].as_array().unwrap().len() == 2
    });
    assert_eq!((&gone["summary"]["state"], &gone["decision"]["source"]), (&json!("gone"), &json!("trace")));
    assert_eq!((&gone["pod"]["uid"], &gone["rules"]["state"]), (&json!(UID), &json!("none")));
    let sentence = gone["summary"]["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("shop/web-0 is gone from this node") && sentence.ends_with("it was set up"),
        "{sentence}"
    );

    let mut successor = web_0();
    successor["metadata"]["uid"] = json!("22222222-2222-4333-8444-555555555555");
    world.api.put(&successor);
    let said = once(&world, "the successor", |said| said["pod"]["presence"] == "here");
    assert_eq!(said["pod"]["uid"], successor["metadata"]["uid"]);
    assert_eq!((&said["others"][0]["uid"], &said["others"][0]["trace_id"]), (&json!(UID), &json!(TRACE)));
    assert_eq!(said["calls"], json!([]), "the predecessor's calls are not its own");
    for uid in [UID, TRACE] {
        assert_eq!(on_node(&world, &["--uid", uid]).json()["pod"]["uid"], UID);
    }
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    agent.ended();
}

#[test]
fn the_timeline_of_a_start_is_what_the_pods_object_says_until_it_is_told() {
    let condition = |kind: &str, at: &str| json!({"type": kind, "status": "True", "lastTransitionTime": at});
    let mut pod = web_0();
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod["status"]["startTime"] = json!("2026-01-01T00:00:01Z");
    pod["status"]["conditions"] = json!([condition("PodScheduled", "2026-01-01T00:00:01Z")]);
    let (world, sandbox) = (World::new(&[pod.clone()]), sandbox());
    let _agent = world.start(&[("STARTUP_TRACES", "all")]);
    world.node.call("ADD", &sandbox.path()).result();
    let said = once(&world, "a whole call", |said| said["calls"][0]["outcome"] == "enrolled");
    let timeline = said["timeline"].as_array().unwrap();
    let told: Vec<&str> = timeline.iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert!(
        told.contains(&"pod.startup") && told.contains(&"pod.schedule") && told.contains(&"cni.add"),
        "{timeline:#?}"
    );
    let startup = &timeline[0];
    assert_eq!(
        (&startup["what"], &startup["at"], &startup["outcome"]),
        (&json!("pod.startup"), &json!("2026-01-01T00:00:00Z"), &json!("unfinished"))
    );
    assert_eq!(said["notes"], json!([]));

    // An object from the future: the API server's clock is ahead of the node's.
    pod["metadata"]["creationTimestamp"] = json!("2126-01-01T00:00:00Z");
    world.api.put(&pod);
    let said = once(&world, "a note about clocks", |said| said["notes"] != json!([]));
    assert!(
        said["notes"][0].as_str().unwrap().starts_with("the clocks of the API server and the node differ"),
        "{}",
        said["notes"]
    );
}
