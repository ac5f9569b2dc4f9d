//! What can go wrong between the agent and the API server, in words for people.

use super::resource::Resource;
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use std::path::PathBuf;
use std::time::Duration;

/// A request to the API server did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("there is no kubeconfig at {}; set KUBECONFIG to one, or run in a pod with a service account", path.display())]
    KubeconfigMissing { path: PathBuf },
    #[error("the kubeconfig {} cannot be used: {reason}", path.display())]
    Kubeconfig { path: PathBuf, reason: String },
    #[error("{} of the pod's service account cannot be read; mount the service account's token", path.display())]
    Account { path: PathBuf, source: std::io::Error },
    #[error(
        "{host:?} with port {port} is no address of an API server; KUBERNETES_SERVICE_HOST takes a host name or an IP address"
    )]
    Address { host: String, port: u16 },
    #[error("{namespace:?}/{name:?} cannot be a {}: names consist of lower-case letters, digits, '-' and '.'", .resource.one())]
    NoName { resource: Resource, namespace: String, name: String },
    #[error(
        "the API server does not accept the token (401): {message}; it may have expired, or the service account is gone"
    )]
    Unauthorized { message: String },
    #[error(
        "the API server does not allow the request (403): {message}; the service account needs {}",
        .resource.needs()
    )]
    Forbidden { resource: Resource, message: String },
    #[error("the API server knows no such {} (404): {message}", .resource.one())]
    NotFound {
        resource: Resource,
        message: String,
        /// The object that the API says does not exist. It is empty when something else answered,
        /// or when the API has no such resource.
        object: String,
    },
    #[error("the API server answered with status {code}: {message}; check its health and its log")]
    Status { code: u16, message: String },
    #[error(
        "the API server answered something that is no {}: {reason}; check that it is one, and nothing in between answers",
        .resource.one()
    )]
    Invalid { resource: Resource, reason: String },
    #[error(
        "the API server did not answer within {limit:.1?}: check its load, and the network between this node and it"
    )]
    Timeout { limit: Duration },
    #[error(
        "the API server at {server} cannot be reached ({reason}): check that this is its address, and the network between this node and it"
    )]
    Unreachable {
        server: String,
        /// What the connection failed with, without the names of the libraries' layers.
        reason: String,
    },
    #[error(
        "no client for the API server at {server} can be made: check the certificates and keys of its configuration"
    )]
    Client { server: String, source: kube::Error },
    #[error("the request could not be made")]
    Request { source: kube::core::request::Error },
}

impl ApiError {
    /// The HTTP status of the answer, when there was one.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            ApiError::Unauthorized { .. } => Some(401),
            ApiError::Forbidden { .. } => Some(403),
            ApiError::NotFound { .. } => Some(404),
            ApiError::Status { code, .. } => Some(*code),
            ApiError::Invalid { .. } => Some(200),
            _ => None,
        }
    }

    /// The error and its sources in one line.
    pub fn whole(&self) -> String {
        crate::domain::failure::whole(self)
    }

    pub(super) fn request(source: kube::core::request::Error) -> ApiError {
        ApiError::Request { source }
    }
}

impl ApiError {
    /// What a request to `server` failed with.
    pub(super) fn of_request(resource: Resource, error: kube::Error, server: &str) -> ApiError {
        match error {
            kube::Error::Api(status) => ApiError::of_answer(resource, &status),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                ApiError::Invalid { resource, reason: error.to_string() }
            }
            error => ApiError::Unreachable { server: server.to_owned(), reason: reason(&error) },
        }
    }

    /// An error that the API server itself reports.
    pub(super) fn of_answer(resource: Resource, status: &kube::core::Status) -> ApiError {
        let mut answer = of_status(resource, status.code, short(&status.message));
        if let (ApiError::NotFound { object, .. }, Some(details), "NotFound") =
            (&mut answer, &status.details, status.reason.as_str())
        {
            details.name.clone_into(object);
        }
        answer
    }
}

/// The causes of an error in one line. The outer layers only say where in the client it came from.
fn reason(error: &kube::Error) -> String {
    let layers = ["ServiceError: ", "HyperError: ", "client error ("];
    let mut reasons: Vec<String> = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        let told = reasons.iter().any(|reason| reason.contains(&text));
        if !told && !layers.iter().any(|layer| text.starts_with(layer)) {
            reasons.push(text);
        }
        cause = error.source();
    }
    if reasons.is_empty() { error.to_string() } else { reasons.join(": ") }
}

/// The error that an HTTP status means.
pub(super) fn of_status(resource: Resource, code: u16, message: String) -> ApiError {
    match code {
        401 => ApiError::Unauthorized { message },
        403 => ApiError::Forbidden { resource, message },
        404 => ApiError::NotFound { resource, message, object: String::new() },
        code => ApiError::Status { code, message },
    }
}

/// A server may answer with a whole page of HTML: the first line says enough.
fn short(message: &str) -> String {
    const SHOWN: usize = 300;
    let line = message.lines().next().unwrap_or_default();
    if line.is_empty() { "no reason given".to_owned() } else { line.chars().take(SHOWN).collect() }
}

impl Classify for ApiError {
    fn error_type(&self) -> ErrorType {
        match self {
            ApiError::KubeconfigMissing { .. } => ErrorType::KubeconfigMissing,
            ApiError::Kubeconfig { .. }
            | ApiError::Account { .. }
            | ApiError::Address { .. }
            | ApiError::Client { .. } => ErrorType::KubeconfigInvalid,
            ApiError::NoName { resource: Resource::Pods, .. } | ApiError::NotFound { resource: Resource::Pods, .. } => {
                ErrorType::PodNotFound
            }
            ApiError::Unauthorized { .. } => ErrorType::ApiUnauthorized,
            ApiError::Forbidden { .. } => ErrorType::ApiForbidden,
            ApiError::NoName { .. } | ApiError::NotFound { .. } | ApiError::Status { .. } => ErrorType::ApiError,
            ApiError::Invalid { .. } => ErrorType::ApiInvalidResponse,
            ApiError::Timeout { .. } => ErrorType::ApiTimeout,
            ApiError::Unreachable { .. } => ErrorType::ApiUnreachable,
            ApiError::Request { .. } => ErrorType::Internal,
        }
    }

    /// All of them may pass: a token is renewed, a role is bound, a pod appears a moment later.
    fn retryable(&self) -> bool {
        !matches!(self, ApiError::NoName { .. } | ApiError::Request { .. })
    }
}
