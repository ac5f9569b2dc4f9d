//! A file of a bug report without credentials: JSON by its keys, down into JSON that stands in its texts, and everything
//! else by [`crate::domain::redact`].

use crate::domain::api_access::REDACTED;
use crate::domain::redact::{is_pair_name, is_pair_value, names_flag, names_secret, redacted};
use serde_json::{Map, Value};

/// So deep in each other texts are looked into that are JSON.
const DEEPEST: usize = 4;

/// The file without credentials; as it is written it may be another JSON text of the same shape.
pub fn redacted_file(content: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(content);
    if let Some(json) = without_secrets(&text, 0) {
        return json.into_bytes();
    }
    // Lines of JSON among others, as in logs.
    let (mut safe, mut plain) = (String::with_capacity(text.len()), String::new());
    for line in text.split_inclusive('\n') {
        match without_secrets(line, 0) {
            None => plain.push_str(line),
            Some(json) => {
                safe.push_str(&redacted(&std::mem::take(&mut plain)));
                safe.push_str(&json);
                safe.push_str(&line[line.trim_end_matches(['\n', '\r']).len()..]);
            }
        }
    }
    safe.push_str(&redacted(&plain));
    safe.into_bytes()
}

/// A text without credentials if it is an object or a list of JSON.
fn without_secrets(text: &str, depth: usize) -> Option<String> {
    if depth > DEEPEST || !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut value: Value = serde_json::from_str(text).ok()?;
    clean(&mut value, depth);
    Some(value.to_string())
}

fn clean(value: &mut Value, depth: usize) {
    match value {
        Value::Object(fields) => clean_object(fields, depth),
        Value::Array(items) => {
            let mut flag = false;
            for item in items {
                let next = matches!(item, Value::String(text) if names_flag(text) && !text.contains('='));
                if flag {
                    blank(item)
                } else {
                    clean(item, depth)
                }
                flag = next;
            }
        }
        Value::String(text) => *text = without_secrets(text, depth + 1).unwrap_or_else(|| redacted(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn clean_object(fields: &mut Map<String, Value>, depth: usize) {
    let secret = |(key, value): (&String, &Value)| is_pair_name(key) && value.as_str().is_some_and(names_secret);
    let pair = fields.iter().any(secret);
    for (key, mut value) in std::mem::take(fields) {
        if names_secret(&key) || (pair && is_pair_value(&key)) {
            blank(&mut value)
        } else {
            clean(&mut value, depth)
        }
        fields.insert(redacted(&key), value);
    }
}

/// Leaves the shape alone.
fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(blank),
        Value::Array(items) => items.iter_mut().for_each(blank),
        Value::String(text) if text.is_empty() => {}
        Value::String(_) | Value::Number(_) => *value = Value::String(REDACTED.to_owned()),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
