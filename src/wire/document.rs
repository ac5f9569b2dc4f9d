//! A JSON object read as Go reads it where a user could notice: keys match whatever their case,
//! the last one counts, `null` changes nothing, unknown keys are ignored, and a wrong type is an
//! error.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// An object whose members keep their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document(Vec<(String, Value)>);

/// A member has another type than its key asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} must be {wanted}, not {found}")]
pub struct WrongType {
    /// The key, with the place of the list item or the outer key.
    pub path: String,
    /// For people: `text`, `a list of text`.
    pub wanted: &'static str,
    /// What is there, with its value where it is short.
    pub found: String,
}

impl Document {
    /// Reads an object; anything else is an error.
    pub fn from_slice(bytes: &[u8]) -> Result<Document, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The last member with this key that is not `null`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let mut members = self.0.iter().rev();
        members.find(|(name, value)| name.eq_ignore_ascii_case(key) && !value.is_null()).map(|(_, value)| value)
    }

    /// The text at `key`; absent is empty.
    pub fn text(&self, key: &str) -> Result<&str, WrongType> {
        match self.get(key) {
            None => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong(key, "text", other)),
        }
    }

    /// The truth value at `key`.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, WrongType> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong(key, "true or false", other)),
        }
    }

    /// The integer at `key`.
    pub fn integer(&self, key: &str) -> Result<Option<i64>, WrongType> {
        self.get(key).map(|value| integer_of(value).ok_or_else(|| wrong(key, "an integer", value))).transpose()
    }

    /// The list at `key`; absent is empty.
    pub fn list(&self, key: &str) -> Result<&[Value], WrongType> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(wrong(key, "a list", other)),
        }
    }

    /// The list of texts at `key`; a `null` among them is the empty text.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, WrongType> {
        let text = |value: &Value| match value {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.clone()),
            other => Err(wrong(key, "a list of text", other)),
        };
        self.list(key)?.iter().map(text).collect()
    }

    /// The object at `key`.
    pub fn object(&self, key: &str) -> Result<Option<Document>, WrongType> {
        self.get(key).map(|value| Document::of(value).ok_or_else(|| wrong(key, "an object", value))).transpose()
    }

    /// The objects in the list at `key`; `None` for a `null` among them.
    pub fn objects(&self, key: &str) -> Result<Vec<Option<Document>>, WrongType> {
        let object = |value: &Value| match value {
            Value::Null => Ok(None),
            value => Document::of(value).map(Some).ok_or_else(|| wrong(key, "a list of objects", value)),
        };
        self.list(key)?.iter().map(object).collect()
    }

    /// The members, in their order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    fn of(value: &Value) -> Option<Document> {
        let members = value.as_object()?;
        Some(Document(members.iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}

impl WrongType {
    /// The same error inside of something: `prevResult` and `ips` give `prevResult.ips`.
    pub fn inside(self, outer: &str) -> WrongType {
        WrongType { path: format!("{outer}.{}", self.path), ..self }
    }
}

/// An error about the value at `path`.
pub fn wrong(path: &str, wanted: &'static str, value: &Value) -> WrongType {
    const SHOWN: usize = 40;
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("{:?}", text.chars().take(SHOWN).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    WrongType { path: path.to_owned(), wanted, found }
}

/// An integer, also when it is written as `1500.0` or `15e2`.
fn integer_of(value: &Value) -> Option<i64> {
    /// Beyond this a float does not hold every integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let exact = |float: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "an integral value of at most 2^53 loses nothing")]
        let integer = float as i64;
        (float.fract() == 0.0 && float.abs() <= EXACT).then_some(integer)
    };
    value.as_i64().or_else(|| value.as_f64().and_then(exact))
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Document;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut members = Vec::with_capacity(24);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Document(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::from_slice(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_match_in_any_case_and_the_last_one_counts() {
        let read = document(r#"{"Name":"a","NAME":"b","name":null,"other":1}"#);
        assert_eq!(read.text("name"), Ok("b"));
        assert_eq!(read.text("absent"), Ok(""));
    }

    #[test]
    fn a_wrong_type_names_key_wanted_and_found() {
        let read = document(r#"{"a":1,"b":"x","c":[1],"d":{},"e":["x",null],"f":1.5,"g":1500.0}"#);
        assert_eq!(read.text("a").unwrap_err().to_string(), "a must be text, not the number 1");
        assert_eq!(read.flag("b").unwrap_err().to_string(), "b must be true or false, not \"x\"");
        assert_eq!(read.texts("c").unwrap_err().to_string(), "c must be a list of text, not the number 1");
        assert_eq!(read.list("d").unwrap_err().to_string(), "d must be a list, not an object");
        assert_eq!(read.texts("e"), Ok(vec!["x".to_owned(), String::new()]));
        assert_eq!(
            read.integer("f").unwrap_err().inside("o").to_string(),
            "o.f must be an integer, not the number 1.5"
        );
        assert_eq!(read.integer("g"), Ok(Some(1500)));
    }

    #[test]
    fn what_is_no_object_or_goes_on_behind_it_is_refused() {
        for text in ["", "null", "[]", "1", "{", "{}{}", "{\"a\":}", "\"x\""] {
            assert!(Document::from_slice(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Document::from_slice(b" {} \n").is_ok());
    }
}
