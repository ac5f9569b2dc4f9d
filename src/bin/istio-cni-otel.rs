//! Everything but the plugin: the node agent (also as `install-cni`) and the operator's commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    istio_cni_otel::host::memory::frugal();
    istio_cni_otel::cmd::cli::run(std::env::args_os().collect())
}
