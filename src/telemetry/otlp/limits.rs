//! The specification's limits for what is exported: values are cut, surplus attributes and links
//! are left out and counted in the item itself.

use super::env::Env;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;

/// The limits of one kind of item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most characters of a text; `None` is no limit.
    pub value_length: Option<usize>,
    /// The most attributes of an item.
    pub attributes: usize,
    /// The most links of a span.
    pub links: usize,
    /// The most attributes of a link.
    pub link_attributes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { value_length: None, attributes: 128, links: 128, link_attributes: 128 }
    }
}

impl Limits {
    /// The limits of spans.
    pub fn spans(env: &mut Env<'_>) -> Limits {
        let limits = Limits::general(env, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT");
        Limits {
            links: count(env, "OTEL_SPAN_LINK_COUNT_LIMIT").unwrap_or(limits.links),
            link_attributes: count(env, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT").unwrap_or(limits.link_attributes),
            ..limits
        }
    }

    /// The limits of log records.
    pub fn logs(env: &mut Env<'_>) -> Limits {
        Limits::general(env, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT")
    }

    fn general(env: &mut Env<'_>, length: &str, attributes: &str) -> Limits {
        let value_length = count(env, length).or_else(|| count(env, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"));
        let attributes = count(env, attributes).or_else(|| count(env, "OTEL_ATTRIBUTE_COUNT_LIMIT"));
        let default = Limits::default();
        Limits { value_length, attributes: attributes.unwrap_or(default.attributes), ..default }
    }

    /// Cuts a span.
    pub fn cut_span(&self, span: &mut Span) {
        span.dropped_attributes_count += self.cut(&mut span.attributes, self.attributes);
        span.dropped_links_count += surplus(&mut span.links, self.links);
        for link in &mut span.links {
            link.dropped_attributes_count += self.cut(&mut link.attributes, self.link_attributes);
        }
    }

    /// Cuts a log record.
    pub fn cut_log(&self, log: &mut LogRecord) {
        log.dropped_attributes_count += self.cut(&mut log.attributes, self.attributes);
    }

    fn cut(&self, attributes: &mut Vec<KeyValue>, most: usize) -> u32 {
        let over = surplus(attributes, most);
        if let Some(length) = self.value_length {
            attributes.iter_mut().filter_map(|kv| kv.value.as_mut()).for_each(|value| cut_value(value, length));
        }
        over
    }
}

fn count(env: &mut Env<'_>, variable: &str) -> Option<usize> {
    env.number(variable, 0..=1_000_000)
}

fn surplus<T>(items: &mut Vec<T>, most: usize) -> u32 {
    let over = items.len().saturating_sub(most);
    items.truncate(most);
    u32::try_from(over).unwrap_or(u32::MAX)
}

fn cut_value(value: &mut AnyValue, length: usize) {
    match &mut value.value {
        Some(Value::StringValue(text)) => {
            if let Some((end, _)) = text.char_indices().nth(length) {
                text.truncate(end);
            }
        }
        Some(Value::ArrayValue(list)) => list.values.iter_mut().for_each(|value| cut_value(value, length)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::keys;
    use crate::telemetry::story::{attribute, text_attribute};
    use opentelemetry_proto::tonic::trace::v1::span::Link;

    #[test]
    fn a_span_is_cut_to_its_own_limits_before_the_general_ones() {
        let lookup = |variable: &str| match variable {
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT" => Some("3".to_owned()),
            "OTEL_ATTRIBUTE_COUNT_LIMIT" => Some("9".to_owned()),
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" => Some("1".to_owned()),
            "OTEL_SPAN_LINK_COUNT_LIMIT" => Some("0".to_owned()),
            _ => None,
        };
        let mut env = Env::new(&lookup);
        let limits = Limits::spans(&mut env);
        let mut span = Span {
            attributes: vec![attribute(keys::REASON, "größer"), attribute(keys::PATH, "agent")],
            links: vec![Link::default()],
            ..Span::default()
        };
        limits.cut_span(&mut span);
        assert_eq!(text_attribute(&span.attributes, keys::REASON), Some("grö"));
        assert_eq!((span.dropped_attributes_count, span.dropped_links_count), (1, 1));
        assert_eq!(Limits::logs(&mut env).attributes, 9);
    }
}
