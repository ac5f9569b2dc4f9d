//! Whether plugins find this agent: a socket whose name is gone, or was taken by an agent that is
//! dead by now, serves nobody. It cannot be given back its name, so the process ends, and whoever
//! watches over it starts one that makes a new socket.

use super::readiness::Condition;
use crate::host::uds_listener::{Listener, Name};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often it is looked, and how long a name may be gone: who replaces it does so in one step.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The name of the agent's socket.
pub struct SocketName {
    listener: Arc<Listener>,
    found: Condition,
}

/// Nobody finds the socket any more.
#[derive(Debug, thiserror::Error)]
#[error("{}", lost_words(.path))]
pub struct Lost {
    path: PathBuf,
}

fn lost_words(path: &std::path::Path) -> String {
    format!("the socket {} is gone; a restart makes a new one", path.display())
}

impl SocketName {
    /// The name of this socket; `found` is met while plugins find it.
    pub fn new(listener: Arc<Listener>, found: Condition) -> Arc<SocketName> {
        let name = SocketName { listener, found };
        name.look();
        Arc::new(name)
    }

    /// Looks, and makes readiness what was found. Gives what is wrong with it, if a restart would help.
    pub fn look(&self) -> Option<String> {
        if self.listener.name() != Name::Lost {
            self.found.met();
            return None;
        }
        let problem = lost_words(self.listener.path());
        self.found.unmet(&problem);
        Some(problem)
    }

    /// The path, if another agent has taken it over.
    pub fn successor(&self) -> Option<PathBuf> {
        (self.listener.name() == Name::Taken).then(|| self.listener.path().to_owned())
    }

    /// Looks from time to time, until the name is gone for good.
    pub async fn watch(self: Arc<Self>) -> Result<(), Lost> {
        let mut lost_before = false;
        loop {
            sleep(LOOK_EVERY).await;
            let lost = self.look().is_some();
            if lost && lost_before {
                return Err(Lost { path: self.listener.path().to_owned() });
            }
            lost_before = lost;
        }
    }
}
