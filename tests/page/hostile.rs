//! What wants to be more than text, in every place of the page that shows what others say.

use super::browser::{Browser, DESK};
use super::nothing_complained;
use super::scene::{Scene, Told, failed, log, now_ns, text};
use istio_cni_otel::domain::identity::TraceId;
use serde_json::json;
use std::net::TcpListener;

/// An annotation whose value is not allowed, and wants to be markup.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&\u{202e}";

#[test]
fn whatever_a_pod_says_is_text() {
    let mut scene = Scene::start(&[]);
    let trace = scene.add("web-0", 1, json!({"traffic.sidecar.istio.io/excludeInboundPorts": HOSTILE}));
    let told =
        Told { trace: TraceId([9; 16]), pod: (HOSTILE, "</title><script>alert(2)</script>"), began_ns: now_ns() };
    let mut span = failed(told.span(1, 9, "cni.add", 0, 10), HOSTILE, HOSTILE);
    span.attributes.push(text(HOSTILE, HOSTILE));
    let mut said = log(&span, 1, 17, HOSTILE);
    said.event_name = HOSTILE.to_owned();
    let named = told.span(2, 1, HOSTILE, 0, 10);
    scene.tell(vec![named, span], vec![said]);
    scene.wait_for_trace(&told.trace.to_hex(), "cni.add");
    let browser = Browser::start(DESK);
    for path in ["/".to_owned(), format!("/traces/{trace}"), format!("/traces/{}", told.trace.to_hex())] {
        browser.open(&scene.url(&path));
        assert!(browser.text("main").contains("onerror=alert(1)"), "{path}: {}", browser.text("main"));
        browser.value("document.querySelectorAll('details').forEach(it => it.open = true)");
        assert_eq!(browser.count("main img, main script, body > script, [onerror]"), 0, "{path}");
        assert!(!browser.value("document.documentElement.outerHTML").to_string().contains('\u{202e}'), "{path}");
    }
    // Each place that shows a text of others has shown this one.
    browser.open(&scene.url(&format!("/traces/{}", told.trace.to_hex())));
    browser.value("document.querySelectorAll('details').forEach(it => it.open = true)");
    assert!(browser.title().contains("<script>alert(2)</script>"), "{}", browser.title());
    for place in
        [".span .name", ".error", ".error strong", ".attributes dt", ".attributes dd", ".logs li", ".logs small"]
    {
        let says = format!(
            "[...document.querySelectorAll({place:?})].some(it => it.textContent.includes('onerror=alert(1)'))"
        );
        assert_eq!(browser.value(&says), true, "{place}");
    }
    let searched = "/?text=%22%3E%3Cscript%3Ealert(3)%3C%2Fscript%3E";
    browser.open(&scene.url(searched));
    assert_eq!(browser.value("document.querySelector('input[type=search]').value"), "\"><script>alert(3)</script>");
    nothing_complained(&browser);
}

#[test]
fn a_path_that_looks_like_another_host_stays_here() {
    let scene = Scene::start(&[]);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let browser = Browser::start(DESK);
    for path in [format!("//{}/", elsewhere.local_addr().unwrap()), "//evil.example/?x=//y#//z".to_owned()] {
        browser.open(&scene.url(&path));
        assert_eq!(browser.text("h1"), "There is no such page");
        browser.wait_for("it listens", |page| page.text("#live") == "live");
        // What is new makes the script ask for the page again.
        let told = Told { trace: TraceId([8; 16]), pod: ("shop", "web"), began_ns: now_ns() };
        let before = browser.value("document.querySelector('#state').dataset.version");
        scene.tell(vec![told.span(1, 9, "cni.add", 0, 10)], Vec::new());
        browser.wait_for("it is up to date", |page| {
            page.value("document.querySelector('#state').dataset.version") != before
        });
        assert_eq!(browser.url(), scene.url(&path));
        // The page itself is none, and that is all that is wrong.
        let complaints: Vec<String> =
            browser.complaints().into_iter().filter(|said| !said.contains("status of 404")).collect();
        assert_eq!(complaints, Vec::<String>::new());
    }
    assert!(elsewhere.accept().is_err(), "somebody else was asked");
    nothing_complained(&browser);
}

#[test]
fn no_answer_leads_anywhere_else() {
    let scene = Scene::start(&[]);
    for path in [
        "//evil.example/",
        "/\\evil.example",
        "/%2f%2fevil.example",
        "/traces//evil.example/",
        "/?next=//evil.example",
        "/doctor/",
    ] {
        let (status, text) = scene.get(path);
        assert!(matches!(status, 200 | 400 | 404), "{path}: {status}");
        assert!(!text.to_ascii_lowercase().contains("\r\nlocation:"), "{path}: {text}");
    }
}
