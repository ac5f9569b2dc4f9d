//! Pods' histories, as the API server tells them, and the whole trace trees that they give.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "startup_golden/history.rs"]
mod history;
#[path = "startup_golden/shown.rs"]
mod shown;

use history::{History, parts};
use istio_cni_otel::domain::startup::{Outcome, Startup, startup};
use serde_json::{Value, json};
use shown::shown;

#[test]
fn every_history_gives_its_tree() {
    for history in History::all() {
        insta::assert_snapshot!(history.name.as_str(), shown(&history.startup()));
    }
}

#[test]
fn what_pods_commonly_come_to_was_recorded_in_a_real_cluster() {
    let all = History::all();
    for (name, outcome) in [
        ("normal", Outcome::Ready),
        ("native-sidecar", Outcome::Ready),
        ("init-failure", Outcome::Late),
        ("init-failure-never", Outcome::Failed),
        ("image-pull-failure", Outcome::Late),
        ("sandbox-failures-then-success", Outcome::Ready),
        ("evicted", Outcome::Failed),
        ("evicted-by-api", Outcome::Deleted),
        ("job", Outcome::Completed),
        ("static", Outcome::Ready),
        ("deleted-before-ready", Outcome::Deleted),
    ] {
        let history = all.iter().find(|it| it.name == format!("recorded-{name}"));
        assert_eq!(history.unwrap_or_else(|| panic!("{name} is missing")).startup().outcome, outcome, "{name}");
    }
}

#[test]
fn what_is_told_twice_has_the_same_ids_and_no_two_parts_have_one() {
    for history in History::all() {
        let ids = |it: &Startup| it.spans.iter().map(|span| span.id.to_hex()).collect::<Vec<_>>();
        let (once, again) = (history.startup(), history.startup());
        assert_eq!(ids(&once), ids(&again));
        let mut unique = ids(&once);
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), once.spans.len(), "{}", history.name);
    }
}

/// Whatever is missing: no panic, no span that ends before it began, nothing that is not of this pod's
/// time, and one root or nothing.
#[test]
fn any_part_of_a_history_may_be_missing_and_any_time_may_be_another() {
    for history in History::all() {
        let mut places = Vec::new();
        leaves(&history.said, String::new(), &mut places);
        assert!(places.len() > 3, "{}", history.name);
        for place in places {
            let changed = |instead: Value| {
                let mut changed = history.said.clone();
                *changed.pointer_mut(&place).unwrap() = instead;
                changed
            };
            holds_of(&history, changed(Value::Null), &place);
            let leaf = history.said.pointer(&place).unwrap();
            if leaf.as_str().is_some_and(|text| text.ends_with('Z')) {
                holds_of(&history, changed(json!("2026-11-22T09:59:58Z")), &place);
            }
        }
    }
}

#[track_caller]
fn holds_of(history: &History, said: Value, place: &str) {
    let at = format!("{}: {place}", history.name);
    let (pod, events, _) = parts(said).unwrap_or_else(|error| panic!("{at}: {error}"));
    for outcome in Outcome::ALL {
        holds(&startup(&pod, &events, outcome, history.now_ns), &at);
    }
}

/// Where there is a value that may be missing. What is in a list of texts, or a label's or annotation's text, is
/// there whenever its place is: null there is no object of the API, and nothing of a start is read from there.
fn leaves(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(_) if at.ends_with("/labels") || at.ends_with("/annotations") => {}
        Value::Object(members) => members.iter().for_each(|(key, inner)| {
            leaves(inner, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
        }),
        Value::Array(items) => {
            let inner = items.iter().enumerate().filter(|(_, inner)| inner.is_object());
            inner.for_each(|(index, inner)| leaves(inner, format!("{at}/{index}"), out));
        }
        _ => out.push(at),
    }
}

#[track_caller]
fn holds(startup: &Startup, without: &str) {
    let roots = startup.spans.iter().filter(|span| span.name() == "pod.startup").count();
    assert_eq!(roots, usize::from(!startup.spans.is_empty()), "{without}");
    assert!(startup.outcome.is_good() || startup.spans.first().is_none_or(|root| root.failure.is_some()), "{without}");
    for span in &startup.spans {
        assert!(span.start.ns > 0 && span.end.ns >= span.start.ns, "{without}: {span:?}");
        let sentence = span.failure.as_ref().map(|(_, text)| text.as_str()).unwrap_or_default();
        assert!(!sentence.contains(char::is_control) && sentence.len() < 2000, "{without}: {sentence}");
    }
    for note in &startup.notes {
        assert!(startup.spans.iter().any(|span| span.id == note.span), "{without}: {note:?}");
    }
}
