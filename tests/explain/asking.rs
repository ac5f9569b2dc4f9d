//! Whom the tool asks, from where, and what it says when that gives nothing.

use crate::support::agent::sandbox;
use crate::support::api::Fault;
use crate::support::*;
use crate::tool::*;
use crate::world::World;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

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
