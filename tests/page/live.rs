//! The page that stays open: what happens appears, whatever happens to the agent meanwhile.

use super::browser::{Browser, DESK};
use super::nothing_complained;
use super::scene::{Scene, Told, now_ns};
use super::support::agent::PATIENCE;
use super::support::api::{Api, Fault};
use super::support::{UID, pod};
use istio_cni_otel::domain::identity::TraceId;
use istio_cni_otel::telemetry::timestamp::Timestamp;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_new_add_appears_by_itself_and_disturbs_nobody() {
    let mut scene = Scene::start(&[]);
    let first = scene.add("web-0", 1, json!({}));
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/"));
    browser.wait_for("it listens", |page| page.text("#live") == "live");
    browser.value(&format!(
        "window.before = document.querySelector('[data-key=\"{first}\"]'), before.querySelector('a').focus()"
    ));
    let second = scene.add("web-1", 2, json!({}));
    browser.wait_for("the new one is there", |page| page.count(&format!("[data-key='{second}']")) == 1);
    let keys = browser.value("[...document.querySelectorAll('.trace')].map(it => it.dataset.key)");
    assert_eq!(keys, json!([second, first]), "newest first");
    assert_eq!(
        browser.value("window.before.isConnected && document.activeElement === before.querySelector('a')"),
        true
    );
    browser.wait_for("the count follows", |page| page.text("#numbers").contains("2 enrolled"));

    // What was unfolded in a trace stays so while the trace grows.
    browser.open(&scene.url(&format!("/traces/{second}")));
    browser.wait_for("it listens", |page| page.text("#live") == "live");
    browser.click(".span summary");
    assert_eq!(browser.count("details[open]"), 1);
    let began = now_ns();
    let told = Told { trace: TraceId::from_hex(&second).unwrap(), pod: ("shop", "web-1"), began_ns: began };
    scene.tell(vec![told.span(3, 9, "repair.pod", 0, 500)], Vec::new());
    browser.wait_for("the repair is there", |page| page.text("#waterfalls").contains("repair.pod"));
    assert_eq!(browser.count("details[open]"), 1);
    nothing_complained(&browser);
}

#[test]
fn an_agent_that_is_not_ready_says_why_until_it_is() {
    let api = Api::start();
    for verb in ["list", "watch"] {
        api.fail(verb, Some(Fault::Status(403)));
    }
    let scene = Scene::start_with(api, &[]);
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/"));
    let says = browser.text("#readiness");
    assert!(says.contains("Not ready.") && says.contains("this node's pods"), "{says}");
    assert!(browser.count("#readiness li") >= 1 && browser.text("#state").contains("not ready"));
    browser.click("#readiness a");
    browser.wait_for("doctor says what to do", |page| page.url().ends_with("/doctor"));
    assert!(browser.text("#findings").contains("agent.ready"), "{}", browser.text("#findings"));
    browser.open(&scene.url("/"));
    browser.wait_for("it listens", |page| page.text("#live") == "live");
    for verb in ["list", "watch"] {
        scene.api.fail(verb, None);
    }
    browser.wait_for("it is ready by itself", |page| page.text("#readiness").contains("Ready. A meshed pod"));
    assert_eq!((browser.text("#state"), browser.count("#readiness li")), ("✓ready".to_owned(), 0));
    nothing_complained(&browser);
}

#[test]
fn an_agent_that_goes_and_comes_back_is_followed() {
    let mut scene = Scene::start(&[]);
    scene.add("web-0", 1, json!({}));
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/"));
    browser.wait_for("it listens", |page| page.text("#live") == "live");
    let dead = scene.kill();
    browser.wait_for("it says that nobody is there", |page| page.text("#live") != "live");
    assert_eq!(browser.count(".trace"), 1, "what was shown stays");
    let mut scene = dead.revive();
    browser.wait_for("it listens to the next one", |page| page.text("#live") == "live");
    let new = scene.add("web-1", 2, json!({}));
    browser.wait_for("what happens now appears", |page| page.count(&format!("[data-key='{new}']")) == 1);
}

/// Stands between a browser and the agent; while it is told so, it takes questions for the list and answers none.
struct Between {
    port: u16,
    hangs: Arc<AtomicBool>,
}

impl Between {
    fn start(agent: u16) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hangs = Arc::new(AtomicBool::new(false));
        let told = hangs.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let told = told.clone();
                std::thread::spawn(move || pass(client, agent, &told));
            }
        });
        Between { port, hangs }
    }
}

/// One request and its answer. What is held back stays so until the browser gives it up.
fn pass(mut client: TcpStream, agent: u16, hangs: &AtomicBool) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    if hangs.load(Ordering::SeqCst) && head.starts_with(b"GET / ") {
        let _ = client.read(&mut byte);
        return;
    }
    let head = String::from_utf8(head).unwrap().replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let head = head.replace("Connection: keep-alive\r\n", "");
    let mut server = TcpStream::connect(("127.0.0.1", agent)).unwrap();
    server.write_all(head.as_bytes()).unwrap();
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn a_question_that_is_never_answered_is_given_up() {
    let mut scene = Scene::start(&[]);
    let between = Between::start(scene.port);
    let browser = Browser::start(DESK);
    browser.open(&format!("http://127.0.0.1:{}/", between.port));
    browser.wait_for("it listens", |page| page.text("#live") == "live");
    between.hangs.store(true, Ordering::SeqCst);
    let held = scene.add("web-0", 1, json!({}));
    browser.wait_for("it says so", |page| page.text("#live") == "not reachable");
    between.hangs.store(false, Ordering::SeqCst);
    let new = scene.add("web-1", 2, json!({}));
    browser.wait_for("both are there", |page| {
        [&held, &new].iter().all(|trace| page.count(&format!("[data-key='{trace}']")) == 1)
    });
    browser.wait_for("it is live", |page| page.text("#live") == "live");
    let waited = browser.value("performance.getEntriesByType('resource').map(it => it.duration)");
    let longest = waited.as_array().unwrap().iter().filter_map(|it| it.as_f64()).fold(0.0, f64::max);
    assert!(longest < PATIENCE.as_secs_f64() * 3e3, "{longest} ms");
}

#[test]
fn a_pod_that_was_late_is_well_again_once_it_is_ready() {
    let scene = Scene::start(&[("STARTUP_TRACES", "all"), ("STARTUP_LIMIT", "1s")]);
    let now = || Timestamp(now_ns()).to_string();
    let mut late = pod(json!({}));
    late["metadata"]["creationTimestamp"] = json!(now());
    late["status"] = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}]});
    scene.api.put(&late);
    let trace = TraceId::of_pod(UID).to_hex();
    scene.wait_for_trace(&trace, "pod.startup");
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/?failed=true"));
    assert_eq!(browser.count(".trace"), 1, "{}", browser.text("main"));
    browser.open(&scene.url(&format!("/traces/{trace}")));
    browser.wait_for("it listens", |page| page.text("#live") == "live");
    assert!(browser.text("#head").contains("✕"), "{}", browser.text("#head"));
    let met = |kind| json!({"type": kind, "status": "True", "lastTransitionTime": now()});
    let all = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(met);
    late["status"] = json!({"phase": "Running", "conditions": all});
    scene.api.put(&late);
    browser.wait_for("what came of it is there", |page| page.text("#head").contains("is ready after all"));
    assert!(!browser.text("#head").contains("✕"), "{}", browser.text("#head"));
    browser.open(&scene.url("/?failed=true"));
    assert_eq!(browser.count(".trace"), 0, "{}", browser.text("main"));
    nothing_complained(&browser);
}
