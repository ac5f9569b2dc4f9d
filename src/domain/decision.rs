//! Enroll or skip: the decision about a pod, from its facts alone, in the reference's order.

use super::failure::Classify;
use super::pod::PodFacts;
use super::settings::{RedirectSettings, SkipReason};
use super::step::ErrorType;

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Enroll(Box<RedirectSettings>),
    Skip(Skip),
}

/// A skipped pod, with the reference's log wording for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    pub reason: SkipReason,
    /// For example `excluded due to not containing sidecar annotation`.
    pub message: String,
}

/// An annotation with a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotationError {
    /// The full message; begins with the reference's `annotation value error for value NAME; ...`.
    pub message: String,
}

impl std::fmt::Display for AnnotationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AnnotationError {}

impl Classify for AnnotationError {
    fn error_type(&self) -> ErrorType {
        ErrorType::AnnotationInvalid
    }
}

/// Decides about a pod.
pub fn decide(_pod: &PodFacts) -> Result<Decision, AnnotationError> {
    unimplemented!("rules helper")
}
