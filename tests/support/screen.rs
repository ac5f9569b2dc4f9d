//! What an agent's console shows, and telemetry that goes nowhere else.

#![allow(dead_code, reason = "each test file uses another part of this")]
#![allow(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use istio_cni_otel::telemetry::console_writer::Format;
use istio_cni_otel::telemetry::event::Level;
use istio_cni_otel::telemetry::otlp::config::Config;
use istio_cni_otel::telemetry::pipeline::{Setup, Telemetry};
use istio_cni_otel::telemetry::resource::Identity;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;

/// What the agent's console showed.
#[derive(Clone, Default)]
pub struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Screen {
    /// All of it so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The telemetry of an agent that has no collector and shows all there is here.
    pub fn telemetry(&self, runtime: &Handle) -> Telemetry {
        let identity =
            Identity { version: "0".into(), instance: "i".into(), node: "node-a".into(), cluster: String::new() };
        let setup = Setup {
            config: (Config::default(), Vec::new()),
            identity,
            revision: "",
            level: Level::Debug,
            console: Box::new(self.clone()),
            format: Format::Json,
            keeper: None,
            history: 0,
        };
        Telemetry::start(setup, runtime)
    }
}
