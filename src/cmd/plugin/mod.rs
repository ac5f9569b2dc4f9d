//! The plugin's shell: from the CNI environment and standard input to one JSON document on
//! standard output. Nothing else ever goes there, and telemetry only leaves after it.

mod add;
mod agent_call;
mod alone;
mod answer;
mod configuration;
pub mod crash;
mod input;
mod report;
mod session;
mod status;
mod teardown;

use crate::domain::step::Step;
use crate::telemetry::story::Clock;
use crate::wire::cni::{SUPPORTED_VERSIONS, version_answer};
use crate::wire::environment::{self, Call, Invocation, Verb};
use session::Session;
use std::io::Write;
use std::process::ExitCode;

/// Serves one call of a container runtime. `clock` was started with the process.
pub fn main(clock: Clock) -> ExitCode {
    crash::answer_with_an_error();
    match environment::read(|name| std::env::var_os(name)) {
        Ok(Invocation::About) => about(),
        Ok(Invocation::Version) => answer::give(&version_answer()),
        Ok(Invocation::Call(call)) => serve(clock, &call),
        Err(error) => {
            let error = error.at(Step::ConfigParse, None);
            report::to_stderr(clock, &error);
            answer::refuse(&error)
        }
    }
}

/// One call: run, answered, and only then reported.
fn serve(clock: Clock, call: &Call) -> ExitCode {
    let session = Session::begin(clock, call);
    let outcome = match &call.verb {
        Verb::Known(command) => session.run(*command),
        Verb::Unknown(word) => session.refuse_unknown(word),
    };
    let code = match outcome {
        Ok(result) => answer::give(&result),
        Err(error) => answer::refuse(&error),
    };
    report::send(session);
    code
}

/// Somebody started the plugin by hand.
fn about() -> ExitCode {
    let versions = SUPPORTED_VERSIONS.join(", ");
    let text =
        format!("CNI plugin istio-cni {}\nCNI protocol versions supported: {versions}\n", env!("CARGO_PKG_VERSION"));
    // There is nobody to tell when standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
