//! One DaemonSet and one node, asked for by request and cut down to what a departure depends on.

use super::client::{ApiClient, check_names};
use super::error::ApiError;
use super::pod::or_default;
use super::resource::Resource;
use crate::domain::departure::{DaemonSetFacts, DaemonSetName, Doubt};
use crate::domain::failure::Classify;
use crate::domain::node_affinity::{Placement, Requirement, Term};
use crate::domain::taint::Toleration;
use kube::core::Request;
use kube::core::params::GetParams;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is read of any object's metadata.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub resource_version: String,
    #[serde(default, deserialize_with = "or_default")]
    pub deletion_timestamp: String,
    #[serde(default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
}

/// An object of which only the metadata counts.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Object {
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct DaemonSet {
    #[serde(default, deserialize_with = "or_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default, deserialize_with = "or_default")]
    template: Template,
}

#[derive(Default, Deserialize)]
struct Template {
    #[serde(default, deserialize_with = "or_default")]
    spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default, deserialize_with = "or_default")]
    node_selector: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    affinity: Affinity,
    #[serde(default, deserialize_with = "or_default")]
    tolerations: Vec<PodToleration>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodToleration {
    #[serde(deserialize_with = "or_default")]
    key: String,
    #[serde(deserialize_with = "or_default")]
    operator: String,
    #[serde(deserialize_with = "or_default")]
    value: String,
    #[serde(deserialize_with = "or_default")]
    effect: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Affinity {
    #[serde(default, deserialize_with = "or_default")]
    node_affinity: NodeAffinity,
}

#[derive(Default, Deserialize)]
struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<Selector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    #[serde(default, deserialize_with = "or_default")]
    node_selector_terms: Vec<SelectorTerm>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SelectorTerm {
    #[serde(deserialize_with = "or_default")]
    match_expressions: Vec<SelectorRequirement>,
    #[serde(deserialize_with = "or_default")]
    match_fields: Vec<SelectorRequirement>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SelectorRequirement {
    key: String,
    operator: String,
    #[serde(deserialize_with = "or_default")]
    values: Vec<String>,
}

impl ApiClient {
    /// The DaemonSet as it is now, within `limit`; none if the API server says that there is none
    /// of this name. An answer that is not about this DaemonSet is an error.
    pub async fn daemonset(&self, of: &DaemonSetName, limit: Duration) -> Result<Option<DaemonSetFacts>, ApiError> {
        let DaemonSetName { namespace, name, .. } = of;
        check_names(Resource::DaemonSets, namespace, name)?;
        let request = Request::new(collection(namespace)).get(name, &GetParams::default());
        match self.ask::<DaemonSet>(Resource::DaemonSets, "get", request, limit).await {
            Ok(found) => {
                is_named(Resource::DaemonSets, &found.metadata, name)?;
                Ok(Some(found.facts()))
            }
            Err(ApiError::NotFound { object, .. }) if object == *name => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The node's labels, within `limit`.
    pub async fn node_labels(&self, node: &str, limit: Duration) -> Result<BTreeMap<String, String>, ApiError> {
        check_names(Resource::Nodes, "default", node)?;
        let request = Request::new("/api/v1/nodes").get_metadata(node, &GetParams::default());
        let found = self.ask::<Object>(Resource::Nodes, "get", request, limit).await?;
        is_named(Resource::Nodes, &found.metadata, node)?;
        Ok(found.metadata.labels)
    }
}

/// The path of a namespace's DaemonSets.
pub(super) fn collection(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/daemonsets")
}

/// The error as a reason for knowing nothing.
pub(super) fn doubt(error: &ApiError) -> Doubt {
    Doubt { error_type: error.error_type(), problem: error.whole() }
}

/// What merely looks like an answer, from something in between, decides nothing.
fn is_named(resource: Resource, metadata: &Metadata, name: &str) -> Result<(), ApiError> {
    if metadata.name == name {
        return Ok(());
    }
    let reason = format!("an object named {:?} in place of {name:?}", metadata.name);
    Err(ApiError::Invalid { resource, reason })
}

impl DaemonSet {
    fn facts(self) -> DaemonSetFacts {
        let PodSpec { node_selector, affinity, tolerations } = self.spec.template.spec;
        let required = affinity.node_affinity.required.map(|required| {
            let terms = required.node_selector_terms.into_iter();
            terms.map(SelectorTerm::term).collect()
        });
        let placement = Placement { selector: node_selector, required };
        let tolerations = tolerations.into_iter().map(PodToleration::toleration).collect();
        DaemonSetFacts { deleting: !self.metadata.deletion_timestamp.is_empty(), placement, tolerations }
    }
}

impl PodToleration {
    fn toleration(self) -> Toleration {
        let PodToleration { key, operator, value, effect } = self;
        Toleration { key, operator, value, effect }
    }
}

impl SelectorTerm {
    fn term(self) -> Term {
        let all = |requirements: Vec<SelectorRequirement>| {
            let requirements = requirements.into_iter();
            requirements
                .map(|SelectorRequirement { key, operator, values }| Requirement { key, operator, values })
                .collect()
        };
        Term { expressions: all(self.match_expressions), fields: all(self.match_fields) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn facts(object: &Value) -> DaemonSetFacts {
        serde_json::from_value::<DaemonSet>(object.clone()).unwrap().facts()
    }

    #[test]
    fn selector_affinity_and_deletion_are_read() {
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n"]}]},
            {"matchExpressions": [{"key": "c", "operator": "Exists", "values": null}], "matchFields": null},
        ]}}});
        let read = facts(&json!({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"template": {"spec": {"nodeSelector": {"os": "linux"}, "affinity": affinity,
                "tolerations": [{"operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}]}}}}));
        let requirement = |key: &str, operator: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            vec![Requirement { key: key.into(), operator: operator.into(), values }]
        };
        assert!(read.deleting);
        let all = Toleration { operator: "Exists".into(), effect: "NoSchedule".into(), ..Toleration::default() };
        assert_eq!(read.tolerations, [all]);
        assert_eq!(read.placement.selector, [("os".to_owned(), "linux".to_owned())].into());
        assert_eq!(
            read.placement.required.unwrap(),
            [
                Term { expressions: requirement("a", "In", &["b"]), fields: Vec::new() },
                Term { expressions: Vec::new(), fields: requirement("metadata.name", "NotIn", &["n"]) },
                Term { expressions: requirement("c", "Exists", &[]), fields: Vec::new() },
            ]
        );
    }

    #[test]
    fn what_is_absent_or_null_asks_for_nothing() {
        for spec in [
            json!({}),
            json!({"affinity": null, "nodeSelector": null, "tolerations": null}),
            json!({"affinity": {"podAntiAffinity": {}, "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}}),
        ] {
            let read = facts(&json!({"metadata": {"name": "x"}, "spec": {"template": {"spec": spec}}}));
            assert_eq!(read, DaemonSetFacts::default());
        }
        let none = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}});
        let read = facts(&json!({"spec": {"template": {"spec": none}}}));
        assert_eq!(read.placement.required, Some(Vec::new()));
    }
}
