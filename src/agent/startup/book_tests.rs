//! Who is told, and who was.

use super::*;
use crate::domain::pod::PodFacts;
use crate::domain::pod_status::{Condition, ConditionKind, Life, PodStatus};
use std::sync::Arc;

const LIMIT: Duration = Duration::from_secs(600);
/// Now: so many seconds since the epoch.
const NOW: u64 = 10_000;

fn at(seconds: u64) -> u64 {
    seconds * 1_000_000_000
}

/// A pod that the kubelet saw so many seconds ago.
fn starting(uid: &str, ago: u64) -> Pod {
    let life = Life { started_ns: Some(at(NOW - ago)), ..Life::default() };
    let status = PodStatus { life, ..PodStatus::default() };
    Arc::new(PodFacts { name: format!("pod-{uid}"), uid: uid.into(), status, ..PodFacts::default() })
}

fn ready(uid: &str, ago: u64) -> Pod {
    let mut pod = PodFacts::clone(&starting(uid, ago));
    let (kind, met, since_ns) = (ConditionKind::Ready, true, Some(at(NOW)));
    pod.status.life.conditions = vec![Condition { kind, met, since_ns, reason: String::new(), message: String::new() }];
    Arc::new(pod)
}

fn book(directory: &tempfile::TempDir) -> Book {
    Book::read(directory.path(), Scope::Meshed, LIMIT)
}

/// What is heard of a pod, in a word.
fn word(news: Option<News>) -> String {
    match news {
        None => "nothing".to_owned(),
        Some(News::Begun { left, .. }) => format!("begun, {} left", left.as_secs()),
        Some(News::Over { outcome, .. }) => outcome.name().to_owned(),
        Some(News::AfterAll { outcome, .. }) => format!("{} after all", outcome.name()),
        Some(News::Listed) => "listed".to_owned(),
    }
}

fn write(book: &mut Book) {
    book.writing().expect("there is something to write")().unwrap();
}

#[test]
fn a_pod_is_told_once_however_often_the_watch_brings_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut book = book(&directory);
    book.listed();
    assert_eq!(word(book.look(&starting("a", 0), at(NOW))), "begun, 600 left");
    assert_eq!(word(book.look(&starting("a", 5), at(NOW))), "nothing");
    assert_eq!(word(book.look(&ready("a", 9), at(NOW))), "ready");
    assert_eq!(word(book.look(&ready("a", 9), at(NOW))), "nothing", "it is about to be told");
    assert!(!book.is_late("a"));
    book.told("a", Outcome::Ready);
    assert_eq!(word(book.look(&starting("a", 99), at(NOW))), "nothing", "it is not ready any more");
    assert_eq!(word(book.gone(&starting("a", 99))), "nothing");
    assert!(book.pods.is_empty());
}

#[test]
fn the_next_agent_knows_who_was_told_and_tells_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = book(&directory);
    first.look(&ready("told", 1), at(NOW));
    first.look(&starting("open", 1), at(NOW));
    first.look(&ready("waiting", 1), at(NOW));
    first.listed();
    first.told("told", Outcome::Ready);
    write(&mut first);
    assert!(first.writing().is_none(), "nothing has changed");
    let mut next = book(&directory);
    assert_eq!(word(next.look(&ready("told", 5000), at(NOW))), "nothing");
    assert_eq!(word(next.look(&starting("open", 200), at(NOW))), "begun, 400 left");
    assert_eq!(word(next.look(&ready("waiting", 5000), at(NOW))), "ready", "however long there was no agent");
    assert_eq!(word(next.look(&starting("stuck", 5000), at(NOW))), "begun, 0 left");
}

#[test]
fn who_started_before_there_was_an_agent_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = book(&directory);
    assert_eq!(word(first.look(&ready("old", 5000), at(NOW))), "nothing");
    assert_eq!(word(first.look(&starting("stuck", 5000), at(NOW))), "nothing");
    assert_eq!(word(first.look(&ready("young", 30), at(NOW))), "ready");
    write(&mut first);
    // Killed before it had seen all: of the others the next one knows as little.
    let mut next = book(&directory);
    assert_eq!(word(next.look(&ready("other", 5000), at(NOW))), "nothing");
    next.listed();
    assert_eq!(word(next.look(&ready("new", 0), at(NOW))), "ready");
}

#[test]
fn pods_that_were_nobodys_business_are_not_told_when_they_become_somebodys() {
    let directory = tempfile::tempdir().unwrap();
    let mut meshed = book(&directory);
    meshed.listed();
    write(&mut meshed);
    let read = |scope| Book::read(directory.path(), scope, LIMIT);
    assert_eq!(word(read(Scope::All).look(&ready("unmeshed", 5000), at(NOW))), "nothing");
    let mut all = read(Scope::All);
    all.listed();
    write(&mut all);
    assert_eq!(word(read(Scope::Meshed).look(&ready("meshed", 5000), at(NOW))), "ready", "all were told before");
    forget_all(directory.path());
    assert_eq!(word(read(Scope::Meshed).look(&ready("meshed", 5000), at(NOW))), "nothing");
}

#[test]
fn what_came_of_a_late_pod_is_told_also_by_the_next_agent() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = book(&directory);
    first.listed();
    first.look(&starting("a", 0), at(NOW));
    first.look(&starting("b", 0), at(NOW));
    assert!(first.is_late("a") && !first.is_late("a") && first.is_late("b"));
    first.told("a", Outcome::Late);
    first.told("b", Outcome::Late);
    write(&mut first);
    let mut next = book(&directory);
    assert_eq!(word(next.look(&starting("a", 700), at(NOW))), "nothing");
    assert_eq!(word(next.look(&ready("a", 700), at(NOW))), "ready after all");
    assert_eq!(word(next.look(&ready("a", 700), at(NOW))), "nothing");
    assert_eq!(word(next.gone(&starting("b", 700))), "deleted after all");
}

#[test]
fn a_pod_that_goes_unready_was_deleted_and_is_forgotten_when_that_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut book = book(&directory);
    book.listed();
    book.look(&starting("a", 0), at(NOW));
    assert_eq!(word(book.gone(&starting("a", 3))), "deleted");
    assert!(!book.is_late("a"));
    book.told("a", Outcome::Deleted);
    assert!(book.pods.is_empty());
    book.look(&ready("b", 0), at(NOW));
    assert_eq!(word(book.gone(&ready("b", 0))), "nothing", "it is about to be told as ready");
    book.told("b", Outcome::Ready);
    assert!(book.pods.is_empty());
    assert_eq!(word(book.gone(&ready("never seen", 0))), "nothing");
}

#[test]
fn whoever_went_while_there_was_no_agent_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = book(&directory);
    first.listed();
    first.look(&ready("a", 0), at(NOW));
    first.told("a", Outcome::Ready);
    write(&mut first);
    let mut next = book(&directory);
    assert_eq!(next.pods.len(), 1);
    next.listed();
    assert!(next.pods.is_empty());
}

#[test]
fn a_file_that_is_no_such_file_is_as_good_as_none() {
    let directory = tempfile::tempdir().unwrap();
    for text in ["\u{0}\u{1}\n\n", "a told\n", "scope\na\n", "scope everything\n a b c\n", "{\"a\": 1}\n"] {
        std::fs::write(directory.path().join(FILE), text).unwrap();
        let book = book(&directory);
        assert!(book.pods.is_empty() && !book.continued, "{text:?}");
    }
}
