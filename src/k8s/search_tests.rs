//! How often and how long is asked, on a clock of the test's own.

use super::*;
use crate::k8s::error::{ApiError, of_status};
use crate::k8s::resource::Resource;
use std::cell::{Cell, RefCell};

/// A server that answers with what it was given, in order; the last answer again and again. Its
/// answers take `cost`, and a pause is over at once.
struct Scripted {
    script: RefCell<Vec<Result<PodFacts, u16>>>,
    cost: Duration,
    began: Instant,
    time: Cell<Duration>,
    limits: RefCell<Vec<Duration>>,
    failed: RefCell<Vec<String>>,
}

impl Scripted {
    fn new(script: &[Result<PodFacts, u16>]) -> Scripted {
        Scripted {
            script: RefCell::new(script.to_vec()),
            cost: Duration::ZERO,
            began: Instant::now(),
            time: Cell::default(),
            limits: RefCell::default(),
            failed: RefCell::default(),
        }
    }

    fn hanging() -> Scripted {
        Scripted { cost: Duration::MAX, ..Scripted::new(&[Err(0)]) }
    }

    /// Searches with the default bounds: 30 attempts, 1 s between them, 5 s for each.
    fn search(&self, pod: &PodRef, end: Option<Duration>) -> Lookup {
        let start = Start { at: self.began, looked: 0, grace: Duration::ZERO, end: end.map(|end| self.began + end) };
        search(self, pod, &Bounds::default(), &start)
    }

    fn took(&self) -> f32 {
        self.time.get().as_secs_f32()
    }
}

impl Ways for Scripted {
    fn ask(&self, _: &PodRef, limit: Duration) -> Result<PodFacts, BoxedError> {
        self.limits.borrow_mut().push(limit);
        self.time.set(self.time.get() + self.cost.min(limit));
        let mut script = self.script.borrow_mut();
        let answer = if script.len() > 1 { script.remove(0) } else { script[0].clone() };
        answer.map_err(|code| {
            BoxedError::new(match code {
                0 => ApiError::Timeout { limit },
                1 => ApiError::NoName { resource: Resource::Pods, namespace: "shop".into(), name: "?".into() },
                code => of_status(Resource::Pods, code, "no".into()),
            })
        })
    }

    fn pause(&self, _: &PodRef, until: Instant) -> Option<PodFacts> {
        self.time.set(until - self.began);
        None
    }

    fn now(&self) -> Instant {
        self.began + self.time.get()
    }

    fn attempt_failed(&self, attempt: u32, _: &PodRef, error: &LookupError) {
        self.failed.borrow_mut().push(format!("{attempt}: {error}"));
    }
}

fn pod(uid: &str) -> PodFacts {
    PodFacts { namespace: "shop".into(), name: "web-0".into(), uid: uid.into(), ..PodFacts::default() }
}

fn wanted(uid: &str) -> PodRef {
    PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some(uid.into()) }
}

/// The mirror of a static pod, which the runtime knows by this hash.
fn mirror(hash: &str) -> PodFacts {
    let mut facts = pod("u-1");
    facts.annotations.insert(PodFacts::CONFIG_HASH.into(), hash.into());
    facts
}

fn error(lookup: Lookup) -> (ErrorType, String) {
    let error = lookup.found.err().unwrap();
    (error.error_type(), error.to_string())
}

#[test]
fn a_pod_that_is_not_there_is_asked_for_thirty_times() {
    let server = Scripted::new(&[Err(404)]);
    let lookup = server.search(&wanted("u-1"), None);
    assert_eq!((lookup.attempts, lookup.source, server.took()), (30, "api", 29.0));
    let (kind, text) = error(lookup);
    assert_eq!(kind, ErrorType::PodNotFound);
    let begins = "pod shop/web-0 could not be looked up: the API server knows no such pod (404): no";
    assert!(text.starts_with(begins) && text.ends_with(" (asked 30 times in 29.0 s)"), "{text}");
    assert_eq!(server.failed.borrow().len(), 30);
}

#[test]
fn a_pod_that_comes_late_is_found() {
    let server = Scripted::new(&[Err(404), Err(500), Ok(pod("u-1"))]);
    let lookup = server.search(&wanted("u-1"), None);
    assert_eq!((lookup.attempts, lookup.found.unwrap().uid.as_str(), server.took()), (3, "u-1", 2.0));
}

#[test]
fn a_server_that_hangs_is_not_asked_thirty_times() {
    let server = Scripted::hanging();
    let lookup = server.search(&wanted("u-1"), None);
    assert_eq!((lookup.attempts, server.took()), (7, 41.0), "30 s of pauses and twice 5 s are the patience");
    assert_eq!(error(lookup).0, ErrorType::ApiTimeout);
}

#[test]
fn nothing_goes_on_after_the_end() {
    let server = Scripted::hanging();
    let lookup = server.search(&wanted("u-1"), Some(Duration::from_secs(8)));
    assert_eq!((lookup.attempts, server.took()), (2, 8.0));
    assert_eq!(*server.limits.borrow(), [5, 2].map(Duration::from_secs), "what is left of the time");
}

#[test]
fn a_replaced_pod_is_waited_for_only_as_long_as_a_view_may_be_old() {
    let server = Scripted::new(&[Ok(pod("u-2"))]);
    let lookup = server.search(&wanted("u-1"), None);
    assert_eq!((lookup.attempts, server.took()), (4, 1.5));
    let (kind, text) = error(lookup);
    assert_eq!(kind, ErrorType::PodReplaced);
    let begins = "pod shop/web-0 has UID u-2 at the API server, but the runtime sets up the one with UID u-1: ";
    assert!(text.starts_with(begins) && text.ends_with(" (asked 4 times in 1.5 s)"), "{text}");
}

#[test]
fn an_old_view_that_becomes_new_is_no_error() {
    let server = Scripted::new(&[Ok(pod("u-0")), Ok(pod("u-1"))]);
    let lookup = server.search(&wanted("u-1"), None);
    assert_eq!((lookup.attempts, lookup.found.unwrap().uid.as_str(), server.took()), (2, "u-1", 0.5));
}

#[test]
fn the_patience_with_an_old_view_begins_with_it() {
    let late = [vec![Err(500); 10], vec![Ok(pod("u-2"))]].concat();
    let server = Scripted::new(&late);
    let lookup = server.search(&wanted("u-1"), None);
    assert_eq!((lookup.attempts, server.took()), (14, 11.5));
}

#[test]
fn the_mirror_of_a_static_pod_is_waited_for_as_any_pod() {
    let late = [vec![Ok(pod("u-2")); 12], vec![Ok(mirror("b0a1"))]].concat();
    let server = Scripted::new(&late);
    let lookup = server.search(&wanted("b0a1"), None);
    assert_eq!((lookup.attempts, server.took()), (13, 12.0));
    assert!(lookup.found.is_ok());
}

#[test]
fn what_no_retry_can_help_ends_the_search() {
    let server = Scripted::new(&[Err(1)]);
    let lookup = server.search(&wanted("u-1"), None);
    assert_eq!((lookup.attempts, server.took()), (1, 0.0));
    assert!(error(lookup).1.starts_with("\"shop\"/\"?\" cannot be a pod"));
    assert!(server.failed.borrow().is_empty());
}
