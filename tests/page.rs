//! The agent's page in a real browser, over a real agent with real ADDs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "page/access.rs"]
mod access;
#[path = "page/browser.rs"]
mod browser;
#[path = "page/findings.rs"]
mod findings;
#[path = "page/hostile.rs"]
mod hostile;
#[path = "page/live.rs"]
mod live;
#[path = "repair/node.rs"]
mod node;
#[path = "page/pictures.rs"]
mod pictures;
#[path = "page/protections.rs"]
mod protections;
#[path = "page/recording.rs"]
mod recording;
#[path = "page/scene.rs"]
mod scene;
#[path = "page/secrets.rs"]
mod secrets;
#[path = "page/story.rs"]
mod story;
mod support;

use browser::{Browser, DESK};
use istio_cni_otel::domain::identity::TraceId;
use scene::{Scene, Told, failed, log, now_ns};
use serde_json::json;

fn nothing_complained(browser: &Browser) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A trace with a few spans, one of which failed.
fn tell_failure(scene: &Scene, number: u8, name: &str) -> String {
    let told = Told { trace: TraceId([number; 16]), pod: ("shop", name), began_ns: now_ns() };
    let add = failed(told.span(1, 9, "cni.add", 0, 4_000), "rules_rejected", "the kernel refused rule 3");
    let apply = failed(told.span(2, 1, "rules.apply", 1_000, 3_000), "rules_rejected", "the kernel refused rule 3");
    let said = log(&apply, 900, 17, "rule 3 was refused");
    scene.tell(vec![apply, add], vec![said]);
    let trace = told.trace.to_hex();
    scene.wait_for_trace(&trace, "cni.add");
    trace
}

#[test]
fn it_shows_what_happened_and_one_trace_as_a_waterfall() {
    let mut scene = Scene::start(&[]);
    let trace = scene.add("web-0", 1, json!({}));
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/"));
    assert!(browser.title().contains("node-a"), "{}", browser.title());
    assert!(browser.text("#readiness").starts_with("✓\nReady."), "{}", browser.text("#readiness"));
    assert!(browser.text("#numbers").contains("enrolled"), "{}", browser.text("#numbers"));
    browser.click(&format!("[data-key='{trace}'] a"));
    assert_eq!(browser.url(), scene.url(&format!("/traces/{trace}")));
    assert_eq!(browser.text("h1"), "shop/web-0");
    for step in ["cni.add", "config.parse", "netns.open", "agent.call", "pod.lookup", "rules.apply", "rules.verify"] {
        assert!(browser.text(".spans").contains(step), "{step}: {}", browser.text(".spans"));
    }
    // Every bar is on the scale, and as wide as its span was long.
    let places = browser.value("[...document.querySelectorAll('.took')].map(it => [it.getBoundingClientRect().left - it.parentNode.getBoundingClientRect().left, it.getBoundingClientRect().width, it.parentNode.getBoundingClientRect().width])");
    let places: Vec<Vec<f64>> = serde_json::from_value(places).unwrap();
    assert!(places.len() >= 8);
    assert!(
        places.iter().all(|place| place[0] >= -2.0 && place[1] > 0.0 && place[0] + place[1] <= place[2] + 2.0),
        "{places:?}"
    );
    assert!(places[0][1] > places[0][2] * 0.99, "the first span is the whole: {places:?}");
    // On demand a span says more.
    assert!(!browser.text(".spans").contains("istio_cni.rules.backend"));
    let apply = "document.evaluate(\"//li[.//span[@class='name'][contains(., 'rules.apply')]]\", document, null, 9, null).singleNodeValue.querySelector('summary').click()";
    browser.value(apply);
    assert!(browser.text(".spans").contains("istio_cni.rules.backend"), "{}", browser.text(".spans"));
    nothing_complained(&browser);
}

#[test]
fn what_is_too_short_for_the_scale_has_one_of_its_own() {
    let scene = Scene::start(&[]);
    let told = Told { trace: TraceId([3; 16]), pod: ("shop", "web-0"), began_ns: now_ns() };
    let start = told.span(1, 9, "pod.startup", 0, 10_000_000);
    let add = told.span(2, 1, "cni.add", 1_000_000, 1_004_000);
    let steps =
        [told.span(3, 2, "rules.apply", 1_000_500, 1_002_500), told.span(4, 2, "rules.verify", 1_002_500, 1_004_000)];
    scene.tell([start, add].into_iter().chain(steps).collect(), Vec::new());
    let id = told.trace.to_hex();
    scene.wait_for_trace(&id, "pod.startup");
    let browser = Browser::start(DESK);
    browser.open(&scene.url(&format!("/traces/{id}")));
    assert!(browser.text(".inset").contains("enlarged 2\u{202f}500 times"), "{}", browser.text(".inset"));
    let wide = "[...document.querySelectorAll('.inset .took')].map(it => Math.round(100 * it.getBBox().width / it.parentNode.clientWidth))";
    let wide: Vec<u32> = serde_json::from_value(browser.value(wide)).unwrap();
    assert!(matches!(wide[..], [49..=51, 37..=38]), "percent of the inner scale: {wide:?}");
    // And a page of its own.
    browser.click("#s-0202020202020202 summary");
    browser.click("#s-0202020202020202 .inside p a");
    assert_eq!(browser.url(), scene.url(&format!("/traces/{id}?span=0202020202020202")));
    assert_eq!((browser.count(".span"), browser.count(".inset")), (3, 0));
    browser.click(".crumbs a:last-child");
    assert_eq!(browser.count(".span"), 4);
    nothing_complained(&browser);
}

#[test]
fn it_filters_as_one_types_and_the_address_says_so() {
    let mut scene = Scene::start(&[]);
    let good = scene.add("web-0", 1, json!({}));
    let bad = tell_failure(&scene, 7, "cart-1");
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/"));
    assert_eq!(browser.count(".trace"), 2);
    browser.type_into("input[type=search]", "WEB");
    browser.wait_for("one trace is left", |page| page.count(".trace") == 1);
    assert_eq!(browser.count(&format!("[data-key='{good}']")), 1);
    assert_eq!(browser.url(), scene.url("/?text=WEB"));
    assert_eq!(browser.value("document.activeElement.name"), "text", "whoever types goes on typing");
    browser.click("#reset");
    browser.wait_for("all are there", |page| page.count(".trace") == 2);
    browser.click("input[name=failed]");
    browser.wait_for("the failed one is left", |page| {
        page.count(&format!("[data-key='{bad}']")) == 1 && page.count(".trace") == 1
    });
    assert_eq!(browser.text(".trace .result"), "✕rules_rejected");
    nothing_complained(&browser);
}

#[test]
fn a_thousand_traces_are_listed_in_parts() {
    let scene = Scene::start(&[("HISTORY_BYTES", "16Mi")]);
    for part in 0..10_u16 {
        let spans = (0..100).map(|number| {
            let id = (part * 100 + number + 1).to_be_bytes();
            let mut trace = [1; 16];
            trace[14..].copy_from_slice(&id);
            let name = format!("web-{}", part * 100 + number);
            let told = Told { trace: TraceId(trace), pod: ("shop", &name), began_ns: now_ns() };
            told.span(1, 9, "cni.add", 0, 2_000 + u64::from(number))
        });
        scene.tell(spans.collect(), Vec::new());
    }
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/"));
    browser.wait_for("all have arrived", |page| page.text(".extent").starts_with("1\u{202f}000 traces"));
    assert_eq!(browser.count(".trace"), 50);
    browser.click(".more a");
    assert_eq!(browser.count(".trace"), 200);
    browser.click(".more a");
    assert_eq!((browser.count(".trace"), browser.count(".more a")), (1_000, 0));
    // What is looked for is found among all of them, not among those that are shown.
    browser.open(&scene.url("/?text=shop/web-0"));
    assert_eq!((browser.count(".trace"), browser.text(".trace .title")), (1, "shop/web-0".to_owned()));
    browser.open(&scene.url("/?most=1000"));
    browser.type_into("input[type=search]", "web-999");
    browser.wait_for("one is left", |page| page.count(".trace") == 1);
    nothing_complained(&browser);
}
