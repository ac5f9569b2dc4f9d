//! The cluster's nodes, by request, for whoever looks at all of them.

use super::client::{ANSWER, ApiClient, List};
use super::error::ApiError;
use super::pod::or_default;
use super::resource::Resource;
use crate::domain::taint::Taint;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How many nodes a page of a list holds.
const PAGE: u32 = 500;

/// A node that agents may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    pub name: String,
    /// Whether its kubelet says that it is ready.
    pub ready: bool,
    /// Whether agents are made for it: it runs Linux, and has a kubelet of its own.
    pub can_run: bool,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Its processor's architecture, such as `amd64`; empty where it does not say.
    pub architecture: String,
}

#[derive(Default, Deserialize)]
struct Node {
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default, deserialize_with = "or_default")]
    taints: Vec<NodeTaint>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeTaint {
    #[serde(deserialize_with = "or_default")]
    key: String,
    #[serde(deserialize_with = "or_default")]
    value: String,
    #[serde(deserialize_with = "or_default")]
    effect: String,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default, deserialize_with = "or_default")]
    conditions: Vec<Condition>,
    #[serde(default, deserialize_with = "or_default")]
    node_info: NodeInfo,
}

#[derive(Default, Deserialize)]
struct NodeInfo {
    #[serde(default, deserialize_with = "or_default")]
    architecture: String,
}

#[derive(Default, Deserialize)]
struct Condition {
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
}

impl ApiClient {
    /// The nodes of the cluster, in the order of their names.
    pub async fn nodes(&self) -> Result<Vec<NodeFacts>, ApiError> {
        let (request, mut nodes) = (Request::new("/api/v1/nodes".to_owned()), Vec::new());
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page: List<Node> = self.ask(Resource::Nodes, "list", request.list(&params), ANSWER).await?;
            nodes.extend(page.items.unwrap_or_default().into_iter().map(NodeFacts::from));
            if page.metadata.next.is_empty() {
                nodes.sort_by(|one: &NodeFacts, other| one.name.cmp(&other.name));
                return Ok(nodes);
            }
            params = params.continue_token(&page.metadata.next);
        }
    }
}

impl From<Node> for NodeFacts {
    fn from(node: Node) -> NodeFacts {
        let label = |key: &str| node.metadata.labels.get(key).map_or("", String::as_str);
        let linux = matches!(label("kubernetes.io/os"), "linux" | "");
        NodeFacts {
            can_run: linux && label("type") != "virtual-kubelet",
            ready: node
                .status
                .conditions
                .iter()
                .any(|condition| condition.kind == "Ready" && condition.status == "True"),
            architecture: match label("kubernetes.io/arch") {
                "" => node.status.node_info.architecture,
                label => label.to_owned(),
            },
            taints: node.spec.taints.into_iter().map(NodeTaint::taint).collect(),
            name: node.metadata.name,
            labels: node.metadata.labels,
        }
    }
}

impl NodeTaint {
    fn taint(self) -> Taint {
        let NodeTaint { key, value, effect } = self;
        Taint { key, value, effect }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn agents_are_made_for_linux_nodes_with_a_kubelet() {
        let node = |labels: serde_json::Value| {
            let ready = json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure"}]});
            let node = json!({"metadata": {"name": "a", "labels": labels}, "status": ready});
            NodeFacts::from(serde_json::from_value::<Node>(node).unwrap())
        };
        assert!(node(json!({"kubernetes.io/os": "linux"})).can_run && node(json!(null)).ready);
        assert!(!node(json!({"kubernetes.io/os": "windows"})).can_run);
        assert!(!node(json!({"type": "virtual-kubelet"})).can_run);
    }
    #[test]
    fn what_agents_are_selected_by_is_read() {
        let taints = json!([{"key": "gpu", "value": "yes", "effect": "NoSchedule"}, {"key": "x", "value": null}]);
        let object = |labels: serde_json::Value, taints: &serde_json::Value| {
            json!({"metadata": {"name": "a", "labels": labels}, "spec": {"taints": taints},
                "status": {"nodeInfo": {"architecture": "amd64"}}})
        };
        let read = |object| NodeFacts::from(serde_json::from_value::<Node>(object).unwrap());
        let facts = read(object(json!({"pool": "db"}), &taints));
        assert_eq!((facts.labels["pool"].as_str(), facts.architecture.as_str()), ("db", "amd64"));
        assert_eq!(facts.taints[0], Taint { key: "gpu".into(), value: "yes".into(), effect: "NoSchedule".into() });
        assert_eq!(read(object(json!({"kubernetes.io/arch": "arm64"}), &json!(null))).architecture, "arm64");
    }
}
