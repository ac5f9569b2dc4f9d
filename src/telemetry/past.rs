//! Telling what is over: spans and log records with times of their own, of things that this
//! process learns of afterwards. What runs now is told by a [`super::story::Story`].

use super::attribute::{Attribute, attribute};
use super::event::{EventName, Level};
use super::keys;
use super::story::{Batch, SAMPLED, identity_attributes};
use crate::domain::identity::{SpanId, TraceId};
use crate::domain::pod::PodRef;
use crate::domain::step::ErrorType;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind, status::StatusCode};

/// What is over, in one pod's trace.
pub struct Past {
    trace: TraceId,
    identity: Vec<KeyValue>,
    batch: Batch,
}

/// A span with all that it needs.
pub struct Told<'a> {
    pub name: &'a str,
    pub id: SpanId,
    /// Nothing for the root of a pod's trace.
    pub parent: Option<SpanId>,
    /// Nanoseconds since the epoch.
    pub start_ns: u64,
    /// Nanoseconds since the epoch; what is before the start counts as the start.
    pub end_ns: u64,
    /// The type and the message, if it failed.
    pub failure: Option<(ErrorType, &'a str)>,
}

impl Past {
    /// Nothing of this pod yet. Its UID must be known.
    pub fn of_pod(pod: &PodRef) -> Past {
        let trace = TraceId::of_pod(pod.uid.as_deref().unwrap_or_default());
        Past { trace, identity: identity_attributes(pod), batch: Batch::default() }
    }

    /// The pod's trace.
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// Adds a span.
    pub fn span(&mut self, told: &Told<'_>, mut attributes: Vec<KeyValue>) {
        let mut status = Status::default();
        if let Some((error_type, message)) = told.failure {
            attributes.push(attribute(keys::ERROR_TYPE, error_type.as_str()));
            status = Status { code: StatusCode::Error.into(), message: message.to_owned() };
        }
        attributes.extend(self.identity.iter().cloned());
        self.batch.spans.push(Span {
            trace_id: self.trace.0.to_vec(),
            span_id: told.id.0.to_vec(),
            parent_span_id: told.parent.map(|id| id.0.to_vec()).unwrap_or_default(),
            flags: SAMPLED.into(),
            name: told.name.to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: told.start_ns,
            end_time_unix_nano: told.end_ns.max(told.start_ns),
            attributes,
            status: Some(status),
            ..Span::default()
        });
    }

    /// Adds a log record that stands at this time on this span.
    pub fn log(
        &mut self,
        (time_ns, observed_ns): (u64, u64),
        (level, event_name): (Level, EventName),
        message: &str,
        span: SpanId,
        mut attributes: Vec<KeyValue>,
    ) {
        attributes.extend(self.identity.iter().cloned());
        self.batch.logs.push(LogRecord {
            time_unix_nano: time_ns,
            observed_time_unix_nano: observed_ns,
            severity_number: level.severity().into(),
            severity_text: level.name().to_owned(),
            body: Attribute::from(message).into_value(),
            attributes,
            trace_id: self.trace.0.to_vec(),
            span_id: span.0.to_vec(),
            flags: SAMPLED.into(),
            event_name: event_name.as_str().to_owned(),
            ..LogRecord::default()
        });
    }

    /// All of it.
    pub fn into_batch(self) -> Batch {
        self.batch
    }
}
