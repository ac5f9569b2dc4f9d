//! The end of the agent on its node: a restart, an upgrade or a drained node leaves everything in
//! place; an uninstall that is proven takes it away.

use super::setup::Installed;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long the runtime gets to see that the plugin is out of its configuration. Until then it may
/// still call the plugin, which has to be there: a DEL that finds none keeps its pod from ending.
const RUNTIME_LOOKS: Duration = Duration::from_secs(1);
/// How long a removal that fails is tried again, and how often.
const PATIENCE: Duration = Duration::from_secs(4);
const AGAIN: Duration = Duration::from_millis(500);

impl Installed {
    /// Finds out whether this is an uninstall, says so, and removes what was installed if it is.
    /// While that lasts the plugin's calls have to be served.
    pub fn leave(&self, runtime: &Runtime) {
        if runtime.block_on(self.departing.decide()).removes() {
            // A step that fails is told by its story. Nobody comes back to mend it, so it is tried again.
            let deadline = Instant::now() + PATIENCE;
            while !self.installation.remove(|| std::thread::sleep(RUNTIME_LOOKS)) && Instant::now() < deadline {
                std::thread::sleep(AGAIN);
            }
        }
    }
}
