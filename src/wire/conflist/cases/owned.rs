//! A list of our own that comes first.

use super::*;

const OWN: &str = "02-istio-conf.conflist";

#[test]
fn the_copy_has_the_named_primary_and_us_and_the_primary_stays_as_it_is() {
    for (name, network) in [("bridge.conflist", "podnet"), ("list.conflist", "dbnet"), ("list.conf", "dbnet")] {
        let before = Scene::new(&[("bridge.conf", BRIDGE), ("list.conflist", LIST)]);
        let mut scene = before.clone();
        assert_eq!(scene.install(&owned_beside(Some(name))), Reason::FirstInstallation);
        let own = scene.0.remove(OWN).unwrap();
        assert_eq!(scene, before, "{name}");
        assert!(own.contains(network) && own.contains("istio-cni"), "{name}");
    }
}

#[test]
fn the_whole_copy() {
    let mut scene = Scene::new(&[("undetectable.file", LIST)]);
    scene.install(&owned_beside(Some("undetectable.file")));
    insta::assert_snapshot!(scene.0[OWN]);
}

#[test]
fn a_primary_of_the_copys_own_name_is_waited_for() {
    let scene = Scene::new(&[("bridge.conf", BRIDGE)]);
    assert_eq!(scene.waits_for(&owned_beside(Some(OWN))).0, Obstacle::NamedMissing);
}

#[test]
fn a_copy_without_its_primary_is_kept_and_follows_the_settings() {
    let mut scene = Scene::new(&[("list.conflist", LIST)]);
    scene.install(&owned_beside(None));
    scene.0.remove("list.conflist");
    assert_eq!(scene.decide(&owned_beside(None)).verdict, Verdict::Valid { file: OWN.to_owned() });
    let changed = scene.0[OWN].replace("\"info\"", "\"debug\"");
    scene.0.insert(OWN.to_owned(), changed);
    assert_eq!(scene.install(&owned_beside(None)), Reason::EntryDiffers);
    assert!(scene.0[OWN].contains("tuning"));
}

#[test]
fn there_is_no_copy_without_a_primary() {
    let alone = format!("{{\"name\":\"n\",\"plugins\":[{}]}}", ours());
    for scene in [Scene::default(), Scene::new(&[(OWN, &alone)])] {
        assert_eq!(scene.waits_for(&owned_beside(None)).0, Obstacle::NoPrimary);
    }
}

#[test]
fn the_copy_follows_the_contents_of_its_primary() {
    let mut scene = Scene::new(&[("list.conflist", LIST)]);
    scene.install(&owned_beside(None));
    scene.0.insert("list.conflist".to_owned(), LIST.replace("500", "600"));
    assert_eq!(scene.install(&owned_beside(None)), Reason::PrimaryChanged);
    assert!(scene.0[OWN].contains("600"));
    scene.0.insert("list.conflist".to_owned(), LIST.replace("1e2", "100.0").replace("500", "600"));
    assert_eq!(scene.decide(&owned_beside(None)).verdict, Verdict::Valid { file: OWN.to_owned() }, "same meaning");
}

#[test]
fn what_was_done_to_the_copy_is_told_apart() {
    let mut scene = Scene::new(&[("list.conflist", LIST)]);
    scene.install(&owned_beside(None));
    let whole = scene.0[OWN].clone();
    let reason = |text: Option<&str>, before: Option<&str>| {
        let mut scene = scene.clone();
        match text {
            Some(text) => scene.0.insert(OWN.to_owned(), text.to_owned()),
            None => scene.0.remove(OWN),
        };
        match decide(&scene.files(), &owned_beside(None), &entry(), before).verdict {
            Verdict::Write(write) => Ok(write.why),
            Verdict::Wait { why, .. } => Err(why),
            Verdict::Valid { .. } => panic!("valid"),
        }
    };
    assert_eq!(reason(Some(LIST), Some(OWN)), Ok(Reason::EntryMissing));
    assert_eq!(reason(None, Some(OWN)), Ok(Reason::FileVanished));
    assert_eq!(reason(Some(&whole[..40]), Some(OWN)), Ok(Reason::Damaged));
    assert_eq!(reason(Some(&whole.replace("\"info\"", "\"debug\"")), Some(OWN)), Ok(Reason::EntryDiffers));
    assert_eq!(reason(Some(BRIDGE), Some(OWN)), Err(Obstacle::Occupied), "somebody else's network is not lost");
}

#[test]
fn a_copy_that_does_not_come_first_is_of_no_use() {
    let scene = Scene::new(&[("00-early.conflist", LIST)]);
    let warning = scene.decide(&owned_beside(None)).bypassed.unwrap();
    assert!(warning.contains("02-istio-conf.conflist comes after 00-early.conflist"), "{warning}");
}
