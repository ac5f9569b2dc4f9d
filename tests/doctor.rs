//! `doctor`: each check on a real node directory or namespace where exactly that thing is broken, and where nothing is;
//! on a node with a living agent, with a dead one, and with the container runtime that it asks.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "doctor/agent.rs"]
mod agent;
#[path = "doctor/bundle.rs"]
mod bundle;
#[path = "doctor/cluster.rs"]
mod cluster;
#[path = "support/cni_tools.rs"]
mod cni_tools;
#[path = "doctor/coverage.rs"]
mod coverage;
#[path = "doctor/crio.rs"]
mod crio;
#[path = "doctor/every_check.rs"]
mod every_check;
#[path = "doctor/files.rs"]
mod files;
#[path = "doctor/in_pod.rs"]
mod in_pod;
#[path = "repair/node.rs"]
mod node;
#[path = "doctor/rights.rs"]
mod rights;
#[path = "doctor/runtime.rs"]
mod runtime;
#[path = "doctor/scene.rs"]
mod scene;
mod support;
#[path = "doctor/terminal.rs"]
mod terminal;
#[path = "doctor/time.rs"]
mod time;
#[path = "doctor/use_of.rs"]
mod use_of;
