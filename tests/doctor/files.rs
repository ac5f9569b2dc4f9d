//! What the command sees by itself: the node's files, and what the API server says to the plugin.

use crate::scene::{Findings, Scene, Seen, text};
use crate::support::api::Fault;
use crate::support::other_users_for;
use crate::support::runtime_node::LIST;
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

#[test]
fn a_node_on_which_all_is_well_has_no_findings_and_every_check_is_answered() {
    let scene = Scene::new();
    let began = Instant::now();
    let findings = scene.doctor(&[]);
    println!("a node took {:?}", began.elapsed());
    findings.fine();
    let checks: Vec<String> = findings.all().iter().map(|finding| text(&finding["check"]).to_owned()).collect();
    let wanted = [
        "agent.settings",
        "agent.answers",
        "agent.ready",
        "agent.socket",
        "agent.capabilities",
        "versions",
        "plugin.binary",
        "network.valid",
        "network.place",
        "runtime.ready",
        "runtime.directory",
        "kubeconfig.file",
        "kubeconfig.mode",
        "kubeconfig.accepted",
        "watch.fresh",
        "backend",
        "pods.validation",
        "pods.redirected",
        "pods.repair",
        "telemetry",
    ];
    assert_eq!(checks, wanted);
    let hash = text(&findings.report["plugin_sha256"]).to_owned();
    assert_eq!(hash.len(), 64);
    assert!(findings.of("plugin.binary")["evidence"][0].as_str().unwrap().ends_with(&hash));
    assert_eq!(findings.report["node"], "node-a");
}

pub fn a_missing_an_unrunnable_and_another_plugin_are_told_apart() -> Seen {
    let scene = Scene::new();
    let plugin = scene.runtime.layout.bin().join("istio-cni");
    fs::set_permissions(&plugin, Permissions::from_mode(0o644)).unwrap();
    scene.doctor(&[]).only("plugin.binary", "problem", "has mode 0644 and cannot be executed");
    fs::write(&plugin, "another").unwrap();
    fs::set_permissions(&plugin, Permissions::from_mode(0o755)).unwrap();
    scene.doctor(&[]).only("plugin.binary", "problem", "not the one of the agent's image");
    fs::remove_file(&plugin).unwrap();
    scene.doctor(&[]).only("plugin.binary", "problem", "is missing")
}

pub fn an_entry_that_is_gone_is_found_with_what_stands_there_instead() -> Seen {
    let scene = Scene::new();
    scene.runtime.layout.write(LIST, crate::support::layout::PRIMARY);
    let finding = scene.doctor(&[]).only("network.place", "problem", "pods start without redirection");
    assert_eq!(finding["evidence"], json!(["10-primary.conflist: bridge, portmap"]));
    finding
}

#[test]
fn a_file_that_comes_before_ours_is_named_with_its_probable_writer() {
    let scene = Scene::new();
    scene.runtime.layout.write("05-cilium.conflist", &scene_list("cilium", r#"{"type": "cilium-cni"}"#));
    let finding = scene.doctor(&[]).only("network.place", "problem", "05-cilium.conflist, which comes before");
    assert!(text(&finding["next"]).contains("cni.exclusive=false"), "{finding}");
}

#[test]
fn our_entry_in_front_of_the_primary_is_found() {
    let scene = Scene::new();
    let mut list = scene.runtime.layout.read(LIST).unwrap();
    list["plugins"].as_array_mut().unwrap().rotate_right(1);
    scene.runtime.layout.write(LIST, &list.to_string());
    scene.doctor(&[]).only("network.place", "problem", "the first plugin of");
}

#[test]
fn our_entry_twice_is_found() {
    let scene = Scene::new();
    let mut list = scene.runtime.layout.read(LIST).unwrap();
    let entry = scene.runtime.entry();
    list["plugins"].as_array_mut().unwrap().push(entry);
    scene.runtime.layout.write(LIST, &list.to_string());
    scene.doctor(&[]).only("network.place", "warning", "stands 2 times");
}

pub fn an_entry_that_the_plugin_refuses_is_found() -> Seen {
    let scene = Scene::new();
    let mut list = scene.runtime.layout.read(LIST).unwrap();
    list["plugins"].as_array_mut().unwrap().last_mut().unwrap()["redirect_backend"] = json!("ebpf");
    scene.runtime.layout.write(LIST, &list.to_string());
    scene.doctor(&[]).only("network.valid", "problem", "redirect_backend")
}

#[test]
fn a_file_that_is_no_configuration_is_worse_before_ours_than_behind_it() {
    let scene = Scene::new();
    scene.runtime.layout.write("99-torn.conflist", "{");
    scene.doctor(&[]).only("network.valid", "warning", "99-torn.conflist");
    fs::remove_file(scene.runtime.layout.net().join("99-torn.conflist")).unwrap();
    scene.runtime.layout.write("00-torn.conflist", "{");
    scene.doctor(&[]).only("network.valid", "problem", "00-torn.conflist");
}

#[test]
fn a_node_without_any_network_is_found() {
    let scene = Scene::new();
    fs::remove_file(scene.runtime.layout.net().join(LIST)).unwrap();
    scene.doctor(&[]).only("network.valid", "problem", "no pod gets a network on this node");
}

#[test]
fn who_puts_other_configurations_away_is_named() {
    let scene = Scene::new();
    scene.runtime.layout.write("10-aws.conflist.cilium_bak", "{}");
    let finding = scene.doctor(&[]).only("network.writers", "warning", "10-aws.conflist.cilium_bak");
    assert!(text(&finding["next"]).contains("cni.exclusive=false"), "{finding}");
    scene.runtime.layout.write(LIST, crate::support::layout::PRIMARY);
    let beside = ["network.place: problem"];
    scene.doctor(&[]).with_its_cause("network.writers", "warning", "ours with it", &beside);
}

pub fn a_kubeconfig_that_is_missing_or_broken_is_found() -> Seen {
    let scene = Scene::new();
    let path = scene.kubeconfig();
    fs::write(&path, "clusters: [").unwrap();
    scene.doctor(&[]).only("kubeconfig.file", "problem", "is not YAML of the expected shape");
    fs::remove_file(&path).unwrap();
    scene.doctor(&[]).only("kubeconfig.file", "problem", "is missing")
}

pub fn a_kubeconfig_that_others_may_read_is_found() -> Seen {
    let scene = Scene::new();
    fs::set_permissions(scene.kubeconfig(), Permissions::from_mode(0o644)).unwrap();
    scene.doctor(&[]).only("kubeconfig.mode", "problem", "mode 0644 instead of 0600")
}

/// A kubeconfig whose token says when it ends.
fn with_token(scene: &Scene, expires: i64) {
    use base64::Engine;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let claims = json!({"exp": now + expires}).to_string();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    let whole = fs::read_to_string(scene.kubeconfig()).unwrap();
    let old = whole.split("token:").nth(1).unwrap().lines().next().unwrap().to_owned();
    fs::write(scene.kubeconfig(), whole.replace(&format!("token:{old}"), &format!("token: e30.{claims}.c2ln")))
        .unwrap();
}

pub fn a_token_that_has_expired_or_soon_will_is_found() -> Seen {
    let scene = Scene::new();
    with_token(&scene, -7200);
    let finding = scene.doctor(&[]).only("kubeconfig.token", "problem", "expired 2 hours ago");
    assert!(!finding.to_string().contains("c2ln"), "the token is shown: {finding}");
    with_token(&scene, 100);
    let seen = scene.doctor(&[]).only("kubeconfig.token", "warning", "was not renewed");
    with_token(&scene, 100_000);
    let findings = scene.doctor(&[]);
    findings.fine();
    assert_eq!(findings.of("kubeconfig.token")["status"], "ok");
    seen
}

pub fn a_token_that_is_refused_and_an_account_that_may_not_are_told_apart() -> Seen {
    let mut scene = Scene::new();
    scene.runtime.api.fail("get", Some(Fault::Status(401)));
    scene.doctor(&[]).only("kubeconfig.accepted", "problem", "does not accept the token");
    scene.runtime.api.fail("get", Some(Fault::Status(403)));
    scene.doctor(&[]).only("kubeconfig.accepted", "problem", "does not let the plugin's account get pods");
    scene.runtime.api.fail("get", Some(Fault::Silence));
    scene.hangs.push("kubeconfig.accepted");
    scene.doctor(&[]).only("kubeconfig.accepted", "problem", "cannot be asked")
}

/// A node on which all is well, and whose token says when it ends.
pub fn with_a_token_that_lasts() -> Findings {
    let scene = Scene::new();
    with_token(&scene, 100_000);
    scene.doctor(&[])
}

#[test]
fn a_node_that_is_to_keep_no_credentials_needs_no_kubeconfig() {
    let scene = Scene::bare();
    let without = [("PLUGIN_KUBECONFIG", "none")];
    scene.start(&without).kill();
    let _agent = scene.start(&[("SKIP_INSTALL", "true")]);
    scene.doctor_with(&[], &without).fine();
}

pub fn a_setting_that_the_agent_cannot_start_with_is_found() -> Seen {
    let scene = Scene::new();
    scene.doctor_with(&[], &[("MONITORING_PORT", "many")]).only("agent.settings", "problem", "MONITORING_PORT")
}

/// A list with one plugin.
fn scene_list(name: &str, plugin: &str) -> String {
    format!(r#"{{"cniVersion": "1.0.0", "name": "{name}", "plugins": [{plugin}]}}"#)
}

#[test]
fn wrong_use_and_a_node_that_may_not_be_looked_at_are_no_findings() {
    let scene = Scene::bare();
    for arguments in [&["--pod", "web-0"][..], &["--pod", "../x/y"], &["--pod", "A/b"]] {
        let findings = scene.doctor(arguments);
        assert_eq!(findings.status, 2, "{findings:?}");
        assert!(findings.stderr.contains("NAMESPACE/NAME"), "{findings:?}");
    }
    assert_eq!(scene.doctor(&["--runtime-endpoint", "tcp://x"]).status, 2);
    assert_eq!(scene.doctor(&["--pod", "shop/web-0"]).status, 2, "nobody can be asked");
}

#[test]
fn places_that_were_only_guessed_give_way_to_the_agents_word() {
    let mut scene = Scene::bare();
    scene.agent = Some(scene.start(&[]));
    let findings = scene.doctor_on_node(0);
    let shown = findings.of("network.place");
    assert!(shown["evidence"].to_string().contains("10-primary.conflist"), "{findings:#?}");
    assert!(findings.of("plugin.binary")["evidence"].to_string().contains("/host/opt/cni/bin"), "{findings:#?}");
    findings.fine();
}

#[test]
fn who_is_not_root_on_a_node_could_not_look() {
    if !other_users_for("doctor by somebody who is not root") {
        return;
    }
    let scene = Scene::new();
    fs::set_permissions(scene.runtime.node.run_dir.path(), Permissions::from_mode(0o755)).unwrap();
    let findings = scene.doctor_on_node(65534);
    assert_eq!((findings.status, findings.all().len()), (2, 0), "{findings:#?}");
    assert!(findings.stderr.contains("run doctor as root"), "{findings:#?}");
}
