//! A file with our plugin alone.

use super::*;

fn alone(file: &str) -> Placement {
    Placement::Standalone { file: file.to_owned() }
}

#[test]
fn the_file_is_our_object() {
    let mut scene = Scene::default();
    assert_eq!(scene.install(&alone("YYY-istio-cni.conf")), Reason::FirstInstallation);
    insta::assert_snapshot!(scene.shown());
}

#[test]
fn every_key_of_ours_has_its_place() {
    let entry = PluginEntry {
        ambient_enabled: true,
        enablement_selectors: vec![serde_json::json!({"podSelector": {"matchLabels": {"a": "b"}}})],
        exclude_namespaces: vec![],
        native_nftables: true,
        enable_ambient_detection_retry: true,
        redirect_backend: Some("nftables".to_owned()),
        without_kubeconfig: true,
        extra: vec![("status_mode".to_owned(), "strict".into()), ("api_timeout_ms".to_owned(), 1.into())],
        ..entry()
    };
    insta::assert_snapshot!(String::from_utf8(entry.standalone()).unwrap());
}

#[test]
fn a_named_file_beside_others_is_written_and_nothing_else_touched() {
    let mut scene = Scene::new(&[("bridge.conf", BRIDGE)]);
    scene.install(&alone("specific-name.conf"));
    assert_eq!(scene.names(), ["bridge.conf", "specific-name.conf"]);
    assert_eq!(scene.0["bridge.conf"], BRIDGE);
}

#[test]
fn another_entry_or_no_json_is_written_anew_and_a_network_of_others_is_not() {
    let mut scene = Scene::new(&[("a.conf", r#"{"cniVersion":"0.3.1","name":"x","type":"istio-cni"}"#)]);
    assert_eq!(scene.install(&alone("a.conf")), Reason::EntryDiffers);
    let mut scene = Scene::new(&[("a.conf", "{")]);
    assert_eq!(scene.install(&alone("a.conf")), Reason::Damaged);
    let scene = Scene::new(&[("a.conf", BRIDGE)]);
    assert_eq!(scene.waits_for(&alone("a.conf")).0, Obstacle::Occupied);
}
