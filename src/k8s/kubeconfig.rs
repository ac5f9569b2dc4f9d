//! Reading a kubeconfig, as the plugin does the one that the agent writes for it: server, trust and
//! credentials of the current context. Nothing here ever shows a secret: not in errors, not in `Debug`.

use crate::domain::api_access::{ApiAccess, Authorization, ClientCertificate, Trust};
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file's name in the run directory.
pub const FILE_NAME: &str = "istio-cni-kubeconfig";

/// No kubeconfig is larger; a larger file is refused.
const MAX_BYTES: u64 = 1 << 20;

/// Why a kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("failed to createNewK8sClient: the kubeconfig {} does not exist, and the plugin needs it to work alone: start the node agent on this node, or put a kubeconfig there", .path.display())]
    Missing { path: PathBuf },
    #[error("failed to createNewK8sClient: {} cannot be read: check that it is a readable file and that the plugin runs as root", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("failed to createNewK8sClient: the kubeconfig {} is larger than {MAX_BYTES} bytes: put another kubeconfig there, or let the agent write it anew", .path.display())]
    TooLarge { path: PathBuf },
    #[error("failed to createNewK8sClient: the kubeconfig {} is not YAML of the expected shape{at}: correct it, or put another kubeconfig there", .path.display())]
    Malformed {
        path: PathBuf,
        /// ` (line L, column C)`, when it is known. The parser's own words may show a token.
        at: String,
    },
    #[error("failed to createNewK8sClient: the kubeconfig {} is of no use: {what}; correct it, or let the agent write it anew", .path.display())]
    Unusable { path: PathBuf, what: String },
    #[error("failed to createNewK8sClient: the {what} file {}, named in the kubeconfig {}, does not exist: put it there, or correct the kubeconfig", .file.display(), .path.display())]
    FileMissing { what: &'static str, file: PathBuf, path: PathBuf },
    #[error("failed to createNewK8sClient: the {what} file {}, named in the kubeconfig {}, cannot be read: check that it is a readable file and that the plugin runs as root", .file.display(), .path.display())]
    FileUnreadable { what: &'static str, file: PathBuf, path: PathBuf, source: io::Error },
}

impl Classify for KubeconfigError {
    fn error_type(&self) -> ErrorType {
        match self {
            KubeconfigError::Missing { .. } => ErrorType::KubeconfigMissing,
            _ => ErrorType::KubeconfigInvalid,
        }
    }
}

/// Reads the access of the current context.
pub fn load(path: &Path) -> Result<ApiAccess, KubeconfigError> {
    let text = read_bounded(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KubeconfigError::Missing { path: path.to_owned() },
        io::ErrorKind::FileTooLarge => KubeconfigError::TooLarge { path: path.to_owned() },
        _ => KubeconfigError::Unreadable { path: path.to_owned(), source },
    })?;
    let config: Config = serde_saphyr::from_slice(&text).map_err(|error| {
        let place = |at: serde_saphyr::Location| format!(" (line {}, column {})", at.line(), at.column());
        KubeconfigError::Malformed { path: path.to_owned(), at: error.location().map(place).unwrap_or_default() }
    })?;
    config.access(path.parent().unwrap_or(Path::new(""))).map_err(|error| match error {
        Problem::File { what, file, source } => {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::NotFound => KubeconfigError::FileMissing { what, file, path },
                _ => KubeconfigError::FileUnreadable { what, file, path, source },
            }
        }
        Problem::What(what) => KubeconfigError::Unusable { path: path.to_owned(), what },
    })
}

/// Reads a file of credentials, [`MAX_BYTES`] at most. It does not wait for a pipe's writer.
pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut text = Vec::with_capacity(4096);
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        let what = format!("it is larger than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(text)
}

/// Reads a file that the kubeconfig names, as `what`.
fn named(what: &'static str, file: PathBuf) -> Result<Vec<u8>, Problem> {
    read_bounded(&file).map_err(|source| Problem::File { what, file, source })
}

/// A file that the kubeconfig names, or what is wrong with the kubeconfig itself.
enum Problem {
    File { what: &'static str, file: PathBuf, source: io::Error },
    What(String),
}

impl From<String> for Problem {
    fn from(what: String) -> Problem {
        Problem::What(what)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
    #[serde(default)]
    contexts: Option<Vec<NamedContext>>,
    #[serde(default)]
    users: Option<Vec<NamedUser>>,
    #[serde(default)]
    current_context: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: Option<String>,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

impl Config {
    fn access(self, directory: &Path) -> Result<ApiAccess, Problem> {
        let wanted = self.current_context.filter(|name| !name.is_empty());
        let wanted = wanted.ok_or("it has no current-context".to_owned())?;
        let mut contexts = self.contexts.into_iter().flatten();
        let context = contexts.find(|context| context.name == wanted);
        let Context { cluster, user } = context.ok_or(format!("it has no context named {wanted:?}"))?.context;
        let mut clusters = self.clusters.into_iter().flatten();
        let found = clusters.find(|item| item.name == cluster);
        let cluster = found.ok_or(format!("it has no cluster named {cluster:?}"))?.cluster;
        let user = match user.filter(|name| !name.is_empty()) {
            None => User::default(),
            Some(name) => {
                let found = self.users.into_iter().flatten().find(|item| item.name == name);
                found.ok_or(format!("it has no user named {name:?}"))?.user.unwrap_or_default()
            }
        };
        let server = cluster.server()?;
        let trust = cluster.trust(&server, directory)?;
        let authorization = user.authorization(directory)?;
        Ok(ApiAccess { trust, authorization, client_certificate: user.client_certificate(directory)?, server })
    }
}

impl Cluster {
    fn server(&self) -> Result<String, String> {
        const ALLOWED: &str = "allowed is https://HOST:PORT (an IPv6 host in brackets) or http://HOST:PORT";
        let server = self.server.as_deref().unwrap_or_default().trim_end_matches('/');
        let uri = server.parse::<ureq::http::Uri>().map_err(|_| format!("its server is {server:?}; {ALLOWED}"))?;
        if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.host().unwrap_or_default().is_empty() {
            return Err(format!("its server is {server:?}; {ALLOWED}"));
        }
        for (key, value) in [("tls-server-name", &self.tls_server_name), ("proxy-url", &self.proxy_url)] {
            if value.as_ref().is_some_and(|value| !value.is_empty()) {
                return Err(format!("its cluster has {key}, which the plugin does not support"));
            }
        }
        Ok(server.to_owned())
    }

    fn trust(&self, server: &str, directory: &Path) -> Result<Trust, Problem> {
        if server.starts_with("http:") {
            return Ok(Trust::PlainHttp);
        }
        if self.insecure_skip_tls_verify == Some(true) {
            return Ok(Trust::Anybody);
        }
        let (data, file) = (&self.certificate_authority_data, &self.certificate_authority);
        let pem = data_or_file("certificate-authority", data.as_deref(), file.as_deref(), directory)?;
        pem.map(Trust::Authorities).ok_or_else(|| {
            "its cluster has neither certificate-authority-data nor insecure-skip-tls-verify".to_owned().into()
        })
    }
}

impl User {
    fn authorization(&self, directory: &Path) -> Result<Option<Authorization>, Problem> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        if let Some(token) = given(&self.token) {
            return Ok(Some(Authorization::Token(token_of(token)?)));
        }
        if let Some(file) = given(&self.token_file) {
            let text = named("token", directory.join(file))?;
            let token = String::from_utf8_lossy(&text).trim().to_owned();
            return Ok(Some(Authorization::Token(token_of(token)?)));
        }
        if let Some(username) = given(&self.username) {
            let password = self.password.clone().unwrap_or_default();
            return Ok(Some(Authorization::Password { username, password }));
        }
        if self.exec.is_some() || self.auth_provider.is_some() {
            return Err("its user needs an exec or auth-provider plugin; use a token or a client certificate"
                .to_owned()
                .into());
        }
        Ok(None)
    }

    fn client_certificate(&self, directory: &Path) -> Result<Option<ClientCertificate>, Problem> {
        let (data, file) = (&self.client_certificate_data, &self.client_certificate);
        let chain = data_or_file("client-certificate", data.as_deref(), file.as_deref(), directory)?;
        let (data, file) = (&self.client_key_data, &self.client_key);
        let key = data_or_file("client-key", data.as_deref(), file.as_deref(), directory)?;
        match (chain, key) {
            (None, None) => Ok(None),
            (Some(chain), Some(key)) => Ok(Some(ClientCertificate { chain, key })),
            (Some(_), None) => Err("its user has a client-certificate without a client-key".to_owned().into()),
            (None, Some(_)) => Err("its user has a client-key without a client-certificate".to_owned().into()),
        }
    }
}

/// Whether a text can be a bearer token; one with other than visible characters would break the
/// request.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn token_of(token: String) -> Result<String, String> {
    let problem = || "its user's token is empty or has characters that no token has".to_owned();
    if is_token(&token) { Ok(token) } else { Err(problem()) }
}

/// The `Authorization` header.
pub(super) fn header(authorization: &Authorization) -> String {
    match authorization {
        Authorization::Token(token) => format!("Bearer {token}"),
        Authorization::Password { username, password } => {
            format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
        }
    }
}

/// What `KEY-data` holds, in base64, or else the file that `KEY` names.
fn data_or_file(
    key: &'static str,
    data: Option<&str>,
    file: Option<&str>,
    directory: &Path,
) -> Result<Option<Vec<u8>>, Problem> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let compact: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes = BASE64.decode(compact).map_err(|_| format!("its {key}-data is not base64"))?;
        return Ok(Some(bytes));
    }
    match file.filter(|file| !file.is_empty()) {
        Some(file) => named(key, directory.join(file)).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
