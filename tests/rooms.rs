//! The rooms of `src/` keep to what ARCHITECTURE.md says they may use.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Room, and what it may name after `crate::`. A path ending in `::ports` is the traits alone.
const RULES: &[(&str, &[&str])] = &[
    ("domain", &["domain"]),
    ("wire", &["domain", "wire"]),
    ("telemetry", &["domain", "telemetry"]),
    ("ops", &["domain", "telemetry", "ops"]),
    ("host", &["domain", "telemetry", "ops::ports", "host"]),
    ("k8s", &["domain", "telemetry", "ops::ports", "k8s"]),
    ("agent", &["domain", "wire", "telemetry", "ops", "host", "k8s", "agent"]),
    ("cmd", &["domain", "wire", "telemetry", "ops", "host", "k8s", "agent", "cmd"]),
];

#[test]
fn every_room_uses_only_what_it_may() {
    let mut offences = Vec::new();
    for (room, allowed) in RULES {
        let files = rust_files(&source().join(room));
        assert!(!files.is_empty(), "room {room} has no files: has it been renamed?");
        for file in files {
            for used in crate_paths(&fs::read_to_string(&file).unwrap()) {
                let fine = allowed.iter().any(|path| used == *path || used.starts_with(&format!("{path}::")));
                if !fine {
                    offences.push(format!("{}: {room} may not use crate::{used}", file.display()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn every_room_has_a_rule() {
    let rooms: BTreeSet<String> = fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let ruled: BTreeSet<String> = RULES.iter().map(|(room, _)| (*room).to_owned()).chain(["bin".to_owned()]).collect();
    assert_eq!(rooms, ruled);
}

#[test]
fn the_domain_uses_no_crate_but_ipnet() {
    let mut offences = Vec::new();
    for file in rust_files(&source().join("domain")) {
        let text = fs::read_to_string(&file).unwrap();
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in production.lines().map(str::trim) {
            let Some(path) = line.strip_prefix("use ").or_else(|| line.strip_prefix("pub use ")) else { continue };
            let root = path.split([':', ';']).next().unwrap_or_default();
            let inner = production.contains(&format!("mod {root};"));
            if !inner && !["std", "core", "ipnet", "super", "crate", "self"].contains(&root) {
                offences.push(format!("{}: {line}", file.display()));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn every_module_opens_with_what_it_is_for() {
    let silent: Vec<_> = rust_files(&source())
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "without a //! opening: {silent:?}");
}

#[test]
fn the_checker_sees_paths_in_groups_and_in_code() {
    let text = "use crate::{host::netns, domain::{pod, step}};\nlet a = crate::k8s::rest::get();\nuse crate::ops::ports::PodKernel;\n// crate::cmd::x";
    let seen: BTreeSet<String> = crate_paths(text).into_iter().collect();
    assert_eq!(seen, ["host::netns", "domain", "k8s::rest", "ops::ports"].map(String::from).into());
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The first two segments of every path that starts with `crate::`, comments left out.
fn crate_paths(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level_items(group).iter().map(|item| two_segments(item))),
            None => found.push(two_segments(rest)),
        }
    }
    found
}

/// The items of a `{…}` group, whose opening brace is already gone.
fn top_level_items(group: &str) -> Vec<String> {
    let (mut items, mut depth) = (vec![String::new()], 0);
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            '{' => depth += 1,
            ',' if depth == 0 => items.push(String::new()),
            c if depth == 0 => items.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    items.iter().map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

fn two_segments(path: &str) -> String {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let first = word(path);
    match path[first.len()..].strip_prefix("::").map(word) {
        Some(second) if !second.is_empty() => format!("{first}::{second}"),
        _ => first,
    }
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
