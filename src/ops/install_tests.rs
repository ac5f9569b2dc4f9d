//! The order of installing and removing, and what comes of a part that fails.

use super::*;
use crate::domain::identity::TraceId;
use crate::domain::install::Wrong;
use crate::domain::pod::PodRef;
use crate::telemetry::event::Level;
use crate::telemetry::story::{Batch, Clock, text_attribute};
use std::sync::Mutex;

/// A node on paper.
#[derive(Default)]
struct Paper {
    done: Mutex<Vec<String>>,
    fails: Option<(Part, ErrorType)>,
    drifts: Option<Part>,
}

#[derive(Debug, thiserror::Error)]
#[error("it fails")]
struct Fails(ErrorType);

impl Classify for Fails {
    fn error_type(&self) -> ErrorType {
        self.0
    }
}

impl Paper {
    fn does(&self, verb: &str, part: Part) -> Result<Vec<String>, BoxedError> {
        if let Some((_, error_type)) = self.fails.filter(|(fails, _)| *fails == part) {
            return Err(BoxedError::new(Fails(error_type)));
        }
        self.done.lock().unwrap().push(format!("{verb} {part:?}"));
        Ok(vec![format!("/{part:?}")])
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

impl InstallTarget for Paper {
    fn look(&self, part: Part) -> Finding {
        if self.drifts != Some(part) {
            return Finding::Right;
        }
        let why = "the entry is gone".to_owned();
        Finding::Wrong(Wrong { error_type: ErrorType::InstallDrifted, why, reverted: true })
    }

    fn put(&self, part: Part) -> Result<Vec<String>, BoxedError> {
        self.does("put", part)
    }

    fn remove(&self, part: Part) -> Result<Vec<String>, BoxedError> {
        self.does("remove", part)
    }
}

/// Runs something as a story; what it gave, and what was told.
fn told<T>(run: impl FnOnce(&Story) -> T) -> (T, Batch) {
    let story = Story::begin(Clock::start(), TraceId([7; 16]), None, PodRef::default(), Level::Info, None);
    let given = run(&story);
    (given, story.into_batch())
}

/// The spans by name, with their result or error.
fn spans(batch: &Batch) -> Vec<(String, String)> {
    let outcome = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        let text = |key| text_attribute(&span.attributes, key).map(str::to_owned);
        text(keys::INSTALL_RESULT).or_else(|| text(keys::ERROR_TYPE)).unwrap_or_default()
    };
    batch.spans.iter().map(|span| (span.name.clone(), outcome(span))).collect()
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect()
}

#[test]
fn the_plugin_is_there_before_anything_refers_to_it() {
    let node = Paper::default();
    let (changed, batch) = told(|story| install(story, &node, Reason::Start));
    assert_eq!(node.done(), ["put Binaries", "put Kubeconfig", "put Conflist"]);
    assert_eq!(changed.unwrap(), ["/Binaries", "/Kubeconfig", "/Conflist"]);
    let wanted = [
        ("install.binaries", ""),
        ("install.kubeconfig", ""),
        ("install.conflist", ""),
        ("install.verify", ""),
        ("install", "SUCCESS"),
    ];
    assert_eq!(spans(&batch), named(&wanted));
    let whole = batch.spans.last().unwrap();
    assert!(whole.parent_span_id.is_empty(), "an installation is a trace of its own");
    assert_eq!(text_attribute(&whole.attributes, keys::INSTALL_REASON), Some("start"));
}

#[test]
fn a_part_that_fails_ends_the_pass_and_names_its_result() {
    let node = Paper { fails: Some((Part::Kubeconfig, ErrorType::TokenMissing)), ..Paper::default() };
    let (result, batch) = told(|story| install(story, &node, Reason::Retry));
    assert_eq!(result.unwrap_err().step, Step::InstallKubeconfig);
    assert_eq!(node.done(), ["put Binaries", "put Conflist"], "without its entry the plugin is not called at all");
    let wanted = [
        ("install.binaries", ""),
        ("install.kubeconfig", "token_missing"),
        ("install.conflist", ""),
        ("install", "CREATE_KUBECONFIG_FAILURE"),
    ];
    assert_eq!(spans(&batch), named(&wanted));
}

#[test]
fn waiting_for_a_primary_is_no_result() {
    let node = Paper { fails: Some((Part::Conflist, ErrorType::PrimaryMissing)), ..Paper::default() };
    let (_, batch) = told(|story| install(story, &node, Reason::Start));
    assert_eq!(spans(&batch).last().unwrap(), &("install".to_owned(), "primary_missing".to_owned()));
}

#[test]
fn what_is_undone_at_once_is_found_out() {
    let node = Paper { drifts: Some(Part::Binaries), ..Paper::default() };
    let (result, batch) = told(|story| install(story, &node, Reason::Start));
    let failure = result.unwrap_err();
    assert_eq!((failure.step, failure.error_type), (Step::InstallVerify, ErrorType::InstallDrifted));
    assert!(failure.message.contains("the entry is gone"), "{}", failure.message);
    assert_eq!(spans(&batch).last().unwrap().1, "COPY_BINARIES_FAILURE");
}

#[test]
fn the_configuration_goes_first_and_the_plugin_last() {
    let node = Paper::default();
    let between = || {
        node.done.lock().unwrap().push("the runtime looks".to_owned());
        true
    };
    let (removed, batch) = told(|story| uninstall(story, &node, between));
    assert_eq!(node.done(), ["remove Conflist", "the runtime looks", "remove Kubeconfig", "remove Binaries"]);
    assert_eq!(removed.unwrap().len(), 3);
    assert_eq!(batch.spans.last().unwrap().name, "uninstall");
}

#[test]
fn who_comes_meanwhile_keeps_the_plugin() {
    let node = Paper::default();
    let (removed, _) = told(|story| uninstall(story, &node, || false));
    assert_eq!(removed.unwrap(), ["/Conflist"]);
    assert_eq!(node.done(), ["remove Conflist"]);
}

#[test]
fn a_configuration_that_cannot_be_removed_keeps_the_plugin_in_place() {
    let node = Paper { fails: Some((Part::Conflist, ErrorType::ReadOnly)), ..Paper::default() };
    let (result, _) = told(|story| uninstall(story, &node, || true));
    assert_eq!(result.unwrap_err().error_type, ErrorType::ReadOnly);
    assert!(node.done().is_empty());
}
