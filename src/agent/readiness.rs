//! Readiness by conditions: the agent is ready while every one of them is met, and each change is
//! told with its reason. Stopping makes it unready for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the agent is ready, and what stands in the way.
pub struct Readiness {
    state: Mutex<State>,
    tell: Box<dyn Fn(&Change) + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// What is not as it should be, with what is known about it.
    unmet: BTreeMap<&'static str, String>,
    stopping: bool,
    /// Whether it was ready when that was told last, and what it lacked before that.
    ready: bool,
    lacked: Vec<String>,
}

/// A change of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything is as it should be now; the last thing that was not.
    Ready { lacked: String },
    /// What is not as it should be any more.
    Unready { reason: String },
}

/// One thing that readiness depends on.
pub struct Condition {
    name: &'static str,
    readiness: Arc<Readiness>,
}

impl Readiness {
    /// Unready until every condition that is made at first is met. `tell` hears of each change, in
    /// their order; it must not ask for readiness itself.
    pub fn new(tell: impl Fn(&Change) + Send + Sync + 'static) -> Arc<Readiness> {
        Arc::new(Readiness { state: Mutex::default(), tell: Box::new(tell) })
    }

    /// A condition of this name, not met yet.
    pub fn condition(self: &Arc<Self>, name: &'static str) -> Condition {
        let condition = Condition { name, readiness: self.clone() };
        condition.unmet("");
        condition
    }

    /// Unready from now on.
    pub fn stop(&self) {
        self.change(|state| state.stopping = true);
    }

    /// What stands in the way of being ready; empty when nothing does.
    pub fn waiting_for(&self) -> Vec<String> {
        self.lock().reasons()
    }

    /// Makes a change, and tells what came of it before anybody else can make another one.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let reasons = state.reasons();
        match (state.ready, reasons.is_empty()) {
            (false, true) => {
                let lacked = std::mem::take(&mut state.lacked).join("; ");
                state.ready = true;
                (self.tell)(&Change::Ready { lacked });
            }
            (true, false) => {
                state.ready = false;
                (self.tell)(&Change::Unready { reason: reasons.join("; ") });
            }
            _ => {}
        }
        if !reasons.is_empty() {
            state.lacked = reasons;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reasons(&self) -> Vec<String> {
        let unmet = self.unmet.iter().map(|(name, why)| match why.as_str() {
            "" => (*name).to_owned(),
            why => format!("{name} ({why})"),
        });
        let stopping = self.stopping.then(|| "the agent is stopping".to_owned());
        stopping.into_iter().chain(unmet).collect()
    }
}

impl Condition {
    /// It is as it should be.
    pub fn met(&self) {
        self.readiness.change(|state| _ = state.unmet.remove(self.name));
    }

    /// It is not, and why; also when that was known, but not why.
    pub fn unmet(&self, why: &str) {
        self.readiness.change(|state| _ = state.unmet.insert(self.name, why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readiness, and what was told of it.
    fn told() -> (Arc<Readiness>, Arc<Mutex<Vec<Change>>>) {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let tell = changes.clone();
        (Readiness::new(move |change| tell.lock().unwrap().push(change.clone())), changes)
    }

    #[test]
    fn the_last_condition_makes_ready_and_stopping_ends_it() {
        let (readiness, told) = told();
        let (socket, pods) = (readiness.condition("socket"), readiness.condition("pods"));
        socket.met();
        pods.unmet("the API server cannot be reached");
        assert_eq!(readiness.waiting_for(), ["pods (the API server cannot be reached)"]);
        assert!(told.lock().unwrap().is_empty());
        pods.met();
        assert!(readiness.waiting_for().is_empty());
        readiness.stop();
        assert_eq!(readiness.waiting_for(), ["the agent is stopping"]);
        socket.met();
        let (lacked, reason) =
            ("pods (the API server cannot be reached)".to_owned(), "the agent is stopping".to_owned());
        assert_eq!(*told.lock().unwrap(), [Change::Ready { lacked }, Change::Unready { reason }]);
    }

    #[test]
    fn each_change_is_told_once_with_its_reason() {
        let (readiness, told) = told();
        let install = readiness.condition("installation");
        install.met();
        install.met();
        install.unmet("the entry is gone");
        install.unmet("the file is gone");
        install.met();
        let lacked = |text: &str| Change::Ready { lacked: text.to_owned() };
        let reason = "installation (the entry is gone)".to_owned();
        let wanted = [lacked("installation"), Change::Unready { reason }, lacked("installation (the file is gone)")];
        assert_eq!(*told.lock().unwrap(), wanted);
    }
}
