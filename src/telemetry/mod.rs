//! The one way to tell what happens: a step is run here and becomes a span, a histogram sample and
//! a log record by construction. Also OTLP export, the metrics registry and the typed log events.

pub mod batch;
pub mod console;
pub mod event;
pub mod keys;
pub mod metrics;
pub mod outcome;
pub mod sanitize;
pub mod story;
pub mod timestamp;
