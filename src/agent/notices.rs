//! The task that puts Events on objects of the cluster, and what the log says when it cannot.

use crate::k8s::client::ApiClient;
use crate::k8s::events::{Events, Limits, News, Sender};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::convert::Infallible;
use std::sync::Arc;

/// Where the agent of `node` says something on an object, and the task that sends it.
pub fn events(client: Arc<ApiClient>, node: &str) -> (Events, Sender) {
    Events::new(client, node, Limits::default())
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
