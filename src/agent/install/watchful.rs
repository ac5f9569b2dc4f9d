//! What is remembered from one look at the installation to the next: what was right, what somebody
//! undid, what was said already.

use super::said::Said;
use crate::domain::install::{Finding, Part, Reason};
use crate::domain::reverts::Reverts;
use std::time::{Duration, Instant};

/// Something that a pass is to be gone through for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub reason: Reason,
    /// What was found, to tell the same trouble from another one.
    found: Vec<Finding>,
}

impl Work {
    /// Whether pods start without rules until it is done.
    pub fn is_urgent(&self) -> bool {
        matches!(self.found.get(Part::Conflist as usize), Some(Finding::Wrong(_)))
    }
}

/// What somebody undid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reverted {
    pub why: String,
    /// It happened so often that it is to be complained about.
    pub often: bool,
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct Memory {
    reverts: Reverts,
    /// The plugin's entry was right since the last time that somebody undid it.
    was_right: bool,
    /// There was nothing to be chained to since the last pass.
    waited: bool,
    waiting: Said,
    /// What somebody undid last, for people.
    pub undone: Option<String>,
    /// Why the last pass failed.
    failure: Option<String>,
    /// It was said that another agent has taken over.
    pub superseded: bool,
    /// Everything was taken back, and stays so.
    pub removed: bool,
}

impl Memory {
    /// What stands in the way of being ready. Something that is only out of date does once it could
    /// not be renewed.
    pub fn troubles(&self, found: &[Finding]) -> Vec<String> {
        let stale = found.iter().any(|finding| matches!(finding, Finding::Stale(_)));
        let failure = self.failure.iter().filter(|_| stale).cloned();
        found.iter().filter_map(Finding::trouble).map(str::to_owned).chain(failure).collect()
    }

    /// Takes note of what was found about the network configuration; what somebody undid, if so.
    pub fn reverted(&mut self, found: &[Finding]) -> Option<Reverted> {
        match found.get(Part::Conflist as usize)? {
            Finding::Right | Finding::Stale(_) => self.was_right = true,
            Finding::Waiting(_) => self.waited = true,
            Finding::Wrong(wrong) if wrong.reverted && std::mem::take(&mut self.was_right) => {
                return Some(Reverted { why: wrong.why.clone(), often: self.reverts.reverted(Instant::now()) });
            }
            Finding::Wrong(_) => {}
        }
        None
    }

    /// What is waited for and was not said yet.
    pub fn waiting(&mut self, place: &str, found: &[Finding]) -> Vec<String> {
        let waiting = found.iter().filter_map(|finding| match finding {
            Finding::Waiting(why) => Some((place.to_owned(), why.clone())),
            _ => None,
        });
        self.waiting.news(waiting).into_iter().map(|(_, why)| why).collect()
    }

    /// Why a pass is to be gone through: the first part that has something to be done.
    pub fn work(&self, found: Vec<Finding>) -> Option<Work> {
        let (part, finding) = Part::ALL.into_iter().zip(&found).find(|(_, finding)| finding.wants_pass())?;
        let reason = match (finding, part) {
            (Finding::Stale(reason), _) => *reason,
            (_, Part::Binaries) => Reason::BinaryChanged,
            (_, Part::Kubeconfig) => Reason::KubeconfigChanged,
            (Finding::Wrong(wrong), Part::Conflist) if self.waited && !wrong.reverted => Reason::PrimaryArrived,
            (_, Part::Conflist) => Reason::ConflistChanged,
        };
        Some(Work { reason, found })
    }

    /// A pass was gone through, and failed for this if it did.
    pub fn passed(&mut self, failure: Option<String>) {
        self.reverts.corrected(Instant::now());
        self.was_right |= failure.is_none();
        self.waited &= failure.is_some();
        self.failure = failure;
    }

    /// How long to wait before the next pass.
    pub fn pause(&mut self) -> Duration {
        self.reverts.pause(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::install::Wrong;
    use crate::domain::step::ErrorType;

    fn conflist(finding: Finding) -> Vec<Finding> {
        vec![Finding::Right, Finding::Right, finding]
    }

    fn wrong(reverted: bool) -> Finding {
        Finding::Wrong(Wrong { error_type: ErrorType::InstallDrifted, why: "the entry is gone".to_owned(), reverted })
    }

    #[test]
    fn a_revert_is_counted_once_also_when_the_writer_empties_the_file_first() {
        let mut memory = Memory::default();
        assert_eq!(memory.reverted(&conflist(wrong(true))), None, "it was never right");
        memory.reverted(&conflist(Finding::Right));
        assert_eq!(memory.reverted(&conflist(Finding::Waiting("it is empty".to_owned()))), None);
        assert!(memory.reverted(&conflist(wrong(true))).is_some());
        assert_eq!(memory.reverted(&conflist(wrong(true))), None);
        memory.passed(None);
        assert!(memory.reverted(&conflist(wrong(true))).is_some());
    }

    #[test]
    fn what_is_out_of_date_is_trouble_once_it_could_not_be_renewed() {
        let mut memory = Memory::default();
        let found = vec![Finding::Right, Finding::Stale(Reason::CredentialsRotated), Finding::Right];
        assert!(memory.troubles(&found).is_empty());
        memory.passed(Some("the disk is full".to_owned()));
        assert_eq!(memory.troubles(&found), ["the disk is full"]);
        assert!(memory.troubles(&conflist(Finding::Right)).is_empty());
    }

    #[test]
    fn the_reason_is_the_primarys_arrival_whoever_looked_first() {
        let mut memory = Memory::default();
        memory.reverted(&conflist(Finding::Waiting("nothing is there".to_owned())));
        for _ in 0..2 {
            memory.reverted(&conflist(wrong(false)));
            assert_eq!(memory.work(conflist(wrong(false))).unwrap().reason, Reason::PrimaryArrived);
        }
        memory.passed(None);
        assert_eq!(memory.work(conflist(wrong(false))).unwrap().reason, Reason::ConflistChanged);
    }

    #[test]
    fn only_a_configuration_without_us_is_urgent() {
        let memory = Memory::default();
        assert!(memory.work(conflist(wrong(true))).unwrap().is_urgent());
        let stale = memory.work(vec![Finding::Right, Finding::Stale(Reason::CredentialsRotated), Finding::Right]);
        assert!(!stale.unwrap().is_urgent());
        assert_eq!(memory.work(conflist(Finding::Right)), None);
    }
}
