//! The task that puts Events on objects of the cluster, and what the log says when it cannot.

use crate::domain::notice::Rate;
use crate::k8s::client::ApiClient;
use crate::k8s::events::{Events, Limits, News, Sender};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Where the agent of `node` says something on an object, and the task that sends it.
pub fn events(client: Arc<ApiClient>, node: &str) -> (Events, Sender) {
    Events::new(client, node, Limits::default())
}

/// The same for what is said about pods: each pod is told, also when a whole node's pods break at
/// once, and none can flood the API server.
pub fn pod_events(client: Arc<ApiClient>, node: &str) -> (Events, Sender) {
    let rate = Rate { burst: 512, interval: Duration::from_millis(500) };
    Events::new(client, node, Limits { queue: 512, remembered: 512, rate, ..Limits::default() })
}

/// Sends for ever.
pub async fn send(sender: Sender, telemetry: Telemetry) -> Result<(), Infallible> {
    let tell = move |news: News<'_>| {
        telemetry.event(match news {
            News::Unsent { notice, error } => AgentEvent::ObjectEventUnsent {
                reason: notice.reason.to_owned(),
                object: notice.about.to_string(),
                problem: error.whole(),
            },
            News::Dropped(count) => AgentEvent::ObjectEventsDropped { count },
        });
    };
    sender.run(tell).await;
    // Nobody is left who could say something; the task lasts as long as the process.
    std::future::pending().await
}
