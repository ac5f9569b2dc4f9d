//! A real Chromium without a window, driven by WebDriver: a client of the few requests that the tests need. The browser,
//! its driver and everything that they start live in a process namespace of their own, which ends with them.

use super::support::agent::PATIENCE;
use istio_cni_otel::host::child::killed_with_us;
use serde_json::{Value, json};
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A browser that starts on a busy machine needs longer than an agent.
const START: Duration = Duration::from_secs(60);
const PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";
/// By what an element's id goes in answers (WebDriver, section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Two browsers at once are too many for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What a page is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub script: bool,
}

/// A desk in daylight.
pub const DESK: Screen = Screen { width: 1200, height: 900, dark: false, script: true };
/// A small phone.
pub const PHONE: Screen = Screen { width: 360, height: 740, ..DESK };

/// A running browser.
pub struct Browser {
    http: ureq::Agent,
    session: String,
    driver: Child,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Starts one with a profile of its own.
    pub fn start(screen: Screen) -> Browser {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = TempDir::new().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "chromedriver", "--port=0"]);
        command.env_clear().env("PATH", PATH).env("HOME", profile.path()).env("TMPDIR", profile.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = killed_with_us(&mut command).spawn().unwrap();
        let port = port_of(&mut driver);
        let timeouts = ureq::Agent::config_builder().timeout_global(Some(START)).http_status_as_error(false);
        let http: ureq::Agent = timeouts.build().into();
        let mut browser = Browser {
            http,
            session: format!("http://127.0.0.1:{port}/session"),
            driver,
            _profile: profile,
            _turn: turn,
        };
        let user_data = format!("--user-data-dir={}", browser._profile.path().join("profile").display());
        let mut options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", user_data,
        ]});
        if !screen.script {
            options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
        }
        let wanted =
            json!({ "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"} });
        let began = browser.post("", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        let _ = write!(browser.session, "/{}", began["sessionId"].as_str().unwrap());
        browser.show_on(screen);
        browser
    }

    /// Another size, or light instead of dark.
    pub fn show_on(&self, screen: Screen) {
        let Screen { width, height, dark, .. } = screen;
        let mobile = width < 500;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [scheme] }));
    }

    /// Loads a page.
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Where it is now.
    pub fn url(&self) -> String {
        self.get("/url").as_str().unwrap().to_owned()
    }

    /// The page's title.
    pub fn title(&self) -> String {
        self.get("/title").as_str().unwrap().to_owned()
    }

    /// The value of an expression in the page.
    pub fn value(&self, expression: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": format!("return ({expression})"), "args": [] }))
    }

    /// How many elements there are.
    pub fn count(&self, selector: &str) -> usize {
        self.all(selector).len()
    }

    /// What can be read of the first of these elements.
    pub fn text(&self, selector: &str) -> String {
        let element = self.element(selector);
        self.get(&format!("/element/{element}/text")).as_str().unwrap().to_owned()
    }

    /// Follows a link, presses a button.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types into a field.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Waits until something is so; there is no event for what a page shows.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&Browser) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}, the page says {}", self.text("body"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the console said since the last time: errors and warnings.
    pub fn complaints(&self) -> Vec<String> {
        let said = self.post("/se/log", &json!({ "type": "browser" }));
        let worse =
            said.as_array().unwrap().iter().filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        worse.map(|entry| entry["message"].to_string()).collect()
    }

    /// The tree that those see who hear the page: role and name of each node that has a role.
    pub fn heard(&self) -> Vec<(String, String)> {
        let tree = self.devtools("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == json!(false));
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        nodes.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }

    /// A picture of what is shown, as PNG. `whole` is all of the page, however long.
    pub fn picture(&self, whole: bool) -> Vec<u8> {
        let taken = self.devtools("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": whole }));
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    /// A command of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn element(&self, selector: &str) -> String {
        self.all(selector)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {selector}: {}", self.value("document.body.innerText")))
    }

    fn all(&self, selector: &str) -> Vec<String> {
        let found = self.post("/elements", &json!({ "using": "css selector", "value": selector }));
        let id = |element: &Value| element[ELEMENT].as_str().unwrap().to_owned();
        found.as_array().unwrap().iter().map(id).collect()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.session)).call();
        value_of(path, answer)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.session)).content_type("application/json");
        value_of(path, request.send(body.to_string()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With it everything in its process namespace.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn value_of(path: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let mut answer = answer.unwrap_or_else(|error| panic!("the driver, asked for {path:?}: {error}"));
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
    let said: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("the driver said {text:?}"));
    assert_eq!(answer.status(), 200, "the driver, asked for {path:?}: {:#}", said["value"]);
    said["value"].clone()
}

/// The port that the driver chose, which it says in a line.
fn port_of(driver: &mut Child) -> u16 {
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let (found, port) = channel();
    // Read to its end: whatever else it says is nobody's business, but its pipe must not break.
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some((_, port)) = line.split_once("successfully on port ") {
                let _ = found.send(port.trim_end_matches('.').parse().unwrap());
            }
        }
    });
    port.recv_timeout(START).unwrap_or_else(|_| panic!("chromedriver did not start: is it there?"))
}
