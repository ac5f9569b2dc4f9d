//! Where pods and agents are, for the operator's tools: the node of a pod, and the agents' pods, by
//! request.

use super::client::{ANSWER, ApiClient, List, check_names};
use super::error::ApiError;
use super::pod::or_default;
use super::resource::Resource;
use kube::api::ListParams;
use kube::core::Request;
use kube::core::params::GetParams;
use serde::Deserialize;

/// How many pods a page of a list holds.
const PAGE: u32 = 500;
/// The agent's port for the page, unless its pod says otherwise.
const PAGE_PORT: u16 = 15015;

/// Where a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub uid: String,
    /// Empty while it is not scheduled.
    pub node: String,
}

/// Which pods are agents.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    /// The namespace; all of them without one.
    pub namespace: Option<&'a str>,
    /// A label selector in the API's text form.
    pub selector: &'a str,
    /// Those of one node.
    pub node: Option<&'a str>,
}

/// An agent's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPod {
    pub namespace: String,
    pub name: String,
    pub node: String,
    /// Whether it runs and is not about to end.
    pub runs: bool,
    /// Whether its containers are all ready.
    pub ready: bool,
    /// The loopback port of its page; none where that is switched off.
    pub page: Option<u16>,
    /// The image of its first container.
    pub image: String,
    /// The DaemonSet that made it; empty where none did.
    pub daemonset: String,
}

#[derive(Default, Deserialize)]
struct Pod {
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default, deserialize_with = "or_default")]
    namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    uid: String,
    #[serde(default, deserialize_with = "or_default")]
    deletion_timestamp: String,
    #[serde(default, deserialize_with = "or_default")]
    owner_references: Vec<Owner>,
}

#[derive(Default, Deserialize)]
struct Owner {
    #[serde(default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default, deserialize_with = "or_default")]
    node_name: String,
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
struct Container {
    #[serde(default, deserialize_with = "or_default")]
    image: String,
    #[serde(default, deserialize_with = "or_default")]
    env: Vec<Variable>,
}

#[derive(Default, Deserialize)]
struct Variable {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default, deserialize_with = "or_default")]
    phase: String,
    #[serde(default, deserialize_with = "or_default")]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
struct ContainerStatus {
    #[serde(default, deserialize_with = "or_default")]
    ready: bool,
}

impl ApiClient {
    /// Where a pod is.
    pub async fn place(&self, namespace: &str, name: &str) -> Result<Place, ApiError> {
        check_names(Resource::Pods, namespace, name)?;
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
        let pod: Pod = self.ask(Resource::Pods, "get", request.get(name, &GetParams::default()), ANSWER).await?;
        if pod.metadata.name != name {
            let reason = format!("it is the pod {:?}", pod.metadata.name.chars().take(253).collect::<String>());
            return Err(ApiError::Invalid { resource: Resource::Pods, reason });
        }
        Ok(Place { uid: pod.metadata.uid, node: pod.spec.node_name })
    }

    /// The agents' pods, by node.
    pub async fn agents(&self, which: &Which<'_>) -> Result<Vec<AgentPod>, ApiError> {
        let path = match which.namespace {
            None => "/api/v1/pods".to_owned(),
            Some(namespace) => {
                check_names(Resource::Pods, namespace, "any")?;
                format!("/api/v1/namespaces/{namespace}/pods")
            }
        };
        let mut params = ListParams::default().labels(which.selector).limit(PAGE);
        if let Some(node) = which.node {
            params = params.fields(&format!("spec.nodeName={node}"));
        }
        let (request, mut agents) = (Request::new(path), Vec::new());
        loop {
            let page: List<Pod> = self.ask(Resource::Pods, "list", request.list(&params), ANSWER).await?;
            let of_node = |agent: &AgentPod| which.node.is_none_or(|node| agent.node == node);
            agents.extend(page.items.unwrap_or_default().into_iter().map(AgentPod::from).filter(of_node));
            if page.metadata.next.is_empty() {
                agents.sort_by(|one, other| (&one.node, &one.name).cmp(&(&other.node, &other.name)));
                return Ok(agents);
            }
            params = params.continue_token(&page.metadata.next);
        }
    }
}

impl From<Pod> for AgentPod {
    fn from(pod: Pod) -> AgentPod {
        let Pod { metadata, spec, status } = pod;
        let variables = spec.containers.iter().flat_map(|container| &container.env);
        let address = variables.clone().find(|variable| variable.name == "PAGE_ADDRESS");
        let owner = metadata.owner_references.into_iter().find(|owner| owner.kind == "DaemonSet");
        AgentPod {
            daemonset: owner.map(|owner| owner.name).unwrap_or_default(),
            namespace: metadata.namespace,
            name: metadata.name,
            node: spec.node_name,
            runs: status.phase == "Running" && metadata.deletion_timestamp.is_empty(),
            ready: !status.container_statuses.is_empty() && status.container_statuses.iter().all(|it| it.ready),
            page: address.map_or(Some(PAGE_PORT), |variable| port(&variable.value)),
            image: spec.containers.into_iter().next().map(|container| container.image).unwrap_or_default(),
        }
    }
}

/// Whom to ask of a node: one that is about to end, or has ended, knows nothing any more, and one that is ready knows most.
pub fn to_ask<'a>(agents: impl IntoIterator<Item = &'a AgentPod>) -> Option<&'a AgentPod> {
    agents.into_iter().filter(|agent| agent.runs).min_by_key(|agent| !agent.ready)
}

/// The port of an address; none where there is no page, or at a port that is not known.
fn port(address: &str) -> Option<u16> {
    address.trim().rsplit(':').next().and_then(|port| port.parse().ok()).filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agents_pod_says_where_its_page_is() {
        let agent = |env: serde_json::Value| {
            let owners = json!([{"kind": "DaemonSet", "name": "istio-cni-node"}]);
            let pod = json!({"metadata": {"namespace": "istio-system", "name": "istio-cni-node-x", "ownerReferences": owners},
                "spec": {"nodeName": "node-a", "containers": [{"image": "cni:1", "env": env}]},
                "status": {"phase": "Running", "containerStatuses": [{"ready": true}]}});
            AgentPod::from(serde_json::from_value::<Pod>(pod).unwrap())
        };
        let plain = agent(json!(null));
        assert_eq!(plain.daemonset, "istio-cni-node");
        assert_eq!((plain.node.as_str(), plain.page, plain.ready, plain.runs), ("node-a", Some(15015), true, true));
        for (address, page) in [("127.0.0.1:9", Some(9)), ("[::1]:9", Some(9)), ("off", None), ("127.0.0.1:0", None)] {
            assert_eq!(agent(json!([{"name": "PAGE_ADDRESS", "value": address}])).page, page, "{address}");
        }
    }
}
