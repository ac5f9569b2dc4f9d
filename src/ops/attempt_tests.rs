//! Each action's attempt: what is asked for, what is told, and what it comes to.

use super::*;
use crate::domain::identity::TraceId;
use crate::domain::request::Backend;
use crate::telemetry::console::text_of;
use crate::telemetry::story::{Batch, Clock, error_type_of, text_attribute};
use std::sync::Mutex;

/// Answers every change in one way, and writes down what was asked for.
struct Server {
    answer: fn() -> Result<Changed, BoxedError>,
    asked: Mutex<Vec<String>>,
}

impl Server {
    fn asked(&self, what: String) -> Result<Changed, BoxedError> {
        self.asked.lock().unwrap().push(what);
        (self.answer)()
    }
}

impl PodChanges for Server {
    fn delete(&self, pod: &PodFacts) -> Result<Changed, BoxedError> {
        self.asked(format!("delete {}", pod.name))
    }

    fn evict(&self, pod: &PodFacts) -> Result<Changed, BoxedError> {
        self.asked(format!("evict {}", pod.name))
    }

    fn label(&self, pod: &PodFacts, key: &str, value: &str) -> Result<Changed, BoxedError> {
        self.asked(format!("label {} {key}={value}", pod.name))
    }
}

/// A refusal that asks for a pause.
#[derive(Debug, thiserror::Error)]
#[error("no room in the budget")]
struct Blocked;

impl Classify for Blocked {
    fn error_type(&self) -> ErrorType {
        ErrorType::EvictionBlocked
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(7))
    }
}

/// What an attempt came to, what was asked for, and what was told: the whole span, and each line.
struct Ran {
    concluded: Concluded,
    asked: Vec<String>,
    batch: Batch,
}

fn run(mode: Mode, action: Action, answer: fn() -> Result<Changed, BoxedError>, restore: Restore<'_>) -> Ran {
    let pod = PodFacts { namespace: "shop".into(), name: "web-0".into(), uid: "u-1".into(), ..PodFacts::default() };
    let trace = TraceId::of_pod(&pod.uid);
    let story = Story::begin(Clock::start(), trace, Some(trace.root_span()), pod.reference(), Level::Info, None);
    let label = ("broken".to_owned(), "yes".to_owned());
    let tried = Attempt { pod: &pod, cause: "it failed", mode, number: 2, label: &label, install: None };
    let server = Server { answer, asked: Mutex::default() };
    let concluded = attempt(&story, &tried, action, &server, restore);
    Ran { concluded, asked: server.asked.into_inner().unwrap(), batch: story.into_batch() }
}

impl Ran {
    fn lines(&self) -> Vec<String> {
        self.batch.logs.iter().map(|log| format!("{} {}", log.severity_text, text_of(log.body.as_ref()))).collect()
    }

    /// Mode, result and error of the whole, below the pod's root span.
    fn whole(&self) -> (String, String, Option<ErrorType>) {
        let span = self.batch.spans.iter().find(|span| span.name == REPAIR).unwrap();
        assert_eq!(span.parent_span_id, TraceId::of_pod("u-1").root_span().0);
        let text = |key| text_attribute(&span.attributes, key).unwrap().to_owned();
        assert_eq!(text(keys::REPAIR_CAUSE), "it failed");
        (text(keys::REPAIR_MODE), text(keys::REPAIR_RESULT), error_type_of(span))
    }
}

fn never(_: &Story, _: &PodFacts) -> Result<Applied, Failure> {
    panic!("nothing is to be programmed");
}

fn done() -> Result<Changed, BoxedError> {
    Ok(Changed::Done)
}

fn gone() -> Result<Changed, BoxedError> {
    Ok(Changed::Gone)
}

fn blocked() -> Result<Changed, BoxedError> {
    Err(BoxedError::new(Blocked))
}

fn whole(mode: &str, result: &str, error: Option<ErrorType>) -> (String, String, Option<ErrorType>) {
    (mode.to_owned(), result.to_owned(), error)
}

#[test]
fn rules_count_as_repaired_when_they_were_read_back() {
    let restored = |changed: bool| move |_: &Story, _: &PodFacts| Ok(Applied { backend: Backend::Nftables, changed });
    for (changed, word) in [(true, "now"), (false, "already")] {
        let ran = run(Mode::Repair, Action::Restore, done, &restored(changed));
        assert!(matches!(&ran.concluded, Concluded::Done(Said::Done)), "{:?}", ran.concluded);
        assert_eq!(ran.whole(), whole("repair", "success", None));
        let repaired = format!("info pod repaired: its rules were read back and are {word} as they should be");
        assert_eq!(ran.lines(), ["info Repairing pod...", repaired.as_str()]);
        assert!(ran.asked.is_empty());
    }
    let failing = |_: &Story, _: &PodFacts| Err(Failure::from_error(Step::RulesVerify, &Blocked));
    let ran = run(Mode::Repair, Action::Restore, done, &failing);
    assert_eq!(ran.whole(), whole("repair", "fail", Some(ErrorType::EvictionBlocked)));
    assert_eq!(ran.lines()[1], "error failed to setup redirection: no room in the budget");
}

#[test]
fn a_deletion_is_told_before_it_is_asked_for_under_either_wording() {
    let told = ["info Deleting broken pod: shop/web-0", "info Pod detected as broken, deleting: shop/web-0"];
    let ran = run(Mode::Delete, Action::Delete, done, &never);
    assert!(matches!(&ran.concluded, Concluded::Done(Said::Done)));
    assert_eq!((ran.lines(), ran.asked.clone()), (told.map(str::to_owned).into(), vec!["delete web-0".to_owned()]));
    assert_eq!(ran.whole(), whole("delete", "success", None));
    let ran = run(Mode::Delete, Action::Evict, done, &never);
    assert!(matches!(&ran.concluded, Concluded::Done(Said::Evicted)));
    assert_eq!(ran.asked, ["evict web-0"]);
}

#[test]
fn a_pod_that_is_gone_is_skipped_and_no_failure() {
    let ran = run(Mode::Delete, Action::Delete, gone, &never);
    assert!(matches!(&ran.concluded, Concluded::Skipped(None)));
    assert_eq!(ran.whole(), whole("delete", "skip", None));
    assert_eq!(ran.lines()[2], "info shop/web-0 is not repaired: it is gone");
}

#[test]
fn a_refusal_fails_the_attempt_and_its_pause_is_handed_on() {
    let ran = run(Mode::Delete, Action::Evict, blocked, &never);
    let Concluded::Failed { failure, retry_after, .. } = &ran.concluded else { panic!("{:?}", ran.concluded) };
    assert_eq!((failure.step, *retry_after), (Step::RepairEvict, Some(Duration::from_secs(7))));
    assert_eq!(ran.whole(), whole("delete", "fail", Some(ErrorType::EvictionBlocked)));
}

#[test]
fn a_label_is_told_in_the_references_words() {
    let ran = run(Mode::Label, Action::Label, done, &never);
    assert_eq!(ran.asked, ["label web-0 broken=yes"]);
    let told =
        ["info Pod detected as broken, adding label: shop/web-0", "info Labeling pod shop/web-0 with label broken=yes"];
    assert_eq!(ran.lines(), told);
    let ran = run(Mode::Label, Action::Label, blocked, &never);
    assert_eq!(ran.lines().last().unwrap(), "error Failed to update pod: no room in the budget");
    let ran = run(Mode::Label, Action::Leave(Why::Labelled), done, &never);
    assert!(ran.asked.is_empty() && matches!(&ran.concluded, Concluded::Skipped(None)));
    assert_eq!(ran.lines()[1], "info Pod shop/web-0 already has label with key broken, skipping");
    assert_eq!(ran.whole(), whole("label", "skip", None));
}

#[test]
fn a_pod_that_is_left_alone_is_told_why() {
    for why in [Why::HostNetwork, Why::NeverRunsAgain, Why::Static, Why::InVain] {
        let ran = run(Mode::Repair, Action::Leave(why), done, &never);
        assert!(matches!(&ran.concluded, Concluded::Skipped(Some(Said::Left(words))) if words == why.words()));
        assert_eq!(ran.lines(), [format!("warn shop/web-0 is broken and left alone: {}", why.words())]);
        assert_eq!((ran.whole(), ran.asked.len()), (whole("repair", "skip", None), 0));
    }
}
