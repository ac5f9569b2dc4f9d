//! What a runtime gets when this software has a defect: a CNI error instead of a backtrace. The
//! released binary aborts on panic, so the hook itself has to answer and end the process.

use super::answer;
use crate::domain::failure::CODE_ISTIO;
use crate::domain::step::ErrorType;
use crate::telemetry::story::Clock;
use crate::wire::cni::CniError;
use std::panic::PanicHookInfo;

/// From now on a panic, on whatever thread, is answered with CNI error 999 and exit status 1,
/// unless the call has been answered already.
pub fn answer_with_an_error() {
    std::panic::set_hook(Box::new(|info| {
        let error = error_of(info);
        super::report::to_stderr(Clock::start(), &error);
        let _ = answer::refuse(&error);
        std::process::exit(answer::status());
    }));
}

fn error_of(info: &PanicHookInfo<'_>) -> CniError {
    let what = info.payload_as_str().unwrap_or("something that is not text");
    let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
    let command = std::env::var("CNI_COMMAND").unwrap_or_default();
    let command = command.get(..1).map(|first| format!("cmd{first}{}", command[1..].to_ascii_lowercase()));
    let msg = format!(
        "istio-cni panicked during {}: {what}{place}; the pod was not set up; this is a defect of istio-cni, please report it",
        command.unwrap_or_default()
    );
    CniError::new(CODE_ISTIO, ErrorType::Internal, msg)
}
