//! A span while its step runs, and how it becomes a finished one.

use super::attribute::{Attribute, attribute};
use super::clock::Clock;
use super::keys::{self, Key};
use crate::domain::failure::Failure;
use crate::domain::identity::{SpanId, TraceId, TraceLink};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span, status};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The open span of a step, for its attributes.
pub struct Open {
    name: &'static str,
    id: SpanId,
    start_ns: u64,
    attributes: Mutex<Vec<KeyValue>>,
    links: Mutex<Vec<span::Link>>,
}

impl Open {
    /// A span of this name that began at this time.
    pub(super) fn begin(name: &'static str, start_ns: u64) -> Open {
        Open { name, id: random_span_id(), start_ns, attributes: Mutex::default(), links: Mutex::default() }
    }

    /// Its id.
    pub(super) fn id(&self) -> SpanId {
        self.id
    }

    /// The finished span; its trace is still to be filled in.
    pub(super) fn end(self, parent: Option<SpanId>, end_ns: u64, failure: Option<&Failure>) -> Span {
        let mut attributes = self.attributes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut status = Status::default();
        if let Some(failure) = failure {
            attributes.push(attribute(keys::ERROR_TYPE, failure.error_type.as_str()));
            status = Status { code: status::StatusCode::Error.into(), message: failure.message.clone() };
        }
        Span {
            span_id: self.id.0.to_vec(),
            parent_span_id: parent.map(|id| id.0.to_vec()).unwrap_or_default(),
            name: self.name.to_owned(),
            kind: span::SpanKind::Internal.into(),
            start_time_unix_nano: self.start_ns,
            end_time_unix_nano: end_ns,
            attributes,
            links: self.links.into_inner().unwrap_or_else(PoisonError::into_inner),
            status: Some(status),
            ..Span::default()
        }
    }

    /// Sets an attribute.
    pub fn set(&self, key: Key, value: impl Into<Attribute>) {
        lock(&self.attributes).push(attribute(key, value));
    }

    /// Adds a link to a span of another trace.
    pub fn link(&self, link: &TraceLink) {
        let mut attributes = vec![attribute(keys::LINK_SOURCE, link.source)];
        attributes.extend(link.baggage.iter().map(|(key, value)| KeyValue {
            key: format!("{}{key}", keys::LINK_BAGGAGE_PREFIX),
            value: Attribute::from(value.as_str()).into_value(),
            ..KeyValue::default()
        }));
        lock(&self.links).push(span::Link {
            trace_id: link.trace_id.0.to_vec(),
            span_id: link.span_id.0.to_vec(),
            trace_state: link.state.clone(),
            flags: u32::from(link.flags),
            attributes,
            dropped_attributes_count: 0,
        });
    }
}

/// A random span id. Should the kernel give no randomness, time and address stand in: a span id
/// must be unique in its trace, not secret.
pub fn random_span_id() -> SpanId {
    let mut id = [0_u8; 8];
    if getrandom::fill(&mut id).is_err() || id == [0; 8] {
        let now = Clock::start().start_ns() ^ (std::ptr::from_ref(&id) as u64).rotate_left(32);
        id = now.max(1).to_be_bytes();
    }
    SpanId(id)
}

/// A random trace id, for what belongs to no pod that is known.
pub fn random_trace_id() -> TraceId {
    let [a, b] = [random_span_id().0, random_span_id().0];
    let mut id = [0; 16];
    for (byte, random) in id.iter_mut().zip(a.into_iter().chain(b)) {
        *byte = random;
    }
    TraceId(id)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
