//! What a pod's event says when its ADD fails: one sentence that names the value and what to do next, with the step and
//! the trace. Every type of error that an ADD can have is made to happen, on the real plugin; and the words of all errors
//! are read where they are written, so that a new one cannot come without a next step.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "error_sentences/made.rs"]
mod made;
mod support;
#[path = "error_sentences/written.rs"]
mod written;

use istio_cni_otel::domain::step::ErrorType;
use made::{Case, made};
use serde_json::Value;
use support::*;

/// What begins the clause that says what to do, or what happens by itself.
const NEXT: [&str; 25] = [
    "check",
    "correct",
    "delete",
    "find out",
    "give",
    "install",
    "let",
    "load",
    "look",
    "make",
    "mount",
    "please report",
    "put",
    "report it",
    "run it",
    "restore",
    "set",
    "start",
    "take it away",
    "the kubelet tries again",
    "the runtime tries again",
    "the runtime will call again",
    "the runtime must make",
    "the container runtime must",
    "the pod waits",
];

/// Whether a message says what to do next: a clause of it begins so.
fn says_what_to_do(message: &str) -> bool {
    let clauses = [": ", "; ", ", ", " or ", " and ", " so "];
    NEXT.iter().any(|next| {
        clauses.iter().any(|before| {
            let begins = format!("{before}{next}");
            message.match_indices(&begins).any(|(at, found)| {
                message[at + found.len()..].chars().next().is_none_or(|after| !after.is_alphanumeric())
            })
        })
    })
}

/// Whether it is one sentence: one line, with no full stop that another one follows.
fn is_one_sentence(message: &str) -> bool {
    let another = message.match_indices(". ").any(|(at, _)| message[at + 2..].starts_with(|c: char| c.is_uppercase()));
    !message.contains(['\n', '\r', '\t']) && !another && !message.ends_with('.') && message.len() < 1_500
}

/// The `error.type` that the plugin's last line has.
fn error_type(answer: &Answer) -> ErrorType {
    let mut lines = answer.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let last = lines.rfind(|line| line["msg"].as_str().unwrap().starts_with("istio-cni failed with: ")).unwrap();
    ErrorType::from_text(last["error.type"].as_str().unwrap_or_else(|| panic!("{last}"))).unwrap()
}

#[test]
fn every_failure_of_an_add_is_one_sentence_with_the_value_the_next_step_and_the_trace() {
    let mut all = Vec::new();
    for wanted in ErrorType::ALL {
        let Some(Case { answer, names, traced }) = made(*wanted) else { continue };
        let (_, message) = answer.error();
        let (sentence, place) = message.rsplit_once("; step ").unwrap_or((&message, ""));
        let wrong = [
            (error_type(&answer) != *wanted, "is of another type"),
            (place.is_empty(), "does not name the step"),
            (place.ends_with(&format!(", trace {TRACE}")) != traced, "and its trace"),
            (!is_one_sentence(sentence), "is not one sentence"),
            (!says_what_to_do(sentence), "does not say what to do"),
            (!sentence.contains(&names), "does not name the value"),
        ];
        let wrong = wrong.into_iter().filter(|(is_so, _)| *is_so);
        all.extend(wrong.map(|(_, what)| format!("{wanted:?} {what} ({names}): {message}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn an_error_is_told_once_in_our_words_beside_the_lines_that_people_search_for() {
    let wrong = ErrorType::AnnotationInvalid;
    let Some(Case { answer, .. }) = made(wrong) else { panic!() };
    let begins: Vec<String> =
        answer.messages("error").iter().map(|line| line.split(": ").next().unwrap().to_owned()).collect();
    let searched = ["redirect failed due to bad params", "istio-cni cmdAdd error", "istio-cni failed with"];
    for line in searched {
        assert_eq!(begins.iter().filter(|begin| *begin == line).count(), 1, "{line}: {begins:?}");
    }
    assert_eq!(begins.len(), searched.len() + 1, "and one of ours, of the step that failed: {begins:?}");
}

#[test]
fn a_message_without_a_next_step_is_noticed() {
    assert!(says_what_to_do("x is 7: correct it") && says_what_to_do("no: load it, or set y to 3"));
    assert!(!says_what_to_do("cannot look at it") && !says_what_to_do("no: setting it failed"));
    assert!(is_one_sentence("10.1.0.5 is wrong; see x.y") && !is_one_sentence("No. Never") && !is_one_sentence("a\nb"));
}
