//! JSON in pieces of its own text: an object's members and a list's items, each as it stands in the file, and what
//! Go's decoder refuses although it is JSON.

use serde::Deserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Go's limit of objects and lists within each other.
const DEPTH: usize = 10_000;

/// One member of an object, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// With its quotes and escapes.
    pub key: String,
    pub value: String,
}

impl Member {
    /// A member of our own.
    pub fn new(key: &str, value: String) -> Member {
        Member { key: quoted(key), value }
    }

    /// The key without quotes and escapes.
    pub fn name(&self) -> String {
        text(&self.key)
    }
}

/// A file's text as Go's decoder reads it: bytes that are no UTF-8 count as U+FFFD.
pub fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The members of an object in their order; `Err` says what is wrong.
pub fn object(text: &str) -> Result<Vec<Member>, String> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<Member>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Member>, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                if !key.get().starts_with('"') {
                    return Err(A::Error::custom("a key is no text"));
                }
                members.push(Member { key: key.get().to_owned(), value: value.get().to_owned() });
            }
            Ok(members)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Members).and_then(|members| deserializer.end().map(|()| members));
    members.map_err(|error| unreadable(text, &error))
}

/// The items of a list in their order.
pub fn list(text: &str) -> Result<Vec<String>, String> {
    struct Items;

    impl<'de> Visitor<'de> for Items {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<String>, A::Error> {
            let mut read = Vec::new();
            while let Some(item) = items.next_element::<&RawValue>()? {
                read.push(item.get().to_owned());
            }
            Ok(read)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(text);
    let items = deserializer.deserialize_seq(Items).and_then(|items| deserializer.end().map(|()| items));
    items.map_err(|error| unreadable(text, &error))
}

/// Whether Go's decoder takes it too: not nested too deeply, and every number within a float's range.
pub fn check_limits(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_text(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH {
                    return Err(format!("it is nested more than {DEPTH} levels deep"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let rest = &text[at..];
                let end = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
                let number = &rest[..end.unwrap_or(rest.len())];
                if number.parse::<f64>().is_ok_and(f64::is_infinite) {
                    return Err(format!("the number {} is too large", shown(number)));
                }
                at += number.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Where the text that begins at `start` ends: the place of its closing quote.
fn end_of_text(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// Whether two texts mean the same: order of keys, spelling of numbers, escapes and blanks do not matter.
pub fn same_meaning(one: &str, other: &str) -> bool {
    let value = serde_json::from_str::<Value>;
    one == other || matches!((value(one), value(other)), (Ok(one), Ok(other)) if same_value(&one, &other))
}

/// Whether two values mean the same: `1` is `1.0`.
pub fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(key, value)| other.get(key).is_some_and(|other| same_value(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

/// The text that a quoted one stands for. Escapes that stand for no character stay as they are: no key or value that
/// matters here has any.
pub fn text(quoted: &str) -> String {
    serde_json::from_str(quoted).unwrap_or_else(|_| quoted.trim_matches('"').to_owned())
}

/// `text` with quotes and escapes.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The beginning of something, for messages.
pub fn shown(text: &str) -> String {
    const SHOWN: usize = 40;
    text.chars().take(SHOWN).collect()
}

fn unreadable(text: &str, error: &serde_json::Error) -> String {
    if text.trim().is_empty() {
        return "it is empty".to_owned();
    }
    if text.starts_with('\u{feff}') {
        return "it begins with a byte order mark, which JSON does not have".to_owned();
    }
    match error.classify() {
        serde_json::error::Category::Data => format!("it is JSON of another shape: {error}"),
        _ => format!("it is not JSON: {error}"),
    }
}
