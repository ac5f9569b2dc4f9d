//! Chained to the primary's own list.

use super::*;

#[test]
fn the_first_file_is_a_single_configuration_and_becomes_a_list() {
    let mut scene = Scene::new(&[("bridge.conf", BRIDGE), ("list.conflist", LIST)]);
    assert_eq!(scene.install(&first_found()), Reason::FirstInstallation);
    assert_eq!(scene.names(), ["bridge.conflist", "list.conflist"]);
    assert_eq!(scene.0["list.conflist"], LIST, "others stay as they are");
    insta::assert_snapshot!(scene.0["bridge.conflist"]);
}

#[test]
fn the_first_file_is_a_list_and_keeps_everything_else() {
    let mut scene = Scene::new(&[("10-list.conflist", LIST), ("20-bridge.conf", BRIDGE)]);
    scene.install(&first_found());
    assert_eq!(scene.names(), ["10-list.conflist", "20-bridge.conf"]);
    insta::assert_snapshot!(scene.0["10-list.conflist"]);
}

#[test]
fn without_a_primary_it_waits_and_takes_the_one_that_comes() {
    let mut scene = Scene::default();
    assert_eq!(scene.waits_for(&first_found()).0, Obstacle::NoPrimary);
    for (name, text) in [("bridge.conf", BRIDGE), ("calico.conflist", LIST)] {
        let mut later = Scene::new(&[(name, text)]);
        later.install(&first_found());
        assert!(later.shown().contains("istio-cni"));
    }
    scene.0.insert("x.file".to_owned(), LIST.to_owned());
    scene.0.insert("x.conf".to_owned(), String::new());
    assert_eq!(scene.waits_for(&first_found()).0, Obstacle::NoPrimary);
}

#[test]
fn a_named_file_counts_whatever_comes_first() {
    let mut scene = Scene::new(&[("bridge.conf", BRIDGE), ("list.conflist", LIST)]);
    scene.install(&named("list.conflist"));
    assert_eq!(scene.names(), ["bridge.conf", "list.conflist"]);
    assert!(scene.0["list.conflist"].contains("\"name\": \"dbnet\",\n  \"cniVersion\": \"0.4.0\""));
    let [warning] = &scene.decide(&named("list.conflist")).warnings[..] else { panic!("one warning") };
    assert!(warning.contains("list.conflist") && warning.contains("preempted by bridge.conf"), "{warning}");
}

#[test]
fn a_name_with_the_other_ending_means_the_file_that_is_there() {
    for (name, target) in [("list.conf", "list.conflist"), ("bridge.conflist", "bridge.conflist")] {
        let mut scene = Scene::new(&[("bridge.conf", BRIDGE), ("list.conflist", LIST)]);
        scene.install(&named(name));
        assert!(scene.0[target].contains("istio-cni"), "{name}");
        assert_eq!(scene.0.contains_key("bridge.conf"), target == "list.conflist");
    }
}

#[test]
fn a_named_file_that_never_comes_is_waited_for() {
    let scene = Scene::new(&[("bridge.conf", BRIDGE), ("list.conflist", LIST)]);
    let (why, sentence) = scene.waits_for(&named("never-created.conf"));
    assert_eq!(why, Obstacle::NamedMissing);
    assert!(sentence.contains("never-created.conf"), "{sentence}");
}

#[test]
fn a_named_file_may_have_any_ending_and_a_conf_may_hold_a_list() {
    let mut scene = Scene::new(&[("undetectable.file", LIST)]);
    scene.install(&named("undetectable.file"));
    assert_eq!(scene.names(), ["undetectable.file"]);
    let mut scene = Scene::new(&[("missing_initially.conf", LIST)]);
    scene.install(&named("missing_initially.conf"));
    assert_eq!(scene.names(), ["missing_initially.conflist"]);
    assert!(scene.shown().contains("dbnet"));
}

#[test]
fn old_entries_wherever_they_stand_become_one_at_the_end() {
    let text = r#"{"cniVersion":"0.3.1","name":"n","plugins":[{"type":"istio-cni","old":1},{"type":"ptp"},{"type":"istio-cni"},{"type":"portmap"}]}"#;
    let mut scene = Scene::new(&[("list-with-istio.conflist", text)]);
    assert_eq!(scene.install(&first_found()), Reason::EntryFirst);
    insta::assert_snapshot!(scene.shown());
}

#[test]
fn an_entry_with_others_behind_it_is_valid_if_it_means_the_same() {
    let text = r#"{"name":"n","plugins":[{"type":"ptp"},OURS,{"type":"portmap"}]}"#;
    let value: serde_json::Value = serde_json::from_str(&ours()).unwrap();
    let scene = Scene::new(&[("a.conflist", &text.replace("OURS", &value.to_string()))]);
    assert_eq!(scene.decide(&first_found()).verdict, Verdict::Valid { file: "a.conflist".to_owned() });
    let mut scene = Scene::new(&[("a.conflist", &text.replace("OURS", &ours().replace("info", "debug")))]);
    assert_eq!(scene.install(&first_found()), Reason::EntryDiffers);
    let mut scene = Scene::new(&[("a.conflist", &text.replace("OURS", &format!("{0},{0}", ours())))]);
    assert_eq!(scene.install(&first_found()), Reason::EntryDiffers);
}

#[test]
fn an_installation_that_was_interrupted_is_brought_to_its_end() {
    for placement in [first_found(), named("bridge.conf"), named("bridge.conflist")] {
        let mut scene = Scene::new(&[("bridge.conf", BRIDGE)]);
        scene.install(&placement);
        scene.0.insert("bridge.conf".to_owned(), BRIDGE.to_owned());
        assert_eq!(scene.install(&placement), Reason::Interrupted, "{placement:?}");
        assert_eq!(scene.names(), ["bridge.conflist"]);
    }
}

#[test]
fn a_single_configuration_written_anew_takes_the_old_ones_place() {
    let mut scene = Scene::new(&[("bridge.conf", BRIDGE)]);
    scene.install(&first_found());
    scene.0.insert("bridge.conf".to_owned(), BRIDGE.replace("cni0", "cni1"));
    assert_eq!(scene.install(&first_found()), Reason::PrimaryChanged);
    assert!(scene.0["bridge.conflist"].contains("cni1"));
}

#[test]
fn a_list_of_others_is_never_overwritten_by_that_of_a_single_configuration() {
    let scene = Scene::new(&[("bridge.conf", BRIDGE), ("bridge.conflist", LIST)]);
    let (why, sentence) = scene.waits_for(&first_found());
    assert_eq!(why, Obstacle::Occupied);
    assert!(sentence.contains("bridge.conflist is something else already"), "{sentence}");
}

#[test]
fn a_list_that_somebody_begins_to_write_is_waited_for() {
    for begun in ["", " \n"] {
        let mut scene = Scene::new(&[("bridge.conf", BRIDGE), ("bridge.conflist", begun)]);
        let (why, sentence) = scene.waits_for(&first_found());
        assert_eq!(why, Obstacle::Occupied);
        assert!(sentence.contains("bridge.conflist is empty, as a file is that somebody is writing"), "{sentence}");
        scene.0.insert("bridge.conflist".to_owned(), LIST.to_owned());
        scene.0.remove("bridge.conf");
        scene.install(&first_found());
        assert!(scene.0["bridge.conflist"].contains("dbnet"));
    }
}

#[test]
fn what_is_ours_alone_is_no_primary() {
    let alone = String::from_utf8(entry().standalone()).unwrap();
    let list = format!("{{\"name\":\"n\",\"plugins\":[{}]}}", ours());
    let mut scene = Scene::new(&[("00-istio.conf", &alone), ("01-istio.conflist", &list), ("list.conflist", LIST)]);
    scene.install(&first_found());
    assert!(scene.0["list.conflist"].contains("istio-cni"));
    let [warning] = &scene.decide(&first_found()).warnings[..] else { panic!("one warning") };
    assert!(warning.contains("00-istio.conf has no plugin but istio-cni") && warning.contains("remove"), "{warning}");
    assert_eq!(scene.waits_for(&named("01-istio.conflist")).0, Obstacle::NamedInvalid);
}

#[test]
fn why_tells_who_did_what_since_the_last_look() {
    let reason = |scene: &Scene, before: &str| match decide(&scene.files(), &first_found(), &entry(), Some(before)) {
        Decision { verdict: Verdict::Write(write), .. } => write.why,
        other => panic!("{other:?}"),
    };
    let mut scene = Scene::new(&[("10-a.conflist", LIST)]);
    assert_eq!(reason(&scene, "10-a.conflist"), Reason::EntryMissing);
    assert_eq!(reason(&scene, "09-gone.conflist"), Reason::FileVanished);
    scene.install(&first_found());
    scene.0.insert("05-new.conflist".to_owned(), LIST.to_owned());
    assert_eq!(reason(&scene, "10-a.conflist"), Reason::Preempted);
    let mut scene = Scene::new(&[("bridge.conf", BRIDGE)]);
    assert_eq!(reason(&scene, "bridge.conflist"), Reason::FileVanished);
    scene.install(&first_found());
    scene.0.insert("bridge.conf".to_owned(), BRIDGE.to_owned());
    assert_eq!(reason(&scene, "bridge.conflist"), Reason::EntryMissing);
}

#[test]
fn a_json_file_that_some_runtimes_would_take_first_is_warned_of() {
    let scene = Scene::new(&[("05-x.json", BRIDGE), ("06-y.json", "{}"), ("10-a.conflist", LIST)]);
    let warning = scene.decide(&first_found()).bypassed.unwrap();
    assert!(warning.starts_with("the CNI configuration 05-x.json comes before 10-a.conflist"), "{warning}");
}
