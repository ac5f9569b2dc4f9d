//! A drop-in for the Istio CNI plugin and its node agent whose every pod-network set-up step is a
//! span, a histogram sample and a log record. `ARCHITECTURE.md` is the map of the rooms below.

pub mod agent;
pub mod cmd;
pub mod domain;
pub mod host;
pub mod k8s;
pub mod ops;
pub mod telemetry;
pub mod wire;
