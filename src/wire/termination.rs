//! The validator's termination message, version 1: one JSON object that the kubelet puts into the
//! container's status, from where the agent reads it back.
//!
//! ```text
//! {"istio_cni_validation":1,"result":"failed","error_type":"redirect_missing","message":"…",
//!  "start_unix_nano":1787410818123456789,"listened_us":412,"end_us":5001877,
//!  "families":[{"family":"ipv4","result":"failed","attempts":29,"end_us":5001800,"errors":[
//!    {"kind":"refused","text":"Error connecting to …","count":29,"first_us":530,"last_us":4801120}]}],
//!  "told":{"trace_id":"…","span_id":"…"}}
//! ```
//!
//! Times are microseconds since `start_unix_nano`. Unknown keys are ignored. Whoever may write
//! the container's file may write anything, so what is read is bounded and checked.

mod json;

use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use crate::domain::validation::Validation;
use json::Message;

/// The format's version.
pub const VERSION: u64 = 1;
/// The most that the kubelet takes of a container's message; nothing longer is read.
pub const MAX_READ: usize = 4096;
/// No message that is written is longer. The kubelet shares 12 KiB among all containers of a pod
/// and cuts what is longer than its share, so this lets twelve containers speak.
pub const MAX_WRITTEN: usize = 1024;
/// The longest text that is believed, in characters.
const MAX_TEXT: usize = 512;

/// Why a container's termination message is not one of a validation.
#[derive(Debug, thiserror::Error)]
pub enum TerminationError {
    /// Empty, the end of a log, or of another program: nothing is wrong with it.
    #[error("the termination message is not one of istio-cni-otel validate")]
    NotOurs,
    #[error("the termination message has {0} bytes, at most {MAX_READ} are read")]
    TooLong(usize),
    #[error("the termination message is no whole JSON object of the format: {0}")]
    Json(#[source] serde_json::Error),
    #[error("the termination message is of version {0}, and this agent reads version {VERSION}: update the agent")]
    Version(u64),
    #[error("the termination message has a wrong {0}")]
    Value(&'static str),
}

impl Classify for TerminationError {
    fn error_type(&self) -> ErrorType {
        match self {
            TerminationError::Version(_) => ErrorType::VersionUnsupported,
            _ => ErrorType::ConfigInvalid,
        }
    }
}

/// Reads a message. Texts come out on one line and bounded, times in order.
pub fn decode(bytes: &[u8]) -> Result<Validation, TerminationError> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(TerminationError::NotOurs);
    }
    if bytes.len() > MAX_READ {
        return Err(TerminationError::TooLong(bytes.len()));
    }
    let json: serde_json::Value = serde_json::from_slice(bytes).map_err(TerminationError::Json)?;
    match json.get(json::MARK) {
        None => Err(TerminationError::NotOurs),
        Some(version) => match version.as_u64() {
            Some(VERSION) => serde_json::from_value::<Message>(json).map_err(TerminationError::Json)?.read(),
            Some(other) => Err(TerminationError::Version(other)),
            None => Err(TerminationError::Value(json::MARK)),
        },
    }
}

/// Writes a message of at most [`MAX_WRITTEN`] bytes: where the whole is longer, first the texts
/// are cut, then runs of errors left out.
pub fn encode(validation: &Validation) -> Vec<u8> {
    let mut bytes = Vec::new();
    // The texts' lengths and the runs by family of each try; the last one always fits.
    for (text, runs) in [(400, 4), (200, 4), (120, 2), (60, 1), (20, 0)] {
        // Numbers and strings are always written.
        bytes = serde_json::to_vec(&Message::of(validation, text, runs)).unwrap_or_default();
        if bytes.len() <= MAX_WRITTEN {
            break;
        }
    }
    bytes
}

#[cfg(test)]
#[path = "termination_tests.rs"]
mod tests;
