//! Which files the CNI library takes, and what is said of the others.

use super::*;

/// What is said of this text in a file of that name; `None` when it is a usable network.
fn problem(name: &str, text: &str) -> Option<String> {
    problem_among(&[(name, text)])
}

fn problem_among(files: &[(&str, &str)]) -> Option<String> {
    let decision = Scene::new(files).decide(&first_found());
    decision.skipped.first().map(|skipped| skipped.problem.clone())
}

#[test]
fn lists_that_are_refused() {
    let refused = [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("\u{feff}{}", "it begins with a byte order mark, which JSON does not have"),
        ("{\"name\":\"n\"", "it is not JSON: EOF while parsing an object at line 1 column 11"),
        ("null", "it is JSON of another shape: invalid type: null, expected an object at line 1 column 4"),
        ("[]", "it is JSON of another shape: invalid type: sequence, expected an object at line 1 column 0"),
        ("{}", "it has no name"),
        (r#"{"name":1,"plugins":[{"type":"a"}]}"#, "its name is 1, and not text"),
        (r#"{"Name":"n","plugins":[{"type":"a"}]}"#, "it has no name"),
        (r#"{"name":"n"}"#, "it has no plugins"),
        (r#"{"name":"n","Plugins":[{"type":"a"}]}"#, "it has no plugins"),
        (r#"{"name":"n","plugins":[]}"#, "its list of plugins is empty"),
        (r#"{"name":"n","plugins":{}}"#, "its plugins are {}, and not a list"),
        (r#"{"name":"n","plugins":null}"#, "its plugins are null, and not a list"),
        (r#"{"name":"n","plugins":[{"type":"a"},{}]}"#, "plugin 1 of its list: it has no type"),
        (r#"{"name":"n","plugins":[{"type":""}]}"#, "plugin 0 of its list: it has no type"),
        (r#"{"name":"n","plugins":[{"type":7}]}"#, "plugin 0 of its list: its type is 7, and not text"),
        (r#"{"name":"n","plugins":[{"type":"a","Name":7}]}"#, "plugin 0 of its list: its name is 7, and not text"),
        (
            r#"{"name":"n","plugins":["a"]}"#,
            "plugin 0 of its list: it is JSON of another shape: invalid type: string \"a\", expected an object at line 1 column 3",
        ),
        (
            r#"{"name":"n","plugins":[{"type":"a","ipam":[]}]}"#,
            "plugin 0 of its list: its ipam must be an object, not a list",
        ),
        (
            r#"{"name":"n","plugins":[{"type":"a","dns":{"search":"x"}}]}"#,
            "plugin 0 of its list: its dns must have text and lists of text, not \"x\" at search",
        ),
        (
            r#"{"name":"n","plugins":[{"type":"a","capabilities":{"b":1}}]}"#,
            "plugin 0 of its list: its capabilities must have true or false, not the number 1 at b",
        ),
        (r#"{"cniVersion":1,"name":"n","plugins":[{"type":"a"}]}"#, "its cniVersion is 1, and not text"),
        (
            r#"{"cniVersions":"1.0.0","name":"n","plugins":[{"type":"a"}]}"#,
            "its cniVersions are \"1.0.0\", and not a list of text",
        ),
        (
            r#"{"cniVersions":["1.0.x"],"name":"n","plugins":[{"type":"a"}]}"#,
            "its cniVersions have 1.0.x, which is no version like 1.1.0",
        ),
        (
            r#"{"disableCheck":"yes","name":"n","plugins":[{"type":"a"}]}"#,
            "its disableCheck is \"yes\", and neither true nor false",
        ),
        (
            r#"{"disableGC":null,"name":"n","plugins":[{"type":"a"}]}"#,
            "its disableGC is null, and neither true nor false",
        ),
        (
            r#"{"loadOnlyInlinedPlugins":true,"name":"n"}"#,
            "loadOnlyInlinedPlugins is true, and there are no plugins in it",
        ),
        (r#"{"name":"n","plugins":[{"type":"a","x":-1e999}]}"#, "the number -1e999 is too large"),
        (r#"{"name":"n","plugins":[{"type":"a"}]} x"#, "it is not JSON: trailing characters at line 1 column 39"),
    ];
    for (text, said) in refused {
        assert_eq!(problem("a.conflist", text).as_deref(), Some(said), "{text}");
    }
}

#[test]
fn lists_that_are_taken() {
    let deep = format!(r#"{{"name":"n","plugins":[{{"type":"a","x":{}{}}}]}}"#, "[".repeat(9000), "]".repeat(9000));
    for text in [
        r#"{"name":"","plugins":[{"TYPE":"a","type":null}]}"#,
        r#"{"name":"n","plugins":[],"plugins":[{"type":"a"}]}"#,
        r#"{"name":1,"name":"n","plugins":[{"type":1,"type":"a"}]}"#,
        r#"{"\u006eame":"n","plugins":[{"type":"\ud800"}]}"#,
        r#"{"cniVersion":"x","name":"n","plugins":[{"type":"a"}]}"#,
        r#"{"cniVersion":"","cniVersions":["1","0.4.0"],"name":"n","plugins":[{"type":"a"}]}"#,
        r#"{"disableCheck":"TRUE","disableGC":false,"loadOnlyInlinedPlugins":true,"name":"n","plugins":[{"type":"a"}]}"#,
        r#"{"name":"n","plugins":[{"type":"a","ipam":null,"dns":{"search":[null]},"prevResult":{}}]}"#,
        deep.as_str(),
    ] {
        assert_eq!(problem("a.conflist", text), None, "{text}");
        Scene::new(&[("a.conflist", text)]).install(&first_found());
    }
}

#[test]
fn single_configurations_that_are_refused_and_taken() {
    for (text, said) in [
        ("", "it is empty"),
        ("not json", "it is not JSON: expected ident at line 1 column 2"),
        (r#"{"name":"bad"}"#, "it has no type"),
        (r#"{"type":1,"type":"a"}"#, "its type is 1, and not text"),
        (LIST, "it has no type"),
    ] {
        assert_eq!(problem("a.conf", text).as_deref(), Some(said), "{text}");
    }
    for text in [r#"{"type":"a"}"#, r#"{"Type":"a","cniVersions":7}"#] {
        let mut scene = Scene::new(&[("a.conf", text)]);
        scene.install(&first_found());
        assert!(scene.0["a.conflist"].contains("\"name\": \"k8s-pod-network\""), "{text}");
    }
}

#[test]
fn invalid_files_are_skipped_with_name_and_reason_and_the_first_valid_one_is_used() {
    let mut scene = Scene::new(&[
        ("00-non_json.conf", "{\"type\""),
        ("01-bad_minikube_cni.conf", r#"{"name":"no type"}"#),
        ("02-noname_calico.conflist", r#"{"plugins":[{"type":"calico"}]}"#),
        ("03-noplugins_calico.conflist", r#"{"name":"calico"}"#),
        ("04-minikube_cni.conf", BRIDGE),
    ]);
    let said: Vec<String> = scene.decide(&first_found()).skipped.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"));
    scene.install(&first_found());
    assert!(scene.0.contains_key("04-minikube_cni.conflist"));
}

#[test]
fn what_cannot_be_read_is_skipped_with_the_phrase_given() {
    let mut files = Scene::new(&[("10-a.conflist", LIST)]).files();
    files.push(ConfFile { name: "00-dir.conflist".to_owned(), content: Err("it is a directory".to_owned()) });
    let decision = decide(&files, &first_found(), &entry(), None);
    assert_eq!(decision.skipped[0].to_string(), "the CNI configuration 00-dir.conflist is skipped: it is a directory");
    assert!(matches!(decision.verdict, Verdict::Write(_)));
}

#[test]
fn plugins_in_the_networks_directory_count() {
    let by_directory = r#"{"name":"n"}"#;
    let plugin = ("n/10-a.conf", r#"{"type":"a"}"#);
    let broken = ("n/20-b.conf", "{}");
    assert_eq!(problem_among(&[("a.conflist", by_directory), plugin]), None);
    assert_eq!(
        problem_among(&[("a.conflist", by_directory), plugin, broken]).as_deref(),
        Some("its plugin n/20-b.conf: it has no type")
    );
    let scene = Scene::new(&[("a.conflist", by_directory), plugin]);
    let (why, sentence) = scene.waits_for(&first_found());
    assert_eq!(why, Obstacle::NotInline);
    assert!(sentence.contains("directory n"), "{sentence}");
    let both = r#"{"name":"n","plugins":[{"type":"c"}]}"#;
    Scene::new(&[("a.conflist", both), plugin]).install(&first_found());
    let inlined = r#"{"name":"n","loadOnlyInlinedPlugins":true,"plugins":[{"type":"c"}]}"#;
    assert_eq!(problem_among(&[("a.conflist", inlined), broken]), None);
}

#[test]
fn a_single_configuration_that_becomes_a_list_gets_no_plugins_of_its_directory() {
    let mut scene = Scene::new(&[("10-a.conf", r#"{"name":"n","type":"a"}"#), ("n/broken.conf", "{}")]);
    scene.install(&first_found());
    assert!(scene.0["10-a.conflist"].contains("\"loadOnlyInlinedPlugins\": true,\n  \"plugins\""));
    scene.0.insert("10-a.conf".to_owned(), r#"{"name":"n","type":"b"}"#.to_owned());
    assert_eq!(scene.install(&first_found()), Reason::PrimaryChanged);
    scene.uninstall(&first_found());
    assert_eq!(scene.decide(&first_found()).skipped, []);
}

#[test]
fn bytes_that_are_no_text_are_what_the_library_reads_them_as() {
    let file = |bytes: &[u8]| [ConfFile { name: "a.conflist".to_owned(), content: Ok(bytes.to_vec()) }];
    let inside = decide(&file(b"{\"name\":\"\xff\",\"plugins\":[{\"type\":\"a\"}]}"), &first_found(), &entry(), None);
    assert!(matches!(inside.verdict, Verdict::Write(_)), "{inside:?}");
    let outside = decide(&file(b"\x7fELF\x02\x01\x01\0\xff"), &first_found(), &entry(), None);
    assert_eq!(outside.skipped[0].problem, "it is not JSON: expected value at line 1 column 1");
}
