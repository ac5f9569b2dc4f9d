//! The README's pictures: taken into a directory that goes with the test, or into the one that `SCREENSHOTS` names
//! (`make screenshots`), and looked at as far as a program can.

use super::browser::{Browser, DESK, PHONE, Screen};
use super::story;
use serde_json::json;
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
    let (scene, traces) = story::told();
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
        let widths = browser.value("[document.documentElement.scrollWidth, innerWidth]");
        assert_eq!(widths, json!([screen.width, screen.width]), "{name} scrolls sideways");
        let picture = browser.picture(false);
        assert_eq!(size_of(&picture), (screen.width, screen.height), "{name}");
        let bright = brightness(&browser, &picture);
        assert!(if screen.dark { bright < 0.3 } else { bright > 0.7 }, "{name} has a brightness of {bright}");
        std::fs::write(Path::new(directory).join(format!("{name}.png")), picture).unwrap();
    }
}
