//! Requests of the agent to the API server: one pod, a page of this node's pods, a watch of them.
//! The client is made when it is first needed, so that the agent starts without an API server.

use super::error::ApiError;
use super::pod::Pod;
use crate::telemetry::api_request::ApiRequest;
use futures::{Stream, StreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Request;
use kube::core::params::GetParams;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many pods a page of a list holds; a page is in memory at once.
const PAGE: u32 = 100;
/// How long the server keeps a watch open, seconds.
pub const WATCH_SECONDS: u32 = 240;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// A refused token makes the configuration be read again, but not more often than this.
const RELOAD_AFTER: Duration = Duration::from_secs(5);

/// Where the API server is and how to be known to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiSource {
    /// A kubeconfig file with its current context.
    Kubeconfig(PathBuf),
    /// The service account of the pod that we are in.
    InCluster { host: String, port: u16, account: PathBuf, ca: PathBuf },
}

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

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct Page {
    #[serde(default)]
    pub metadata: PageMetadata,
    #[serde(default)]
    pub items: Option<Vec<Pod>>,
}

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
        if !is_name(namespace) || !is_name(name) {
            return Err(ApiError::NoName { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        let path = Request::new(format!("/api/v1/namespaces/{namespace}/pods"));
        let request = path.get(name, &GetParams::default()).map_err(ApiError::request)?;
        let ask = async {
            let (client, server) = self.client().await?;
            let answer = client.request::<Pod>(request).await;
            Ok::<_, ApiError>(answer.map_err(|error| ApiError::of_request(error, &server)))
        };
        match tokio::time::timeout(limit, ask).await {
            Ok(answer) => self.counting("get", answer?),
            Err(_) => self.counting("get", Err(ApiError::Timeout { limit })),
        }
    }

    /// A page of this node's pods; `next` is the mark that the page before ended with.
    pub async fn page(&self, node: &str, next: &str) -> Result<Page, ApiError> {
        let mut params = ListParams::default().fields(&on_node(node)).limit(PAGE);
        if !next.is_empty() {
            params = params.continue_token(next);
        }
        let request = Request::new(PODS).list(&params).map_err(ApiError::request)?;
        let (client, server) = self.client().await?;
        let answer = client.request::<Page>(request).await;
        self.counting("list", answer.map_err(|error| ApiError::of_request(error, &server)))
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
        let request = Request::new(PODS).watch(&params, version.unwrap_or_default()).map_err(ApiError::request)?;
        let (client, server) = self.client().await?;
        let answer = client.request_events::<Pod>(request).await;
        let stream = self.counting("watch", answer.map_err(|error| ApiError::of_request(error, &server)))?;
        Ok(stream.map(move |event| event.map_err(|error| ApiError::of_request(error, &server))))
    }

    fn counting<T>(&self, verb: &'static str, result: Result<T, ApiError>) -> Result<T, ApiError> {
        let code = match &result {
            Ok(_) => Some(200),
            Err(error) => error.http_status(),
        };
        (self.counted)(ApiRequest { verb, resource: "pods", code });
        if let Err(ApiError::Unauthorized { .. }) = &result {
            self.forget();
        }
        result
    }

    async fn client(&self) -> Result<(kube::Client, Arc<str>), ApiError> {
        if let Some(Made { client, server, .. }) = &*self.lock() {
            return Ok((client.clone(), server.clone()));
        }
        // Any provider that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = self.source.config().await?;
        config.connect_timeout = Some(CONNECT);
        // Retries are ours: they are bounded by the request's own limits.
        config.default_retry = false;
        let server: Arc<str> = url(&config).into();
        let client =
            kube::Client::try_from(config).map_err(|source| ApiError::Client { server: server.to_string(), source })?;
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

impl ApiSource {
    async fn config(&self) -> Result<kube::Config, ApiError> {
        match self {
            ApiSource::Kubeconfig(path) => {
                let bad = |error| ApiError::Kubeconfig { path: path.clone(), reason: without_secrets(&error) };
                if !path.exists() {
                    return Err(ApiError::KubeconfigMissing { path: path.clone() });
                }
                let file = Kubeconfig::read_from(path).map_err(bad)?;
                let options = KubeConfigOptions::default();
                let mut config = kube::Config::from_custom_kubeconfig(file, &options).await.map_err(bad)?;
                if config.cluster_url.scheme_str() == Some("http") {
                    // Plain HTTP needs no roots, and looking for the system's fails where there are none.
                    config.root_cert.get_or_insert_default();
                }
                Ok(config)
            }
            ApiSource::InCluster { host, port, account, ca } => in_cluster(host, *port, account, ca),
        }
    }

    /// Finds out whether it can be used, as far as that is known without a request; gives the
    /// server's URL.
    pub async fn check(&self) -> Result<String, ApiError> {
        Ok(url(&self.config().await?))
    }

    /// The kubeconfig, if it is one.
    pub fn kubeconfig(&self) -> Option<&Path> {
        match self {
            ApiSource::Kubeconfig(path) => Some(path),
            ApiSource::InCluster { .. } => None,
        }
    }
}

/// What is wrong with a kubeconfig. The YAML parser's own words show lines of the file, and so
/// perhaps a token: they are left out.
fn without_secrets(error: &KubeconfigError) -> String {
    let KubeconfigError::Parse(error) = error else { return error.to_string() };
    let place = |at: serde_saphyr::Location| format!(" (line {}, column {})", at.line(), at.column());
    format!("it is not YAML of the expected shape{}", error.location().map(place).unwrap_or_default())
}

/// The server's URL, for messages.
fn url(config: &kube::Config) -> String {
    config.cluster_url.to_string().trim_end_matches('/').to_owned()
}

fn in_cluster(host: &str, port: u16, account: &Path, ca: &Path) -> Result<kube::Config, ApiError> {
    let url = format!("https://{}", authority(host, port));
    let url = url.parse().map_err(|_| ApiError::Address { host: host.to_owned(), port })?;
    let token = account.join("token");
    for file in [&token, &ca.to_owned()] {
        std::fs::metadata(file).map_err(|source| ApiError::Account { path: file.clone(), source })?;
    }
    let mut config = kube::Config::new(url);
    // Both files are read again when the kubelet rotates them. The empty list keeps the client
    // from looking for the system's roots, which an image need not have.
    config.root_cert = Some(Vec::new());
    config.root_cert_file = Some(ca.to_owned());
    config.auth_info = AuthInfo { token_file: Some(token.to_string_lossy().into_owned()), ..AuthInfo::default() };
    Ok(config)
}

pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether a text can be the name of a pod or namespace. Others never reach the request's path.
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
    fn an_ipv6_server_stands_in_brackets() {
        assert_eq!(authority("fd00::1", 443), "[fd00::1]:443");
        assert_eq!(authority("10.0.0.1", 6443), "10.0.0.1:6443");
    }

    /// What the agent says about a kubeconfig with this text, sources included.
    async fn problem(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, text).unwrap();
        let error = ApiSource::Kubeconfig(path).config().await.unwrap_err();
        format!("{} {error:?}", error.whole())
    }

    #[tokio::test]
    async fn a_broken_file_is_located_but_never_quoted() {
        for text in [
            "users: [{name: a, user: {token: SECRET}",
            "- SECRET",
            "users: SECRET",
            "users:\n- name: a\n  user:\n   token: [SECRET]\n",
            "users:\n- name: a\n  user:\n    token: SECRET\n    username: [1]\n",
        ] {
            let message = problem(text).await;
            assert!(!message.contains("SECRET"), "{message}");
            assert!(message.contains("it is not YAML of the expected shape"), "{message}");
        }
        let located = problem("current-context: a\nusers: 1\n").await;
        assert!(located.contains("(line 2, column"), "{located}");
    }

    #[test]
    fn a_null_list_of_items_is_an_empty_page() {
        let page: Page = serde_json::from_str(r#"{"metadata":{"resourceVersion":"4"},"items":null}"#).unwrap();
        assert_eq!(page.metadata.resource_version, "4");
        assert!(page.items.is_none());
    }
}
