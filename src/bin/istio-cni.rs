//! The plugin `istio-cni`, which container runtimes start for each sandbox.

use istio_cni_otel::cmd::plugin;
use istio_cni_otel::telemetry::story::Clock;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The trace begins with the first instruction.
    let clock = Clock::start();
    plugin::main(clock)
}
