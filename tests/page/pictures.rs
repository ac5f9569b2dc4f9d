//! The README's pictures: taken into a directory that goes with the test, or into the one that `SCREENSHOTS` names
//! (`make screenshots`), and looked at as far as a program can.

use super::browser::{Browser, DESK, PHONE, Screen};
use super::story::{self, Story};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The width and the height that a PNG says it has.
fn size_of(picture: &[u8]) -> (u32, u32) {
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n") && &picture[12..16] == b"IHDR", "no PNG");
    let number = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// How bright a picture is on the whole, from 0 to 1; the browser itself reads it.
fn brightness(browser: &Browser, picture: &[u8]) -> f64 {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(picture);
    let read = format!(
        "fetch('data:image/png;base64,{text}').then(it => it.blob()).then(createImageBitmap).then(it => {{
            const canvas = new OffscreenCanvas(it.width, it.height).getContext('2d');
            canvas.drawImage(it, 0, 0);
            const all = canvas.getImageData(0, 0, it.width, it.height).data;
            let sum = 0;
            for (let at = 0; at < all.length; at += 4) sum += all[at] + all[at + 1] + all[at + 2];
            return sum / (all.length / 4 * 3 * 255);
        }})"
    );
    // A page of ours may not read pictures from elsewhere.
    browser.open("about:blank");
    browser.value(&read).as_f64().unwrap()
}

#[test]
fn screenshots() {
    let story = story::told();
    let scene = &story.scene;
    let browser = Browser::start(DESK);
    let temporary = tempfile::tempdir().unwrap();
    let named = std::env::var_os("SCREENSHOTS").map(PathBuf::from);
    let directory = named.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(directory).unwrap();
    let dark = Screen { dark: true, ..DESK };
    let phone = Screen { dark: true, ..PHONE };
    for (name, screen, path) in [
        ("list", DESK, "/"),
        ("list-dark", dark, "/"),
        ("trace", DESK, story.start.as_str()),
        ("trace-dark", dark, story.start.as_str()),
        ("failure", DESK, story.failure.as_str()),
        ("doctor", DESK, "/doctor"),
        ("list-phone", phone, "/"),
        ("trace-phone", phone, story.start.as_str()),
    ] {
        browser.show_on(screen);
        browser.open(&scene.url(path));
        browser.wait_for("it listens", |page| page.text("#live") == "live");
        assert!(!browser.text("body").contains("/tmp"), "{name} shows a path of a test");
        let widths = browser.value("[document.documentElement.scrollWidth, innerWidth]");
        assert_eq!(widths, json!([screen.width, screen.width]), "{name} scrolls sideways");
        let picture = browser.picture(false);
        assert_eq!(size_of(&picture), (screen.width, screen.height), "{name}");
        let bright = brightness(&browser, &picture);
        assert!(if screen.dark { bright < 0.3 } else { bright > 0.7 }, "{name} has a brightness of {bright}");
        std::fs::write(Path::new(directory).join(format!("{name}.png")), picture).unwrap();
    }
    what_is_shown_agrees(&story, &browser);
}

/// One failed ADD, one repaired pod, one finding; what is counted is what is listed; and no time is more exact than the API
/// server's.
fn what_is_shown_agrees(story: &Story, browser: &Browser) {
    browser.show_on(DESK);
    browser.open(&story.scene.url("/"));
    let numbers = browser.value(
        "[...document.querySelectorAll('.tile')].map(it => [...it.children].map(part => part.textContent.trim()).join('|'))",
    );
    for says in ["ADDs|7|✓5 enrolled ✕1 failed –1 skipped", "Validations|4|✕1 failed ✓3 passed", "Repairs|1|✓1 done"]
    {
        assert!(numbers.as_array().unwrap().contains(&json!(says)), "{says}: {numbers:#}");
    }
    for (kind, count) in [("add", 7), ("repair", 1), ("validation", 3), ("startup", 2)] {
        browser.open(&story.scene.url(&format!("/?kind={kind}")));
        assert_eq!(browser.count(".trace"), count, "{kind}");
    }
    let trace = story.scene.json(&format!("/api/v1{}", story.start));
    let spans = trace.pointer("/resourceSpans/0/scopeSpans/0/spans");
    let spans = spans.unwrap_or_else(|| panic!("{trace:#}")).as_array().unwrap();
    let time = |span: &Value, key: &str| span[key].as_str().unwrap().to_owned();
    let root = spans.iter().find(|span| span["name"] == "pod.startup").unwrap();
    for key in ["startTimeUnixNano", "endTimeUnixNano"] {
        assert!(time(root, key).ends_with("000000000"), "{root:#}");
    }
    let add = spans.iter().find(|span| span["name"] == "cni.add").unwrap();
    let sandbox = spans.iter().find(|span| span["name"] == "pod.sandbox").unwrap();
    assert!(time(sandbox, "startTimeUnixNano") < time(add, "startTimeUnixNano"), "{add:#}");
    assert!(time(add, "endTimeUnixNano") < time(sandbox, "endTimeUnixNano"), "{add:#}");
    browser.open(&story.scene.url("/doctor"));
    assert_eq!(browser.count("[data-key='wrong'] > li"), 1, "{}", browser.text("#findings"));
}
