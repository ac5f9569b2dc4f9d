//! What can go wrong between the agent and the API server, in words for people.

use super::resource::Resource;
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

/// A request to the API server did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("there is no kubeconfig at {}; set KUBECONFIG to one, or run in a pod with a service account", path.display())]
    KubeconfigMissing { path: PathBuf },
    #[error("the kubeconfig {} cannot be used: {reason}; correct it, or set KUBECONFIG to another one", path.display())]
    Kubeconfig { path: PathBuf, reason: String },
    #[error("{} of the pod's service account cannot be read; mount the service account's token", path.display())]
    Account { path: PathBuf, source: std::io::Error },
    #[error(
        "{host:?} with port {port} is no address of an API server; KUBERNETES_SERVICE_HOST takes a host name or an IP address: correct it"
    )]
    Address { host: String, port: u16 },
    #[error("{namespace:?}/{name:?} cannot be a {}: names consist of lower-case letters, digits, '-' and '.'", .resource.one())]
    NoName { resource: Resource, namespace: String, name: String },
    #[error(
        "the API server does not accept the token (401): {message}; it may have expired, or the service account is gone; check the service account of the agent's pod, and that its token is mounted"
    )]
    Unauthorized { message: String },
    #[error(
        "the API server does not allow the request (403): {message}; the service account needs {}, so check its ClusterRole",
        .resource.needs()
    )]
    Forbidden { resource: Resource, message: String },
    #[error("the API server knows no such {} (404): {message}; it was deleted, or its object has not arrived yet, so look whether it is wanted still", .resource.one())]
    NotFound {
        resource: Resource,
        message: String,
        /// The object that the API says does not exist. It is empty when something else answered,
        /// or when the API has no such resource.
        object: String,
    },
    #[error("the pod has changed meanwhile, or is another one by now (409): {message}; it is looked at anew")]
    Conflict { message: String },
    #[error(
        "a PodDisruptionBudget does not allow the eviction now ({code}): {message}; it is tried again, make room in the budget if it never succeeds"
    )]
    EvictionBlocked {
        code: u16,
        message: String,
        /// How long the server asks us to wait.
        retry_after: Option<Duration>,
    },
    #[error("the API server answered with status {code}: {message}; check its health and its log")]
    Status {
        code: u16,
        message: String,
        /// How long the server asks us to wait.
        retry_after: Option<Duration>,
    },
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
        /// Whether there was no connection at all.
        refused: bool,
    },
    #[error(
        "no client for the API server at {server} can be made: check the certificates and keys of its configuration"
    )]
    Client { server: String, source: kube::Error },
    #[error(
        "the program {command:?}, which the kubeconfig names (exec), gave no credentials: {reason}; look whether kubectl get nodes works, or set KUBECONFIG to another one"
    )]
    Credentials { command: String, reason: String },
    #[error("the request could not be made: this is a defect, please report it")]
    Request { source: kube::core::request::Error },
}

impl ApiError {
    /// The HTTP status of the answer, when there was one.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            ApiError::Unauthorized { .. } => Some(401),
            ApiError::Forbidden { .. } => Some(403),
            ApiError::NotFound { .. } => Some(404),
            ApiError::Conflict { .. } => Some(409),
            ApiError::EvictionBlocked { code, .. } => Some(*code),
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
            error => {
                ApiError::Unreachable { server: server.to_owned(), reason: reason(&error), refused: is_refused(&error) }
            }
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
        match &answer {
            ApiError::Status { code: 409, message, .. } if resource.is_pods_change() => {
                ApiError::Conflict { message: message.clone() }
            }
            // 429, as a rule; 403 from a server whose budget's own numbers make no sense.
            ApiError::Status { message, .. } | ApiError::Forbidden { message, .. } if is_budget(status) => {
                let (code, message) = (status.code, message.clone());
                ApiError::EvictionBlocked { code, message, retry_after: asked_pause(status) }
            }
            _ => {
                if let ApiError::Status { retry_after, .. } = &mut answer {
                    *retry_after = asked_pause(status);
                }
                answer
            }
        }
    }
}

/// Whether it is a disruption budget that refuses, and not a server that has too much to do.
fn is_budget(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "DisruptionBudget")
}

fn asked_pause(status: &kube::core::Status) -> Option<Duration> {
    let seconds = status.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

/// Whether nobody took the connection, so that nothing was asked.
fn is_refused(error: &kube::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
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
        code => ApiError::Status { code, message, retry_after: None },
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
            | ApiError::Credentials { .. }
            | ApiError::Client { .. } => ErrorType::KubeconfigInvalid,
            ApiError::NoName { resource, .. } | ApiError::NotFound { resource, .. }
                if *resource == Resource::Pods || resource.is_pods_change() =>
            {
                ErrorType::PodNotFound
            }
            ApiError::Conflict { .. } => ErrorType::ApiConflict,
            ApiError::EvictionBlocked { .. } => ErrorType::EvictionBlocked,
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

    fn retry_after(&self) -> Option<Duration> {
        match self {
            ApiError::EvictionBlocked { retry_after, .. } | ApiError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A server that answers late, with an error of its own, or with what nobody understands, may have
    /// done it; so may one whose connection broke.
    fn nothing_done(&self) -> bool {
        match self {
            ApiError::Timeout { .. } | ApiError::Invalid { .. } => false,
            ApiError::Status { code, .. } => (400..500).contains(code),
            ApiError::Unreachable { refused, .. } => *refused,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn answer(resource: Resource, code: u16, details: &Value) -> ApiError {
        let status = json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "x", "code": code,
            "details": details});
        ApiError::of_answer(resource, &serde_json::from_value(status).unwrap())
    }

    #[test]
    fn a_budget_that_refuses_is_told_from_a_server_that_has_too_much_to_do() {
        let budget = json!({"causes": [{"reason": "DisruptionBudget"}], "retryAfterSeconds": 10});
        let blocked = answer(Resource::Evictions, 429, &budget);
        assert_eq!(blocked.error_type(), ErrorType::EvictionBlocked);
        assert_eq!((blocked.retry_after(), blocked.http_status()), (Some(Duration::from_secs(10)), Some(429)));
        let odd = answer(Resource::Evictions, 403, &json!({"causes": [{"reason": "DisruptionBudget"}]}));
        assert_eq!((odd.error_type(), odd.http_status()), (ErrorType::EvictionBlocked, Some(403)));
        let busy = answer(Resource::Evictions, 429, &json!({"retryAfterSeconds": 1}));
        assert_eq!((busy.error_type(), busy.retry_after()), (ErrorType::ApiError, Some(Duration::from_secs(1))));
    }

    #[test]
    fn a_pod_that_has_changed_is_a_conflict_and_an_event_of_that_name_is_none() {
        for resource in [Resource::PodDeletion, Resource::Evictions, Resource::PodStatus] {
            let conflict = answer(resource, 409, &json!({}));
            assert_eq!((conflict.error_type(), conflict.http_status()), (ErrorType::ApiConflict, Some(409)));
        }
        assert_eq!(answer(Resource::Events, 409, &json!({})).error_type(), ErrorType::ApiError);
    }

    #[test]
    fn a_refusal_did_nothing_and_an_error_of_the_servers_own_may_have() {
        for code in [400, 401, 403, 404, 409, 422, 429] {
            assert!(answer(Resource::PodDeletion, code, &json!({})).nothing_done(), "{code}");
        }
        for code in [500, 503, 504] {
            assert!(!answer(Resource::PodDeletion, code, &json!({})).nothing_done(), "{code}");
        }
        let refused = |refused| ApiError::Unreachable { server: String::new(), reason: String::new(), refused };
        assert!(refused(true).nothing_done() && !refused(false).nothing_done());
        assert!(!ApiError::Timeout { limit: Duration::ZERO }.nothing_done());
        let io = |kind| kube::Error::Service(Box::new(std::io::Error::from(kind)));
        assert!(is_refused(&io(ErrorKind::ConnectionRefused)) && !is_refused(&io(ErrorKind::ConnectionReset)));
    }

    #[test]
    fn who_may_not_is_told_the_rule_that_is_missing() {
        for (resource, rule) in [
            (Resource::PodDeletion, "delete of pods"),
            (Resource::Evictions, "create of pods/eviction"),
            (Resource::PodStatus, "patch of pods/status"),
        ] {
            let message = answer(resource, 403, &json!({})).to_string();
            assert!(message.contains(&format!("the service account needs {rule}")), "{message}");
        }
    }
}
