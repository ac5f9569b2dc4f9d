//! The words of errors, where they are written.

use super::{is_one_sentence, says_what_to_do};
use std::fs;
use std::path::{Path, PathBuf};

/// Where errors of an ADD may be.
const ROOMS: [&str; 6] = ["cmd/plugin", "domain", "host", "k8s", "ops", "wire"];

/// Files whose errors no ADD has, and what they are of.
const OF_OTHERS: [(&str, &str); 18] = [
    ("host/binaries.rs", "installing"),
    ("host/conf_dir.rs", "installing"),
    ("host/dir_watch.rs", "installing"),
    ("host/file_error.rs", "installing"),
    ("host/local_http.rs", "the tools"),
    ("host/pod_netns/error.rs", "repairs and audits"),
    ("host/pod_netns/record.rs", "repairs and audits"),
    ("host/runtime/cri.rs", "doctor"),
    ("host/spool.rs", "telemetry"),
    ("host/trial.rs", "the agent's start"),
    ("host/nftables/probe.rs", "the agent's start"),
    ("host/uds_listener.rs", "the agent's start"),
    ("k8s/forward.rs", "the tools"),
    ("k8s/plugin_kubeconfig.rs", "installing"),
    ("ops/install.rs", "installing"),
    ("ops/validate.rs", "the validator"),
    ("wire/finding.rs", "doctor"),
    ("wire/termination.rs", "the validator"),
];

/// Messages that are no whole sentence of an ADD: by their beginning, and what is around them.
const PARTS: [(&str, &str); 18] = [
    ("cannot make a network namespace: {}", "of trying rules, at an agent's start and in a tool"),
    ("ARGS: ", "args::TAKEN follows"),
    ("{path} must be {wanted}", "what the entry takes follows"),
    ("result type supports [", "whose result it is follows"),
    ("the node agent does not answer at {}", "what the plugin alone came to follows"),
    ("the node agent's socket {} cannot be", "what the plugin alone came to follows"),
    ("the process that serves {} runs as", "what the plugin alone came to follows"),
    ("the node agent at {}", "what the plugin alone came to follows"),
    ("what the process that serves {} says", "what the plugin alone came to follows"),
    ("{0}", "the agent's own words"),
    ("{}, and this node keeps no credentials", "the advice is in it"),
    ("{}; iptables, which is tried then", "two errors with their next steps"),
    ("pod {pod} could not be looked up: {}", "the source's words with their next step"),
    ("the node agent is stopping", "what the plugin alone came to follows"),
    ("the pod has changed meanwhile", "of repairs"),
    ("a PodDisruptionBudget does not allow", "of repairs"),
    ("{source}; what it had could not be", "it ends with its next step"),
    ("{namespace:?}/{name:?} cannot be a", "of the runtime's names, which the API server has checked"),
];

fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.extension().is_some_and(|it| it == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The texts of the errors of a file, with `{}` where values stand.
fn messages(source: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for after in source.split("#[error(").skip(1) {
        let Some(text) = after.trim_start().strip_prefix('"') else {
            assert!(after.starts_with("transparent"), "an error's words are not a text: {}", &after[..80]);
            continue;
        };
        let (mut message, mut characters) = (String::new(), text.chars());
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => message.extend(characters.next()),
                other => message.push(other),
            }
        }
        texts.push(message);
    }
    texts
}

#[test]
fn every_error_of_an_add_is_written_with_its_next_step() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    ROOMS.iter().for_each(|room| files(&source.join(room), &mut all));
    let (mut seen, mut wanting, mut used) = (0, Vec::new(), Vec::new());
    for path in all {
        let name = path.strip_prefix(&source).unwrap().display().to_string();
        if name.ends_with("_tests.rs") || name == "host/fake.rs" || name == "wire/agent.rs" {
            continue;
        }
        let messages = messages(&fs::read_to_string(&path).unwrap());
        if let Some((file, _)) = OF_OTHERS.iter().find(|(file, _)| *file == name) {
            assert!(!messages.is_empty(), "{file} has no errors any more: take it from the list");
            used.push(*file);
            continue;
        }
        for message in messages {
            seen += 1;
            if let Some((part, _)) = PARTS.iter().find(|(part, _)| message.starts_with(part)) {
                used.push(*part);
            } else if !says_what_to_do(&message) || !is_one_sentence(&message) {
                wanting.push(format!("{name}: {message}"));
            }
        }
    }
    assert!(seen > 40, "{seen}");
    assert!(wanting.is_empty(), "without a next step:\n{}", wanting.join("\n"));
    let unused: Vec<_> = OF_OTHERS.iter().chain(&PARTS).filter(|(name, _)| !used.contains(name)).collect();
    assert!(unused.is_empty(), "not there any more: {unused:?}");
}
