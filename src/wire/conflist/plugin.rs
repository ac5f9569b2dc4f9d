//! One plugin's object as the CNI library reads it: keys in any case, the last one counts, `null` is nothing.

use super::PLUGIN_TYPE;
use super::json::{self, Member, shown};
use crate::wire::document::wrong;
use serde_json::Value;

/// How many levels the library's own keys have: a list of objects with texts.
const SHAPE_DEPTH: usize = 3;

/// A plugin's text that the library takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// As it stands in the file.
    pub text: String,
    /// Its `type`.
    pub kind: String,
    /// Its `name`; empty without one.
    pub name: String,
    /// Its `cniVersion`; empty without one.
    pub version: String,
}

/// The order in which the library sees an object's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A `.conf` is read directly.
    File,
    /// A plugin in a list is sorted by key first, and has each key once.
    Sorted,
}

impl Plugin {
    /// Reads and checks one; `Err` is a phrase.
    pub fn parse(text: &str, order: Order) -> Result<Plugin, String> {
        let mut members = json::object(text)?;
        if order == Order::Sorted {
            members = sorted(members);
        }
        let kind = read_text(&members, "type")?;
        let name = read_text(&members, "name")?;
        let version = read_text(&members, "cniVersion")?;
        check_known(&members)?;
        if kind.is_empty() {
            return Err("it has no type".to_owned());
        }
        Ok(Plugin { text: text.to_owned(), kind, name, version })
    }

    /// Whether it is ours.
    pub fn is_ours(&self) -> bool {
        self.kind == PLUGIN_TYPE
    }
}

/// Each key once, with its last value, in the order of keys.
fn sorted(members: Vec<Member>) -> Vec<Member> {
    let last: std::collections::BTreeMap<String, Member> =
        members.into_iter().map(|member| (member.name(), member)).collect();
    last.into_values().collect()
}

/// The values at a key, whatever its case.
fn values<'a>(members: &'a [Member], key: &'a str) -> impl Iterator<Item = &'a str> {
    let folded = members.iter().filter(move |member| member.name().eq_ignore_ascii_case(key));
    folded.map(|member| member.value.as_str()).filter(|value| *value != "null")
}

/// The last text at a key; every value there must be text.
fn read_text(members: &[Member], key: &str) -> Result<String, String> {
    let mut read = String::new();
    for value in values(members, key) {
        if !value.starts_with('"') {
            return Err(format!("its {key} is {}, and not text", shown(value)));
        }
        read = json::text(value);
    }
    Ok(read)
}

/// The other keys that the library reads have their types.
fn check_known(members: &[Member]) -> Result<(), String> {
    for key in ["capabilities", "ipam", "dns", "prevResult", "cni.dev/valid-attachments"] {
        for text in values(members, key) {
            if let Some(problem) = problem_at(key, &shape(text, SHAPE_DEPTH)) {
                return Err(format!("its {key} {problem}"));
            }
        }
    }
    Ok(())
}

/// The outer levels of a text as a value. Unlike a whole value it is there for every text, also for one that is nested
/// deeply or has escapes that stand for no character.
fn shape(text: &str, depth: usize) -> Value {
    let inner = |text: &str| shape(text, depth.saturating_sub(1));
    match text.bytes().next() {
        Some(b'"') => Value::String(json::text(text)),
        Some(b'{') => {
            let members = if depth > 0 { json::object(text).unwrap_or_default() } else { Vec::new() };
            Value::Object(members.iter().map(|member| (member.name(), inner(&member.value))).collect())
        }
        Some(b'[') => {
            let items = if depth > 0 { json::list(text).unwrap_or_default() } else { Vec::new() };
            Value::Array(items.iter().map(|item| inner(item)).collect())
        }
        _ => serde_json::from_str(text).unwrap_or_else(|_| Value::from(0)),
    }
}

fn problem_at(key: &str, value: &Value) -> Option<String> {
    match key {
        "capabilities" => every_member(value, |_, value| value.is_boolean(), "true or false"),
        "ipam" => every_member(value, |key, value| key != "type" || value.is_string(), "text in its type"),
        "dns" => every_member(value, dns_member, "text and lists of text"),
        "prevResult" => every_member(value, |_, _| true, ""),
        _ => valid_attachments(value),
    }
}

/// What is wrong with an object whose members, `null` apart, must be `fine`; keys come in lower case.
fn every_member(value: &Value, fine: impl Fn(&str, &Value) -> bool, wanted: &'static str) -> Option<String> {
    let Value::Object(members) = value else { return Some(must_be("an object", value)) };
    let bad = members.iter().find(|(key, value)| !value.is_null() && !fine(&key.to_ascii_lowercase(), value));
    bad.map(|(key, value)| format!("must have {wanted}, not {} at {}", wrong(key, wanted, value).found, shown(key)))
}

fn dns_member(key: &str, value: &Value) -> bool {
    let text = |value: &Value| value.is_string() || value.is_null();
    match key {
        "domain" => text(value),
        "nameservers" | "search" | "options" => value.as_array().is_some_and(|items| items.iter().all(text)),
        _ => true,
    }
}

fn valid_attachments(value: &Value) -> Option<String> {
    let Value::Array(items) = value else { return Some(must_be("a list", value)) };
    let id = |key: &str, value: &Value| !matches!(key, "containerid" | "ifname") || value.is_string();
    items.iter().filter(|item| !item.is_null()).find_map(|item| every_member(item, id, "text"))
}

fn must_be(wanted: &'static str, value: &Value) -> String {
    let wrong = wrong("", wanted, value);
    format!("must be {wanted}, not {}", wrong.found)
}
