//! A connection to a port inside a pod, through the API server (`pods/portforward`): so what listens on
//! a pod's loopback alone can be asked by whoever the cluster's roles allow it.

use super::client::{ApiClient, check_names};
use super::error::ApiError;
use super::resource::Resource;
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use kube::client::UpgradeConnectionError;
use std::time::Duration;
use tokio::io::DuplexStream;

/// No connection to a pod's port.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error(transparent)]
    Api(ApiError),
    #[error("the API server does not forward to pod {pod} ({reason}): check that its kubelet can be reached")]
    Refused { pod: String, reason: String },
}

impl Classify for ForwardError {
    fn error_type(&self) -> ErrorType {
        match self {
            ForwardError::Api(error) => error.error_type(),
            ForwardError::Refused { .. } => ErrorType::ApiError,
        }
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// A connection to a pod's port; it ends when this is dropped.
pub struct Forward {
    forwarder: Portforwarder,
    failed: BoxFuture<'static, Option<String>>,
}

impl ApiClient {
    /// Connects to a port of a pod's loopback within `limit`. Whether something listens there is known
    /// only when it answers.
    pub async fn forward(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        limit: Duration,
    ) -> Result<(DuplexStream, Forward), ForwardError> {
        check_names(Resource::PodForward, namespace, pod).map_err(ForwardError::Api)?;
        let name = format!("{namespace}/{pod}");
        self.log_in().await.map_err(ForwardError::Api)?;
        let connect = async {
            let (client, server) = self.client().await.map_err(ForwardError::Api)?;
            let pods = kube::Api::<Pod>::namespaced(client, namespace);
            pods.portforward(pod, &[port]).await.map_err(|error| refusal(error, &name, &server))
        };
        let timeout = |_| ForwardError::Api(ApiError::Timeout { limit });
        let mut forwarder = tokio::time::timeout(limit, connect).await.map_err(timeout)??;
        let failed = forwarder.take_error(port).map(FutureExt::boxed);
        match (forwarder.take_stream(port), failed) {
            (Some(stream), Some(failed)) => Ok((stream, Forward { forwarder, failed })),
            _ => Err(ForwardError::Refused { pod: name, reason: "it gave no connection".to_owned() }),
        }
    }
}

impl Forward {
    /// Why the connection broke, as the pod's node says; asked after it did, and not waited for long.
    pub async fn failure(&mut self) -> Option<String> {
        tokio::time::timeout(Duration::from_millis(200), &mut self.failed).await.ok().flatten()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

fn refusal(error: kube::Error, pod: &str, server: &str) -> ForwardError {
    let status = match &error {
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => status.as_u16(),
        kube::Error::UpgradeConnection(problem) => {
            return ForwardError::Refused { pod: pod.to_owned(), reason: problem.to_string() };
        }
        _ => return ForwardError::Api(ApiError::of_request(Resource::PodForward, error, server)),
    };
    match super::error::of_status(Resource::PodForward, status, format!("port-forward to pod {pod}")) {
        ApiError::Status { code, .. } => {
            ForwardError::Refused { pod: pod.to_owned(), reason: format!("status {code}") }
        }
        error => ForwardError::Api(error),
    }
}
