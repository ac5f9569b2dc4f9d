//! The one way to tell what happens: a step is run here and becomes a span, a histogram sample and
//! a log record by construction. Also OTLP export, the metrics registry and the typed log events.

pub mod agent_event;
pub mod batch;
pub mod console;
pub mod console_writer;
mod core;
pub mod dependency_log;
mod drops;
pub mod event;
mod export;
pub mod keys;
pub mod metrics;
pub mod otlp;
pub mod outcome;
pub mod pipeline;
pub mod resource;
pub mod sanitize;
pub mod story;
pub mod timestamp;
