//! What is remembered, what is forgotten, and what is found again.

use super::*;
use crate::domain::failure::{CODE_ISTIO, Failure};
use crate::domain::step::{ErrorType, Step};
use crate::telemetry::event::{Level, POD_DRIFTED, POD_REDIRECTED_AGAIN, POD_STARTED_LATE, REQUEST_FAILED};
use crate::telemetry::keys;
use crate::telemetry::story::{Clock, Story, attribute};

const UID: &str = "11111111-2222-4333-8444-555555555555";

fn pod(name: &str, uid: &str) -> PodRef {
    PodRef { namespace: "shop".into(), name: name.into(), uid: Some(uid.into()) }
}

fn uid(number: u32) -> String {
    format!("11111111-2222-4333-8444-{number:012}")
}

/// A call for a pod; it fails with this message, if there is one.
fn call(name: &'static str, pod: &PodRef, failure: Option<&str>) -> Batch {
    let trace = TraceId::of_pod(pod.uid.as_deref().unwrap_or_default());
    let story = Story::begin(Clock::start(), trace, None, pod.clone(), Level::Debug, None);
    let _ = story.request(name, |_| match failure {
        None => story.step(Step::PodLookup, |_| Ok::<(), Failure>(())),
        Some(message) => {
            story.log(Level::Error, REQUEST_FAILED, message, Vec::new());
            Err(Failure {
                step: Step::RulesApply,
                error_type: ErrorType::RulesRejected,
                code: CODE_ISTIO,
                message: message.to_owned(),
                retryable: false,
            })
        }
    });
    story.into_batch()
}

fn titles(history: &History, filter: &Filter) -> Vec<String> {
    history.summaries(filter, usize::MAX).into_iter().map(|summary| summary.title).collect()
}

fn with(text: &str) -> Filter {
    Filter { text: text.into(), ..Filter::default() }
}

#[test]
fn a_trace_is_given_back_as_it_was_told() {
    let history = History::new(DEFAULT_BYTES);
    let (first, second) =
        (call("cni.add", &pod("cart-0", UID), Some("no")), call("cni.del", &pod("cart-0", UID), None));
    history.remember(&first);
    history.remember(&second);
    let trace = history.trace(TraceId::of_pod(UID)).unwrap();
    let told = |batch: &Batch| (batch.spans.clone(), batch.logs.clone());
    let ((mut spans, mut logs), (more_spans, more_logs)) = (told(&first), told(&second));
    spans.extend(more_spans);
    logs.extend(more_logs);
    spans.sort_by_key(|span| (span.start_time_unix_nano, std::cmp::Reverse(span.end_time_unix_nano)));
    assert_eq!((&trace.spans, &trace.logs), (&spans, &logs));
    let summary = &trace.summary;
    assert_eq!((summary.title.as_str(), summary.spans, summary.version), ("shop/cart-0", 3, 2));
    assert_eq!(summary.kinds, [Kind::Add, Kind::Del]);
    assert_eq!(summary.pod, Some(pod("cart-0", UID)));
    assert_eq!(summary.began_ns, spans[0].start_time_unix_nano);
    assert_eq!((summary.error.as_deref(), summary.message.as_deref()), (Some("rules_rejected"), Some("no")));
    assert_eq!(history.trace(TraceId::of_pod(&uid(1))), None);
}

#[test]
fn an_error_is_told_until_the_same_goes_well() {
    let history = History::new(DEFAULT_BYTES);
    let pod = pod("cart-0", UID);
    history.remember(&call("cni.add", &pod, Some("no")));
    history.remember(&call("cni.del", &pod, None));
    let failed = Filter { failed: true, ..Filter::default() };
    assert_eq!(titles(&history, &failed), ["shop/cart-0"]);
    history.remember(&call("cni.add", &pod, None));
    assert_eq!(titles(&history, &failed), Vec::<String>::new());
    assert_eq!(history.summaries(&Filter::default(), 9)[0].error, None);
}

#[test]
fn a_pod_whose_rules_drifted_has_failed_until_it_is_redirected_again() {
    let history = History::new(DEFAULT_BYTES);
    let pod = pod("cart-0", UID);
    history.remember(&call("cni.add", &pod, None));
    let said = |event, message: &str| {
        let story = Story::begin(Clock::start(), TraceId::of_pod(UID), None, pod.clone(), Level::Debug, None);
        story.log(Level::Error, event, message, vec![attribute(keys::ERROR_TYPE, "rules_drifted")]);
        history.remember(&story.into_batch());
        let summary = history.summaries(&Filter::default(), 1).remove(0);
        (summary.error, summary.message)
    };
    assert_eq!(
        said(POD_DRIFTED, "one rule is missing"),
        (Some("rules_drifted".into()), Some("one rule is missing".into()))
    );
    assert_eq!(said(POD_REDIRECTED_AGAIN, "as it should be"), (None, None));
}

#[test]
fn a_pod_that_was_late_has_failed_until_it_started_after_all() {
    let history = History::new(DEFAULT_BYTES);
    let pod = pod("cart-0", UID);
    history.remember(&call("pod.startup", &pod, Some("the pod is not ready after 10m")));
    let said = |outcome: &str| {
        let story = Story::begin(Clock::start(), TraceId::of_pod(UID), None, pod.clone(), Level::Debug, None);
        story.log(Level::Info, POD_STARTED_LATE, outcome, vec![attribute(keys::STARTUP_OUTCOME, outcome)]);
        history.remember(&story.into_batch());
        history.summary(TraceId::of_pod(UID)).unwrap().message
    };
    assert_eq!(said("deleted").as_deref(), Some("the pod is not ready after 10m"));
    assert_eq!(said("ready"), None);
    assert_eq!(history.summary(TraceId::of_pod(&uid(1))), None);
}

#[test]
fn what_comes_a_second_time_is_kept_once() {
    let history = History::new(DEFAULT_BYTES);
    let batch = call("cni.add", &pod("cart-0", UID), Some("no"));
    history.remember(&batch);
    let before = history.extent();
    history.remember(&batch);
    assert_eq!(history.extent(), before);
    // Other bytes with one new item among them.
    let more = call("cni.del", &pod("cart-0", UID), None);
    history.remember(&Batch { spans: [batch.spans.clone(), more.spans].concat(), ..Batch::default() });
    let trace = history.trace(TraceId::of_pod(UID)).unwrap();
    assert_eq!((trace.spans.len(), trace.logs.len()), (batch.spans.len() + 2, batch.logs.len()));
}

#[test]
fn the_longer_of_two_spans_with_one_id_counts() {
    let history = History::new(DEFAULT_BYTES);
    let mut batch = call("cni.add", &pod("cart-0", UID), None);
    history.remember(&batch);
    for span in &mut batch.spans {
        span.end_time_unix_nano += 1_000_000;
    }
    history.remember(&batch);
    let mut spans = batch.spans;
    spans.sort_by_key(|span| span.start_time_unix_nano);
    assert_eq!(history.trace(TraceId::of_pod(UID)).unwrap().spans, spans);
}

#[test]
fn the_oldest_traces_go_when_there_is_no_room() {
    let history = History::new(64 << 10);
    for number in 0..500 {
        history.remember(&call("cni.add", &pod(&format!("web-{number}"), &uid(number)), None));
        // One that is told of again and again.
        history.remember(&call("cni.del", &pod("web-0", &uid(0)), None));
    }
    let extent = history.extent();
    assert!(extent.bytes <= 64 << 10, "{extent:?}");
    assert!(extent.bytes > 32 << 10, "{extent:?}");
    assert_eq!(extent.traces as u64 + extent.forgotten_traces, 500);
    let left = titles(&history, &Filter::default());
    assert_eq!(left.len(), extent.traces);
    assert!(left.contains(&"shop/web-0".to_owned()) && left.contains(&"shop/web-499".to_owned()), "{left:?}");
    assert!(!left.contains(&"shop/web-1".to_owned()), "{left:?}");
    let state = history.lock();
    assert_eq!(state.order.len(), state.traces.len());
    assert_eq!(state.bytes, state.traces.values().map(Entry::size).sum::<usize>());
}

#[test]
fn of_a_trace_that_never_ends_the_first_and_the_newest_stay() {
    let history = History::new(1 << 20);
    let pod = pod("cart-0", UID);
    let calls: Vec<Batch> = (0..400).map(|number| call("cni.add", &pod, Some(&format!("attempt {number}")))).collect();
    calls.iter().for_each(|batch| history.remember(batch));
    let trace = history.trace(TraceId::of_pod(UID)).unwrap();
    let said: Vec<&str> = trace.spans.iter().map(|span| span.status.as_ref().unwrap().message.as_str()).collect();
    assert_eq!((said.first(), said.last()), (Some(&"attempt 0"), Some(&"attempt 399")));
    assert!(said.contains(&"attempt 1") && said.contains(&"attempt 398"), "{said:?}");
    let told: usize = calls.iter().map(|batch| batch.spans.len() + batch.logs.len()).sum();
    assert_eq!(trace.summary.forgotten as usize, told - trace.spans.len() - trace.logs.len());
    assert!(trace.summary.forgotten > 100, "{}", trace.summary.forgotten);
    assert_eq!(trace.summary.spans, 400);
    assert!(history.extent().bytes <= (1 << 20) / TRACE_PART, "{:?}", history.extent());
    assert_eq!(history.extent().forgotten_items, trace.summary.forgotten);
}

#[test]
fn an_item_of_any_size_stays_within_the_bounds() {
    let history = History::new(1 << 20);
    history.remember(&call("cni.add", &pod("cart-0", UID), Some(&"x".repeat(900_000))));
    let summary = &history.summaries(&Filter::default(), 1)[0];
    assert_eq!((summary.forgotten, summary.error.as_deref()), (2, Some("rules_rejected")));
    assert!(summary.message.as_ref().unwrap().starts_with("xxx"));
    assert!(history.extent().bytes < 8 << 10, "{:?}", history.extent());
    for capacity in [1, 100, 700, 3000] {
        let small = History::new(capacity);
        small.remember(&call("cni.add", &pod("cart-0", UID), None));
        assert!(small.extent().bytes <= capacity, "{:?}", small.extent());
    }
}

#[test]
fn nothing_is_kept_where_nothing_is_to_be() {
    let history = History::new(0);
    history.remember(&call("cni.add", &pod("cart-0", UID), None));
    assert_eq!(history.extent(), Extent::default());
    let history = History::new(DEFAULT_BYTES);
    let mut batch = call("cni.add", &pod("cart-0", UID), None);
    batch.spans.iter_mut().for_each(|span| span.trace_id.clear());
    batch.logs.iter_mut().for_each(|log| log.trace_id.clear());
    history.remember(&batch);
    assert_eq!(history.extent().traces, 0, "it is of no trace");
}

#[test]
fn traces_are_found_by_what_they_say() {
    let history = History::new(DEFAULT_BYTES);
    history.remember(&call("cni.add", &pod("cart-0", UID), Some("the kernel refused a rule")));
    history.remember(&call("cni.del", &pod("web-1", &uid(1)), None));
    let nobody = PodRef { namespace: String::new(), name: String::new(), uid: None };
    let mut install = call("install", &nobody, None);
    install.spans.iter_mut().for_each(|span| span.trace_id = vec![7; 16]);
    install.logs.clear();
    history.remember(&install);
    let all = titles(&history, &Filter::default());
    assert_eq!(all, ["install", "shop/web-1", "shop/cart-0"], "the newest first");
    assert_eq!(history.summaries(&Filter::default(), 2).len(), 2);
    for (text, found) in [
        ("shop/", vec!["shop/web-1", "shop/cart-0"]),
        ("CART", vec!["shop/cart-0"]),
        (UID, vec!["shop/cart-0"]),
        ("11111111222243338444555555555555", vec!["shop/cart-0"]),
        ("Refused a rule", vec!["shop/cart-0"]),
        ("rules_rejected", vec!["shop/cart-0"]),
        ("070707", vec!["install"]),
        ("nobody says this", vec![]),
    ] {
        assert_eq!(titles(&history, &with(text)), found, "{text}");
    }
    let of_kind = |kind| titles(&history, &Filter { kind: Some(kind), ..Filter::default() });
    assert_eq!(of_kind(Kind::Del), ["shop/web-1"]);
    assert_eq!(of_kind(Kind::Install), ["install"]);
    assert_eq!(of_kind(Kind::Repair), Vec::<String>::new());
}

#[test]
fn pods_of_one_name_are_told_apart() {
    let history = History::new(DEFAULT_BYTES);
    for number in [1, 2] {
        history.remember(&call("cni.add", &pod("cart-0", &uid(number)), None));
    }
    let found = history.of_pods(|pod| pod.name == "cart-0");
    assert_eq!(found, [2, 1].map(|number| (pod("cart-0", &uid(number)), TraceId::of_pod(&uid(number)))));
    assert_eq!(history.of_pods(|pod| pod.uid.as_deref() == Some(UID)), []);
}

#[test]
fn in_a_trace_of_somebody_else_every_pod_is_found() {
    let history = History::new(DEFAULT_BYTES);
    let mut batch = call("cni.add", &pod("cart-0", &uid(1)), None);
    let other = call("cni.add", &pod("cart-1", &uid(2)), None);
    batch.spans.extend(other.spans);
    batch.spans.iter_mut().for_each(|span| span.trace_id = vec![9; 16]);
    history.remember(&Batch { spans: batch.spans, ..Batch::default() });
    for number in [1, 2] {
        let found = history.of_pods(|pod| pod.uid == Some(uid(number)));
        assert_eq!(found.iter().map(|(_, trace)| *trace).collect::<Vec<_>>(), [TraceId([9; 16])]);
    }
}

#[test]
fn each_change_is_told_to_whoever_waits() {
    let history = History::new(DEFAULT_BYTES);
    let mut changed = history.changed();
    assert!(!changed.has_changed().unwrap());
    let batch = call("cni.add", &pod("cart-0", UID), None);
    history.remember(&batch);
    assert!(changed.has_changed().unwrap());
    assert_eq!(*changed.borrow_and_update(), history.summaries(&Filter::default(), 1)[0].version);
    history.remember(&batch);
    assert!(!changed.has_changed().unwrap(), "nothing new came");
}

#[test]
fn kinds_have_words() {
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!((Kind::from_name(kind.name()), kind as usize), (Some(kind), at));
    }
}

#[test]
fn the_run_of_a_validator_that_tells_nothing_is_a_validation_and_another_containers_is_none() {
    let history = History::new(DEFAULT_BYTES);
    let [migrate, mut validator] = [1, 2].map(|number| call("pod.init", &pod("cart-0", &uid(number)), None));
    validator.spans.iter_mut().for_each(|span| span.attributes.push(attribute(keys::VALIDATION_RESULT, "passed")));
    [migrate, validator].iter().for_each(|batch| history.remember(batch));
    let found = history.summaries(&Filter { kind: Some(Kind::Validation), ..Filter::default() }, 9);
    assert_eq!(found.iter().map(|it| it.trace).collect::<Vec<_>>(), [TraceId::of_pod(&uid(2))]);
}
