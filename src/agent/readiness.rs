//! Readiness by tokens: whoever must be done first holds one, and the last one dropped makes the
//! agent ready. Stopping makes it unready for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the agent is ready, and what it waits for.
pub struct Readiness {
    state: Mutex<State>,
}

struct State {
    /// What is waited for, with what is known about it.
    pending: BTreeMap<&'static str, String>,
    stopping: bool,
    /// Run once, by the last token.
    ready: Option<Ready>,
}

type Ready = Box<dyn FnOnce() + Send>;

/// Holds readiness back until it is dropped.
pub struct Token {
    name: &'static str,
    readiness: Arc<Readiness>,
}

impl Readiness {
    /// Not ready before the first tokens are there and gone; `ready` is run then, once.
    pub fn new(ready: impl FnOnce() + Send + 'static) -> Arc<Readiness> {
        let state = State { pending: BTreeMap::new(), stopping: false, ready: Some(Box::new(ready)) };
        Arc::new(Readiness { state: Mutex::new(state) })
    }

    /// A token for the thing of this name.
    pub fn token(self: &Arc<Self>, name: &'static str) -> Token {
        self.lock().pending.insert(name, String::new());
        Token { name, readiness: self.clone() }
    }

    /// Unready from now on.
    pub fn stop(&self) {
        self.lock().stopping = true;
    }

    /// What stands in the way of being ready; empty when nothing does.
    pub fn waiting_for(&self) -> Vec<String> {
        let state = self.lock();
        let pending = state.pending.iter().map(|(name, why)| match why.as_str() {
            "" => (*name).to_owned(),
            why => format!("{name} ({why})"),
        });
        let stopping = state.stopping.then(|| "the agent is stopping".to_owned());
        stopping.into_iter().chain(pending).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// Says why it takes so long.
    pub fn explain(&self, why: &str) {
        if let Some(known) = self.readiness.lock().pending.get_mut(self.name) {
            why.clone_into(known);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let ready = {
            let mut state = self.readiness.lock();
            state.pending.remove(self.name);
            if state.pending.is_empty() && !state.stopping { state.ready.take() } else { None }
        };
        if let Some(ready) = ready {
            ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_last_token_makes_ready_and_stopping_ends_it() {
        let told = Arc::new(AtomicUsize::new(0));
        let tell = told.clone();
        let readiness = Readiness::new(move || _ = tell.fetch_add(1, Ordering::Relaxed));
        let (socket, pods) = (readiness.token("socket"), readiness.token("pods"));
        drop(socket);
        pods.explain("the API server cannot be reached");
        assert_eq!(readiness.waiting_for(), ["pods (the API server cannot be reached)"]);
        assert_eq!(told.load(Ordering::Relaxed), 0);
        drop(pods);
        assert!(readiness.waiting_for().is_empty());
        drop(readiness.token("something later"));
        assert_eq!(told.load(Ordering::Relaxed), 1);
        readiness.stop();
        assert_eq!(readiness.waiting_for(), ["the agent is stopping"]);
    }
}
