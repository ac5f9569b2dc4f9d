//! What others wrote, on its way to a terminal: no control characters, and nothing that turns a line
//! around. Pods' names, annotations and messages are anybody's.

use crate::domain::unseen::misleads;
use serde_json::Value;

/// Every text in a value on one line, without what a terminal would obey.
pub fn all(value: &mut Value) {
    match value {
        Value::String(text) => *text = line(text),
        Value::Array(items) => items.iter_mut().for_each(all),
        Value::Object(members) => members.values_mut().for_each(all),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text on one line: what a terminal would obey is shown as its number.
pub fn line(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => safe.push(' '),
            c if misleads(c) => safe.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe
}

/// JSON in which such characters are escaped: it means the same.
pub fn json(value: &Value) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string_pretty(value)?;
    let mut safe = String::with_capacity(text.len() + 1);
    let mut units = [0; 2];
    for c in text.chars() {
        match c {
            '\n' => safe.push('\n'),
            c if misleads(c) => {
                c.encode_utf16(&mut units).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}")))
            }
            c => safe.push(c),
        }
    }
    safe.push('\n');
    Ok(safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HOSTILE: &str = "a\u{1b}[31mb\u{9b}2J\u{202e}c\u{7f}\nd\u{e0041}é";

    #[test]
    fn no_control_character_reaches_a_terminal() {
        assert_eq!(line(HOSTILE), "a\\u{1b}[31mb\\u{9b}2J\\u{202e}c\\u{7f} d\\u{e0041}é");
        let mut value = json!({"a": [HOSTILE], "b": 1, "c": null});
        all(&mut value);
        assert!(!value.to_string().contains(misleads), "{value}");
    }

    #[test]
    fn json_means_the_same_when_it_is_safe() {
        let value = json!({"text": HOSTILE});
        let text = json(&value).unwrap();
        assert!(!text.chars().any(|c| misleads(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
