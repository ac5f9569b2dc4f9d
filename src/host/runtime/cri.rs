//! Asks a runtime for its status over its CRI socket: `runtime.v1.RuntimeService/Status`, verbose. The few messages are
//! written down here, with the numbers of Kubernetes' `api.proto`; what else is in them is passed over.

use super::RuntimeView;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// No answer is longer: it has the whole configuration of the runtime in it.
const LARGEST: usize = 8 << 20;

/// Why a runtime did not say. A runtime that answers with an error names itself: it is there, and refuses.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    #[error("{} is no path of a socket that can be asked", .socket.display())]
    Path { socket: PathBuf },
    #[error("there is no socket at {}", .socket.display())]
    Missing { socket: PathBuf },
    #[error("{} may not be used by this process", .socket.display())]
    Denied { socket: PathBuf },
    #[error("{} cannot be asked: {source}", .socket.display())]
    Local { socket: PathBuf, source: std::io::Error },
    #[error("nobody can be reached at {}: {problem}", .socket.display())]
    Unreachable { socket: PathBuf, problem: String },
    #[error("the runtime at {} did not answer within {} ms", .socket.display(), .limit.as_millis())]
    Timeout { socket: PathBuf, limit: Duration },
    #[error("the runtime at {} does not say its status: {problem}", .socket.display())]
    Refused { socket: PathBuf, problem: String },
}

#[derive(Clone, PartialEq, prost::Message)]
struct VersionRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct VersionResponse {
    #[prost(string, tag = "2")]
    runtime_name: String,
    #[prost(string, tag = "3")]
    runtime_version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {
    #[prost(bool, tag = "1")]
    verbose: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RuntimeStatus>,
    #[prost(map = "string, string", tag = "2")]
    info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Condition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bool, tag = "2")]
    status: bool,
    #[prost(string, tag = "3")]
    reason: String,
    #[prost(string, tag = "4")]
    message: String,
}

/// Asks, within the limit. Must be called within a tokio runtime.
pub(super) async fn ask(socket: &Path, limit: Duration) -> Result<RuntimeView, CriError> {
    let late = || CriError::Timeout { socket: socket.to_owned(), limit };
    tokio::time::timeout(limit, ask_now(socket)).await.unwrap_or_else(|_| Err(late()))
}

async fn ask_now(socket: &Path) -> Result<RuntimeView, CriError> {
    let owned = || socket.to_owned();
    let path = socket.to_str().ok_or_else(|| CriError::Path { socket: owned() })?;
    let endpoint = Endpoint::from_shared(format!("unix://{path}")).map_err(|_| CriError::Path { socket: owned() })?;
    let unreachable =
        |error: tonic::transport::Error| CriError::Unreachable { socket: owned(), problem: in_full(&error) };
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let refused = |status: tonic::Status| CriError::Refused { socket: owned(), problem: status.message().to_owned() };
    let version: VersionResponse =
        unary(&channel, "/runtime.v1.RuntimeService/Version", VersionRequest {}).await.map_err(refused)?;
    let status: StatusResponse =
        unary(&channel, "/runtime.v1.RuntimeService/Status", StatusRequest { verbose: true }).await.map_err(refused)?;
    let name = format!("{} {}", version.runtime_name, version.runtime_version).trim().to_owned();
    Ok(view(name, socket, &status))
}

async fn unary<Q, A>(channel: &Channel, path: &'static str, request: Q) -> Result<A, tonic::Status>
where
    Q: prost::Message + Default + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(LARGEST);
    client.ready().await.map_err(|error| tonic::Status::unavailable(in_full(&error)))?;
    let codec = ProstCodec::<Q, A>::default();
    let answer = client.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await?;
    Ok(answer.into_inner())
}

fn in_full(error: &dyn std::error::Error) -> String {
    crate::domain::failure::whole(error)
}

/// What the answer says of the network. `cniconfig`, `config` and `lastCNILoadStatus` are containerd's; CRI-O says
/// nothing but the condition.
fn view(name: String, socket: &Path, answer: &StatusResponse) -> RuntimeView {
    let info = |key: &str| -> Value {
        answer.info.get(key).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let (cni, config) = (info("cniconfig"), info("config"));
    let configured = &config["cni"];
    let first_text = |values: [&Value; 2]| values.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned();
    let conditions = || answer.status.iter().flat_map(|status| &status.conditions);
    let unmet = |kind: &str| conditions().find(|condition| condition.kind == kind && !condition.status).map(why);
    let loaded = answer.info.get("lastCNILoadStatus").map(String::as_str);
    RuntimeView {
        name,
        source: format!("its CRI socket {}", socket.display()),
        conf_dir: first_text([&cni["PluginConfDir"], &configured["confDir"]]),
        bin_dirs: [&cni["PluginDirs"], &configured["binDirs"], &configured["binDir"]]
            .into_iter()
            .map(texts)
            .find(|texts| !texts.is_empty())
            .unwrap_or_default(),
        broken: unmet("RuntimeReady"),
        not_ready: unmet("NetworkReady"),
        load_error: loaded.filter(|status| *status != "OK").map(str::to_owned),
        networks: cni["Networks"].as_array().map(|networks| networks.iter().filter_map(network).collect()),
    }
}

/// Its reason is one word, its message a sentence; runtimes leave out either.
fn why(Condition { reason, message, .. }: &Condition) -> String {
    let said = if message.is_empty() { reason } else { message };
    if said.is_empty() { "it does not say why".to_owned() } else { said.clone() }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A network's name and the types of its plugins; containerd's own for the loopback is none of the node's.
fn network(network: &Value) -> Option<(String, Vec<String>)> {
    let config = &network["Config"];
    let name = config["Name"].as_str().filter(|name| *name != "cni-loopback")?;
    let plugins = config["Plugins"].as_array().into_iter().flatten();
    let kind = |plugin: &Value| plugin["Network"]["type"].as_str().unwrap_or_default().to_owned();
    Some((name.to_owned(), plugins.map(kind).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ready: bool, info: &[(&str, &str)]) -> StatusResponse {
        let kind = "NetworkReady".to_owned();
        let condition = Condition { kind, status: ready, reason: String::new(), message: "no network".to_owned() };
        let info = info.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        StatusResponse { status: Some(RuntimeStatus { conditions: vec![condition] }), info }
    }

    #[test]
    fn containerds_answers_of_both_generations_are_understood() {
        let one = r#"{"PluginDirs":["/opt/cni/bin"],"PluginConfDir":"/etc/cni/net.d","Networks":[
            {"Config":{"Name":"cni-loopback","Plugins":[{"Network":{"type":"loopback"}}]}},
            {"Config":{"Name":"net","Plugins":[{"Network":{"type":"ptp"}},{"Network":{"type":"istio-cni"}}]}}]}"#;
        let seen = view("c".into(), Path::new("/s"), &answer(true, &[("cniconfig", one), ("lastCNILoadStatus", "OK")]));
        assert_eq!((seen.conf_dir.as_str(), seen.bin_dirs.join(",").as_str()), ("/etc/cni/net.d", "/opt/cni/bin"));
        assert_eq!((seen.not_ready, seen.load_error), (None, None));
        assert_eq!(seen.networks.unwrap(), [("net".to_owned(), vec!["ptp".to_owned(), "istio-cni".to_owned()])]);
        let config = r#"{"cni":{"binDirs":["/a","/b"],"confDir":"/c"}}"#;
        let failed = [("config", config), ("lastCNILoadStatus", "cni config load failed: x"), ("cniconfig", "null")];
        let seen = view("c".into(), Path::new("/s"), &answer(false, &failed));
        assert_eq!((seen.conf_dir.as_str(), seen.bin_dirs.len()), ("/c", 2));
        assert_eq!(seen.not_ready.as_deref(), Some("no network"));
        assert_eq!(seen.load_error.as_deref(), Some("cni config load failed: x"));
        assert_eq!(seen.networks, None);
    }

    #[test]
    fn a_runtime_that_is_not_ready_says_why_as_far_as_it_does() {
        let unmet = |reason: &str, message: &str| {
            let kind = "RuntimeReady".to_owned();
            let condition = Condition { kind, status: false, reason: reason.into(), message: message.into() };
            let answer = StatusResponse {
                status: Some(RuntimeStatus { conditions: vec![condition] }),
                ..StatusResponse::default()
            };
            view("c".into(), Path::new("/s"), &answer).broken.unwrap()
        };
        assert_eq!(unmet("Shim", "the shim is gone"), "the shim is gone");
        assert_eq!((unmet("Shim", ""), unmet("", "")), ("Shim".into(), "it does not say why".into()));
    }

    #[test]
    fn an_answer_that_says_nothing_is_no_error() {
        let seen = view("cri-o 1.33".into(), Path::new("/s"), &answer(true, &[("config", "[1]"), ("cniconfig", "{")]));
        assert_eq!((seen.conf_dir.as_str(), seen.bin_dirs.len(), seen.networks), ("", 0, None));
    }
}
