//! For any primary: in and out again loses nothing, twice is once, and nothing makes it panic.

use super::*;
use crate::wire::conflist::json;
use proptest::prelude::*;

/// Any JSON text, spelled in many ways.
fn any_json() -> impl Strategy<Value = String> {
    let number = prop_oneof!["-?[1-9][0-9]{0,40}", "-?[0-9]\\.[0-9]{1,30}([eE][+-]?[0-9]{1,2})?"];
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number, any_text()];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let blank = "[ \n\t]{0,2}";
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..4), blank)
                .prop_map(|(items, blank)| format!("[{blank}{}{blank}]", items.join(&format!(",{blank}")))),
            (prop::collection::vec((any_text(), inner), 0..4), blank).prop_map(|(members, blank)| {
                let members: Vec<String> = members.iter().map(|(key, value)| format!("{key}{blank}:{value}")).collect();
                format!("{{{blank}{}{blank}}}", members.join(&format!("{blank},")))
            }),
        ]
    })
}

/// A text with escapes, or one as it is; also keys that mean something.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,6}".prop_map(|text: String| serde_json::Value::from(text).to_string()),
        Just("\"\\ud83d\\ude00\\/<>&\"".to_owned()),
        Just("\"\\udead\"".to_owned()),
        Just("\"x\"".to_owned()),
    ]
}

/// Members with keys that the library does not know, among them some twice.
fn extras() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec((any_text(), any_json()).prop_map(|(key, value)| format!("{key}: {value}")), 0..4)
        .prop_filter("keys that the library reads have their own cases", |members| {
            let known = ["name", "plugins", "type", "cniversion", "cniversions", "ipam", "dns", "capabilities"];
            members.iter().all(|member| !known.iter().any(|key| member.to_lowercase().contains(key)))
        })
}

fn plugin() -> impl Strategy<Value = String> {
    ("[a-z]{1,6}", extras(), any::<prop::sample::Index>()).prop_map(|(kind, mut members, at)| {
        members.insert(at.index(members.len() + 1), format!("\"type\":\"{kind}\""));
        format!("{{{}}}", members.join(",\n\t"))
    })
}

fn primary() -> impl Strategy<Value = String> {
    (extras(), extras(), prop::collection::vec(plugin(), 1..4)).prop_map(|(before, after, plugins)| {
        let mut members = before;
        members.push(format!("\"plugins\" : [{}]", plugins.join(" , ")));
        members.push("\"name\":\"n\"".to_owned());
        members.extend(after);
        format!(" {{{}\n}} ", members.join(" ,"))
    })
}

/// The file's pieces as they stand in it: members, with the plugins taken apart.
fn pieces(text: &str) -> Vec<String> {
    let member = |member: json::Member| match member.name().as_str() {
        "plugins" => json::list(&member.value).unwrap(),
        _ => vec![member.key, member.value],
    };
    json::object(text).unwrap().into_iter().flat_map(member).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_and_out_again_gives_back_every_piece(text in primary()) {
        for placement in [first_found(), named("a.conflist")] {
            let mut scene = Scene::new(&[("a.conflist", &text)]);
            scene.install(&placement);
            let installed = pieces(&scene.0["a.conflist"]);
            prop_assert_eq!(installed.len(), pieces(&text).len() + 1);
            scene.uninstall(&placement);
            prop_assert_eq!(pieces(&scene.0["a.conflist"]), pieces(&text));
        }
    }

    #[test]
    fn a_copy_comes_and_goes_and_leaves_its_primary_alone(text in primary()) {
        let mut scene = Scene::new(&[("a.conflist", &text)]);
        let before = scene.clone();
        scene.install(&owned_beside(None));
        scene.uninstall(&owned_beside(None));
        prop_assert_eq!(scene, before);
    }

    #[test]
    fn a_single_configuration_keeps_every_member_but_its_version(text in plugin()) {
        let mut scene = Scene::new(&[("a.conf", &text)]);
        scene.install(&first_found());
        scene.uninstall(&first_found());
        let list = json::object(&scene.0["a.conflist"]).unwrap();
        let plugins = json::list(&list[2].value).unwrap();
        prop_assert_eq!(plugins, [text]);
    }

    #[test]
    fn no_bytes_make_it_panic_or_write_into_them(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for name in ["a.conf", "a.conflist"] {
            let files = [ConfFile { name: name.to_owned(), content: Ok(bytes.clone()) }];
            for placement in [first_found(), named(name), owned_beside(None)] {
                let decision = decide(&files, &placement, &entry(), None);
                let waits = matches!(decision.verdict, Verdict::Wait { .. });
                prop_assert!(waits && decision.skipped.len() == 1, "{:?}", decision);
                prop_assert_eq!(remove(&files, &placement), []);
            }
        }
    }

    #[test]
    fn no_json_makes_it_panic_and_what_is_written_is_valid(text in any_json(), member in extras()) {
        let object = format!("{{\"name\":\"n\",\"type\":\"t\",\"plugins\":{text}{}}}", member.iter().map(|member| format!(",{member}")).collect::<String>());
        for text in [&text, &object] {
            for name in ["a.conf", "a.conflist", "x.file"] {
                let mut scene = Scene::new(&[(name, text)]);
                if matches!(scene.decide(&named(name)).verdict, Verdict::Write(_)) {
                    scene.install(&named(name));
                }
                scene.uninstall(&named(name));
            }
        }
    }
}
