//! Whom the tool asks, from where, and what it says when that gives nothing.

use crate::support::agent::sandbox;
use crate::support::api::Fault;
use crate::support::*;
use crate::tool::*;
use crate::world::World;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

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

/// A kubeconfig for this server, whose current context has a namespace and whose other has none.
fn with_contexts(world: &World, server: &str) -> String {
    let path = world.node.path("contexts");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "shop",
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "shop", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
            {"name": "bare", "context": {"cluster": "c", "user": "u"}}]});
    std::fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_bare_name_is_in_the_namespace_of_the_kubeconfigs_context() {
    let world = World::new(&[web_0()]);
    let mut agent = world.start(&[PAGE]);
    reachable(&world.api, "node-a", &mut agent);
    let kubeconfig = with_contexts(&world, &format!("http://{}", world.api.address));
    let elsewhere = ["--run-dir", "/nowhere", "--output", "json"];
    let asked = |more: &[&str]| tool(&[&["web-0"], &elsewhere[..], more].concat(), &[("KUBECONFIG", &kubeconfig)]);
    assert_eq!(asked(&[]).json()["pod"]["namespace"], "shop");
    for (more, namespace) in [(&["--context", "bare"][..], "default"), (&["--namespace", "other"], "other")] {
        let ran = asked(more);
        assert_eq!(ran.status, 1, "{}", ran.err);
        assert!(ran.err.contains("none of 1 agents remembers it"), "{}", ran.err);
        let path = format!("/api/v1/namespaces/{namespace}/pods/web-0");
        assert!(world.api.requests().iter().any(|request| request.contains(&path)), "{namespace}");
    }
    let here = on_node(&world, &["web-0"]);
    assert_eq!(here.status, 1);
    assert!(here.err.contains("knows no pod \"default/web-0\""), "{}", here.err);
    assert!(tool(&["--help"], &[]).out.contains("that of the kubeconfig's context"));
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
    problem(
        &["shop/web-0"],
        2,
        "(403): the stand-in says 403; the user of the kubeconfig needs get of pods in the namespace shop",
    );
    world.api.fail("get", None);
    world.api.fail("list", Some(Fault::Status(403)));
    problem(
        &["shop/web-0"],
        2,
        "the user of the kubeconfig needs list of pods where the agents are (--agent-namespace)",
    );
    world.api.fail("list", None);
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
    std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap(), status, &body)));
}

/// Serves one answer on a port, as the page of an agent elsewhere.
fn other_page(status: &'static str, body: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| answer(stream.unwrap(), status, &body)));
    address
}

fn answer(mut stream: impl Read + Write, status: &str, body: &str) {
    let _ = stream.read(&mut [0; 4096]);
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
}

#[test]
fn an_agent_that_hangs_is_not_waited_for_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let _silent = UnixListener::bind(directory.path().join("page.sock")).unwrap();
    let ran = tool(&["shop/web-0", "--run-dir", directory.path().to_str().unwrap()], &[]);
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("did not answer within 20 s"), "{}", ran.err);
}

/// What an agent says of a pod of that name.
fn explanation(uid: &str, presence: &str, at: &str) -> String {
    json!({"version": 1, "pod": {"namespace": "shop", "name": "web-0", "uid": uid, "presence": presence},
        "trace": {"id": uid.replace('-', "")}, "timeline": [{"at": at, "what": "cni.add", "outcome": "ok"}]})
    .to_string()
}

#[test]
fn a_name_is_that_of_the_pod_which_has_it_now_and_not_of_one_that_was_on_this_node() {
    let mut pod = web_0();
    pod["spec"]["nodeName"] = json!("node-b");
    let (world, here) = (World::new(&[pod.clone()]), tempfile::tempdir().unwrap());
    let old = "11111111-2222-4333-8444-000000000001";
    other_agent(here.path(), "200 OK", explanation(old, "gone", "2026-01-01T00:00:01Z"));
    let page = other_page("200 OK", explanation(UID, "here", "2026-01-01T00:00:02Z"));
    world.api.put(&agent_pod("node-b", page));
    world.api.forward(&agent_pod("node-b", page), page);
    let kubeconfig = world.node.path("istio-cni-kubeconfig");
    let run_dir = ["--run-dir", here.path().to_str().unwrap(), "--output", "json"];
    let asked = |who: &[&str], more: &[&str]| tool(&[who, &run_dir[..], more].concat(), &[]).json();
    let cluster = ["--kubeconfig", kubeconfig.to_str().unwrap()];
    let said = asked(&["shop/web-0"], &cluster);
    assert_eq!((&said["pod"]["uid"], &said["notes"]), (&json!(UID), &json!(null)));
    assert_eq!(said["others"][0]["uid"], old);
    // Whoever gives a UID means that one.
    assert_eq!(asked(&["--uid", old], &cluster)["pod"]["uid"], old);

    let fallback = |more: &[&str], why: &str| {
        let said = asked(&["shop/web-0"], more);
        let note = said["notes"][0].as_str().unwrap();
        assert_eq!(said["pod"]["uid"], old);
        assert!(note.contains(&format!("the pod {old} that was on this node and is gone")), "{note}");
        assert!(note.contains(why), "{note}");
    };
    fallback(&[], "the API server was not asked, because there is no kubeconfig");
    world.api.fail("portforward.get", Some(Fault::Status(403)));
    fallback(&cluster, &format!("the pod {UID} is on node node-b, and"));
    world.api.fail("get", Some(Fault::Status(403)));
    fallback(&cluster, "needs get of pods in the namespace shop");
    world.api.fail("get", None);
    // It is the last of its name.
    world.api.remove(&pod);
    let said = asked(&["shop/web-0"], &cluster);
    assert_eq!((&said["pod"]["uid"], &said["notes"]), (&json!(old), &json!(null)));
}

/// A kubeconfig for this server, whose user is who a shell's script says.
fn with_program(world: &World, script: &str) -> String {
    let path = world.node.path("with-program");
    let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": ["-c", script],
        "env": [{"name": "WHO", "value": "somebody"}], "interactiveMode": "IfAvailable"});
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", world.api.address)}}],
        "users": [{"name": "u", "user": {"exec": exec}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    std::fs::write(&path, config.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_program_of_a_kubeconfig_gives_the_credentials_or_what_it_did_instead_is_said() {
    let world = World::new(&[web_0()]);
    let page = other_page("200 OK", explanation(UID, "here", "2026-01-01T00:00:02Z"));
    world.api.put(&agent_pod("node-a", page));
    world.api.forward(&agent_pod("node-a", page), page);
    let asked = |script: &str| {
        let kubeconfig = with_program(&world, script);
        tool(&["shop/web-0", "--run-dir", "/nowhere", "--output", "json", "--kubeconfig", &kubeconfig], &[])
    };
    let seen = world.node.path("seen");
    let seen_path = seen.to_str().unwrap();
    let said = asked(&format!(
        "echo \"$WHO $KUBERNETES_EXEC_INFO\" >{seen_path}; echo '{{\"status\": {{\"token\": \"SECRET\"}}}}'"
    ));
    assert_eq!(said.json()["pod"]["uid"], UID);
    let seen = std::fs::read_to_string(seen).unwrap();
    let about: Value = serde_json::from_str(seen.strip_prefix("somebody ").unwrap()).unwrap();
    assert_eq!(
        about,
        json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "spec": {"interactive": false}})
    );
    for (script, why) in [
        ("exit 3", "it ended with exit status: 3"),
        ("echo SECRET [", "it printed no ExecCredential"),
        ("echo '{}'", "without a status"),
        ("echo '{\"status\": {\"clientKeyData\": \"SECRET\"}}'", "neither a token nor"),
    ] {
        let ran = asked(script);
        assert_eq!(ran.status, 2, "{}", ran.err);
        assert!(ran.err.contains("the program \"/bin/sh\"") && ran.err.contains(why), "{}", ran.err);
        assert!(!ran.err.contains("SECRET"), "{}", ran.err);
    }
}

#[test]
fn a_program_of_a_kubeconfig_that_hangs_is_ended_and_not_waited_for_for_ever() {
    let world = World::new(&[web_0()]);
    let pid = world.node.path("pid");
    let kubeconfig = with_program(&world, &format!("echo $$ >{}; exec sleep 600", pid.display()));
    let of_cluster = ["--kubeconfig", kubeconfig.as_str()];
    let doctor = || Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
    for (mut tool, arguments) in [
        (doctor(), &["explain", "shop/web-0", "--run-dir", "/nowhere"][..]),
        (doctor(), &["doctor", "--cluster", "--timeout", "5"]),
    ] {
        let started = Instant::now();
        let ran = run(&mut tool, &[arguments, &of_cluster[..]].concat(), &[]);
        assert_eq!(ran.status, 2, "{}", ran.err);
        assert!(arguments[0] == "doctor" || ran.err.contains("it did not end within 15 s"), "{}", ran.err);
        // Far less than the program would take, and much for a machine that is busy.
        assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
        let pid = std::fs::read_to_string(&pid).unwrap();
        let command = format!("/proc/{}/cmdline", pid.trim());
        eventually("the end of the program", || {
            (!std::fs::read_to_string(&command).is_ok_and(|line| line.starts_with("sleep"))).then_some(())
        });
    }
}

#[test]
fn of_several_pods_that_had_a_name_on_several_nodes_the_last_is_explained_and_the_others_are_named() {
    let world = World::new(&[]);
    let remembered = |uid: &str, at: &str| other_page("200 OK", explanation(uid, "gone", at));
    let (one, two) = ("11111111-2222-4333-8444-000000000001", "11111111-2222-4333-8444-000000000002");
    for (node, page) in
        [("node-a", remembered(one, "2026-01-01T00:00:01Z")), ("node-b", remembered(two, "2026-01-01T00:00:02Z"))]
    {
        world.api.put(&agent_pod(node, page));
        world.api.forward(&agent_pod(node, page), page);
    }
    let said = from_elsewhere(&world, &["shop/web-0"]).json();
    assert_eq!((&said["pod"]["uid"], said["others"].as_array().unwrap().len()), (&json!(two), 1));
    assert_eq!((&said["others"][0]["uid"], &said["others"][0]["last"]), (&json!(one), &json!("2026-01-01T00:00:01Z")));
}

#[test]
fn whatever_an_agent_says_neither_steers_a_terminal_nor_leads_elsewhere() {
    const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}drawkcab\r\nnext/&?#";
    let asked = |status, body: Value, output: &str| {
        let directory = tempfile::tempdir().unwrap();
        other_agent(directory.path(), status, body.to_string());
        let run_dir = directory.path().to_str().unwrap();
        let arguments =
            ["shop/web-0", "--run-dir", run_dir, "--output", output, "--trace-url", "https://t/x?id={trace_id}&b=1"];
        let ran = tool(&arguments, &[]);
        let bad = |text: &str| text.chars().find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!((bad(&ran.out), bad(&ran.err)), (None, None), "{:?} {:?}", ran.out, ran.err);
        ran
    };
    let pod = json!({"namespace": HOSTILE, "name": HOSTILE, "uid": HOSTILE, "phase": HOSTILE, "addresses": [HOSTILE]});
    let step = json!({"name": HOSTILE, "outcome": "ok", "did": [{"name": HOSTILE, "value": HOSTILE}]});
    let body = json!({"version": 9, "agent": {"version": HOSTILE, "node": HOSTILE}, "pod": pod,
        "trace": {"id": HOSTILE}, "summary": {"sentence": HOSTILE}, "notes": [HOSTILE],
        "timeline": [{"at": HOSTILE, "what": HOSTILE, "text": HOSTILE}],
        "calls": [{"command": HOSTILE, "path": HOSTILE, "container_id": HOSTILE, "netns": HOSTILE, "steps": [step]}],
        "errors": [{"step": HOSTILE, "error_type": HOSTILE, "message": HOSTILE, "next": HOSTILE}],
        "rules": {"state": "broken", "backend": HOSTILE, "wanted": [HOSTILE], "differences": [{"what": HOSTILE}]}});
    for output in ["text", "json"] {
        let ran = asked("200 OK", body.clone(), output);
        assert_eq!(ran.status, 0, "{}", ran.err);
        assert!(ran.out.contains("drawkcab"), "{}", ran.out);
        let url = "https://t/x?id=%1B%5D0%3Bowned%07%C2%9B31m%E2%80%AEdrawkcab%0D%0Anext%2F%26%3F%23&b=1";
        assert!(ran.out.contains(url), "{}", ran.out);
    }
    let refused = asked("404 Not Found", json!({"version": 1, "error": HOSTILE}), "text");
    assert!(refused.status != 0 && refused.err.contains("drawkcab"), "{}", refused.err);
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
