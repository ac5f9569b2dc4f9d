//! What reaches a terminal: how far it is, while it takes long; colours; and nothing that others wrote for it. Where
//! standard error is no terminal, it stays empty.

use crate::cluster::{Cluster, node_of, report};
use crate::support::api::Fault;
use serde_json::json;
use std::process::Command;

/// What would do something to a terminal: clear it, name its window, turn the text around.
const HOSTILE: &str = "gone\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}desrever\r\nfake line";

/// A cluster all of whose texts are hostile.
fn hostile() -> Cluster {
    let mut cluster = Cluster::simulated();
    let finding = json!([{"check": HOSTILE, "status": "problem", "what": HOSTILE, "evidence": [HOSTILE],
        "next": HOSTILE, "runbook": HOSTILE}]);
    cluster.add(["node-a".to_owned()].into_iter(), &report(HOSTILE, HOSTILE, &finding));
    let mut node = node_of("node-b");
    node["metadata"]["name"] = json!(format!("node-{HOSTILE}"));
    cluster.scene.runtime.api.put(&node);
    cluster
}

/// What the command writes to a terminal of its own.
fn at_terminal(command: &Command) -> String {
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let variables =
        command.get_envs().map(|(key, value)| format!("{}={}", key.to_str().unwrap(), quoted(value.unwrap())));
    let words = std::iter::once(quoted(command.get_program())).chain(command.get_args().map(quoted));
    let line: Vec<String> = ["env".to_owned(), "-i".to_owned()].into_iter().chain(variables).chain(words).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]).stdin(std::process::Stdio::null());
    String::from_utf8(script.output().unwrap().stdout).unwrap()
}

/// Without what the command itself may write: its line of progress, and colours.
fn without_own_control(mut text: String) -> String {
    text = text.replace("\r\u{1b}[K", "").replace("\r\n", "\n");
    while let Some(at) = text.find("\u{1b}[") {
        let end = text[at + 2..].find(|c: char| !c.is_ascii_digit() && c != ';').unwrap() + at + 2;
        assert_eq!(&text[end..=end], "m", "{:?}", &text[at..]);
        text.replace_range(at..=end, "");
    }
    text
}

#[track_caller]
fn assert_harmless(text: &str) {
    let steers = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!text.contains(steers), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("fake line")), "{text:?}");
}

#[test]
fn a_terminal_is_told_how_far_it_is_and_is_not_steered_by_others() {
    let cluster = hostile();
    let shown = at_terminal(&cluster.command(&["--verbose"]));
    for words in ["\r\u{1b}[Kasking the agents: 0 of 1", "\r\u{1b}[Kasking the agents: 1 of 1\r\u{1b}[K"] {
        assert!(shown.contains(words), "{shown:?}");
    }
    assert!(shown.contains("gone\\u{1b}[2J"), "{shown:?}");
    assert_harmless(&without_own_control(shown));
    let json = at_terminal(&cluster.command(&["--output", "json"]));
    assert!(json.contains("asking the agents: 0 of 1"), "{json:?}");
    assert_harmless(&without_own_control(json));
    // A bundle takes its own time.
    let path = cluster.kubeconfig.path().join("bundle.tar.gz");
    let bundle = at_terminal(&cluster.command(&["--bundle", path.to_str().unwrap()]));
    for words in ["asking for the bundle: 0 of 3", "asking for the bundle: 3 of 3\r\u{1b}[K"] {
        assert!(bundle.contains(words), "{bundle:?}");
    }
    // The line is gone before an error is told.
    cluster.scene.runtime.api.fail("portforward.get", Some(Fault::Status(403)));
    let refused = at_terminal(&cluster.command(&[]));
    assert!(refused.contains("\r\u{1b}[Kistio-cni-otel: no agent may be asked"), "{refused:?}");
}

#[test]
fn without_a_terminal_nothing_is_told_but_the_findings() {
    let cluster = hostile();
    for arguments in [&["--verbose"][..], &["--output", "json"]] {
        let output = cluster.command(arguments).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert_harmless(&String::from_utf8(output.stdout).unwrap());
    }
}
