//! Each type of error that an ADD can have, made to happen.

use super::support::scripted_api::Reply;
use super::support::*;
use istio_cni_otel::domain::failure::Failure;
use istio_cni_otel::domain::request::Conclusion;
use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::host::netns::{self, OwnNamespace};
use istio_cni_otel::host::netns_lock::acquire;
use istio_cni_otel::wire::agent::{Kind, encode_conclusion, frame};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A failed call.
pub struct Case {
    pub answer: Answer,
    /// The value that the message has to name.
    pub names: String,
    /// Whether there is a trace of it: only where a run directory is known to leave it in.
    pub traced: bool,
}

fn case(answer: Answer, names: &str) -> Option<Case> {
    Some(Case { answer, names: names.to_owned(), traced: true })
}

fn untraced(answer: Answer, names: &str) -> Option<Case> {
    Some(Case { answer, names: names.to_owned(), traced: false })
}

/// An ADD of a namespace with an address, with an API server that answers so.
fn asked(reply: Reply, names: &str) -> Option<Case> {
    case(Node::with_api(vec![reply]).call("ADD", &Wire::new(Addresses::V4).pod.path()), names)
}

/// The same of a pod with these annotations.
fn annotated(annotations: Value, netns: &str) -> Answer {
    Node::with_pod(&pod(annotations)).call("ADD", netns)
}

/// An ADD where the agent treats connections so, and the node keeps no credentials.
fn with_agent(mood: Mood, names: &str) -> Option<Case> {
    let node = Node::new().conf("kubeconfig", json!("none")).conf("agent_timeout_ms", json!(150));
    let _heard = agent(&node, mood);
    case(node.call("ADD", &Wire::new(Addresses::V4).pod.path()), names)
}

/// An ADD with an iptables whose restore is this script.
fn with_tool(script: &str, names: &str) -> Option<Case> {
    let tools = tempfile::tempdir().unwrap();
    for (verb, body) in [("save", "exit 0"), ("restore", script)] {
        for base in ["iptables", "ip6tables"] {
            for variant in ["", "-nft", "-legacy"] {
                let tool = tools.path().join(format!("{base}{variant}-{verb}"));
                fs::write(&tool, format!("#!/bin/sh\n{body}\n")).unwrap();
                fs::set_permissions(&tool, Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.path().display());
    let node = Node::with_pod(&pod(json!({}))).env("PATH", &path).conf("redirect_backend", json!("iptables"));
    case(node.conf("tool_timeout_ms", json!(300)).call("ADD", &Wire::new(Addresses::V4).pod.path()), names)
}

fn busy() -> Mood {
    let message = "the node agent works on as many requests as it may".to_owned();
    let failure =
        Failure { step: Step::AgentCall, error_type: ErrorType::AgentBusy, code: 999, message, retryable: true };
    let conclusion = Conclusion { pod_uid: None, links: Vec::new(), result: Err(failure) };
    Mood::Says(frame(Kind::Conclusion, &encode_conclusion(&conclusion).unwrap()).unwrap())
}

fn locked() -> Answer {
    let wire = Wire::new(Addresses::V4);
    let namespace = netns::open(Path::new(&wire.pod.path()), OwnNamespace::Refused).unwrap();
    let _held = acquire(namespace.as_fd(), Duration::from_secs(5)).unwrap();
    Node::with_pod(&pod(json!({}))).conf("lock_timeout_ms", json!(50)).call("ADD", &wire.pod.path())
}

fn without_tools() -> Answer {
    let node = Node::with_pod(&pod(json!({}))).conf("redirect_backend", json!("iptables"));
    let wire = Wire::new(Addresses::V4);
    crippled(hide_system_programs, || node.call("ADD", &wire.pod.path()))
}

/// A failed call of this type; nothing if no ADD can fail so.
pub fn made(error: ErrorType) -> Option<Case> {
    use ErrorType as E;
    let wire = || Wire::new(Addresses::V4);
    let status = |code: u16| Reply::Json(code, json!({"message": "so it is"}).to_string());
    match error {
        // What is wrong before the configuration is read leaves no trace: where to is not known.
        E::EnvironmentInvalid => untraced(Node::new().env("CNI_IFNAME", "a:b").call_as_is(), "a:b"),
        E::Io => untraced(call(&Node::new().environment, &vec![b' '; 5 << 20]), "4194304"),
        E::ConfigInvalid => case(Node::new().conf("redirect_backend", json!("ebpf")).call_as_is(), "ebpf"),
        E::VersionUnsupported => case(Node::new().conf("cniVersion", json!("7.0.0")).call_as_is(), "7.0.0"),
        E::ArgsInvalid => untraced(Node::new().env("CNI_ARGS", "A").call_as_is(), "\"A\""),
        E::NetnsMissing => case(Node::new().call("ADD", "/nonexistent"), "/nonexistent"),
        E::NetnsInvalid => case(Node::new().call("ADD", "/etc/hosts"), "/etc/hosts"),
        E::NetnsHost => case(Node::new().call("ADD", "/proc/self/ns/net"), "/proc/self/ns/net"),
        E::AgentUnreachable => {
            let node = Node::new().conf("kubeconfig", json!("none"));
            case(node.call("ADD", &wire().pod.path()), "agent.sock")
        }
        E::AgentTimeout => with_agent(Mood::Silent, "150 ms"),
        E::AgentProtocol => with_agent(Mood::HangsUp, "agent.sock"),
        E::AgentBusy => with_agent(busy(), "as many requests"),
        E::KubeconfigMissing => {
            let node = Node::new();
            fs::write(node.path("agent.log"), "").unwrap();
            case(node.call("ADD", &wire().pod.path()), "istio-cni-kubeconfig")
        }
        E::KubeconfigInvalid => {
            let node = Node::new();
            fs::write(node.path("istio-cni-kubeconfig"), "{").unwrap();
            case(node.call("ADD", &wire().pod.path()), "istio-cni-kubeconfig")
        }
        E::PodNotFound => asked(status(404), "shop/web-0"),
        E::PodReplaced => {
            let mut other = pod(json!({}));
            other["metadata"]["uid"] = json!("22222222-2222-4333-8444-555555555555");
            asked(Reply::Json(200, other.to_string()), "22222222-2222-4333-8444-555555555555")
        }
        E::ApiUnreachable => asked(Reply::HangUp, "http://127.0.0.1:"),
        E::ApiTimeout => asked(Reply::Silence, "1500 ms"),
        E::ApiUnauthorized => asked(status(401), "401"),
        E::ApiForbidden => asked(status(403), "403"),
        E::ApiError => asked(status(500), "500"),
        E::ApiInvalidResponse => asked(Reply::Json(200, "[]".to_owned()), "shop/web-0"),
        E::AnnotationInvalid => {
            let wrong = json!({"traffic.sidecar.istio.io/excludeInboundPorts": "8080,none"});
            case(annotated(wrong, &wire().pod.path()), "8080,none")
        }
        E::AddressMissing => case(annotated(json!({}), &Namespace::new().path()), "link-local"),
        E::KernelUnsupported => {
            let node = Node::with_pod(&pod(json!({}))).conf("redirect_backend", json!("nftables"));
            let wire = wire();
            case(crippled(forbid_netfilter_netlink, || node.call("ADD", &wire.pod.path())), "nf_tables")
        }
        E::PermissionDenied => with_tool("echo 'Permission denied (you must be root)' >&2; exit 4", "must be root"),
        E::RulesRejected => with_tool("printf 'one\\n\\tline 2 failed\\n' >&2; exit 1", "one; line 2 failed"),
        E::ToolFailed => with_tool("echo 'no memory' >&2; exit 4", "no memory"),
        E::ToolTimeout => with_tool("exec /bin/sleep 20", "0.3 s"),
        E::ToolMissing => case(without_tools(), "iptables-nft-restore"),
        E::LockTimeout => case(locked(), " ms: "),
        // The same comparison ends an ADD whose rules somebody changes in the very moment.
        E::RulesDrifted => case(Node::with_pod(&pod(json!({}))).call("CHECK", &wire().pod.path()), "istio"),
        // A defect cannot be made: `cmd/plugin/crash.rs` has the words, tests/plugin_crash.rs the proof.
        E::Internal => None,
        // Of installing and of the agent's start.
        E::TokenMissing | E::BinaryMissing | E::PrimaryMissing | E::ConflistInvalid | E::InstallDrifted => None,
        E::ReadOnly | E::NoSpace => None,
        // Of validations and repairs.
        E::RedirectMissing | E::RedirectWrong | E::ValidationFailed | E::PortTaken => None,
        E::ApiConflict | E::EvictionBlocked | E::RepairLimit => None,
        // Of pods' starts, as the API server tells them.
        E::SandboxFailed | E::VolumeFailed | E::ImagePullFailed | E::ContainerFailed => None,
        E::PodNotReady | E::PodFailed | E::PodEvicted | E::PodDeleted => None,
    }
}
