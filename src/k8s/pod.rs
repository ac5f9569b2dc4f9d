//! The Pod object as the API server (or a file) gives it, cut down to what the software reads.
//! Unknown fields are ignored and `null` stands for absent, as in the API's own conventions.

use super::pod_status::{Status, nanos};
use crate::domain::pod::{Container, PodFacts};
use crate::domain::pod_status::PodStatus;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// How much of an unexpected value a message repeats: two of the longest names.
const SHOWN: usize = 320;

/// A `v1` Pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod {
    /// `Pod`, when the object says so; list items have none.
    #[serde(default, deserialize_with = "or_default")]
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub spec: PodSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub status: Status,
}

/// `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    pub uid: String,
    #[serde(default, deserialize_with = "or_default")]
    pub resource_version: String,
    #[serde(default, deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// When it was asked to end; absent for a pod that was not.
    #[serde(default)]
    pub deletion_timestamp: Option<String>,
    /// The seconds until then that it was given.
    #[serde(default)]
    pub deletion_grace_period_seconds: Option<i64>,
    #[serde(default)]
    pub creation_timestamp: Option<String>,
}

/// `spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    #[serde(default, deserialize_with = "or_default")]
    pub host_network: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub restart_policy: String,
    #[serde(default, deserialize_with = "or_default")]
    pub init_containers: Vec<PodContainer>,
    #[serde(default, deserialize_with = "or_default")]
    pub containers: Vec<PodContainer>,
}

/// One entry of `spec.containers` or `spec.initContainers`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodContainer {
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub env: Vec<EnvVar>,
    #[serde(default, deserialize_with = "or_default")]
    pub security_context: SecurityContext,
    /// Of an init container: `Always` for one that keeps running.
    #[serde(default, deserialize_with = "or_default")]
    pub restart_policy: String,
}

/// One entry of a container's `env`. A `valueFrom` leaves `value` empty.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EnvVar {
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub value: String,
}

/// A container's `securityContext`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    #[serde(default)]
    pub run_as_user: Option<i64>,
    #[serde(default)]
    pub run_as_group: Option<i64>,
}

/// Reads `null` as the type's default.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl Pod {
    /// The facts of the pod that the API server was asked for, or why the answer is not that pod.
    /// What is not whole is refused: a pod without containers would pass for one without a proxy.
    pub fn asked_for(self, namespace: &str, name: &str) -> Result<PodFacts, String> {
        let shown = |text: &str| text.chars().take(SHOWN).collect::<String>();
        if self.kind != "Pod" {
            return Err(format!("its kind is {:?}", shown(&self.kind)));
        }
        if (self.metadata.namespace.as_str(), self.metadata.name.as_str()) != (namespace, name) {
            let found = format!("{}/{}", self.metadata.namespace, self.metadata.name);
            return Err(format!("it is the pod {:?}", shown(&found)));
        }
        if self.metadata.uid.is_empty() {
            return Err("it has no UID".to_owned());
        }
        if self.spec.containers.is_empty() {
            return Err("it has no containers".to_owned());
        }
        Ok(self.into_facts())
    }

    /// The facts on which decision, rules and trace rest; init containers come first.
    pub fn into_facts(self) -> PodFacts {
        let PodSpec { host_network, restart_policy, init_containers, containers } = self.spec;
        let (addresses, phase) = (self.status.addresses(), self.status.phase.clone());
        let (mut init, mut life) = self.status.lives();
        for status in &mut init {
            let always = |spec: &PodContainer| spec.name == status.name && spec.restart_policy == "Always";
            status.sidecar = init_containers.iter().any(always);
        }
        life.created_ns = nanos(self.metadata.creation_timestamp);
        let grace = self.metadata.deletion_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let grace_ns = grace.unwrap_or_default().saturating_mul(1_000_000_000);
        let deleting = self.metadata.deletion_timestamp.is_some();
        life.deleted_ns = nanos(self.metadata.deletion_timestamp).map(|gone| gone.saturating_sub(grace_ns));
        let status = PodStatus {
            resource_version: self.metadata.resource_version,
            deleting,
            host_network,
            restart_policy,
            addresses,
            phase,
            init,
            life,
        };
        PodFacts {
            namespace: self.metadata.namespace,
            name: self.metadata.name,
            uid: self.metadata.uid,
            labels: self.metadata.labels,
            annotations: self.metadata.annotations,
            containers: init_containers.into_iter().chain(containers).map(Container::from).collect(),
            status,
        }
    }
}

impl From<Pod> for PodFacts {
    fn from(pod: Pod) -> PodFacts {
        pod.into_facts()
    }
}

impl From<PodContainer> for Container {
    fn from(container: PodContainer) -> Container {
        Container {
            name: container.name,
            args: container.args,
            env: container.env.into_iter().map(|entry| (entry.name, entry.value)).collect(),
            run_as_user: container.security_context.run_as_user,
            run_as_group: container.security_context.run_as_group,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(pod: serde_json::Value) -> PodFacts {
        serde_json::from_value::<Pod>(pod).unwrap().into_facts()
    }

    #[test]
    fn a_pod_of_the_api_server_becomes_facts_with_init_containers_first() {
        let facts = facts(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"},
                         "annotations": {"sidecar.istio.io/status": "{}"}, "managedFields": [{"manager": "x"}]},
            "spec": {
                "nodeName": "node-a", "tolerations": [],
                "containers": [{"name": "web", "image": "web"}],
                "initContainers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {}}}],
                    "securityContext": {"runAsUser": 1337, "runAsGroup": 0, "privileged": false}}]
            },
            "status": {"phase": "Pending"}
        }));
        assert_eq!((facts.namespace.as_str(), facts.name.as_str(), facts.uid.as_str()), ("shop", "web-0", "u-1"));
        assert_eq!(facts.labels["app"], "web");
        assert_eq!(facts.annotations["sidecar.istio.io/status"], "{}");
        let [proxy, web] = &facts.containers[..] else { panic!("two containers, got {:?}", facts.containers) };
        assert_eq!((proxy.name.as_str(), web.name.as_str()), ("istio-proxy", "web"));
        assert_eq!(proxy.args, ["proxy", "sidecar"]);
        assert_eq!(proxy.env, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), String::new())]);
        assert_eq!((proxy.run_as_user, proxy.run_as_group), (Some(1337), Some(0)));
        assert_eq!((web.run_as_user, web.run_as_group), (None, None));
    }

    #[test]
    fn nulls_and_absent_fields_are_empty() {
        let nulls = facts(json!({
            "kind": null,
            "metadata": {"name": "a", "namespace": null, "uid": null, "labels": null, "annotations": null},
            "spec": {"initContainers": null, "containers": [
                {"name": "c", "args": null, "env": null, "securityContext": null},
                {"name": "d", "env": [{"name": "E", "value": null}], "securityContext": {"runAsUser": null}}]}
        }));
        assert_eq!(nulls.namespace, "");
        assert_eq!(nulls.containers.len(), 2);
        assert_eq!(nulls.containers[1].env, [("E".to_owned(), String::new())]);
        assert_eq!(facts(json!({})), PodFacts::default());
    }

    #[test]
    fn what_is_not_the_whole_pod_is_refused_with_the_reason() {
        let whole = json!({"kind": "Pod", "metadata": {"name": "web-0", "namespace": "shop", "uid": "u-1"},
            "spec": {"containers": [{"name": "web"}]}});
        let asked = |patch: serde_json::Value| {
            let mut pod = whole.clone();
            pod.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
            serde_json::from_value::<Pod>(pod).unwrap().asked_for("shop", "web-0").map(|facts| facts.uid)
        };
        assert_eq!(asked(json!({})), Ok("u-1".to_owned()));
        for (patch, reason) in [
            (json!({"kind": "PartialObjectMetadata"}), "its kind is \"PartialObjectMetadata\""),
            (json!({"kind": null}), "its kind is \"\""),
            (json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "u-1"}}), "it is the pod \"shop/web-1\""),
            (json!({"metadata": {"name": "web-0", "namespace": "shop"}}), "it has no UID"),
            (json!({"spec": {}}), "it has no containers"),
        ] {
            assert_eq!(asked(patch), Err(reason.to_owned()));
        }
    }

    #[test]
    fn a_wrong_type_is_an_error_and_no_guess() {
        for bad in [
            json!({"metadata": {"annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": 8080}}}),
            json!({"metadata": {"name": 1}}),
            json!({"spec": {"containers": {}}}),
            json!({"spec": {"containers": [{"securityContext": {"runAsUser": "1337"}}]}}),
        ] {
            assert!(serde_json::from_value::<Pod>(bad.clone()).is_err(), "{bad} was read as a pod");
        }
    }
}
