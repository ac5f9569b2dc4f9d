//! For everybody: without JavaScript, on a phone, by keyboard, by ear, and for weak eyes.

use super::browser::{Browser, DESK, PHONE, Screen};
use super::scene::Scene;
use super::{nothing_complained, tell_failure};
use serde_json::{Value, json};

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
fn without_javascript_every_page_says_what_it_knows() {
    let mut scene = Scene::start(&[]);
    let trace = scene.add("web-0", 1, json!({}));
    let browser = Browser::start(Screen { script: false, ..DESK });
    for (path, says) in [
        ("/".to_owned(), "shop/web-0"),
        ("/?kind=add".to_owned(), "shop/web-0"),
        ("/?kind=nonsense".to_owned(), "it takes all or one of"),
        (format!("/traces/{trace}"), "rules.apply"),
        ("/traces/0".to_owned(), "not remembered here"),
        ("/doctor".to_owned(), "agent.ready"),
        ("/nowhere".to_owned(), "There is no such page"),
    ] {
        browser.open(&scene.url(&path));
        assert!(browser.text("main").contains(says), "{path}: {}", browser.text("main"));
        assert!(browser.text("#state").contains("ready"), "{path}");
        assert!(browser.text("footer").contains("Without JavaScript"), "{path}");
        let live = browser.value("document.querySelector('#live').checkVisibility()");
        assert_eq!(live, false, "{path} does not say that it is live");
    }
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

/// Presses a key.
fn press(browser: &Browser, key: &str) {
    let code = if key == "Tab" { 9 } else { 13 };
    for kind in ["rawKeyDown", "char", "keyUp"] {
        let text = if key == "Enter" && kind == "char" { "\r" } else { "" };
        if kind == "char" && text.is_empty() {
            continue;
        }
        let event = json!({"type": kind, "key": key, "code": key, "text": text, "windowsVirtualKeyCode": code});
        browser.devtools("Input.dispatchKeyEvent", event);
    }
}

/// Goes through a page by Tab alone: the elements that got the focus, each of which shows that it has it.
fn tabbed(browser: &Browser) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..200 {
        press(browser, "Tab");
        let at = browser.value("(() => { const it = document.activeElement, box = it.getBoundingClientRect(); return {tag: it.tagName, name: it.className || it.name || it.textContent.trim().slice(0, 40), ring: [it, it.closest('.trace')].some(one => one && getComputedStyle(one).outlineStyle !== 'none' && parseFloat(getComputedStyle(one).outlineWidth) > 0), seen: box.width > 0 && box.height > 0 && box.right > 0 && box.bottom > 0} })()");
        if at["tag"] == "BODY" {
            return names;
        }
        let name = format!("{} {}", at["tag"].as_str().unwrap(), at["name"].as_str().unwrap());
        assert_eq!((&at["ring"], &at["seen"]), (&json!(true), &json!(true)), "{name} shows that it has the focus");
        names.push(name);
    }
    panic!("the focus never leaves the page: {names:?}");
}

#[test]
fn all_of_it_can_be_done_by_keyboard() {
    let mut scene = Scene::start(&[]);
    let trace = scene.add("web-0", 1, json!({}));
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/"));
    let names = tabbed(&browser);
    assert_eq!(names[0], "A skip");
    for wanted in ["A brand", "INPUT text", "SELECT kind", "INPUT failed", "BUTTON Filter", "A title"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted}: {names:?}");
    }
    // The first key leads past what is the same on every page.
    browser.open(&scene.url(&format!("/traces/{trace}")));
    press(&browser, "Tab");
    press(&browser, "Enter");
    assert_eq!(browser.value("document.activeElement.id"), "main");
    browser.value("document.querySelector('.span summary').focus()");
    press(&browser, "Enter");
    assert_eq!(browser.count("details[open]"), 1);
    press(&browser, "Enter");
    assert_eq!(browser.count("details[open]"), 0);
    assert!(tabbed(&browser).iter().filter(|name| name.starts_with("SUMMARY")).count() >= 7);
    nothing_complained(&browser);
}

/// Texts whose colour is too near to what is behind them (WCAG 2.2, 1.4.3: 4.5 to 1, large text 3 to 1).
const FAINT: &str = r#"(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color, under) => {
    canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const css = (pixel) => `rgb(${pixel[0]},${pixel[1]},${pixel[2]})`;
  const behind = (node) => node ? css(rgb(getComputedStyle(node).backgroundColor, behind(node.parentElement))) : "white";
  const light = (pixel) => [0.2126, 0.7152, 0.0722].reduce((sum, part, at) => {
    const value = pixel[at] / 255;
    return sum + part * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  }, 0);
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const on = node.parentElement;
    if (!node.data.trim() || !on.checkVisibility() || on.closest("script, noscript, .hidden, .skip")) continue;
    const style = getComputedStyle(on), back = behind(on);
    const [one, other] = [light(rgb(style.color, back)), light(rgb(back, "white"))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${on.tagName}.${on.className}: ${node.data.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return faint;
})()"#;

#[test]
fn everything_can_be_read_by_day_and_by_night() {
    let mut scene = Scene::start(&[]);
    let trace = scene.add("web-0", 1, json!({}));
    let bad = tell_failure(&scene, 7, "cart-1");
    let browser = Browser::start(DESK);
    for dark in [false, true] {
        browser.show_on(Screen { dark, ..DESK });
        for path in ["/".to_owned(), format!("/traces/{trace}"), format!("/traces/{bad}"), "/doctor".to_owned()] {
            browser.open(&scene.url(&path));
            browser.value("document.querySelectorAll('details').forEach(it => it.open = true)");
            let Value::Array(faint) = browser.value(FAINT) else { panic!() };
            assert!(faint.is_empty(), "{path}, dark: {dark}: {faint:#?}");
        }
    }
}
