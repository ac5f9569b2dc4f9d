//! Who is telling: the OTLP resource, and the scope that says which process told it.

use super::keys;
use super::story::attribute;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// The semantic conventions that the keys follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// The agent, as it knows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The version of this software.
    pub version: String,
    /// Unique among all agents: its pod's UID where known, else something random.
    pub instance: String,
    /// The node's name; empty when unknown.
    pub node: String,
    /// The cluster's name; empty when unknown.
    pub cluster: String,
}

/// Which process told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The agent.
    Agent,
    /// The plugin, over the socket or through the spool.
    Plugin,
    /// The validator of a pod, which speaks for itself.
    Validator,
}

impl Origin {
    /// The name of the instrumentation scope.
    pub const fn scope_name(self) -> &'static str {
        match self {
            Origin::Agent => "istio-cni/agent",
            Origin::Plugin => "istio-cni/plugin",
            Origin::Validator => "istio-cni/validator",
        }
    }

    /// The scope on the agent's console, as the reference names it.
    pub const fn console_scope(self) -> &'static str {
        match self {
            Origin::Agent => "cni-agent",
            Origin::Plugin => "cni-plugin",
            Origin::Validator => "validation",
        }
    }

    /// The instrumentation scope.
    pub fn scope(self, version: &str) -> InstrumentationScope {
        InstrumentationScope {
            name: self.scope_name().to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        }
    }
}

/// The service name where the environment gives none.
pub const SERVICE_NAME: &str = "istio-cni";

/// The resource: what the agent knows, overridden by what the operator says (`OTEL_SERVICE_NAME`
/// before `OTEL_RESOURCE_ATTRIBUTES`).
pub fn resource(identity: &Identity, service_name: Option<&str>, given: &[(String, String)]) -> Resource {
    let own = [
        (keys::SERVICE_NAME, SERVICE_NAME),
        (keys::SERVICE_VERSION, &identity.version),
        (keys::SERVICE_INSTANCE, &identity.instance),
        (keys::NODE_NAME, &identity.node),
        (keys::CLUSTER_NAME, &identity.cluster),
    ];
    let known = own.into_iter().filter(|(_, value)| !value.is_empty());
    let mut attributes: Vec<KeyValue> = known.map(|(key, value)| attribute(key, value)).collect();
    for (key, value) in given {
        set(&mut attributes, key, value);
    }
    if let Some(name) = service_name.filter(|name| !name.is_empty()) {
        set(&mut attributes, keys::SERVICE_NAME.as_str(), name);
    }
    Resource { attributes, ..Resource::default() }
}

fn set(attributes: &mut Vec<KeyValue>, key: &str, value: &str) {
    attributes.retain(|kv| kv.key != key);
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    attributes.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::story::text_attribute;

    #[test]
    fn the_operator_has_the_last_word() {
        let identity = Identity { version: "1".into(), instance: "i".into(), node: "n".into(), cluster: String::new() };
        let given = [("service.name".into(), "theirs".into()), ("k8s.cluster.name".into(), "east".into())];
        let resource = resource(&identity, Some("named"), &given);
        let text = |key| text_attribute(&resource.attributes, key);
        assert_eq!(text(keys::SERVICE_NAME), Some("named"));
        assert_eq!(text(keys::CLUSTER_NAME), Some("east"));
        assert_eq!(text(keys::NODE_NAME), Some("n"));
        assert_eq!(resource.attributes.len(), 5);
    }
}
