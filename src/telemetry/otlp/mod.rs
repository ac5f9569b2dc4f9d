//! Sending telemetry to a collector, as OpenTelemetry's specification and its `OTEL_*` variables
//! say.

pub mod config;
