//! `istio-cni-otel validate`, which stands in for the init container `istio-validation`: it tells a
//! person through its log, the kubelet and the agent through its exit status and termination
//! message, and a collector, where its environment names one, through spans and log records.

pub mod flags;
pub mod settings;
mod telling;

use super::cli::fail;
use crate::domain::identity::TraceId;
use crate::domain::pod::PodRef;
use crate::domain::step::ErrorType;
use crate::domain::validation::{EXIT_NOT_REDIRECTED, Validation};
use crate::host::probe::Sockets;
use crate::host::{pod_uid, termination_log};
use crate::ops::validate::validate;
use crate::telemetry::console;
use crate::telemetry::event::{self, Level};
use crate::telemetry::story::{Clock, Story, random_trace_id};
use crate::wire::termination;
use flags::ValidateArgs;
use settings::{Form, Given, Settings};
use std::path::PathBuf;
use std::process::ExitCode;

/// The exit status when the arguments are wrong, or the pod is not one that could be validated.
pub const WRONG_USE: u8 = 1;

/// Validates: 0 when the redirection is in place, 126 when it is not, 1 when the arguments are
/// wrong or the pod has no address.
pub fn run(args: &ValidateArgs, form: Form) -> ExitCode {
    let clock = Clock::start();
    let own_uid = nix::unistd::geteuid().as_raw();
    let settings = match Settings::read(&Given { flags: args, environment: &variable }, form, own_uid) {
        Ok(settings) => settings,
        Err(error) => return fail(&error.to_string(), WRONG_USE),
    };
    let story = begin(clock, &settings);
    for warning in &settings.warnings {
        story.log(Level::Warn, event::VALIDATION_PROGRESS, warning, Vec::new());
    }
    let validation = validate(&story, clock, &settings.plan, &mut Sockets::new());
    // Before anything is sent, in case that there is no time left for it.
    leave(&validation, &story);
    if let Some(told) = telling::tell(story, &settings, validation.passed(), &variable) {
        // Where this fails the agent tells it again, with the same words.
        let _ = write(&Validation { told: Some(told), ..validation.clone() });
    }
    match validation.failure {
        None => ExitCode::SUCCESS,
        Some(failure) if failure.error_type == ErrorType::AddressMissing => ExitCode::from(WRONG_USE),
        Some(_) => ExitCode::from(EXIT_NOT_REDIRECTED),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Begins the story in the pod's trace, or in one of its own where the pod is not known.
fn begin(clock: Clock, settings: &Settings) -> Story {
    let said = |name: &str| variable(name).filter(|value| !value.is_empty());
    let uid = said("POD_UID").or_else(telling::uid_of_resource).or_else(pod_uid::of_this_process);
    let trace = uid.as_deref().map_or_else(random_trace_id, TraceId::of_pod);
    let parent = uid.is_some().then(|| trace.root_span());
    let (name, namespace) = (said("POD_NAME").unwrap_or_default(), said("POD_NAMESPACE").unwrap_or_default());
    let console = if settings.json { console::stdout_json } else { console::stdout_tabs };
    Story::begin(clock, trace, parent, PodRef { namespace, name, uid }, settings.level, Some(console))
}

/// Leaves the termination message. Without it the agent still has the exit status.
fn leave(validation: &Validation, story: &Story) {
    if let Err(error) = write(validation) {
        let text = format!("the termination message was not written: {error}");
        story.log(Level::Warn, event::VALIDATION_PROGRESS, &text, Vec::new());
    }
}

fn write(validation: &Validation) -> std::io::Result<bool> {
    let given = std::env::var_os("TERMINATION_MESSAGE_PATH").filter(|path| !path.is_empty());
    let make = given.is_some();
    let path = given.map_or_else(|| PathBuf::from(termination_log::DEFAULT), PathBuf::from);
    termination_log::write(&path, &termination::encode(validation), make)
}
