//! A defect of the plugin itself: the runtime still gets one CNI error, and no backtrace.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

use istio_cni_otel::cmd::plugin::crash;
use serde_json::Value;
use std::process::Command;

const CHILD: &str = "ISTIO_CNI_TEST_CRASH";

/// Crashes as the plugin would; only run by the tests below, in a process of its own.
#[test]
#[ignore = "run by the other tests of this file, as a process of its own"]
fn crashing() {
    let place = std::env::var(CHILD).unwrap();
    crash::answer_with_an_error();
    if place == "thread" {
        let _ = std::thread::spawn(|| panic!("no {} left", "luck")).join();
        unreachable!("the hook ends the process");
    }
    panic!("no {} left", "luck");
}

fn crash_in(place: &str) -> (Option<i32>, Value, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["crashing", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, place)
        .env("CNI_COMMAND", "ADD")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let json = &stdout[stdout.find('{').unwrap_or_else(|| panic!("no error in {stdout:?}"))..];
    (output.status.code(), serde_json::from_str(json).unwrap(), String::from_utf8(output.stderr).unwrap())
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
