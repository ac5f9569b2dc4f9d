//! Sending telemetry to a collector, as OpenTelemetry's specification and its `OTEL_*` variables
//! say.
//!
//! The items are OTLP's own types from their birth on, and this sends them as they are: a bounded
//! queue per signal (`queue`), a task that makes requests of it (`worker`), and gRPC or HTTP
//! underneath (`transport`). The SDK's exporters are not used because they do not say what they
//! lost; here every item that is not delivered is counted with its reason.

pub mod config;
mod destination;
pub mod endpoint;
pub mod env;
mod grpc;
mod http;
pub(super) mod limits;
mod pairs;
pub mod propagators;
pub(super) mod queue;
pub(super) mod quiet;
pub(crate) mod request;
pub mod sampler;
pub(crate) mod stop;
mod tls;
pub(crate) mod transport;
pub(super) mod worker;

/// What the collector sees of us.
const USER_AGENT: &str = concat!("istio-cni-otel/", env!("CARGO_PKG_VERSION"));
