//! The sample pods, as the API server has them.

use super::isolate::Users;
use crate::domain::validation_run::CONTAINER;
use serde_json::{Value, json};

/// The user of the sample applications.
pub const APPLICATION_UID: u32 = 1000;
/// The user and group of the sidecar proxy: what an injected pod has unless it says otherwise.
pub const PROXY_UID: u32 = 1337;
/// The node that the pods are on.
pub const NODE: &str = "demo-node";
/// The namespace that they are in.
pub const NAMESPACE: &str = "shop";
/// The outbound port that the meshed pod's annotation leaves alone.
pub const EXCLUDED_PORT: u16 = 3306;
/// The annotation that is wrong in the broken pod, and its value.
pub const BROKEN_ANNOTATION: (&str, &str) = ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.96.0.0/99");

/// One sample pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `metadata.name`.
    pub name: &'static str,
    /// `metadata.uid`, random in each run.
    pub uid: String,
    /// The whole object.
    pub object: Value,
}

/// The pods of a run.
#[derive(Clone, Debug)]
pub struct Pods {
    /// Injected, everything captured but one outbound port; DNS too.
    pub meshed: Pod,
    /// Its twin, in which the only user is the proxy's; only where one namespace cannot have both.
    pub twin: Option<Pod>,
    /// Has no sidecar.
    pub plain: Pod,
    /// Injected, with an annotation that is wrong.
    pub broken: Pod,
    /// Injected, and started when the node had no plugin.
    pub late: Pod,
}

impl Pods {
    /// Makes the pods up.
    pub fn new(users: Users, ipv6: bool) -> anyhow::Result<Pods> {
        let excluded = ("traffic.sidecar.istio.io/excludeOutboundPorts", EXCLUDED_PORT.to_string());
        let meshed = |name| injected(name, ipv6, (excluded.0, excluded.1.as_str()));
        Ok(Pods {
            meshed: meshed("web-0")?,
            twin: if users == Users::One { Some(meshed("web-1")?) } else { None },
            plain: pod("nightly-report", json!({}), json!([application("report")]))?,
            broken: injected("cart-0", ipv6, BROKEN_ANNOTATION)?,
            late: meshed("api-0")?,
        })
    }

    /// Every pod.
    pub fn all(&self) -> impl Iterator<Item = &Pod> {
        [&self.meshed].into_iter().chain(&self.twin).chain([&self.plain, &self.broken, &self.late])
    }
}

fn injected(name: &'static str, ipv6: bool, annotation: (&str, &str)) -> anyhow::Result<Pod> {
    let status = r#"{"containers":["istio-proxy"],"initContainers":["istio-validation"],"revision":"default"}"#;
    let annotations = json!({ "sidecar.istio.io/status": status, annotation.0: annotation.1 });
    let mut pod = pod(name, annotations, json!([application("app"), proxy(ipv6)]))?;
    pod.object["spec"]["initContainers"] = json!([{ "name": CONTAINER, "image": "istio/proxyv2" }]);
    Ok(pod)
}

fn application(name: &str) -> Value {
    json!({ "name": name, "image": "example/app", "securityContext": { "runAsUser": APPLICATION_UID } })
}

fn proxy(ipv6: bool) -> Value {
    json!({
        "name": "istio-proxy",
        "image": "istio/proxyv2",
        "args": ["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local"],
        "env": [
            { "name": "ISTIO_META_DNS_CAPTURE", "value": "true" },
            { "name": "ISTIO_DUAL_STACK", "value": ipv6.to_string() },
        ],
        "securityContext": { "runAsUser": PROXY_UID, "runAsGroup": PROXY_UID },
    })
}

fn pod(name: &'static str, annotations: Value, containers: Value) -> anyhow::Result<Pod> {
    let uid = random_uid()?;
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid,
            "resourceVersion": "1",
            "creationTimestamp": creation_time(),
            "labels": { "app": name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit()) },
            "annotations": annotations,
        },
        "spec": { "nodeName": NODE, "containers": containers },
        "status": { "phase": "Pending" },
    });
    Ok(Pod { name, uid, object })
}

/// A version 4 UUID, as the API server makes them.
fn random_uid() -> anyhow::Result<String> {
    let [a, b, c, d, e, f, g, h, rest @ ..] = random::<16>()?;
    let (g, i) = ((g & 0x0f) | 0x40, rest);
    let first = (i[0] & 0x3f) | 0x80;
    let tail: String = i[2..].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{a:02x}{b:02x}{c:02x}{d:02x}-{e:02x}{f:02x}-{g:02x}{h:02x}-{first:02x}{:02x}-{tail}", i[1]))
}

/// The id of a sandbox, as container runtimes make them: 64 hex digits.
pub fn random_sandbox_id() -> anyhow::Result<String> {
    Ok(random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the kernel gives no random bytes: {error}"))?;
    Ok(bytes)
}

/// Now, in the form that the API has.
fn creation_time() -> String {
    k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_version_4_uuid() {
        let uid = random_uid().unwrap();
        let parts: Vec<usize> = uid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{uid}");
        assert_eq!(uid.as_bytes()[14], b'4', "{uid}");
        assert!(b"89ab".contains(&uid.as_bytes()[19]), "{uid}");
    }

    #[test]
    fn a_single_user_gets_a_twin_of_the_meshed_pod() {
        let names = |users| Pods::new(users, true).unwrap().all().map(|pod| pod.name).collect::<Vec<_>>();
        assert_eq!(names(Users::Any), ["web-0", "nightly-report", "cart-0", "api-0"]);
        assert_eq!(names(Users::One), ["web-0", "web-1", "nightly-report", "cart-0", "api-0"]);
    }
}
