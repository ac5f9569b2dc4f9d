//! What the kubelet reports of a pod and its validation container.

use super::container::Run;
use super::stage::Actor;
use crate::domain::validation_run::CONTAINER;
use serde_json::{Value, json};

/// The pod as the API server has it once its validation has run so often, the latest run last.
pub fn reported(actor: &Actor, runs: &[Run]) -> Value {
    let link = actor.sandbox.link;
    let addresses = [link.pod4.to_string()].into_iter().chain(link.v6.map(|(pod6, _)| pod6.to_string()));
    let addresses: Vec<Value> = addresses.map(|ip| json!({ "ip": ip })).collect();
    let ended = |run: Option<&Run>| run.map_or(json!({}), |run| json!({ "terminated": terminated(run) }));
    let state = if runs.is_empty() { json!({ "running": {} }) } else { ended(runs.last()) };
    let before = runs.len().checked_sub(2).and_then(|index| runs.get(index));
    let mut pod = actor.pod.object.clone();
    pod["status"] = json!({
        "phase": "Pending",
        "podIP": link.pod4,
        "podIPs": addresses,
        "initContainerStatuses": [{
            "name": CONTAINER,
            "restartCount": runs.len().saturating_sub(1),
            "state": state,
            "lastState": ended(before),
        }],
    });
    pod
}

/// How a run ended. A kubelet tells whole seconds; here they have fractions, because the whole story takes less than one.
fn terminated(run: &Run) -> Value {
    json!({
        "exitCode": run.exit_code,
        "reason": if run.exit_code == 0 { "Completed" } else { "Error" },
        "message": run.message,
        "startedAt": run.began.to_string(),
        "finishedAt": run.ended.to_string(),
        "containerID": format!("containerd://{}", run.id),
    })
}
