//! Requests of the agent to the API server: how each is made, bounded and counted, and those for
//! pods: one, a page of this node's, a watch of them.
//! The client is made when it is first needed, so that the agent starts without an API server.

use super::answer;
use super::error::ApiError;
use super::exec_credential;
use super::pod::Pod;
use super::resource::Resource;
pub use super::source::ApiSource;
use super::source::url;
use crate::telemetry::api_request::ApiRequest;
use futures::{Stream, StreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::client::Body;
use kube::core::Request;
use kube::core::params::GetParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Request as HttpRequest;

/// How many pods a page of a list holds; a page is in memory at once.
const PAGE: u32 = 100;
/// How long the server keeps a watch open, seconds.
pub const WATCH_SECONDS: u32 = 240;
/// How long an answer to a list, or the start of a watch, may take.
pub(super) const ANSWER: Duration = Duration::from_secs(15);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// A refused token makes the configuration be read again, but not more often than this.
const RELOAD_AFTER: Duration = Duration::from_secs(5);

/// The API server, as the agent asks it.
pub struct ApiClient {
    source: ApiSource,
    made: Mutex<Option<Made>>,
    counted: Box<dyn Fn(ApiRequest) + Send + Sync>,
}

/// A client, the server that it asks, and since when.
struct Made {
    client: kube::Client,
    server: Arc<str>,
    since: Instant,
}

/// A list, or a page of one.
#[derive(Debug, Deserialize)]
pub struct List<T> {
    #[serde(default)]
    pub metadata: PageMetadata,
    pub items: Option<Vec<T>>,
}

/// A page of the list of pods.
pub type Page = List<Pod>;

/// What a list says about itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PageMetadata {
    #[serde(default)]
    pub resource_version: String,
    #[serde(default, rename = "continue")]
    pub next: String,
}

impl ApiClient {
    /// Makes the client later, from `source`; `counted` sees every request.
    pub fn new(source: ApiSource, counted: impl Fn(ApiRequest) + Send + Sync + 'static) -> ApiClient {
        ApiClient { source, made: Mutex::default(), counted: Box::new(counted) }
    }

    /// One pod, as it is now, within `limit`.
    pub async fn pod(&self, namespace: &str, name: &str, limit: Duration) -> Result<Pod, ApiError> {
        check_names(Resource::Pods, namespace, name)?;
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
        self.ask(Resource::Pods, "get", request.get(name, &GetParams::default()), limit).await
    }

    /// A page of this node's pods; `next` is the mark that the page before ended with.
    pub async fn page(&self, node: &str, next: &str) -> Result<Page, ApiError> {
        let mut params = ListParams::default().fields(&on_node(node)).limit(PAGE);
        if !next.is_empty() {
            params = params.continue_token(next);
        }
        self.ask(Resource::Pods, "list", Request::new(PODS).list(&params), ANSWER).await
    }

    /// Changes of this node's pods since `version`; without one, all of them first, then changes.
    pub async fn watch(
        &self,
        node: &str,
        version: Option<&str>,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Pod>, ApiError>> + use<>, ApiError> {
        let mut params = WatchParams::default().fields(&on_node(node)).timeout(WATCH_SECONDS);
        params.bookmarks = true;
        if version.is_none() {
            params = params.initial_events();
        }
        let request = Request::new(PODS).watch(&params, version.unwrap_or_default());
        self.open(Resource::Pods, request).await
    }

    /// Makes a request whose answer is one object, within `limit`, and counts it.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        resource: Resource,
        verb: &'static str,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
        limit: Duration,
    ) -> Result<T, ApiError> {
        let request = request.map_err(ApiError::request)?;
        self.log_in().await?;
        let ask = async {
            let (client, server) = self.client().await?;
            let answer = async { answer::read::<T>(client.send(request.map(Body::from)).await?).await };
            Ok::<_, ApiError>(answer.await.map_err(|error| ApiError::of_request(resource, error, &server)))
        };
        match tokio::time::timeout(limit, ask).await {
            Ok(answer) => self.counting(resource, verb, answer?),
            Err(_) => self.counting(resource, verb, Err(ApiError::Timeout { limit })),
        }
    }

    /// Opens a watch, and counts it. The server must begin its answer soon.
    pub(super) async fn open<T: DeserializeOwned + Clone + 'static>(
        &self,
        resource: Resource,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>, ApiError>> + use<T>, ApiError> {
        let request = request.map_err(ApiError::request)?;
        self.log_in().await?;
        let open = async {
            let (client, server) = self.client().await?;
            let answer = client.request_events::<T>(request).await;
            let answer = answer.map_err(|error| ApiError::of_request(resource, error, &server));
            Ok::<_, ApiError>(answer.map(|stream| (stream, server)))
        };
        let (stream, server) = match tokio::time::timeout(ANSWER, open).await {
            Ok(answer) => self.counting(resource, "watch", answer?)?,
            Err(_) => self.counting(resource, "watch", Err(ApiError::Timeout { limit: ANSWER }))?,
        };
        Ok(stream.map(move |event| event.map_err(|error| ApiError::of_request(resource, error, &server))))
    }

    fn counting<T>(&self, resource: Resource, verb: &'static str, result: Result<T, ApiError>) -> Result<T, ApiError> {
        let code = match &result {
            Ok(_) if verb == "create" => Some(201),
            Ok(_) => Some(200),
            Err(error) => error.http_status(),
        };
        (self.counted)(ApiRequest { verb, resource: resource.name(), code });
        if let Err(ApiError::Unauthorized { .. }) = &result {
            self.forget();
        }
        result
    }

    /// Makes the client of a person's kubeconfig before any request's time begins: its program may have to ask that
    /// person, and has a limit of its own.
    pub(super) async fn log_in(&self) -> Result<(), ApiError> {
        if matches!(self.source, ApiSource::Merged { .. }) {
            self.client().await?;
        }
        Ok(())
    }

    pub(super) async fn client(&self) -> Result<(kube::Client, Arc<str>), ApiError> {
        if let Some(Made { client, server, .. }) = &*self.lock() {
            return Ok((client.clone(), server.clone()));
        }
        // Any provider that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = self.source.config().await?;
        if matches!(self.source, ApiSource::Merged { .. }) {
            exec_credential::resolve(&mut config.auth_info).await?;
        }
        config.connect_timeout = Some(CONNECT);
        // Retries are ours: they are bounded by the request's own limits.
        config.default_retry = false;
        let server: Arc<str> = url(&config).into();
        // It may run a program and wait for it, which stops no other task's clock on a thread for that.
        let made = tokio::task::spawn_blocking(|| kube::Client::try_from(config)).await;
        let made = made.unwrap_or_else(|error| Err(kube::Error::Service(error.into())));
        let client = made.map_err(|source| ApiError::Client { server: server.to_string(), source })?;
        *self.lock() = Some(Made { client: client.clone(), server: server.clone(), since: Instant::now() });
        Ok((client, server))
    }

    /// Drops the client, so that a rotated token is read from the kubeconfig.
    fn forget(&self) {
        let mut made = self.lock();
        if made.as_ref().is_some_and(|made| made.since.elapsed() > RELOAD_AFTER) {
            *made = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PODS: &str = "/api/v1/pods";

fn on_node(node: &str) -> String {
    format!("spec.nodeName={node}")
}

/// What cannot be the name of an object or a namespace never reaches a request's path.
pub(super) fn check_names(resource: Resource, namespace: &str, name: &str) -> Result<(), ApiError> {
    if is_name(namespace) && is_name(name) {
        return Ok(());
    }
    Err(ApiError::NoName { resource, namespace: namespace.to_owned(), name: name.to_owned() })
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !text.is_empty() && text.len() <= 253 && !text.starts_with('.') && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_reach_the_path_of_a_request() {
        assert!(is_name("web-0") && is_name("a.b"));
        for bad in ["", ".", "..", "../secrets", "a/b", "a?b", "A", "a%2fb", &"a".repeat(254)] {
            assert!(!is_name(bad), "{bad} was taken for a name");
        }
    }

    #[test]
    fn a_null_list_of_items_is_an_empty_page() {
        let page: Page = serde_json::from_str(r#"{"metadata":{"resourceVersion":"4"},"items":null}"#).unwrap();
        assert_eq!(page.metadata.resource_version, "4");
        assert!(page.items.is_none());
    }
}
