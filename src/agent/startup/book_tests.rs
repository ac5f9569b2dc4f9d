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
        Some(News::Vanished { pod, late }) => format!("{} vanished{}", pod.name, if late { ", late" } else { "" }),
        Some(News::Noted) => "noted".to_owned(),
    }
}

fn write(book: &mut Book) {
    book.writing().expect("there is something to write")().unwrap();
}

/// The pod is told, and that has arrived.
fn tell(book: &mut Book, uid: &str, outcome: Outcome) {
    match outcome {
        Outcome::Late => assert!(book.asks(uid) && book.is_late(uid)),
        _ => book.told(uid),
    }
    book.arrived(uid, outcome);
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
    assert!(!book.asks("a"));
    tell(&mut book, "a", Outcome::Ready);
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
    tell(&mut first, "told", Outcome::Ready);
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
    tell(&mut first, "a", Outcome::Late);
    assert!(!first.asks("a"));
    tell(&mut first, "b", Outcome::Late);
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
    assert!(!book.asks("a"));
    tell(&mut book, "a", Outcome::Deleted);
    assert!(book.pods.is_empty());
    book.look(&ready("b", 0), at(NOW));
    assert_eq!(word(book.gone(&ready("b", 0))), "nothing", "it is about to be told as ready");
    tell(&mut book, "b", Outcome::Ready);
    assert!(book.pods.is_empty());
    assert_eq!(word(book.gone(&ready("never seen", 0))), "nothing");
}

#[test]
fn whoever_went_while_there_was_no_agent_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = book(&directory);
    first.listed();
    first.look(&ready("a", 0), at(NOW));
    tell(&mut first, "a", Outcome::Ready);
    write(&mut first);
    let mut next = book(&directory);
    assert_eq!(next.pods.len(), 1);
    next.listed();
    assert!(next.pods.is_empty());
}

#[test]
fn of_pods_that_were_starting_and_went_while_there_was_no_agent_it_is_told_that_nobody_saw_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = book(&directory);
    first.listed();
    ["open", "late", "back"].iter().for_each(|uid| _ = first.look(&starting(uid, 0), at(NOW)));
    tell(&mut first, "late", Outcome::Late);
    write(&mut first);
    let mut next = book(&directory);
    assert_eq!(word(next.look(&ready("back", 9), at(NOW))), "ready");
    let mut vanished: Vec<String> = next.listed().into_iter().map(|news| word(Some(news))).collect();
    vanished.sort();
    assert_eq!(vanished, ["noted", "pod-late vanished, late", "pod-open vanished"]);
    write(&mut next);
    // Killed before that has arrived, it is told again; and then no more.
    let mut third = book(&directory);
    third.look(&ready("back", 9), at(NOW));
    assert_eq!(third.listed().len(), 3);
    third.arrived("open", Outcome::Deleted);
    third.arrived("late", Outcome::Deleted);
    write(&mut third);
    assert_eq!(book(&directory).listed().len(), 2, "only the one that was about to be told");
}

#[test]
fn what_was_told_and_has_not_arrived_is_told_again_by_the_next_agent() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = book(&directory);
    first.listed();
    first.look(&ready("a", 1), at(NOW));
    first.told("a");
    write(&mut first);
    let mut next = book(&directory);
    assert_eq!(word(next.look(&ready("a", 1), at(NOW))), "ready");
    first.arrived("a", Outcome::Ready);
    write(&mut first);
    assert_eq!(word(book(&directory).look(&ready("a", 1), at(NOW))), "nothing");
}

#[test]
fn a_book_that_could_not_be_written_is_written_again_and_its_next_trouble_is_news() {
    let directory = tempfile::tempdir().unwrap();
    let mut book = book(&directory);
    book.listed();
    assert!(book.writing().is_some() && book.writing().is_none());
    assert!(book.failed() && book.has_changed());
    assert!(book.writing().is_some() && !book.failed(), "said already");
    write(&mut book);
    book.written();
    assert!(book.failed(), "news again");
}

#[test]
fn a_pod_that_seems_late_and_is_not_goes_on_starting() {
    let directory = tempfile::tempdir().unwrap();
    let mut book = book(&directory);
    book.listed();
    ["a", "b", "c"].iter().for_each(|uid| _ = book.look(&starting(uid, 0), at(NOW)));
    assert!(book.asks("a") && book.is_not_late("a") && book.asks("a"));
    assert_eq!(word(book.look(&ready("a", 700), at(NOW))), "ready");
    assert!(!book.is_late("a"), "it was heard of while the API server was asked");
    assert!(book.asks("b"));
    assert_eq!(word(book.gone(&starting("b", 700))), "deleted");
    assert!(!book.is_late("b") && !book.is_not_late("b"));
    assert!(book.asks("c") && book.is_late("c") && !book.is_late("c"));
}

#[test]
fn of_a_pod_that_was_ready_before_it_was_known_nothing_is_told_and_of_one_that_was_seen_to_start_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let was_ready = |uid: &str, deleting: bool| {
        let mut pod = PodFacts::clone(&ready(uid, 500));
        pod.status.life.conditions[0].met = false;
        pod.status.deleting = deleting;
        Arc::new(pod)
    };
    let mut first = book(&directory);
    first.listed();
    first.look(&starting("known", 0), at(NOW));
    assert_eq!(word(first.look(&was_ready("a", true), at(NOW))), "nothing");
    assert_eq!(word(first.gone(&was_ready("a", true))), "nothing");
    assert_eq!(word(first.look(&was_ready("b", false), at(NOW))), "nothing");
    assert_eq!(word(first.look(&was_ready("known", true), at(NOW))), "ready");
    first.look(&starting("before", 0), at(NOW));
    write(&mut first);
    assert_eq!(word(book(&directory).look(&was_ready("before", true), at(NOW))), "ready");
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
