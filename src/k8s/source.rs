//! Where the API server is and how the agent is known to it: a kubeconfig, or the service account of
//! the pod that it is in.

use super::error::ApiError;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use std::path::{Path, PathBuf};

/// Where the API server is and how to be known to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiSource {
    /// A kubeconfig file with its current context.
    Kubeconfig(PathBuf),
    /// Kubeconfig files merged as kubectl does it, of which some may be missing, with this context
    /// instead of the current one.
    Merged { paths: Vec<PathBuf>, context: Option<String> },
    /// The service account of the pod that we are in.
    InCluster { host: String, port: u16, account: PathBuf, ca: PathBuf },
}

impl ApiSource {
    pub(super) async fn config(&self) -> Result<kube::Config, ApiError> {
        match self {
            ApiSource::Kubeconfig(path) => {
                let file = read(path)?.ok_or_else(|| ApiError::KubeconfigMissing { path: path.clone() })?;
                configured(file, path, KubeConfigOptions::default()).await
            }
            ApiSource::Merged { paths, context } => {
                let first = paths.first().cloned().unwrap_or_default();
                let merged = merged(paths)?.ok_or_else(|| ApiError::KubeconfigMissing { path: first.clone() })?;
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                configured(merged, &first, options).await
            }
            ApiSource::InCluster { host, port, account, ca } => in_cluster(host, *port, account, ca),
        }
    }

    /// Finds out whether it can be used, as far as that is known without a request; gives the
    /// server's URL.
    pub async fn check(&self) -> Result<String, ApiError> {
        Ok(url(&self.config().await?))
    }

    /// The namespace that the context of a merged kubeconfig names: what kubectl takes for that of a bare name.
    pub fn namespace(&self) -> Option<String> {
        let ApiSource::Merged { paths, context } = self else { return None };
        // What is wrong with it is said by whoever asks the API server.
        let file = merged(paths).ok().flatten()?;
        let name = context.clone().or(file.current_context)?;
        let context = file.contexts.into_iter().find(|context| context.name == name)?.context?;
        context.namespace.filter(|namespace| !namespace.is_empty())
    }

    /// The kubeconfig, if it is one.
    pub fn kubeconfig(&self) -> Option<&Path> {
        match self {
            ApiSource::Kubeconfig(path) => Some(path),
            ApiSource::Merged { paths, .. } => paths.first().map(PathBuf::as_path),
            ApiSource::InCluster { .. } => None,
        }
    }
}

/// A kubeconfig file, if it is there.
fn read(path: &Path) -> Result<Option<Kubeconfig>, ApiError> {
    if !path.exists() {
        return Ok(None);
    }
    Kubeconfig::read_from(path).map(Some).map_err(|error| bad(path, &error))
}

/// Kubeconfig files as one; nothing if none of them is there.
fn merged(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, ApiError> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        merged = match (merged, read(path)?) {
            (Some(before), Some(file)) => Some(before.merge(file).map_err(|error| bad(path, &error))?),
            (before, file) => before.or(file),
        };
    }
    Ok(merged)
}

async fn configured(file: Kubeconfig, path: &Path, options: KubeConfigOptions) -> Result<kube::Config, ApiError> {
    let config = kube::Config::from_custom_kubeconfig(file, &options).await;
    let mut config = config.map_err(|error| bad(path, &error))?;
    if config.cluster_url.scheme_str() == Some("http") {
        // Plain HTTP needs no roots, and looking for the system's fails where there are none.
        config.root_cert.get_or_insert_default();
    }
    Ok(config)
}

fn bad(path: &Path, error: &KubeconfigError) -> ApiError {
    ApiError::Kubeconfig { path: path.to_owned(), reason: without_secrets(error) }
}

/// What is wrong with a kubeconfig. The YAML parser's own words show lines of the file, and so
/// perhaps a token: they are left out.
fn without_secrets(error: &KubeconfigError) -> String {
    let KubeconfigError::Parse(error) = error else { return error.to_string() };
    let place = |at: serde_saphyr::Location| format!(" (line {}, column {})", at.line(), at.column());
    format!("it is not YAML of the expected shape{}", error.location().map(place).unwrap_or_default())
}

/// The server's URL, for messages.
pub(super) fn url(config: &kube::Config) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
