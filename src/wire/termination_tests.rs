//! Cases and properties of the termination message.

use super::*;
use crate::domain::identity::{SpanId, TraceId};
use crate::domain::ruleset::Family;
use crate::domain::validation::{AttemptError, ErrorRun, FamilyResult, Told, ValidationFailure};
use proptest::prelude::*;

const REFUSED: &str = "Error connecting to 127.0.0.6:15002: dial tcp 127.0.0.1:0->127.0.0.6:15002: connect: \
                       connection refused";
const START: u64 = 1_787_410_818_123_456_789;

fn at(us: u64) -> u64 {
    START + us * 1000
}

fn failed() -> Validation {
    let run = ErrorRun {
        kind: AttemptError::Refused,
        text: REFUSED.into(),
        count: 29,
        first_ns: at(530),
        last_ns: at(4_801_120),
    };
    let family =
        FamilyResult { family: Family::V4, passed: false, attempts: 29, end_ns: at(5_001_800), errors: vec![run] };
    Validation {
        start_ns: START,
        listened_ns: at(412),
        end_ns: at(5_001_877),
        families: vec![family],
        failure: Some(ValidationFailure { error_type: ErrorType::Io, message: "nothing came back".into() }),
        told: None,
    }
}

fn passed() -> Validation {
    let family = |family| FamilyResult { family, passed: true, attempts: 1, end_ns: at(700), errors: Vec::new() };
    Validation {
        families: vec![family(Family::V4), family(Family::V6)],
        failure: None,
        end_ns: at(800),
        told: Some(Told { trace_id: TraceId([7; 16]), span_id: SpanId([9; 8]) }),
        ..failed()
    }
}

#[test]
fn a_failed_validation_reads_well_and_reads_back() {
    let bytes = encode(&failed());
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        format!(
            "{{\"istio_cni_validation\":1,\"result\":\"failed\",\"error_type\":\"io\",\"message\":\"nothing came \
             back\",\"start_unix_nano\":{START},\"listened_us\":412,\"end_us\":5001877,\"families\":[{{\"family\":\
             \"ipv4\",\"result\":\"failed\",\"attempts\":29,\"end_us\":5001800,\"errors\":[{{\"kind\":\"refused\",\
             \"text\":\"{REFUSED}\",\"count\":29,\"first_us\":530,\"last_us\":4801120}}]}}]}}"
        )
    );
    assert_eq!(decode(&bytes).unwrap(), failed());
}

#[test]
fn a_passed_validation_reads_back() {
    assert_eq!(decode(&encode(&passed())).unwrap(), passed());
}

/// The message of a validation, with one text in it replaced.
fn with(from: &str, to: &str) -> Result<Validation, TerminationError> {
    let text = String::from_utf8(encode(&failed())).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    decode(text.replacen(from, to, 1).as_bytes())
}

#[test]
fn what_others_leave_there_is_not_ours() {
    for text in ["", " ", "panic: no such file", "{}", "{\"a\":[]}", "2026-08-22T15:00:18Z\terror\tvalidation timeout"]
    {
        assert!(matches!(decode(text.as_bytes()), Err(TerminationError::NotOurs)), "{text}");
    }
}

#[test]
fn another_version_is_said_to_be_one() {
    let mark = "\"istio_cni_validation\":1";
    for version in [0, 2, u64::MAX] {
        let error = with(mark, &format!("\"istio_cni_validation\":{version}")).unwrap_err();
        assert!(matches!(error, TerminationError::Version(found) if found == version));
        assert_eq!(error.error_type(), ErrorType::VersionUnsupported);
    }
    assert!(matches!(with(mark, "\"istio_cni_validation\":\"1\""), Err(TerminationError::Value(_))));
}

#[test]
fn a_newer_validator_may_say_more() {
    assert_eq!(with("\"result\"", "\"colour\":[1],\"result\"").unwrap(), failed());
    let unknown = with("\"kind\":\"refused\"", "\"kind\":\"eaten\"").unwrap();
    assert_eq!(unknown.families[0].errors[0].kind, AttemptError::Other);
    let unknown = with("\"error_type\":\"io\"", "\"error_type\":\"eaten\"").unwrap();
    assert_eq!(unknown.failure.unwrap().error_type, ErrorType::Internal);
}

#[test]
fn values_that_cannot_be_are_refused() {
    let cases = [
        ("\"result\":\"failed\"", "\"result\":\"passed\""),
        ("\"result\":\"failed\"", "\"result\":\"perhaps\""),
        ("\"error_type\":\"io\",", ""),
        ("\"ipv4\"", "\"ipx\""),
        ("\"end_us\":5001877", "\"end_us\":5"),
        ("\"end_us\":5001877", "\"end_us\":18446744073709551615"),
        ("\"first_us\":530", "\"first_us\":4801121"),
        ("\"start_unix_nano\":1", "\"start_unix_nano\":9"),
        ("\"families\":[", "\"told\":{\"trace_id\":\"0\",\"span_id\":\"0\"},\"families\":["),
    ];
    for (from, to) in cases {
        assert!(matches!(with(from, to), Err(TerminationError::Value(_))), "{to}: {:?}", with(from, to));
    }
    for (from, to) in [("\"count\":29", "\"count\":-1"), ("\"attempts\":29", "\"attempts\":99999999999")] {
        assert!(matches!(with(from, to), Err(TerminationError::Json(_))), "{to}");
    }
}

#[test]
fn a_message_that_the_kubelet_cut_is_said_to_be_torn() {
    let bytes = encode(&failed());
    for length in 1..bytes.len() {
        assert!(matches!(decode(&bytes[..length]), Err(TerminationError::Json(_))), "{length}");
    }
}

#[test]
fn what_is_too_long_is_not_read() {
    let mut bytes = encode(&failed());
    bytes.resize(MAX_READ + 1, b' ');
    assert!(matches!(decode(&bytes), Err(TerminationError::TooLong(4097))));
    let deep = [b"{\"istio_cni_validation\":".to_vec(), vec![b'['; 4000]].concat();
    assert!(matches!(decode(&deep), Err(TerminationError::Json(_))));
}

#[test]
fn texts_cannot_forge_lines() {
    let read = with("nothing came back", "a\\nb\\u0007\\tc").unwrap();
    assert_eq!(read.failure.unwrap().message, "a b  c");
}

prop_compose! {
    fn any_run()(kind in 0..7_usize, text in "\\PC{0,600}|[\"\\\\\\x00-\\x1f]{0,600}", count: u32, first in 0..1_000_000_u64, more in 0..1_000_000_u64)
        -> ErrorRun
    {
        ErrorRun { kind: AttemptError::ALL[kind], text, count, first_ns: at(first), last_ns: at(first + more) }
    }
}

prop_compose! {
    fn any_validation()(
        v4 in proptest::option::of(proptest::collection::vec(any_run(), 0..=4)),
        v6 in proptest::option::of(proptest::collection::vec(any_run(), 0..=4)),
        kind in 0..ErrorType::ALL.len(), message in "\\PC{0,2000}|[\"\\\\\\x00-\\x1f]{0,2000}", attempts: u32, told: bool,
    ) -> Validation {
        let family = |family, errors| FamilyResult { family, passed: false, attempts, end_ns: at(2_000_000), errors };
        let families = [(Family::V4, v4), (Family::V6, v6)].into_iter();
        Validation {
            families: families.filter_map(|(name, errors)| Some(family(name, errors?))).collect(),
            failure: Some(ValidationFailure { error_type: ErrorType::ALL[kind], message }),
            told: told.then_some(Told { trace_id: TraceId([255; 16]), span_id: SpanId([255; 8]) }),
            end_ns: at(3_000_000),
            ..failed()
        }
    }
}

proptest! {
    #[test]
    fn whatever_was_found_fits_and_reads_back(validation in any_validation()) {
        let bytes = encode(&validation);
        prop_assert!(bytes.len() <= MAX_WRITTEN, "{} bytes", bytes.len());
        let read = decode(&bytes).unwrap();
        prop_assert_eq!(read.told, validation.told);
        prop_assert_eq!((read.start_ns, read.listened_ns, read.end_ns), (START, validation.listened_ns, validation.end_ns));
        prop_assert_eq!(read.families.len(), validation.families.len());
        prop_assert_eq!(read.failure.as_ref().map(|f| f.error_type), validation.failure.as_ref().map(|f| f.error_type));
        for (read, written) in read.families.iter().zip(&validation.families) {
            prop_assert_eq!((read.family, read.attempts), (written.family, written.attempts));
            prop_assert!(read.errors.len() <= written.errors.len());
        }
        prop_assert_eq!(encode(&read), bytes);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode(&bytes);
        let _ = decode(&[b"{\"istio_cni_validation\":1,".as_slice(), &bytes].concat());
    }
}
