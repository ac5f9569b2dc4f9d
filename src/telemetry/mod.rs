//! The one way to tell what happens: a step is run here and becomes a span, a histogram sample and
//! a log record by construction. Also OTLP export, the metrics registry and the typed log events.
//!
//! The way of what is told: [`story`] collects the spans and log records of one request into a
//! batch; the plugin sends it as bytes ([`batch`]) or leaves it in the spool; the agent's
//! [`pipeline`] takes every batch, derives the samples ([`metrics`]), shows the lines
//! ([`console_writer`]), keeps the recent traces ([`history`]) and queues all for the collector ([`otlp`]).
//!
//! Everything is OTLP's own types from its birth on, instead of the SDK's: ids and start times are
//! given (the trace id is the pod's UID), histogram points carry exemplars, and every lost item is
//! counted. The SDK for Rust can do none of the three.

pub mod agent_event;
pub mod api_request;
pub mod attribute;
pub mod batch;
pub mod clock;
pub mod console;
pub mod console_writer;
mod core;
pub mod dependency_log;
mod drops;
pub mod event;
mod export;
pub mod held;
pub mod history;
pub mod keep;
pub mod keys;
pub mod metrics;
mod open_span;
pub mod otlp;
pub mod outcome;
pub mod past;
pub mod pipeline;
pub mod receipt;
pub mod resource;
pub mod sanitize;
#[cfg(test)]
mod screen;
pub mod story;
pub mod timestamp;
