//! Attributes in OTLP's form, made and read.

use super::keys::Key;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

/// A value of an attribute: text, integer or boolean.
pub struct Attribute(Option<AnyValue>);

impl Attribute {
    /// The OTLP value.
    pub fn into_value(self) -> Option<AnyValue> {
        self.0
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Attribute(Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) }))
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Attribute(Some(AnyValue { value: Some(Value::StringValue(text)) }))
    }
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Attribute(Some(AnyValue { value: Some(Value::IntValue(value)) }))
    }
}

impl From<u64> for Attribute {
    fn from(value: u64) -> Self {
        Attribute::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Attribute {
    fn from(value: bool) -> Self {
        Attribute(Some(AnyValue { value: Some(Value::BoolValue(value)) }))
    }
}

impl From<usize> for Attribute {
    fn from(value: usize) -> Self {
        Attribute::from(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// An OTLP attribute.
pub fn attribute(key: Key, value: impl Into<Attribute>) -> KeyValue {
    KeyValue { key: key.as_str().to_owned(), value: value.into().0, ..KeyValue::default() }
}

/// The text value of an attribute.
pub fn text_attribute(attributes: &[KeyValue], key: Key) -> Option<&str> {
    attributes.iter().find(|kv| kv.key == key.as_str()).and_then(|kv| match kv.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.as_str()),
        _ => None,
    })
}
