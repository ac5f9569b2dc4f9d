//! `explain` as a person meets it: the real agent, real calls of the plugin in real namespaces, and the tool
//! itself as a process, on the node and through an API server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "repair/node.rs"]
mod node;
mod support;
#[path = "repair/world.rs"]
mod world;

use istio_cni_otel::cmd::demo::style::Style;
use istio_cni_otel::cmd::explain::text::text;
use istio_cni_otel::wire::explain::Explanation;
use node::{Sandbox, broken};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use support::agent::{Agent, sandbox};
use support::api::{Api, Fault};
use support::*;
use world::{REPAIR, World};

const PAGE: (&str, &str) = ("PAGE_ADDRESS", "127.0.0.1:0");

/// What the tool printed, and its exit status.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!((self.status, self.err.as_str()), (0, ""), "{}", self.out);
        serde_json::from_str(&self.out).unwrap()
    }
}

/// Runs the tool without any environment but what is given.
fn tool(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    run(Command::new(env!("CARGO_BIN_EXE_istio-cni-otel")).arg("explain"), arguments, environment)
}

fn run(command: &mut Command, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let output = command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Asks the agent of this node, for JSON.
fn on_node(world: &World, arguments: &[&str]) -> Ran {
    let run_dir = world.node.run_dir.path().to_str().unwrap();
    tool(&[arguments, &["--run-dir", run_dir, "--output", "json"]].concat(), &[])
}

/// Asks through the API server.
fn from_elsewhere(world: &World, arguments: &[&str]) -> Ran {
    let kubeconfig = world.node.path("istio-cni-kubeconfig");
    let reach = ["--run-dir", "/nowhere", "--kubeconfig", kubeconfig.to_str().unwrap(), "--output", "json"];
    tool(&[arguments, &reach].concat(), &[])
}

fn web_0() -> Value {
    let mut pod = pod(json!({}));
    pod["spec"]["nodeName"] = json!("node-a");
    pod["status"] = json!({"phase": "Running", "podIP": "10.1.0.5"});
    pod
}

/// The pod of an agent.
fn agent_pod(node: &str, page: SocketAddr) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1",
        "metadata": {"namespace": "mesh", "name": format!("istio-cni-node-{node}"), "uid": format!("uid-{node}"),
            "labels": {"k8s-app": "istio-cni-node"}},
        "spec": {"nodeName": node, "containers": [{"name": "install-cni",
            "env": [{"name": "PAGE_ADDRESS", "value": page.to_string()}]}]},
        "status": {"phase": "Running", "containerStatuses": [{"ready": true}]}})
}

/// Puts an agent's pod there, and leads a port-forward to its page.
fn reachable(api: &Api, node: &str, agent: &mut Agent) {
    let port = agent.wait_for("serving the page")["server.port"].as_u64().unwrap();
    let page = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
    api.put(&agent_pod(node, page));
    api.forward(&agent_pod(node, page), page);
}

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

/// The explanation once it says so.
fn once(world: &World, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let ran = on_node(world, &["shop/web-0"]);
        (ran.status == 0).then(|| ran.json()).filter(&is)
    })
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
    assert!(
        said["rules"]["wanted"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line.as_str().unwrap().contains("redirect to :15001"))
    );
    sandbox.sh("nft flush ruleset");
    let is_missing = |said: &Value| said["rules"]["differences"][0]["what"] == "the table is missing";
    let whole = once(&world, "no rules at all", is_missing);
    let page = text(&serde_json::from_value(whole).unwrap(), Style { colour: false, width: 80 }, false);
    assert!(page.contains("as they should be:") && page.contains("\tchain istio-redirect {"), "{page}");
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

#[test]
fn an_api_server_that_hangs_is_not_waited_for_for_ever() {
    let world = World::new(&[web_0()]);
    world.api.fail("get", Some(Fault::Silence));
    let ran = from_elsewhere(&world, &["shop/web-0"]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("the API server did not answer within 15"), "{}", ran.err);
}

#[test]
fn from_elsewhere_the_agent_of_the_pods_node_is_asked() {
    let (world, proc, sandbox) = (World::new(&[web_0()]), Proc::new(), sandbox());
    let mut agent = world.start(&[PAGE, ("HOST_PROC", proc.path().to_str().unwrap())]);
    reachable(&world.api, "node-a", &mut agent);
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    world.api.put(&agent_pod("node-b", nobody));
    world.node.call("ADD", &sandbox.path()).result();
    let said = from_elsewhere(&world, &["web-0", "--namespace", "shop"]).json();
    assert_eq!((&said["summary"]["state"], &said["agent"]["node"]), (&json!("redirected"), &json!("node-a")));
    assert_eq!(world.api.count("portforward.get"), 1);
    let given = from_elsewhere(&world, &["shop/web-0", "--trace-url", "https://tempo/{trace_id}"]).json();
    assert_eq!(given["trace"]["url"], format!("https://tempo/{TRACE}"));

    // It is gone: all agents are asked, and one that cannot be is only missed if nobody else knows.
    world.api.remove(&web_0());
    eventually("a pod that is gone", || {
        (on_node(&world, &["shop/web-0"]).json()["pod"]["presence"] == "gone").then_some(())
    });
    assert_eq!(from_elsewhere(&world, &["shop/web-0"]).json()["pod"]["presence"], "gone");
    assert_eq!(from_elsewhere(&world, &["--uid", UID]).json()["pod"]["name"], "web-0");
    let unknown = from_elsewhere(&world, &["shop/never-was"]);
    assert_eq!(unknown.status, 2, "{}", unknown.err);
    assert!(unknown.err.contains("1 agents do not know the pod, and 1 gave no answer"), "{}", unknown.err);
    world.api.remove(&agent_pod("node-b", nobody));
    let unknown = from_elsewhere(&world, &["shop/never-was"]);
    assert_eq!((unknown.status, unknown.out.as_str()), (1, ""));
    assert!(unknown.err.contains("none of 1 agents remembers it"), "{}", unknown.err);
}

#[test]
fn what_keeps_from_an_explanation_is_said_in_one_sentence() {
    let world = World::new(&[web_0()]);
    let mut agent = world.start(&[PAGE]);
    let problem = |arguments: &[&str], status: i32, text: &str| {
        let ran = from_elsewhere(&world, arguments);
        assert_eq!((ran.status, ran.out.as_str()), (status, ""), "{}", ran.err);
        assert!(ran.err.contains(text) && ran.err.trim_end().lines().count() == 1, "{}", ran.err);
    };
    problem(&["shop/web-0"], 2, "no agent runs on node node-a");
    reachable(&world.api, "node-a", &mut agent);
    world.api.fail("get", Some(Fault::Status(403)));
    problem(&["shop/web-0"], 2, "(403)");
    world.api.fail("get", None);
    world.api.fail("portforward.get", Some(Fault::Status(403)));
    problem(&["shop/web-0"], 2, "get and create of pods/portforward");
    world.api.fail("portforward.get", None);
    let mut unscheduled = web_0();
    unscheduled["metadata"]["name"] = json!("web-1");
    unscheduled["metadata"]["uid"] = json!("u-1");
    unscheduled["spec"]["nodeName"] = json!(null);
    world.api.put(&unscheduled);
    problem(&["shop/web-1"], 1, "is not assigned to a node yet");
    problem(&["shop/Web"], 2, "give NAMESPACE/NAME");
    problem(&["shop/web-0", "--trace-url", "javascript:{trace_id}"], 2, "an http or https URL");
    problem(&["shop/web-0", "--context", "moon"], 2, "moon");
    let nowhere = tool(&["shop/web-0", "--run-dir", "/nowhere"], &[]);
    assert_eq!(nowhere.status, 2);
    assert!(
        nowhere.err.contains("there is no agent at /nowhere/page.sock, and there is no kubeconfig"),
        "{}",
        nowhere.err
    );
    let here = on_node(&world, &["shop/never-was"]);
    assert_eq!(here.status, 1);
    assert!(here.err.contains("the agent of node node-a knows no pod \"shop/never-was\""), "{}", here.err);
}

/// Serves one answer on the socket of a run directory that is not an agent's.
fn other_agent(directory: &Path, status: &'static str, body: String) {
    let listener = UnixListener::bind(directory.join("page.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
        }
    });
}

#[test]
fn an_agent_of_another_version_is_understood_as_far_as_it_goes() {
    let asked = |status, body: Value| {
        let directory = tempfile::tempdir().unwrap();
        let body = if body.is_string() { body.as_str().unwrap().to_owned() } else { body.to_string() };
        other_agent(directory.path(), status, body);
        tool(&["shop/web-0", "--run-dir", directory.path().to_str().unwrap()], &[])
    };
    let newer = json!({"version": 9, "agent": {"version": "9.0"}, "summary": {"sentence": "all is well", "mood": 1}, "more": []});
    let ran = asked("200 OK", newer);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.starts_with("all is well\n") && ran.err.contains("is of version 9.0"), "{}{}", ran.out, ran.err);
    let older = asked("404 Not Found", json!("no such page\n"));
    assert_eq!(older.status, 2);
    assert!(older.err.contains("is of another version, which explains no pods"), "{}", older.err);
    let nonsense = asked("200 OK", json!("<html>\u{1b}[31mhello</html>"));
    assert_eq!(nonsense.status, 2);
    assert!(nonsense.err.contains("no explanation") && !nonsense.err.contains('\u{1b}'), "{}", nonsense.err);
}

#[test]
fn what_others_wrote_steers_no_terminal() {
    const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}drawkcab\r\nnext";
    let mut pod = web_0();
    pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = json!(HOSTILE);
    let (world, sandbox) = (World::new(&[pod]), sandbox());
    let _agent = world.start(&[]);
    assert!(!world.node.call("ADD", &sandbox.path()).success);
    let said = once(&world, "the error", |said| said["errors"] != json!([]));
    assert!(said["errors"][0]["message"].as_str().unwrap().contains("drawkcab"));
    let run_dir = world.node.run_dir.path().to_str().unwrap();
    for output in ["text", "json"] {
        let ran = tool(&["shop/web-0", "--run-dir", run_dir, "--output", output], &[]);
        let bad = ran.out.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!((ran.status, bad), (0, None), "{:?}", ran.out);
        assert!(ran.out.contains("drawkcab"));
    }
}

#[test]
fn kubectl_runs_it_as_its_plugin() {
    let world = World::new(&[web_0()]);
    let _agent = world.start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kubectl-istio_cni");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_istio-cni-otel"), &plugin).unwrap();
    let run_dir = world.node.run_dir.path().to_str().unwrap();
    let ran = run(&mut Command::new(&plugin), &["explain", "web-0", "-n", "shop", "--run-dir", run_dir], &[]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.starts_with("shop/web-0 "), "{}", ran.out);
    let help = run(&mut Command::new(&plugin), &["explain", "--help"], &[]);
    assert!(help.out.contains("Usage: kubectl istio-cni explain"), "{}", help.out);
}
