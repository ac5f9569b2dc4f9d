//! Readiness by tokens: whoever must be done first holds one, and the last one dropped makes the
//! agent ready. Stopping makes it unready for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the agent is ready, and what it waits for.
#[derive(Default)]
pub struct Readiness {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is waited for, with what is known about it.
    pending: BTreeMap<&'static str, String>,
    stopping: bool,
}

/// Holds readiness back until it is dropped.
pub struct Token {
    name: &'static str,
    readiness: Arc<Readiness>,
}

impl Readiness {
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
        self.readiness.lock().pending.remove(self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_makes_ready_and_stopping_ends_it() {
        let readiness = Arc::new(Readiness::default());
        let (socket, pods) = (readiness.token("socket"), readiness.token("pods"));
        drop(socket);
        pods.explain("the API server cannot be reached");
        assert_eq!(readiness.waiting_for(), ["pods (the API server cannot be reached)"]);
        drop(pods);
        assert!(readiness.waiting_for().is_empty());
        readiness.stop();
        assert_eq!(readiness.waiting_for(), ["the agent is stopping"]);
    }
}
