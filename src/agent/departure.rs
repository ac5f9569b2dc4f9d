//! The end of the agent, as a restart or as an uninstall: the watch of its DaemonSet as a task, the
//! decision, and what the log says of both.

use super::config::Settings;
use crate::domain::departure::{DaemonSetName, Departure, Kept, Watched};
use crate::k8s::client::ApiClient;
use crate::k8s::daemonset_watch::{DaemonSetWatch, News, Pauses};
use crate::k8s::parent::{Parent, Patience};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::convert::Infallible;
use std::sync::Arc;

/// The decision, when it is needed.
pub struct Departing {
    /// None where nothing tells which DaemonSet it would be.
    parent: Option<Parent>,
    node: String,
    telemetry: Telemetry,
}

/// The watch, as a task.
pub struct Watching {
    watch: Option<(DaemonSetWatch, DaemonSetName)>,
    telemetry: Telemetry,
}

impl Departing {
    /// The decision for the agent with these settings, and the task that it depends on.
    pub fn new(settings: &Settings, client: Arc<ApiClient>, telemetry: Telemetry) -> (Departing, Watching) {
        let Settings { pod_namespace, pod_name, node, .. } = settings;
        let (mut parent, mut watch) = (None, None);
        if let Some(name) = DaemonSetName::of_agent(pod_namespace, pod_name) {
            let (made, watched) = DaemonSetWatch::new(client.clone(), name.clone(), Pauses::default());
            watch = Some((made, name.clone()));
            parent = Some(Parent { client, name, node: node.clone(), watched, patience: Patience::default() });
        }
        let watching = Watching { watch, telemetry: telemetry.clone() };
        (Departing { parent, node: node.clone(), telemetry }, watching)
    }

    /// Decides what becomes of the plugin, within [`Patience::total`], and says so.
    pub async fn decide(&self) -> Departure {
        let departure = match &self.parent {
            Some(parent) => parent.departure().await,
            None => Departure::Keep(Kept::Unnamed),
        };
        let reason = departure.reason().to_owned();
        let cause = departure.sentence(self.parent.as_ref().map(|parent| &parent.name), &self.node);
        self.telemetry.event(match &departure {
            Departure::Keep(Kept::Stands) => AgentEvent::DepartureKept { reason, cause },
            Departure::Keep(_) => AgentEvent::DepartureUnproven { reason, cause },
            Departure::Remove(_) => AgentEvent::DepartureProven { reason, cause },
        });
        departure
    }
}

impl Watching {
    /// Watches for ever.
    pub async fn run(self) -> Result<(), Infallible> {
        let Watching { watch, telemetry } = self;
        let Some((watch, name)) = watch else { return std::future::pending().await };
        let tell = move |news: News<'_>| {
            let daemonset = name.to_string();
            telemetry.event(match news {
                News::Watching(state) => AgentEvent::DaemonSetWatched { daemonset, state: word(state).to_owned() },
                News::Forbidden(error) | News::Failed(error) => {
                    AgentEvent::DaemonSetUnwatched { daemonset, problem: error.whole() }
                }
            });
        };
        watch.run(tell).await;
        Ok(())
    }
}

fn word(state: &Watched) -> &'static str {
    match state {
        Watched::Unknown { .. } => "unknown",
        Watched::Present => "present",
        Watched::Deleting => "being deleted",
        Watched::Gone { .. } => "gone",
    }
}
