//! How the operator's tools reach node agents: over the socket `page.sock` in the run directory where there
//! is one, so on the agent's node or in its pod; else through the API server, by a port-forward to the
//! agent's pod. So an agent's page need not listen to anybody but its own loopback, and who may ask it is
//! for the cluster's roles to say.

pub mod args;
mod http;

pub use args::ReachArgs;
pub use http::{Answer, encoded};

use crate::agent::local::SOCKET;
use crate::k8s::agents::{AgentPod, Which};
use crate::k8s::client::{ApiClient, ApiSource};
use crate::k8s::error::ApiError;
use crate::k8s::forward::ForwardError;
use http::HttpError;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long connecting may take, also through the API server.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take: an agent looks at a pod's rules, and at much more for a diagnosis.
const ANSWER: Duration = Duration::from_secs(20);
/// Where agents are looked for by whoever may not list the pods of all namespaces.
const USUAL_NAMESPACES: [&str; 2] = ["istio-system", "kube-system"];

/// An agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    #[error("the node agent's socket {} cannot be used: {}", path.display(), advice(source))]
    Socket { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error(
        "the agent {agent} has no page (PAGE_ADDRESS), which is what is asked through the API server: run this on its node, as root, or give --agent-port"
    )]
    NoPage { agent: String },
    #[error("the agent {agent} did not answer: {reason}")]
    NoAnswer { agent: String, reason: String },
    #[error("the agent {agent} did not answer within {} s", .limit.as_secs())]
    Timeout { agent: String, limit: Duration },
}

fn advice(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "run this as root".to_owned(),
        std::io::ErrorKind::ConnectionRefused => "nobody serves it, so no agent runs on this node".to_owned(),
        _ => error.to_string(),
    }
}

/// The ways to the agents of a cluster.
pub struct Reach {
    socket: PathBuf,
    source: Result<ApiSource, String>,
    client: Option<ApiClient>,
    selector: String,
    namespace: Option<String>,
    port: Option<u16>,
}

impl Reach {
    /// The ways that these arguments, and the variables that `lookup` finds, lead.
    pub fn new(args: &ReachArgs, lookup: &dyn Fn(&str) -> Option<String>) -> Reach {
        let source = args.source(lookup);
        Reach {
            socket: args.directory(lookup).join(SOCKET),
            client: source.as_ref().ok().map(|source| ApiClient::new(source.clone(), |_| {})),
            source,
            selector: args.agent_selector.clone(),
            namespace: args.agent_namespace.clone(),
            port: args.agent_port,
        }
    }

    /// Asks the agent of this node; nothing if there is no socket here.
    pub async fn at_socket(&self, path: &str) -> Option<Result<Answer, ReachError>> {
        let stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(source) => return Some(Err(ReachError::Socket { path: self.socket.clone(), source })),
        };
        let agent = format!("at {}", self.socket.display());
        Some(bounded(&agent, http::get(stream, path)).await)
    }

    /// The namespace that the kubeconfig's context names, if there is one.
    pub fn context_namespace(&self) -> Option<String> {
        self.source.as_ref().ok()?.namespace()
    }

    /// Where the agent's socket is looked for.
    pub fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    /// The namespace in which agents are looked for, if one is named.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The API server, or why none can be asked.
    pub fn api(&self) -> Result<&ApiClient, String> {
        match (&self.client, &self.source) {
            (Some(client), _) => Ok(client),
            (None, Err(problem)) => Err(problem.clone()),
            (None, Ok(_)) => Err("there is no way to an API server".to_owned()),
        }
    }

    /// The agents' pods of the cluster, or of one node.
    pub async fn agents(&self, api: &ApiClient, node: Option<&str>) -> Result<Vec<AgentPod>, ApiError> {
        let which = |namespace| Which { namespace, selector: &self.selector, node };
        let refused = match api.agents(&which(self.namespace.as_deref())).await {
            Err(error @ ApiError::Forbidden { .. }) if self.namespace.is_none() => error,
            found => return found,
        };
        for namespace in USUAL_NAMESPACES {
            match api.agents(&which(Some(namespace))).await {
                Ok(agents) if !agents.is_empty() => return Ok(agents),
                _ => {}
            }
        }
        Err(refused)
    }

    /// Asks one agent through the API server.
    pub async fn at_agent(&self, api: &ApiClient, agent: &AgentPod, path: &str) -> Result<Answer, ReachError> {
        let name = format!("{}/{} on node {}", agent.namespace, agent.name, agent.node);
        let Some(port) = self.port.or(agent.page) else { return Err(ReachError::NoPage { agent: name }) };
        let (stream, mut forward) = api.forward(&agent.namespace, &agent.name, port, CONNECT).await?;
        match bounded(&name, http::get(stream, path)).await {
            Err(ReachError::NoAnswer { agent, reason }) => {
                // The node's own words may be lost with the connection.
                let reason = match forward.failure().await {
                    Some(said) => format!("{} (port {port})", http::line(&said)),
                    None => format!("{reason}; perhaps nothing listens on port {port} in its pod"),
                };
                Err(ReachError::NoAnswer { agent, reason })
            }
            answer => answer,
        }
    }
}

async fn bounded(agent: &str, answer: impl Future<Output = Result<Answer, HttpError>>) -> Result<Answer, ReachError> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            Err(ReachError::NoAnswer { agent: agent.to_owned(), reason: crate::domain::failure::whole(&error) })
        }
        Err(_) => Err(ReachError::Timeout { agent: agent.to_owned(), limit: ANSWER }),
    }
}
