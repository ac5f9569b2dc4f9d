//! Cuts a pod's facts down to what decision, rules and trace read, so that a node's worth of pods
//! costs little memory.

use super::pod::PodFacts;
use super::proxy::PROXY_CONTAINER;

/// The annotations and labels with these prefixes are read; of others only [`ALSO`].
const PREFIXES: [&str; 3] = ["sidecar.istio.io", "traffic.sidecar.istio.io", "istio.io"];

/// Annotations that are read besides.
const ALSO: [&str; 2] = [PodFacts::CONFIG_HASH, "tracing.k8s.io/traceparent"];

/// Present or absent is all that is asked of this annotation, and its value is long.
const VALUE_UNREAD: &str = "sidecar.istio.io/status";

/// The variables of the proxy's environment that are read.
const VARIABLES: [&str; 4] = ["DISABLE_ENVOY", "INVALID_DROP", "ISTIO_DUAL_STACK", "ISTIO_META_DNS_CAPTURE"];

/// Arguments beyond these (`proxy TYPE`) are not read.
const ARGUMENTS: usize = 2;

/// Drops what nobody reads. Deciding about the pod gives the same before and after.
pub fn prune(pod: &mut PodFacts) {
    pod.labels.retain(|key, _| is_read(key));
    pod.annotations.retain(|key, _| is_read(key));
    if let Some(value) = pod.annotations.get_mut(VALUE_UNREAD) {
        *value = String::new();
    }
    for container in &mut pod.containers {
        if container.name == PROXY_CONTAINER {
            container.args.truncate(ARGUMENTS);
            container.env.retain(|(name, _)| VARIABLES.contains(&name.as_str()));
        } else {
            container.args.clear();
            container.env.clear();
        }
        container.args.shrink_to_fit();
        container.env.shrink_to_fit();
    }
    pod.containers.shrink_to_fit();
}

fn is_read(key: &str) -> bool {
    ALSO.contains(&key) || key.split_once('/').is_some_and(|(prefix, _)| PREFIXES.contains(&prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod::Container;

    #[test]
    fn what_nobody_reads_is_gone_and_identity_stays() {
        let mut pod = PodFacts {
            name: "web-0".into(),
            annotations: [("big", "x"), (VALUE_UNREAD, "{...}"), (ALSO[0], "hash"), (ALSO[1], "00-1")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            containers: vec![Container { name: "web".into(), args: vec!["serve".into()], ..Container::default() }],
            ..PodFacts::default()
        };
        prune(&mut pod);
        let left: Vec<_> = pod.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(left, [(ALSO[0], "hash"), (VALUE_UNREAD, ""), (ALSO[1], "00-1")]);
        assert!(pod.labels.is_empty() && pod.containers[0].args.is_empty());
        assert_eq!(pod.containers[0].name, "web");
    }

    #[test]
    fn every_variable_that_the_domain_reads_is_kept() {
        for text in [include_str!("decision.rs"), include_str!("annotation.rs")] {
            for rest in text.split("is_true(\"").skip(1) {
                let variable = rest.split('"').next().unwrap();
                assert!(VARIABLES.contains(&variable), "{variable} is read, but pruned away");
            }
        }
    }
}
