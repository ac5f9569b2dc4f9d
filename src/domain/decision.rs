//! Enroll or skip: the decision about a pod, from its facts alone, in the reference's order.

use super::annotation::{environment_warnings, redirect_settings};
use super::gotext::parse_bool;
use super::pod::PodFacts;
use super::proxy::{PROXY_CONTAINER, Proxy, Variable};
use super::settings::{RedirectSettings, SkipReason};
use std::collections::BTreeSet;

pub use super::annotation::{AnnotationError, EnvironmentWarning};

/// The init container that redirects a pod's traffic when no CNI plugin does.
const INIT_CONTAINER: &str = "istio-init";

/// Label, and for older pods annotation, that says whether a sidecar is wanted.
const INJECT: &str = "sidecar.istio.io/inject";

/// The annotation that the injector leaves on the pods to which it gave a sidecar.
const STATUS: &str = "sidecar.istio.io/status";

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Enroll(Box<RedirectSettings>),
    Skip(Skip),
}

/// A skipped pod, with the reference's log wording for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    pub reason: SkipReason,
    /// For example `excluded due to not containing sidecar annotation`.
    pub message: String,
}

/// Decides about a pod: skip it for the first reason that applies, or read its settings.
pub fn decide(pod: &PodFacts) -> Result<Decision, AnnotationError> {
    let proxy = Proxy::of(pod);
    match skip(pod, &proxy) {
        Some((reason, message)) => Ok(Decision::Skip(Skip { reason, message })),
        None => Ok(Decision::Enroll(Box::new(redirect_settings(pod, &proxy)?))),
    }
}

/// The settings of a pod that is to have rules, whatever would exclude it now.
pub fn redirect(pod: &PodFacts) -> Result<RedirectSettings, AnnotationError> {
    redirect_settings(pod, &Proxy::of(pod))
}

/// What the names of the agent's own pods begin with.
const AGENT_POD: &str = "istio-cni-node-";

/// Skips a pod by its name alone, before anything else is known of it: the agent's own, in its
/// namespace, for it must start without an agent; what is no pod of Kubernetes; and those of
/// excluded namespaces.
pub fn skip_by_name(namespace: &str, name: &str, agent_namespace: &str, excluded: &[String]) -> Option<Skip> {
    let (reason, message) = if name.starts_with(AGENT_POD) && namespace == agent_namespace {
        (SkipReason::OwnAgentPod, format!("{name} looks like our own agent pod, skipping"))
    } else if namespace.is_empty() || name.is_empty() {
        (SkipReason::NotKubernetes, "Not a kubernetes pod".to_owned())
    } else if excluded.iter().any(|excluded| excluded == namespace) {
        (SkipReason::NamespaceExcluded, format!("pod namespace {namespace} excluded"))
    } else {
        return None;
    };
    Some(Skip { reason, message })
}

/// What a person should know about an enrolled pod although it is no error: variables of the
/// proxy's environment that are no truth values.
pub fn warnings(pod: &PodFacts) -> Vec<EnvironmentWarning> {
    environment_warnings(&Proxy::of(pod))
}

fn skip(pod: &PodFacts, proxy: &Proxy<'_>) -> Option<(SkipReason, String)> {
    let names: BTreeSet<&str> = pod.containers.iter().map(|container| container.name.as_str()).collect();
    if names.contains(INIT_CONTAINER) {
        let message = "excluded due to being already injected with istio-init container";
        return Some((SkipReason::InitContainer, message.to_owned()));
    }
    if proxy.is_true(Variable::DisableEnvoy) {
        return Some((SkipReason::EnvoyDisabled, "excluded due to DISABLE_ENVOY on istio-proxy".to_owned()));
    }
    if !proxy.present {
        let have = names.into_iter().collect::<Vec<_>>().join(" ");
        let message = format!("excluded because it does not have {PROXY_CONTAINER} container (have [{have}])");
        return Some((SkipReason::NoProxy, message));
    }
    if let Some(kind) = proxy.kind.filter(|&kind| !kind.is_empty() && kind != "sidecar") {
        let message = format!("excluded {pod} pod because it has proxy type {kind}");
        return Some((SkipReason::NotSidecar, message));
    }
    if inject_value(pod).is_some_and(|value| parse_bool(value) == Ok(false)) {
        return Some((SkipReason::InjectDisabled, "excluded due to inject-disabled annotation".to_owned()));
    }
    if !pod.annotations.contains_key(STATUS) {
        return Some((SkipReason::NotInjected, "excluded due to not containing sidecar annotation".to_owned()));
    }
    None
}

/// The label where there is one, even an empty one; else the annotation.
fn inject_value(pod: &PodFacts) -> Option<&str> {
    pod.labels.get(INJECT).or_else(|| pod.annotations.get(INJECT)).map(String::as_str)
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
