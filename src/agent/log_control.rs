//! How much is logged while the agent runs: as configured, as `RUN_DIR/log-level` says while it is
//! there, and everything between the signals SIGUSR1 and SIGUSR2.

use super::config::LogLevels;
use super::config::level_file;
use crate::host::dir_watch::DirWatch;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::event::Level;
use crate::telemetry::pipeline::Telemetry;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often to look although nobody told of a change.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Decides the levels, and sets the agent's own. The plugin's is for whoever writes the plugin's
/// configuration.
pub struct LogControl {
    run_dir: PathBuf,
    configured: LogLevels,
    telemetry: Telemetry,
    state: Mutex<State>,
}

struct State {
    /// What file and configuration come to.
    levels: LogLevels,
    /// What is wrong with the file, once it was said.
    problem: Option<String>,
}

impl LogControl {
    /// Begins with the configured levels, which `telemetry` has already, and looks at the file.
    pub fn new(run_dir: PathBuf, configured: LogLevels, telemetry: Telemetry) -> LogControl {
        let state = Mutex::new(State { levels: configured, problem: None });
        let control = LogControl { run_dir, configured, telemetry, state };
        control.look();
        control
    }

    /// Looks at the file, for when it may have changed: sets the agent's level and gives the levels
    /// that hold now. Nothing happens, and nothing is said, unless they are others than before.
    pub fn look(&self) -> LogLevels {
        let mut state = self.state();
        let path = || level_file::path(&self.run_dir).display().to_string();
        let (levels, source, problem) = match level_file::read(&self.run_dir) {
            Ok(Some(levels)) => (levels, path(), None),
            Ok(None) => (self.configured, "the configuration".to_owned(), None),
            Err(error) => (self.configured, "the configuration".to_owned(), Some(error.to_string())),
        };
        if let Some(problem) = problem.clone().filter(|_| problem != state.problem) {
            self.telemetry.event(AgentEvent::LevelFileIgnored { path: path(), problem });
        }
        state.problem = problem;
        if levels != state.levels {
            state.levels = levels;
            self.change(levels, source);
        }
        levels
    }

    /// Looks whenever something in the run directory changes, and from time to time.
    pub async fn watch(self: Arc<Self>) -> Result<(), Infallible> {
        // Without watches, which is said elsewhere, time alone has to do.
        let mut watch = DirWatch::new([self.run_dir.clone()]).ok();
        loop {
            // After the watch began or was renewed: what changed before, nobody tells.
            self.look();
            match &mut watch {
                Some(directory) => {
                    if let Ok(Err(_)) = timeout(LOOK_EVERY, directory.changed()).await {
                        watch = None;
                    }
                }
                None => sleep(LOOK_EVERY).await,
            }
            if let Some(directory) = &mut watch {
                directory.renew();
            }
        }
    }

    /// The levels that file and configuration come to, as of the last look.
    pub fn levels(&self) -> LogLevels {
        self.state().levels
    }

    /// The agent logs all there is, until somebody says otherwise.
    pub fn log_all(&self) {
        self.telemetry.set_level(Level::Debug);
    }

    /// The agent logs what file and configuration say.
    pub fn log_as_configured(&self) {
        let LogLevels { agent, .. } = self.look();
        self.telemetry.set_level(agent);
    }

    /// Says the new levels while it can be heard.
    fn change(&self, LogLevels { agent, plugin }: LogLevels, source: String) {
        let event =
            AgentEvent::LevelsChanged { agent: agent.name().to_owned(), plugin: plugin.name().to_owned(), source };
        let heard = self.telemetry.level() <= Level::Info;
        if heard {
            self.telemetry.event(event.clone());
        }
        if self.telemetry.level() != agent {
            self.telemetry.set_level(agent);
        }
        if !heard {
            self.telemetry.event(event);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
