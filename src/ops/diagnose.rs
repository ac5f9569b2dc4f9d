//! Diagnosing: every examination is made at once, each on a thread of its own, and whatever does not come back within
//! the limit is said to be unknown. A disk, a runtime or an API server that hangs keeps nobody from the other answers.

use crate::domain::finding::{Check, Finding};
use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Looks at one thing, or at a few that are seen at once.
pub struct Examination {
    /// What it is about: its first check, for those that wait.
    pub check: Check,
    /// Looks. It may block, but should come back by itself some time.
    pub look: Box<dyn FnOnce() -> Vec<Finding> + Send>,
}

impl Examination {
    /// An examination that gives one finding.
    pub fn one(check: Check, look: impl FnOnce() -> Finding + Send + 'static) -> Examination {
        Examination::some(check, move || vec![look()])
    }

    /// An examination that gives any number of findings.
    pub fn some(check: Check, look: impl FnOnce() -> Vec<Finding> + Send + 'static) -> Examination {
        Examination { check, look: Box::new(look) }
    }
}

/// The examinations that have not come back yet, for whoever looks again and again: what hangs is not begun a second
/// time, so that it takes one thread, however often somebody looks.
#[derive(Clone, Default)]
pub struct Hanging(Arc<Mutex<HashMap<Check, Instant>>>);

impl Hanging {
    /// Since when one of these is under way; if none is, one is now.
    fn begin(&self, check: Check) -> Option<Instant> {
        let mut hanging = self.lock();
        let since = hanging.get(&check).copied();
        hanging.entry(check).or_insert_with(Instant::now);
        since
    }

    fn end(&self, check: Check) {
        self.lock().remove(&check);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Check, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far it is, for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: usize,
    pub of: usize,
}

/// Makes all examinations, in order of their checks; `tell` hears of each that is over.
pub fn diagnose(
    examinations: Vec<Examination>,
    limit: Duration,
    hanging: &Hanging,
    mut tell: impl FnMut(Progress),
) -> Vec<Finding> {
    let deadline = Instant::now() + limit;
    let of = examinations.len();
    let (send, receive) = channel();
    let mut waiting: Vec<Check> = Vec::new();
    let mut findings = Vec::new();
    for Examination { check, look } in examinations {
        if let Some(since) = hanging.begin(check) {
            findings.push(still_hangs(check, since.elapsed()));
            continue;
        }
        let (send, begun) = (send.clone(), hanging.clone());
        let work = move || {
            let found = look();
            begun.end(check);
            // Nobody may listen any more when it comes back at last.
            let _ = send.send((check, found));
        };
        match std::thread::Builder::new().name("doctor".to_owned()).spawn(work) {
            Ok(_) => waiting.push(check),
            Err(error) => {
                hanging.end(check);
                let what = format!("it could not be looked at: no thread could be started: {error}");
                findings.push(Finding::unknown(check, what, "try again when the node has fewer processes"));
            }
        }
    }
    drop(send);
    tell(Progress { done: 0, of });
    while !waiting.is_empty() {
        match receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((check, found)) => {
                if let Some(at) = waiting.iter().position(|waits| *waits == check) {
                    waiting.remove(at);
                }
                findings.extend(found);
                tell(Progress { done: of - waiting.len(), of });
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    findings.extend(waiting.into_iter().map(|check| unanswered(check, limit)));
    findings
}

/// Does one thing on a thread of its own; None if it does not come back within the limit.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (send, receive) = channel();
    // Nobody may listen any more when it comes back at last.
    let work = move || _ = send.send(work());
    std::thread::Builder::new().name("doctor".to_owned()).spawn(work).ok()?;
    receive.recv_timeout(limit).ok()
}

fn unanswered(check: Check, limit: Duration) -> Finding {
    let what = format!("it was not found out within {} ms", limit.as_millis());
    Finding::unknown(check, what, "look whether the node's disk, its runtime or the API server hangs, and try again")
}

fn still_hangs(check: Check, since: Duration) -> Finding {
    let what = format!("it is not found out yet: the look that began {} s ago hangs", since.as_secs());
    Finding::unknown(check, what, "look whether the node's disk, its runtime or the API server hangs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Status;

    #[test]
    fn what_hangs_is_unknown_and_keeps_nobody_waiting() {
        let (never, hangs) = channel::<()>();
        let examinations = vec![
            Examination::one(Check::PluginBinary, || Finding::ok(Check::PluginBinary, "there")),
            Examination::one(Check::RuntimeDirectory, move || {
                let _ = hangs.recv();
                Finding::ok(Check::RuntimeDirectory, "late")
            }),
        ];
        let mut told = Vec::new();
        let findings =
            diagnose(examinations, Duration::from_secs(3), &Hanging::default(), |progress| told.push(progress));
        drop(never);
        let seen: Vec<_> = findings.iter().map(|finding| (finding.check.as_ref(), finding.status)).collect();
        assert_eq!(seen, [("plugin.binary", Status::Ok), ("runtime.directory", Status::Unknown)]);
        assert_eq!(told.last(), Some(&Progress { done: 1, of: 2 }));
    }

    #[test]
    fn one_thing_that_hangs_keeps_nobody_waiting_either() {
        let (never, hangs) = channel::<()>();
        assert_eq!(within(Duration::from_millis(50), move || hangs.recv().is_ok()), None);
        drop(never);
        assert_eq!(within(Duration::from_secs(20), || 7), Some(7));
    }

    #[test]
    fn an_examination_may_find_nothing_or_much() {
        let two = || vec![Finding::ok(Check::NetworkValid, ""), Finding::ok(Check::NetworkPlace, "")];
        let examinations =
            vec![Examination::some(Check::NetworkValid, two), Examination::some(Check::KubeconfigToken, Vec::new)];
        assert_eq!(diagnose(examinations, Duration::from_secs(20), &Hanging::default(), |_| {}).len(), 2);
    }

    #[test]
    fn what_hangs_is_not_begun_again_until_it_has_come_back() {
        let (hanging, (let_go, hangs)) = (Hanging::default(), channel::<()>());
        let (tell, told) = channel();
        let slow = Examination::one(Check::Kubeconfig, move || {
            let _ = hangs.recv();
            tell.send(()).unwrap();
            Finding::ok(Check::Kubeconfig, "late")
        });
        let unbegun = || Examination::one(Check::Kubeconfig, || panic!("it is begun a second time"));
        diagnose(vec![slow], Duration::from_millis(10), &hanging, |_| {});
        for _ in 0..3 {
            let found = diagnose(vec![unbegun()], Duration::from_secs(20), &hanging, |_| {});
            assert!(found[0].status == Status::Unknown && found[0].what.contains("hangs"), "{found:?}");
        }
        drop(let_go);
        told.recv().unwrap();
        let again = || Examination::one(Check::Kubeconfig, || Finding::ok(Check::Kubeconfig, "there"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while diagnose(vec![again()], Duration::from_secs(20), &hanging, |_| {})[0].status != Status::Ok {
            assert!(Instant::now() < deadline, "it came back and is still said to hang");
            std::thread::yield_now();
        }
    }
}
