//! The export, against collectors that decode real OTLP over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "otlp/delivery.rs"]
mod delivery;
#[path = "otlp/environment.rs"]
mod environment;
#[path = "otlp/losses.rs"]
mod losses;
#[path = "otlp/scene.rs"]
mod scene;
#[path = "support/screen.rs"]
mod screen;
#[path = "otlp/spool.rs"]
mod spool;
#[path = "support/otlp.rs"]
mod support;
