//! What is wrong with the node, as the page shows it: doctor's findings, the numbers, and installations.

use super::browser::{Browser, DESK};
use super::nothing_complained;
use super::scene::Scene;
use super::support::api::Api;
use super::support::layout::Layout;
use std::fs;

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
fn what_breaks_appears_among_the_findings_and_goes_when_it_is_mended() {
    let scene = Scene::start(&[]);
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/doctor"));
    browser.wait_for("it listens", |page| page.text("#live") == "live");
    let socket = scene.node.path("agent.sock");
    assert_eq!(browser.count("[data-key='agent.socket-0'] .pill.good"), 1, "{}", browser.text("#findings"));
    // Whoever may write to the socket's directory may be anybody.
    let mode = |mode| fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    browser.click("[data-key='besides'] summary");
    mode(0o666);
    browser.wait_for("it is found", |page| page.count("[data-key='wrong'] [data-key='agent.socket-0']") == 1);
    assert!(browser.text("#findings h1 + p").contains("to look at"), "{}", browser.text("#findings"));
    mode(0o600);
    browser.wait_for("it is well again", |page| {
        page.count("[data-key='wrong'] [data-key='agent.socket-0']") == 0
            && page.count("[data-key='besides'] [data-key='agent.socket-0'] .pill.good") == 1
    });
    nothing_complained(&browser);
}

#[test]
fn installations_are_in_the_list_and_what_others_change_is_counted_live() {
    let layout = Layout::with_primary();
    let environment = layout.environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut scene = Scene::start_with(Api::start(), &environment);
    scene.agent.wait_for("ms after the start");
    let browser = Browser::start(DESK);
    browser.open(&scene.url("/?kind=install"));
    browser.wait_for("it listens", |page| page.text("#live") == "live");
    browser.wait_for("the installation is there", |page| page.count(".trace") >= 1);
    assert!(browser.text(".trace .kinds").contains("install"), "{}", browser.text(".trace"));
    assert!(browser.text("#numbers").contains("nobody touches the installation"));
    // Somebody takes our entry out of the list.
    layout.write("10-primary.conflist", super::support::layout::PRIMARY);
    browser.wait_for("it is counted", |page| page.text("#numbers").contains("the installation was changed"));
    browser.wait_for("it was installed again", |page| page.count(".trace") >= 2);
    browser.click(".trace a");
    browser.wait_for("the steps are there", |page| page.count(".spans") >= 1);
    for step in ["install.binaries", "install.kubeconfig", "install.conflist", "install.verify"] {
        assert!(browser.text(".spans").contains(step), "{step}: {}", browser.text(".spans"));
    }
    nothing_complained(&browser);
}
