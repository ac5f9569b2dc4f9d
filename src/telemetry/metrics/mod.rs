//! The metrics: a small registry of our own, because histogram samples carry exemplars (trace and
//! span id), which neither OpenTelemetry's SDK for Rust nor its Prometheus exporter has.
//!
//! Names are the same over `/metrics` and OTLP (`catalog`). Label values come from closed lists,
//! so the number of series is bounded by construction. Request and step samples are derived from
//! finished spans (`observe`); nothing counts a step by hand.

pub mod catalog;
pub mod exposition;
pub mod family;
mod observe;
pub mod otlp;
mod process;
mod recorder;

pub use recorder::{DropReason, Metrics, Signal};
