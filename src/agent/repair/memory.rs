//! What is remembered of each broken pod until it is gone: how often it was tried, and what it came
//! to, so that nothing is done twice, and that a repair that was in vain is noticed.

use crate::domain::repair::Broken;
use std::collections::HashMap;

/// How often one pod is repaired, its validation failing again each time.
const MOST_REPAIRS: u32 = 5;

/// The memory, by UID.
#[derive(Debug)]
pub struct Memory {
    attempts: u32,
    pods: HashMap<String, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Attempts that failed since the last one that did not.
    failures: u32,
    /// Evictions that a budget forbade.
    blocked: u32,
    settled: Option<Settled>,
}

#[derive(Debug)]
enum Settled {
    /// Its rules were programmed and read back at this time, so many times.
    Repaired { broken: Broken, at_ns: u64, times: u32 },
    /// There is nothing more to be done about it, after so many repairs.
    Finished { repairs: u32 },
}

/// What is to be done about a pod that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, of this number; it was repaired so often before, in vain.
    Try { number: u32, in_vain: u32 },
    /// Nothing: that is done.
    Settled,
    /// No repair any more, it was repaired so often, in vain; whatever else helps, as this attempt.
    GiveUp { number: u32, in_vain: u32 },
}

impl Memory {
    /// Nothing is known yet; so many attempts are made in a row.
    pub fn new(attempts: u32) -> Memory {
        Memory { attempts, pods: HashMap::new() }
    }

    /// What is to be done about this pod.
    pub fn next(&self, uid: &str, found: &Broken) -> Next {
        let Some(known) = self.pods.get(uid) else { return Next::Try { number: 1, in_vain: 0 } };
        let number = known.failures + 1;
        match &known.settled {
            None => Next::Try { number, in_vain: 0 },
            Some(Settled::Repaired { broken, at_ns, times }) if found.is_after(broken, *at_ns) => {
                let in_vain = *times;
                if in_vain < MOST_REPAIRS { Next::Try { number, in_vain } } else { Next::GiveUp { number, in_vain } }
            }
            Some(_) => Next::Settled,
        }
    }

    /// Whether its rules were read back since this was found.
    pub fn is_repaired(&self, uid: &str, found: &Broken) -> bool {
        let settled = self.pods.get(uid).and_then(|known| known.settled.as_ref());
        matches!(settled, Some(Settled::Repaired { broken, at_ns, .. }) if !found.is_after(broken, *at_ns))
    }

    /// Whether there is nothing to be done about it unless it breaks again.
    pub fn is_settled(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|known| known.settled.is_some())
    }

    /// The pods that were repaired more than once, also those that are given up now.
    pub fn in_vain(&self) -> Vec<String> {
        self.pods.iter().filter(|(_, known)| known.repairs() > 1).map(|(uid, _)| uid.clone()).collect()
    }

    /// Its rules were read back at this time (nanoseconds since the epoch).
    pub fn repaired(&mut self, uid: &str, broken: Broken, at_ns: u64) {
        let known = self.known(uid);
        let times = known.repairs() + 1;
        *known = Known { settled: Some(Settled::Repaired { broken, at_ns, times }), ..Known::default() };
    }

    /// There is nothing more to be done about it.
    pub fn finished(&mut self, uid: &str) {
        let known = self.known(uid);
        *known = Known { settled: Some(Settled::Finished { repairs: known.repairs() }), ..Known::default() };
    }

    /// An attempt failed. The number of it if there is to be another one; None if it was the last.
    pub fn failed(&mut self, uid: &str) -> Option<u32> {
        let attempts = self.attempts;
        let known = self.known(uid);
        known.failures += 1;
        if known.failures < attempts {
            return Some(known.failures);
        }
        known.failures = 0;
        None
    }

    /// A disruption budget forbade it; how often so far.
    pub fn blocked(&mut self, uid: &str) -> u32 {
        let known = self.known(uid);
        known.blocked = known.blocked.saturating_add(1);
        known.blocked
    }

    /// The pod is gone.
    pub fn gone(&mut self, uid: &str) {
        self.pods.remove(uid);
    }

    fn known(&mut self, uid: &str) -> &mut Known {
        self.pods.entry(uid.to_owned()).or_default()
    }
}

impl Known {
    /// How often its rules were made again.
    fn repairs(&self) -> u32 {
        match &self.settled {
            Some(Settled::Repaired { times, .. }) => *times,
            Some(Settled::Finished { repairs }) => *repairs,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_status::Terminated;

    fn run(restarts: u32) -> Broken {
        let (container_id, started_ns) = (format!("c://{restarts}"), Some(u64::from(restarts) * 10));
        let ended = Terminated { exit_code: 126, container_id, started_ns, ..Terminated::default() };
        Broken { container: "istio-validation".into(), restarts, ended, runs_again: true }
    }

    #[test]
    fn a_failing_pod_is_tried_so_often_and_anew_at_its_next_change() {
        let mut memory = Memory::new(3);
        for _ in 0..2 {
            for number in 1..=3 {
                assert_eq!(memory.next("u", &run(1)), Next::Try { number, in_vain: 0 });
                assert_eq!(memory.failed("u"), (number < 3).then_some(number));
            }
        }
    }

    #[test]
    fn what_is_done_is_not_done_again_until_the_pod_is_gone() {
        let mut memory = Memory::new(5);
        memory.finished("u");
        assert!(memory.is_settled("u"));
        assert_eq!(memory.next("u", &run(9)), Next::Settled);
        memory.gone("u");
        assert_eq!(memory.next("u", &run(9)), Next::Try { number: 1, in_vain: 0 });
    }

    #[test]
    fn a_repair_in_vain_is_noticed_and_repeated_but_not_for_ever() {
        let mut memory = Memory::new(5);
        memory.repaired("u", run(1), 15);
        assert_eq!(memory.next("u", &run(1)), Next::Settled, "the same run, seen again");
        assert!(memory.in_vain().is_empty(), "once is no sign of trouble");
        assert!(memory.is_repaired("u", &run(1)) && !memory.is_repaired("u", &run(2)));
        assert!(!memory.is_repaired("another", &run(1)));
        for times in 1..MOST_REPAIRS {
            let again = run(times + 1);
            assert_eq!(memory.next("u", &again), Next::Try { number: 1, in_vain: times });
            let at_ns = again.ended.started_ns.unwrap() + 5;
            memory.repaired("u", again, at_ns);
        }
        let last = run(MOST_REPAIRS + 1);
        assert_eq!(memory.next("u", &last), Next::GiveUp { number: 1, in_vain: MOST_REPAIRS });
        memory.failed("u");
        assert_eq!(memory.next("u", &last), Next::GiveUp { number: 2, in_vain: MOST_REPAIRS }, "nothing came of it");
        memory.finished("u");
        assert_eq!(memory.next("u", &run(MOST_REPAIRS + 2)), Next::Settled, "it was told once");
        assert_eq!(memory.in_vain(), ["u"], "giving it up does not mend it");
    }

    #[test]
    fn a_repair_after_failures_begins_to_count_anew() {
        let mut memory = Memory::new(5);
        memory.failed("u");
        memory.repaired("u", run(1), 15);
        assert_eq!(memory.next("u", &run(2)), Next::Try { number: 1, in_vain: 1 });
        assert_eq!((memory.blocked("v"), memory.blocked("v")), (1, 2));
    }
}
