//! The agent's page in a real browser, over a real agent with real ADDs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "page/browser.rs"]
mod browser;
#[path = "page/protections.rs"]
mod protections;
#[path = "page/scene.rs"]
mod scene;
#[path = "page/story.rs"]
mod story;
mod support;

use browser::{Browser, DESK, PHONE, Screen};
use istio_cni_otel::domain::identity::TraceId;
use scene::{Scene, Told, failed, log, now_ns, text};
use serde_json::json;

/// An annotation whose value is not allowed, and wants to be markup.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&\u{202e}";

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
    browser.type_into("input[type=search]", "web-999");
    browser.wait_for("one is left", |page| page.count(".trace") == 1);
    nothing_complained(&browser);
}

#[test]
fn whatever_a_pod_says_is_text() {
    let mut scene = Scene::start(&[]);
    let trace = scene.add("web-0", 1, json!({"traffic.sidecar.istio.io/excludeInboundPorts": HOSTILE}));
    let told =
        Told { trace: TraceId([9; 16]), pod: (HOSTILE, "</title><script>alert(2)</script>"), began_ns: now_ns() };
    let mut span = failed(told.span(1, 9, "cni.add", 0, 10), HOSTILE, HOSTILE);
    span.attributes.push(text(HOSTILE, HOSTILE));
    let said = log(&span, 1, 17, HOSTILE);
    scene.tell(vec![span], vec![said]);
    scene.wait_for_trace(&told.trace.to_hex(), "cni.add");
    let browser = Browser::start(DESK);
    for path in ["/".to_owned(), format!("/traces/{trace}"), format!("/traces/{}", told.trace.to_hex())] {
        browser.open(&scene.url(&path));
        assert!(browser.text("main").contains("onerror=alert(1)"), "{path}: {}", browser.text("main"));
        browser.value("document.querySelectorAll('details').forEach(it => it.open = true)");
        assert_eq!(browser.count("main img, main script, body > script, [onerror]"), 0, "{path}");
        assert!(!browser.value("document.documentElement.outerHTML").to_string().contains('\u{202e}'), "{path}");
    }
    let searched = "/?text=%22%3E%3Cscript%3Ealert(3)%3C%2Fscript%3E";
    browser.open(&scene.url(searched));
    assert_eq!(browser.value("document.querySelector('input[type=search]').value"), "\"><script>alert(3)</script>");
    nothing_complained(&browser);
}

#[test]
fn without_javascript_links_and_forms_do_it() {
    let mut scene = Scene::start(&[]);
    let good = scene.add("web-0", 1, json!({}));
    tell_failure(&scene, 7, "cart-1");
    let browser = Browser::start(Screen { script: false, ..DESK });
    browser.open(&scene.url("/"));
    assert!(browser.text("footer").contains("Without JavaScript"), "{}", browser.text("footer"));
    assert_eq!(browser.count(".trace"), 2);
    browser.type_into("input[type=search]", "shop/web");
    browser.click("form button");
    browser.wait_for("one is left", |page| page.count(".trace") == 1);
    assert!(browser.url().contains("text=shop%2Fweb"), "{}", browser.url());
    browser.click(".trace a");
    browser.wait_for("the trace is there", |page| page.url().ends_with(&good));
    browser.click(".span summary");
    assert_eq!(browser.count("details[open]"), 1);
    // It does not become live, but it can be loaded again.
    scene.add("web-2", 3, json!({}));
    browser.open(&scene.url("/"));
    assert_eq!(browser.count(".trace"), 3);
}

#[test]
fn it_fits_a_phone_and_says_everything_to_those_who_hear_it() {
    let mut scene = Scene::start(&[]);
    let good =
        scene.add("a-pod-with-a-very-long-name-that-does-not-fit-any-phone-at-all-7d9c8b6f5-x2x2x", 1, json!({}));
    let bad = tell_failure(&scene, 7, "cart-1");
    let browser = Browser::start(PHONE);
    for path in [
        "/".to_owned(),
        format!("/traces/{good}"),
        format!("/traces/{bad}"),
        "/traces/0".to_owned(),
        "/?kind=x".to_owned(),
        "/doctor".to_owned(),
    ] {
        browser.open(&scene.url(&path));
        browser.value("document.querySelectorAll('details').forEach(it => it.open = true)");
        let widths = browser.value("[document.documentElement.scrollWidth, innerWidth]");
        assert_eq!(widths, json!([PHONE.width, PHONE.width]), "{path} scrolls sideways");
        let heard = browser.heard();
        for landmark in ["banner", "main", "contentinfo"] {
            assert!(heard.iter().any(|(role, _)| role == landmark), "{path} has no {landmark}: {heard:?}");
        }
        let nameless: Vec<_> = heard
            .iter()
            .filter(|(role, name)| {
                name.trim().is_empty()
                    && [
                        "link",
                        "button",
                        "searchbox",
                        "combobox",
                        "checkbox",
                        "image",
                        "heading",
                        "DisclosureTriangle",
                        "RootWebArea",
                        "search",
                        "region",
                        "navigation",
                    ]
                    .contains(&role.as_str())
            })
            .collect();
        assert!(nameless.is_empty(), "{path}: {nameless:?}");
        assert_eq!(heard.iter().filter(|(role, _)| role == "heading").count().min(1), 1, "{path} has a heading");
    }
}

#[test]
fn what_doctor_finds_is_a_page_too() {
    let scene = Scene::start(&[]);
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/"));
    browser.click("nav a");
    browser.wait_for("the findings are there", |page| page.url().ends_with("/doctor"));
    let findings = scene.json("/api/v1/doctor");
    let findings = findings["findings"].as_array().unwrap();
    assert!(findings.len() > 5 && browser.count(".finding") == findings.len());
    assert!(browser.text("main").contains("agent.ready"), "{}", browser.text("main"));
    nothing_complained(&browser);
}

#[test]
#[ignore = "writes the README's pictures: make screenshots"]
fn screenshots() {
    let (scene, traces) = story::told();
    let browser = Browser::start(DESK);
    let directory = std::env::var("SCREENSHOTS").unwrap_or_else(|_| "tests/page/screenshots".to_owned());
    std::fs::create_dir_all(&directory).unwrap();
    let dark = Screen { dark: true, ..DESK };
    let phone = Screen { dark: true, ..PHONE };
    for (name, screen, path) in [
        ("list", DESK, "/"),
        ("list-dark", dark, "/"),
        ("trace", DESK, traces[0].as_str()),
        ("trace-dark", dark, traces[0].as_str()),
        ("failure", DESK, traces[1].as_str()),
        ("doctor", DESK, "/doctor"),
        ("list-phone", phone, "/"),
        ("trace-phone", phone, traces[0].as_str()),
    ] {
        browser.show_on(screen);
        browser.open(&scene.url(path));
        browser.wait_for("it listens", |page| page.text("#live") == "live");
        let picture = browser.picture(false);
        std::fs::write(format!("{directory}/{name}.png"), picture).unwrap();
        if std::env::var_os("SCREENSHOTS").is_some() {
            let html = browser.value("document.documentElement.outerHTML");
            std::fs::write(format!("{directory}/{name}.html"), html.as_str().unwrap()).unwrap();
        }
    }
}
