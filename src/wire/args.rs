//! `CNI_ARGS`: `K=V;K2=V2`, of which the pod's name, namespace and UID are used.

use crate::domain::failure::Classify;
use crate::domain::gotext::quote;
use crate::domain::pod::PodRef;
use crate::domain::step::ErrorType;

/// The longest piece of the text that an error repeats, and the most pieces.
const SHOWN: usize = 200;
const SHOWN_PAIRS: usize = 16;

/// What `CNI_ARGS` takes, for messages.
pub const TAKEN: &str = "CNI_ARGS takes KEY=VALUE pairs joined by semicolons, and other keys than the pod's beside IgnoreUnknown=1 only: the container runtime must set it so";

/// What is wrong with `CNI_ARGS`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    #[error("ARGS: invalid pair {}", quote(.0))]
    Pair(String),
    #[error("ARGS: error parsing value of pair {}: boolean unmarshal error: invalid input {value}", quote(.pair))]
    Boolean { pair: String, value: String },
    #[error("ARGS: unknown args [{}]", .0.iter().map(|pair| quote(pair)).collect::<Vec<_>>().join(" "))]
    Unknown(Vec<String>),
}

impl Classify for ArgsError {
    fn error_type(&self) -> ErrorType {
        ErrorType::ArgsInvalid
    }
}

/// Reads the pod of `CNI_ARGS`. Of a key given twice the last one counts; an empty text is fine.
pub fn parse(text: &str) -> Result<PodRef, ArgsError> {
    let mut pod = PodRef::default();
    let mut ignore_unknown = false;
    let mut unknown = Vec::new();
    for pair in text.split(';').filter(|_| !text.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| ArgsError::Pair(shown(pair)))?;
        if value.contains('=') {
            return Err(ArgsError::Pair(shown(pair)));
        }
        match key {
            "IgnoreUnknown" => ignore_unknown = boolean(pair, value)?,
            "K8S_POD_NAME" => pod.name = value.to_owned(),
            "K8S_POD_NAMESPACE" => pod.namespace = value.to_owned(),
            "K8S_POD_UID" => pod.uid = (!value.is_empty()).then(|| value.to_owned()),
            "K8S_POD_INFRA_CONTAINER_ID" => {}
            _ => unknown.push(pair),
        }
    }
    if unknown.is_empty() || ignore_unknown {
        Ok(pod)
    } else {
        Err(ArgsError::Unknown(unknown.into_iter().take(SHOWN_PAIRS).map(shown).collect()))
    }
}

fn boolean(pair: &str, value: &str) -> Result<bool, ArgsError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(ArgsError::Boolean { pair: shown(pair), value: shown(other) }),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_pod_of_a_runtime_is_read() {
        let text = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=cafe;K8S_POD_UID=u-1;X=y";
        let pod = PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some("u-1".into()) };
        assert_eq!(parse(text), Ok(pod));
    }

    #[test]
    fn no_args_are_no_pod_and_an_empty_uid_is_none() {
        assert_eq!(parse(""), Ok(PodRef::default()));
        assert_eq!(parse("K8S_POD_UID=").map(|pod| pod.uid), Ok(None));
        assert_eq!(parse("K8S_POD_NAME=a;K8S_POD_NAME=b").map(|pod| pod.name), Ok("b".to_owned()));
    }

    #[test]
    fn errors_have_the_references_words() {
        let cases = [
            ("K8S_POD_NAME", "ARGS: invalid pair \"K8S_POD_NAME\""),
            ("K8S_POD_NAME=a;", "ARGS: invalid pair \"\""),
            ("K8S_POD_NAME=a=b", "ARGS: invalid pair \"K8S_POD_NAME=a=b\""),
            ("A=1;B=\"2\"", "ARGS: unknown args [\"A=1\" \"B=\\\"2\\\"\"]"),
            ("IgnoreUnknown=0;A=1", "ARGS: unknown args [\"A=1\"]"),
            (
                "IgnoreUnknown=Yes",
                "ARGS: error parsing value of pair \"IgnoreUnknown=Yes\": boolean unmarshal error: invalid input yes",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        assert!(parse("A=1;IgnoreUnknown=TRUE").is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_errors_stay_short(text in "\\PC{0,300}|([A-Z=;]{0,20}){0,9}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.to_string().len() < SHOWN_PAIRS * 12 * SHOWN);
            }
        }
    }
}
