//! Taking our entry out again.

use super::*;

#[test]
fn a_list_is_what_it_was_before() {
    let mut scene = Scene::new(&[("00-calico.conflist", LIST)]);
    for placement in [first_found(), named("00-calico.conflist"), named("00-calico.conf")] {
        scene.install(&placement);
        scene.uninstall(&placement);
        assert_eq!(scene.names(), ["00-calico.conflist"]);
        assert_eq!(scene.0["00-calico.conflist"], LIST, "it was laid out as we print, so even the blanks are back");
    }
}

#[test]
fn a_single_configuration_stays_a_list_of_one() {
    let mut scene = Scene::new(&[("00-minikube_cni.conf", BRIDGE)]);
    scene.install(&first_found());
    scene.uninstall(&first_found());
    insta::assert_snapshot!(scene.shown());
}

#[test]
fn a_list_that_has_not_come_to_replace_its_original_goes() {
    let mut scene = Scene::new(&[("00-minikube_cni.conf", BRIDGE)]);
    let before = scene.clone();
    scene.install(&first_found());
    scene.0.extend(before.0.clone());
    scene.uninstall(&first_found());
    assert_eq!(scene, before);
    // Beside another network it is the only one of its kind.
    scene.install(&first_found());
    scene.0.insert("00-minikube_cni.conf".to_owned(), BRIDGE.replace("bridge", "ptp"));
    scene.uninstall(&first_found());
    assert_eq!(scene.names(), ["00-minikube_cni.conf", "00-minikube_cni.conflist"]);
}

#[test]
fn what_is_ours_alone_goes() {
    let placement = Placement::Standalone { file: "YYY-istio-cni.conf".to_owned() };
    let mut scene = Scene::new(&[("bridge.conf", BRIDGE)]);
    scene.install(&placement);
    scene.uninstall(&placement);
    assert_eq!(scene, Scene::new(&[("bridge.conf", BRIDGE)]));
}

#[test]
fn the_copy_goes_while_its_primary_is_there_and_else_loses_only_us() {
    for primary in [None, Some("list.conflist")] {
        let mut scene = Scene::new(&[("list.conflist", LIST)]);
        scene.install(&owned_beside(primary));
        let mut without_primary = scene.clone();
        scene.uninstall(&owned_beside(primary));
        assert_eq!(scene, Scene::new(&[("list.conflist", LIST)]));
        without_primary.0.remove("list.conflist");
        without_primary.uninstall(&owned_beside(primary));
        assert_eq!(without_primary, Scene::new(&[("02-istio-conf.conflist", LIST)]));
    }
}

#[test]
fn every_list_loses_our_entry_even_where_something_else_is_wrong() {
    let nameless = format!("{{\"plugins\":[{{\"type\":\"ptp\"}},{}]}}", ours());
    let torn = format!("{{\"plugins\":[{{\"type\":\"ptp\"}},{}", ours());
    let mut scene = Scene::new(&[("a.conflist", &nameless), ("b.conflist", LIST), ("c.conflist", &torn)]);
    scene.uninstall(&first_found());
    assert_eq!(scene.0["a.conflist"], "{\n  \"plugins\": [\n    {\"type\":\"ptp\"}\n  ]\n}\n");
    assert_eq!((scene.0["b.conflist"].as_str(), &scene.0["c.conflist"]), (LIST, &torn));
    assert_eq!(remove(&scene.files(), &first_found()), []);
}
