//! The page's server as a program sees it that does not keep to the rules, and what others get meanwhile.

use super::scene::{Scene, ask, get_as, now_ns};
use super::support::agent::{PATIENCE, call_for, make, sandbox};
use super::support::{Namespace, UID, eventually, other_users_for, pod};
use super::{Told, tell_failure};
use istio_cni_otel::domain::identity::TraceId;
use serde_json::json;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

/// What every answer has to say to a browser.
const PROTECTIONS: [&str; 6] = [
    "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self';",
    "x-content-type-options: nosniff",
    "referrer-policy: no-referrer",
    "x-frame-options: DENY",
    "cross-origin-resource-policy: same-origin",
    "cache-control: no-store",
];

fn open(port: u16, says: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(says.as_bytes()).unwrap();
    stream
}

/// The lines of an answer until one begins like this.
fn read_until(stream: &TcpStream, begins: &str) -> Option<String> {
    BufReader::new(stream).lines().map_while(Result::ok).find(|line| line.starts_with(begins))
}

#[test]
fn every_answer_is_protected_and_no_foreign_name_or_method_gets_one() {
    let scene = Scene::start(&[]);
    for path in [
        "/",
        "/traces/0",
        "/traces/ffffffffffffffffffffffffffffffff",
        "/api/v1/traces",
        "/nowhere",
        "/assets/x",
        "/?kind=x",
    ] {
        let (status, text) = scene.get(path);
        assert!([200, 400, 404].contains(&status), "{path}: {text}");
        for protection in PROTECTIONS {
            assert!(text.contains(protection), "{path} lacks {protection}: {text}");
        }
        assert!(!text.to_ascii_lowercase().contains("access-control-"), "{path}");
        assert!(!text.contains("style=") && !text.contains("<script>") && !text.contains("onclick"), "{path}");
        assert_eq!(get_as(scene.port, path, "evil.example").0, 421, "a name that was made to resolve to this machine");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"] {
        let (status, _) =
            ask(scene.port, &format!("{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert!([400, 405].contains(&status), "{method}: {status}");
    }
    let fetched = "GET /api/v1/traces HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(scene.port, fetched).0, 403);
    let (status, head) = ask(scene.port, "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!((status, head.split_once("\r\n\r\n").unwrap().1), (200, ""));
}

#[test]
fn the_style_may_be_kept_and_nothing_else() {
    let scene = Scene::start(&[]);
    let (_, page) = scene.get("/");
    let style = page.split("href=\"/assets/").nth(2).unwrap().split('"').next().unwrap();
    let (status, text) = scene.get(&format!("/assets/{style}"));
    assert_eq!(status, 200);
    assert!(text.contains("cache-control: public, max-age=31536000, immutable"), "{text}");
    assert!(text.contains("content-type: text/css; charset=utf-8"));
}

#[test]
fn a_question_that_cannot_be_answered_says_what_can() {
    let scene = Scene::start(&[]);
    for (path, says) in [
        ("/?kind=nonsense", "it takes all or one of add"),
        ("/?most=100000", "it takes 1 to 1000"),
        ("/api/v1/traces?failed=perhaps", "it takes true or false"),
        ("/api/v1/traces/nonsense", "a trace id has 32 hex digits"),
    ] {
        let (status, text) = scene.get(path);
        assert_eq!(status, 400, "{path}");
        assert!(text.contains(says), "{path}: {text}");
    }
    assert_eq!(scene.get(&format!("/?text={}", "x".repeat(3_000))).0, 414);
    assert_eq!(scene.get(&format!("/?text={}", "x".repeat(100_000))).0, 431, "not even read");
    assert_eq!(scene.get("/?text=%ff%00%&&==&kind").0, 200, "what is no UTF-8 is text like any other");
    let (status, text) = scene.get("/traces/ffffffffffffffffffffffffffffffff");
    assert!(status == 404 && text.contains("ask your collector"), "{text}");
}

#[test]
fn programs_get_the_same_as_json() {
    let mut scene = Scene::start(&[]);
    let good = scene.add("web-0", 1, json!({}));
    let bad = tell_failure(&scene, 7, "cart-1");
    let list = scene.json("/api/v1/traces");
    assert_eq!((&list["node"], list["traces"].as_array().unwrap().len()), (&json!("node-a"), 2));
    let failed = scene.json("/api/v1/traces?failed=true");
    let [failed] = &failed["traces"].as_array().unwrap()[..] else { panic!("{failed}") };
    assert_eq!((&failed["traceId"], &failed["errorType"]), (&json!(bad), &json!("rules_rejected")));
    let trace = scene.json(&format!("/api/v1/traces/{good}"));
    let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert!(spans.iter().all(|span| span["traceId"] == json!(good)) && spans.len() >= 8, "{trace}");
}

#[test]
fn the_socket_answers_the_same_to_its_own_user_alone() {
    let scene = Scene::start(&[]);
    let path = scene.node.path("page.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /api/v1/traces HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("\"node\":\"node-a\""), "{text}");
    let Scene { mut agent, node, .. } = scene;
    if other_users_for("that the page's socket refuses other users") {
        let namespace = Namespace::new();
        let open = |path: &std::path::Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        open(node.run_dir.path(), 0o755);
        open(&path, 0o666);
        let stranger = || UnixStream::connect(&path).map(|mut stream| stream.read(&mut [0]).unwrap_or(0));
        assert_eq!(namespace.run_as(1000, stranger).unwrap(), 0, "nothing is answered");
        agent.wait_for("refused a connection of user 1000");
    }
    assert!(agent.stop().success());
    assert!(!node.path("page.sock").exists(), "its name goes with the agent");
}

#[test]
fn an_address_that_is_taken_is_said_and_the_agent_goes_on() {
    let first = Scene::start(&[]);
    let taken = format!("127.0.0.1:{}", first.port);
    let (node, api) = (super::support::Node::new(), super::support::api::Api::start());
    node.write_kubeconfig(&format!("http://{}", api.address));
    let mut agent = super::support::agent::Agent::start_with(&node, &[("PAGE_ADDRESS", &taken)]);
    let said = agent.wait_for("cannot serve the page on");
    assert!(said["msg"].as_str().unwrap().contains(&taken), "{said}");
    agent.wait_for("ms after the start");
    assert_eq!(agent.health("/readyz").0, 200);
    assert!(node.path("page.sock").exists(), "the socket is there all the same");
}

#[test]
fn many_watchers_are_sent_away_and_the_page_still_answers() {
    let scene = Scene::start(&[]);
    let watch = "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    let watchers: Vec<TcpStream> = (0..12).map(|_| open(scene.port, watch)).collect();
    for watcher in &watchers {
        assert!(read_until(watcher, "data: ").is_some(), "each hears at once what there is");
    }
    assert_eq!(scene.get("/events").0, 503);
    assert_eq!(scene.get("/").0, 200);
    drop(watchers);
    eventually("a place is free again", || {
        let stream = open(scene.port, watch);
        read_until(&stream, "HTTP/1.1 200").map(drop)
    });
}

#[test]
fn who_reads_slowly_or_says_nothing_costs_little_and_keeps_nobody_out() {
    let scene = Scene::start(&[("HISTORY_BYTES", "16Mi")]);
    for part in 0..5_u8 {
        let spans = (0..200).map(|number| {
            let mut trace = [part + 1; 16];
            trace[15] = number;
            let told = Told { trace: TraceId(trace), pod: ("shop", "web"), began_ns: now_ns() };
            told.span(1, 9, "cni.add", 0, 2_000)
        });
        scene.tell(spans.collect(), Vec::new());
    }
    eventually("all have arrived", || {
        (scene.json("/api/v1/traces?most=1000")["traces"].as_array().unwrap().len() == 1_000).then_some(())
    });
    let (call, pod_netns) = (call_for(UID), sandbox());
    scene.api.put(&pod(json!({})));
    eventually("the pod is known", || make(&scene.node, &call, Some(pod_netns.as_fd())).result.ok());
    let before = scene.agent.resident();
    // Each asks for the longest list there is and reads nothing of it; others say nothing at all.
    let list = "GET /?most=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let slow: Vec<TcpStream> =
        (0..100).map(|number| open(scene.port, if number % 2 == 0 { list } else { "" })).collect();
    // The calls of plugins are answered meanwhile.
    assert!(make(&scene.node, &call, Some(pod_netns.as_fd())).result.is_ok());
    assert_eq!(scene.agent.health("/readyz").0, 200);
    let more = scene.agent.resident().saturating_sub(before);
    assert!(more < 24 << 10, "{more} KiB more for slow readers");
    drop(slow);
    eventually("the page answers again", || (scene.get("/").0 == 200).then_some(()));
}
