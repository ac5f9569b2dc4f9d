//! The CNI protocol's fixed parts: versions, what goes to standard output, and the error object.
//! Codes and texts are those of the framework that the reference uses.

use crate::domain::failure::{CODE_ISTIO, Classify, Failure};
use crate::domain::identity::TraceId;
use crate::domain::step::{ErrorType, Step};
use serde::Serialize;

/// The protocol versions that are spoken, oldest first.
pub const SUPPORTED_VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The newest of them.
pub const NEWEST_VERSION: &str = "1.1.0";
/// What a configuration without a version speaks.
pub const OLDEST_VERSION: &str = "0.1.0";

/// Code 1: the version is not spoken, or does not know the command.
pub const CODE_VERSION: u32 = 1;
/// Code 4: a `CNI_*` variable is missing or malformed.
pub const CODE_ENVIRONMENT: u32 = 4;
/// Code 5: reading the configuration or writing the answer failed.
pub const CODE_IO: u32 = 5;
/// Code 6: the configuration is not JSON, or its name or version is no text.
pub const CODE_DECODING: u32 = 6;
/// Code 7: the configuration has a value that is not allowed.
pub const CODE_CONFIG: u32 = 7;
/// Code 50: no ADD can be served now.
pub const CODE_NOT_AVAILABLE: u32 = 50;
/// Code 51: no ADD can be served now, and existing pods are not looked after either.
pub const CODE_LIMITED: u32 = 51;

/// An error as a runtime gets it, and its type for the telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniError {
    /// The CNI error code.
    pub code: u32,
    /// What failed, in one sentence.
    pub msg: String,
    /// More about it; may be empty.
    pub details: String,
    /// The closed-list type.
    pub error_type: ErrorType,
}

impl CniError {
    /// An error without details.
    pub fn new(code: u32, error_type: ErrorType, msg: impl Into<String>) -> CniError {
        CniError { code, msg: msg.into(), details: String::new(), error_type }
    }

    /// The same error with more in its details: a part of its own, behind those that are there.
    pub fn with_details(mut self, more: impl AsRef<str>) -> CniError {
        if !self.details.is_empty() {
            self.details.push_str("; ");
        }
        self.details.push_str(more.as_ref());
        self
    }

    /// The same error with the step that failed and, where there is one to look up, the trace. They
    /// are the last part of the details, which a kubelet shows after the message:
    /// `step rules.apply, trace 11111111222243338444555555555555`.
    pub fn at(self, step: Step, trace: Option<TraceId>) -> CniError {
        let trace = trace.map(|trace| format!(", trace {}", trace.to_hex())).unwrap_or_default();
        self.with_details(format!("step {}{trace}", step.name()))
    }

    /// The object that goes to standard output.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Json<'a> {
            code: u32,
            msg: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            details: &'a str,
        }
        pretty(&Json { code: self.code, msg: &self.msg, details: &self.details })
    }
}

impl From<&Failure> for CniError {
    fn from(failure: &Failure) -> CniError {
        CniError::new(failure.code, failure.error_type, failure.message.as_str())
    }
}

impl std::fmt::Display for CniError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, "; {}", self.details) }
    }
}

impl std::error::Error for CniError {}

impl Classify for CniError {
    fn error_type(&self) -> ErrorType {
        self.error_type
    }

    fn code(&self) -> u32 {
        self.code
    }
}

/// The answer to `VERSION`: one line.
pub fn version_answer() -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Json {
        cni_version: &'static str,
        supported_versions: [&'static str; 7],
    }
    let json = Json { cni_version: NEWEST_VERSION, supported_versions: SUPPORTED_VERSIONS };
    let mut bytes = serde_json::to_vec(&json).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// JSON indented by four blanks, without a newline at the end.
pub fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    match value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format)) {
        Ok(()) => bytes,
        // Our own values have text keys and finite numbers, so this is unreachable; still, it answers.
        Err(error) => format!("{{\"code\": {CODE_ISTIO}, \"msg\": {:?}}}", error.to_string()).into_bytes(),
    }
}

/// What [`is_name`] allows, for messages.
pub const NAME_TAKEN: &str = "letters, digits, _, . and -, beginning with a letter or digit";

/// Whether `text` may be a container's or a network's name: `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_answer_is_one_line() {
        assert_eq!(
            String::from_utf8(version_answer()).unwrap(),
            "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n"
        );
    }

    #[test]
    fn an_error_is_indented_by_four_and_has_details_only_when_there_are_some() {
        let error = CniError::new(CODE_CONFIG, ErrorType::ConfigInvalid, "missing \"network\" name");
        let plain = String::from_utf8(error.to_json()).unwrap();
        assert_eq!(plain, "{\n    \"code\": 7,\n    \"msg\": \"missing \\\"network\\\" name\"\n}");
        let detailed = String::from_utf8(error.with_details("x").to_json()).unwrap();
        assert!(detailed.ends_with(",\n    \"details\": \"x\"\n}"), "{detailed}");
    }

    #[test]
    fn the_step_and_the_trace_come_last() {
        let error = CniError::new(CODE_ISTIO, ErrorType::RulesRejected, "no");
        assert_eq!(error.clone().at(Step::RulesApply, None).to_string(), "no; step rules.apply");
        let error = error.with_details("a").with_details("b").at(Step::ConfigParse, Some(TraceId([0xab; 16])));
        assert_eq!(error.details, "a; b; step config.parse, trace abababababababababababababababab");
    }

    #[test]
    fn names_are_what_the_framework_allows() {
        for good in ["a", "0", "a-b_c.d", "cafe0123"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "ä", "a\n"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
