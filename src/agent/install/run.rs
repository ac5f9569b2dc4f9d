//! The task that installs, and stays at it: it looks whenever a file changes, when somebody rings,
//! and from time to time, and puts right what it finds wrong.

use super::installation::Installation;
use super::watchful::Work;
use crate::agent::backend::Decision;
use crate::domain::failure::whole;
use crate::domain::install::Reason;
use crate::host::atomic_file;
use crate::host::dir_watch::DirWatch;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often to look although nobody told of a change: a file system need not tell, and a directory
/// may have come back.
const TICK: Duration = Duration::from_secs(5);
/// The pause after a pass that failed, which doubles.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
const LAST_URGENT_RETRY: Duration = Duration::from_secs(2);

/// The task.
pub struct Installer {
    installation: Arc<Installation>,
    telemetry: Telemetry,
    /// What the plugin is told depends on it.
    backend: Decision,
    /// It was said that the kernel tells of no changes.
    unwatched: bool,
}

impl Installer {
    /// The task of this installation.
    pub fn new(installation: Arc<Installation>, telemetry: Telemetry, backend: Decision) -> Installer {
        Installer { installation, telemetry, backend, unwatched: false }
    }

    /// Installs and stays at it for ever.
    pub async fn run(mut self) -> Result<(), Infallible> {
        let mut watch = self.watch();
        let mut failures = 0_u32;
        let mut before = None;
        let mut reason = Some(Reason::Start);
        loop {
            if let Some(reason) = reason {
                let done = self.pass(reason).await;
                failures = if done { 0 } else { failures.saturating_add(1) };
            }
            match &mut watch {
                Some(watch) => watch.renew(),
                None => watch = self.watch(),
            }
            let found = self.installation.look().await;
            // A pass that changes nothing about what is wrong has failed too.
            if found.is_some() && found == before && failures == 0 {
                failures = 1;
            }
            before.clone_from(&found);
            reason = match found {
                Some(work) if failures == 0 => Some(work.reason),
                found => self.next(&mut watch, found, failures).await,
            };
            tokio::time::sleep(self.installation.pause(reason)).await;
        }
    }

    /// Waits until there is something to do: something new, or after a while once more what failed.
    /// None after the usual time without anything.
    async fn next(&mut self, watch: &mut Option<DirWatch>, failed: Option<Work>, failures: u32) -> Option<Reason> {
        let limit = failed.as_ref().map_or(TICK, |failed| retry_after(failures, failed.is_urgent()));
        let deadline = Instant::now() + limit;
        loop {
            let timed_out = self.wait(watch, deadline).await;
            match self.installation.look().await {
                None => return None,
                now if now != failed => return now.map(|work| work.reason),
                // The same that failed before: whoever looks or writes beside it changes nothing.
                _ if timed_out => return Some(Reason::Retry),
                _ => {}
            }
        }
    }

    /// Goes through a pass on a thread that may block. True when everything is in place.
    async fn pass(&self, reason: Reason) -> bool {
        let installation = self.installation.clone();
        tokio::task::spawn_blocking(move || installation.pass(reason)).await.unwrap_or(false)
    }

    /// Waits for a change, for somebody who rings, or for the time to pass; true when it passed.
    async fn wait(&mut self, watch: &mut Option<DirWatch>, deadline: Instant) -> bool {
        let changed = async {
            match watch {
                Some(watch) => changed(watch).await,
                None => pending().await,
            }
        };
        let broken = tokio::select! {
            changed = changed => changed.is_err(),
            () = self.installation.bell.notified() => return false,
            // The sender is gone once the choice has been made.
            Ok(()) = self.backend.changed() => return false,
            () = tokio::time::sleep_until(deadline) => return true,
        };
        if broken {
            *watch = None;
        }
        false
    }

    /// Watches the directories, if the kernel lets it; that it does not is said once.
    fn watch(&mut self) -> Option<DirWatch> {
        match DirWatch::new(self.directories()) {
            Ok(watch) => {
                self.unwatched = false;
                Some(watch)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unwatched, true) {
                    self.telemetry.event(AgentEvent::InstallUnwatched { problem: whole(&error) });
                }
                None
            }
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        self.installation.node().directories()
    }
}

/// Waits for a change that is not merely one of our own temporary files: those come and go with
/// every attempt to write, also on a disk that is full.
async fn changed(watch: &mut DirWatch) -> io::Result<()> {
    loop {
        let paths = watch.changed().await?;
        if !paths.iter().all(|path| atomic_file::is_temporary(path)) {
            return Ok(());
        }
    }
}

/// The pause after so many failures; short while pods start without rules.
fn retry_after(failures: u32, urgent: bool) -> Duration {
    let longest = if urgent { LAST_URGENT_RETRY } else { LAST_RETRY };
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest)
}
