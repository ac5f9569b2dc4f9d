//! Network namespaces without a kernel, for tests of the use cases: what is applied is kept and
//! read back, every call is recorded, and any of them can be told to fail.

use crate::domain::failure::{Classify, Failure};
use crate::domain::render;
use crate::domain::request::{Backend, Bounds};
use crate::domain::ruleset::{Difference, Ruleset};
use crate::domain::step::ErrorType;
use crate::ops::ports::{Applied, BoxedError, Namespaces, PodKernel, Work};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One call of a use case, in the order of the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Enter(Backend),
    Addresses,
    Apply(Ruleset),
    Differences(Ruleset),
}

/// A kind of call, to make it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Enter,
    Addresses,
    Apply,
    Differences,
}

/// A namespace that exists only here; it stands for every descriptor.
#[derive(Debug, Default)]
pub struct FakeNamespaces {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    addresses: Vec<IpAddr>,
    programmed: Option<Ruleset>,
    calls: Vec<Call>,
    failing: Option<(Moment, FakeError)>,
    drift: Vec<Difference>,
}

/// The error that a test asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct FakeError {
    pub error_type: ErrorType,
    pub message: String,
}

impl Classify for FakeError {
    fn error_type(&self) -> ErrorType {
        self.error_type
    }
}

impl FakeNamespaces {
    /// A namespace with these addresses and no rules.
    pub fn with_addresses(addresses: impl IntoIterator<Item = IpAddr>) -> FakeNamespaces {
        let state = State { addresses: addresses.into_iter().collect(), ..State::default() };
        FakeNamespaces { state: Mutex::new(state) }
    }

    /// Makes every later call of this kind fail.
    pub fn fail(&self, moment: Moment, error_type: ErrorType, message: &str) {
        self.state().failing = Some((moment, FakeError { error_type, message: message.to_owned() }));
    }

    /// Makes every later comparison find these differences.
    pub fn drift(&self, differences: impl IntoIterator<Item = Difference>) {
        self.state().drift = differences.into_iter().collect();
    }

    /// What the namespace has now.
    pub fn programmed(&self) -> Option<Ruleset> {
        self.state().programmed.clone()
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call, and fails where the test asked for it.
    fn call(&self, moment: Moment, call: Call) -> Result<MutexGuard<'_, State>, BoxedError> {
        let mut state = self.state();
        state.calls.push(call);
        match &state.failing {
            Some((failing, error)) if *failing == moment => Err(BoxedError::new(error.clone())),
            _ => Ok(state),
        }
    }
}

impl Namespaces for FakeNamespaces {
    fn inside(
        &self,
        _netns: BorrowedFd<'_>,
        backend: Backend,
        _bounds: &Bounds,
        work: Work<'_>,
    ) -> Result<Result<Applied, Failure>, BoxedError> {
        drop(self.call(Moment::Enter, Call::Enter(backend))?);
        let backend = if backend == Backend::Auto { Backend::Nftables } else { backend };
        Ok(work(&mut FakeKernel { namespaces: self, backend }))
    }
}

struct FakeKernel<'a> {
    namespaces: &'a FakeNamespaces,
    backend: Backend,
}

impl PodKernel for FakeKernel<'_> {
    fn addresses(&mut self) -> Result<Vec<IpAddr>, BoxedError> {
        Ok(self.namespaces.call(Moment::Addresses, Call::Addresses)?.addresses.clone())
    }

    fn apply(&mut self, rules: &Ruleset) -> Result<Applied, BoxedError> {
        let mut state = self.namespaces.call(Moment::Apply, Call::Apply(rules.clone()))?;
        let changed = state.programmed.as_ref() != Some(rules);
        state.programmed = Some(rules.clone());
        Ok(Applied { backend: self.backend, changed })
    }

    fn differences(&mut self, rules: &Ruleset) -> Result<(Backend, Vec<Difference>), BoxedError> {
        let state = self.namespaces.call(Moment::Differences, Call::Differences(rules.clone()))?;
        let mut differences = state.drift.clone();
        if state.programmed.as_ref() != Some(rules) {
            let what =
                if state.programmed.is_some() { "other rules are programmed" } else { "no rules are programmed" };
            differences.push(Difference { place: "fake".to_owned(), what: what.to_owned() });
        }
        Ok((self.backend, differences))
    }

    fn found(&mut self, _rules: &Ruleset, backend: Backend) -> Result<String, BoxedError> {
        let state = self.namespaces.state();
        Ok(state.programmed.as_ref().map(|rules| render::text(rules, backend)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn apply(namespaces: &FakeNamespaces) -> Result<Result<Applied, Failure>, BoxedError> {
        let file = std::fs::File::open("/dev/null").unwrap();
        namespaces.inside(
            file.as_fd(),
            Backend::Auto,
            &Bounds::default(),
            Box::new(|kernel| {
                let failure = |error: BoxedError| Failure::from_error(crate::domain::step::Step::RulesApply, &error);
                let applied = kernel.apply(&Ruleset::none()).map_err(failure)?;
                assert_eq!(kernel.differences(&Ruleset::none()).map_err(failure)?.1, []);
                Ok(applied)
            }),
        )
    }

    #[test]
    fn a_second_apply_changes_nothing() {
        let namespaces = FakeNamespaces::default();
        assert!(apply(&namespaces).unwrap().unwrap().changed);
        assert!(!apply(&namespaces).unwrap().unwrap().changed);
        assert_eq!(namespaces.calls().len(), 6);
    }

    #[test]
    fn a_call_fails_when_it_is_told_to() {
        let namespaces = FakeNamespaces::default();
        namespaces.fail(Moment::Apply, ErrorType::RulesRejected, "no");
        assert_eq!(apply(&namespaces).unwrap().unwrap_err().error_type, ErrorType::RulesRejected);
        assert_eq!(namespaces.programmed(), None);
    }
}
