//! The watch of this node's pods as a task of the agent: what it has to tell becomes log events,
//! metrics and readiness.

use super::readiness::Condition;
use crate::domain::failure::Classify;
use crate::domain::prune::Kept;
use crate::domain::step::ErrorType;
use crate::k8s::cache::PodCache;
use crate::k8s::client::ApiClient;
use crate::k8s::watch::{News, Watch};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RESOURCE: &str = "pods";
/// How often a failure that lasts is told.
const REPEAT: Duration = Duration::from_secs(60);

/// Who hears of the watch.
pub struct Watched {
    telemetry: Telemetry,
    /// Met once all pods are known for the first time.
    known: Condition,
    /// Whether they were.
    synced: bool,
    /// What the watch failed with, and when that was told, until it is in sync again.
    lost: Option<(ErrorType, Instant)>,
}

/// Watches for ever.
pub async fn watch(
    client: Arc<ApiClient>,
    cache: Arc<PodCache>,
    node: String,
    kept: Kept,
    mut watched: Watched,
) -> Result<(), Infallible> {
    let watch = Watch { client, cache, node, kept };
    watch.run(move |news| watched.tell(&news)).await;
    Ok(())
}

impl Watched {
    /// Meets the condition once all pods are known for the first time.
    pub fn new(telemetry: Telemetry, known: Condition) -> Watched {
        Watched { telemetry, known, synced: false, lost: None }
    }

    fn tell(&mut self, news: &News<'_>) {
        match news {
            News::Heard => self.telemetry.metrics().watch_synced(RESOURCE),
            News::Synced { pods, .. } => self.synced(*pods),
            News::Resumed { pods } if self.lost.is_some() => self.synced(*pods),
            News::Resumed { .. } => self.telemetry.metrics().watch_synced(RESOURCE),
            News::Failed { error, .. } => self.failed(error.error_type(), error.whole()),
        }
    }

    /// Tells of a failure once, and again when it is another one or when it lasts.
    fn failed(&mut self, error_type: ErrorType, problem: String) {
        if !self.synced {
            self.known.unmet(&format!("{}: {problem}", error_type.as_str()));
        }
        let known = self.lost.is_some_and(|(known, told)| known == error_type && told.elapsed() < REPEAT);
        if !known {
            self.lost = Some((error_type, Instant::now()));
            let resource = RESOURCE.to_owned();
            self.telemetry.event(match self.synced {
                false => AgentEvent::WatchUnavailable { resource, problem },
                true => AgentEvent::WatchLost { resource, problem },
            });
        }
    }

    fn synced(&mut self, objects: usize) {
        self.lost = None;
        self.telemetry.metrics().watch_synced(RESOURCE);
        self.telemetry.event(AgentEvent::WatchSynced { resource: RESOURCE.to_owned(), objects });
        self.synced = true;
        self.known.met();
    }
}
