//! What the agent of this node remembers of a pod that is gone, beside the pod that has the name now, perhaps on another
//! node: whoever gives a name means that one.

use super::args::Wanted;
use super::find::{Found, NotFound, at_node_of, unasked};
use crate::cmd::reach::Reach;
use crate::k8s::agents::Place;
use crate::k8s::error::ApiError;
use crate::wire::explain::{Pod, decode};
use std::time::Duration;
use tokio::time::timeout;

/// How long it is looked for: there is an answer already.
const LIMIT: Duration = Duration::from_secs(20);

/// The pod that is explained, if it is gone.
pub fn gone(found: &Found) -> Option<Pod> {
    decode(&found.body).ok().map(|explanation| explanation.pod).filter(|pod| pod.presence == "gone")
}

/// The explanation of the pod that has the name now, or else what is known here, with a note that says so.
pub async fn or_remembered(reach: &Reach, wanted: &Wanted, pod: &Pod, here: Found, path: &str) -> Found {
    let Wanted::Named { namespace, name } = wanted else { return here };
    let found = timeout(LIMIT, successor(reach, (namespace, name), pod, path)).await;
    match found.unwrap_or_else(|_| Err(Some(format!("asking for it took longer than {} s", LIMIT.as_secs())))) {
        Ok(found) => found.with_other(&here),
        Err(None) => here,
        Err(Some(why)) => {
            let note = format!(
                "this is the pod {} that was on this node and is gone; what has its name now is not explained here: {why}",
                pod.uid
            );
            Found { notes: vec![note], ..here }
        }
    }
}

/// That pod's explanation; or why there is none, unless the pod that is gone is the last of its name.
async fn successor(
    reach: &Reach,
    (namespace, name): (&str, &str),
    gone: &Pod,
    path: &str,
) -> Result<Found, Option<String>> {
    let api = reach.api().map_err(|problem| Some(format!("the API server was not asked, because {problem}")))?;
    let place = match api.place(namespace, name).await {
        Ok(place) => place,
        Err(ApiError::NotFound { .. }) => return Err(None),
        Err(error) => return Err(Some(why(unasked(error, &format!("get of pods in the namespace {namespace}"))))),
    };
    let Place { uid, node } = &place;
    if *uid == gone.uid {
        return Err(None);
    }
    if node.is_empty() {
        return Err(Some(format!("the pod {uid} is not assigned to a node yet")));
    }
    let asked = at_node_of(reach, api, node, path).await;
    let found = asked.map_err(|error| Some(format!("the pod {uid} is on node {node}, and {}", why(error))))?;
    let explained = decode(&found.body).unwrap_or_default().pod.uid;
    if explained == *uid {
        return Ok(found);
    }
    Err(Some(format!("the pod {uid} is on node {node}, whose agent has not heard of it yet: ask again")))
}

fn why(error: NotFound) -> String {
    let (NotFound::Nowhere(why) | NotFound::Unasked(why)) = error;
    why
}
