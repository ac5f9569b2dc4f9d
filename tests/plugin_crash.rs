//! A defect of the plugin itself: the runtime still gets one CNI error, and no backtrace.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::cmd::plugin::crash;
use serde_json::Value;
use support::{argument, child};

child_work!(crash_as_the_plugin_would);

fn crash_as_the_plugin_would() {
    let place = argument("PLACE");
    crash::answer_with_an_error();
    if place == "thread" {
        let _ = std::thread::spawn(|| panic!("no {} left", "luck")).join();
        unreachable!("the hook ends the process");
    }
    panic!("no {} left", "luck");
}

fn crash_in(place: &str) -> (Option<i32>, Value, String) {
    let output = child().env("PLACE", place).env("CNI_COMMAND", "ADD").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let error = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("not one error alone: {stdout:?}"));
    (output.status.code(), error, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_panic_is_answered_with_error_999() {
    for place in ["main", "thread"] {
        let (code, error, stderr) = crash_in(place);
        assert_eq!(code, Some(1));
        assert_eq!(error["code"], 999);
        let msg = error["msg"].as_str().unwrap();
        assert!(msg.starts_with("istio-cni panicked during cmdAdd: no luck left at tests/plugin_crash.rs:"), "{msg}");
        assert!(msg.ends_with("this is a defect of istio-cni, please report it"), "{msg}");
        let line: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
        assert_eq!(line["level"], "error");
    }
}
