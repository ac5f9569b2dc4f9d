//! What the plugin's kubeconfig has to say, from the agent's own way to the API server: the pod's
//! service account, or the current context of the kubeconfig that the agent was given. Only files
//! are read; each of them is bounded, and none is waited for.

use super::kubeconfig::{self, KubeconfigError, is_token, read_bounded};
use super::source::{ApiSource, authority};
use crate::domain::api_access::{ApiAccess, Authorization, Trust};
use crate::domain::failure::Classify;
use crate::domain::step::ErrorType;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is to be done about the plugin's kubeconfig.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It has to give this access; `wire::kubeconfig` prints it.
    Write(ApiAccess),
    /// It is the very file that the agent itself was given, and of use to the plugin.
    Leave,
}

/// How the kubeconfig is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Where the plugin will look for it.
    pub target: &'a Path,
    /// `KUBERNETES_SERVICE_PROTOCOL`: `https` or `http`; empty is `https`. For a service account only.
    pub protocol: &'a str,
    /// `SKIP_TLS_VERIFY`: believe any certificate.
    pub skip_tls_verify: bool,
}

/// Why no kubeconfig for the plugin can be made. No message has anything of a file's content.
#[derive(Debug, thiserror::Error)]
pub enum PluginKubeconfigError {
    #[error("the token {} of the pod's service account does not exist: let the DaemonSet mount its service account's token", .path.display())]
    TokenMissing { path: PathBuf },
    #[error("the token {} of the pod's service account {problem}: it is written anew when the kubelet renews it", .path.display())]
    TokenInvalid {
        path: PathBuf,
        /// `is empty`, for example.
        problem: &'static str,
    },
    #[error("the certificate authority {} has no certificate in it: it must be PEM; check KUBE_CA_FILE, or the ConfigMap kube-root-ca.crt", .path.display())]
    AuthorityInvalid { path: PathBuf },
    #[error("{} cannot be read, and the plugin's kubeconfig needs what is in it", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("KUBERNETES_SERVICE_PROTOCOL is {value:?}; allowed are https and http")]
    Protocol { value: String },
    #[error(
        "{host:?} with port {port} is no address of an API server; KUBERNETES_SERVICE_HOST takes a host name or an IP address"
    )]
    Address { host: String, port: u16 },
    #[error("the agent's own kubeconfig does not do for the plugin")]
    Kubeconfig { source: KubeconfigError },
}

impl Classify for PluginKubeconfigError {
    fn error_type(&self) -> ErrorType {
        match self {
            PluginKubeconfigError::TokenMissing { .. } | PluginKubeconfigError::TokenInvalid { .. } => {
                ErrorType::TokenMissing
            }
            PluginKubeconfigError::Io { .. } => ErrorType::Io,
            PluginKubeconfigError::Kubeconfig { source } => source.error_type(),
            PluginKubeconfigError::AuthorityInvalid { .. }
            | PluginKubeconfigError::Protocol { .. }
            | PluginKubeconfigError::Address { .. } => ErrorType::KubeconfigInvalid,
        }
    }

    /// Files may be mended or renewed at any time; the environment stays.
    fn retryable(&self) -> bool {
        !matches!(self, PluginKubeconfigError::Protocol { .. } | PluginKubeconfigError::Address { .. })
    }
}

/// What the plugin's kubeconfig has to say now. It reads files, so it may block for as long as they do.
pub fn wanted(source: &ApiSource, options: &Options<'_>) -> Result<Wanted, PluginKubeconfigError> {
    let mut access = match source {
        ApiSource::InCluster { host, port, account, ca } => service_account(host, *port, account, ca, options)?,
        // Only people's tools merge files; what the agent passes on is one.
        ApiSource::Merged { paths, .. } => {
            let first = paths.first().cloned().unwrap_or_default();
            return wanted(&ApiSource::Kubeconfig(first), options);
        }
        ApiSource::Kubeconfig(path) => {
            let access = kubeconfig::load(path).map_err(|source| PluginKubeconfigError::Kubeconfig { source })?;
            if is_same_file(path, options.target) {
                return Ok(Wanted::Leave);
            }
            access
        }
    };
    if options.skip_tls_verify && access.trust != Trust::PlainHttp {
        access.trust = Trust::Anybody;
    }
    Ok(Wanted::Write(access))
}

/// The files whose change makes another kubeconfig; to be watched.
pub fn files(source: &ApiSource) -> Vec<PathBuf> {
    match source {
        ApiSource::InCluster { account, ca, .. } => vec![account.join("token"), ca.clone()],
        ApiSource::Merged { paths, .. } => paths.clone(),
        ApiSource::Kubeconfig(path) => vec![path.clone()],
    }
}

fn service_account(
    host: &str,
    port: u16,
    account: &Path,
    ca: &Path,
    options: &Options<'_>,
) -> Result<ApiAccess, PluginKubeconfigError> {
    let protocol = match options.protocol {
        "" | "https" => "https",
        "http" => "http",
        value => return Err(PluginKubeconfigError::Protocol { value: value.to_owned() }),
    };
    let server = format!("{protocol}://{}", authority(host, port));
    if server.parse::<ureq::http::Uri>().is_err() {
        return Err(PluginKubeconfigError::Address { host: host.to_owned(), port });
    }
    let trust = match protocol {
        "http" => Trust::PlainHttp,
        _ if options.skip_tls_verify => Trust::Anybody,
        _ => Trust::Authorities(authorities(ca)?),
    };
    let authorization = Some(Authorization::Token(token(&account.join("token"))?));
    Ok(ApiAccess { server, trust, authorization, client_certificate: None })
}

fn token(path: &Path) -> Result<String, PluginKubeconfigError> {
    let invalid = |problem| PluginKubeconfigError::TokenInvalid { path: path.to_owned(), problem };
    let bytes = read_bounded(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PluginKubeconfigError::TokenMissing { path: path.to_owned() },
        io::ErrorKind::FileTooLarge => invalid("is too large for one"),
        _ => PluginKubeconfigError::Io { path: path.to_owned(), source },
    })?;
    let text = String::from_utf8(bytes).map_err(|_| invalid("has characters that no token has"))?;
    match text.trim() {
        "" => Err(invalid("is empty")),
        token if is_token(token) => Ok(token.to_owned()),
        _ => Err(invalid("has characters that no token has")),
    }
}

fn authorities(path: &Path) -> Result<Vec<u8>, PluginKubeconfigError> {
    let pem = read_bounded(path).map_err(|source| PluginKubeconfigError::Io { path: path.to_owned(), source })?;
    let has_one = CertificateDer::pem_slice_iter(&pem).next().is_some_and(|found| found.is_ok());
    if has_one { Ok(pem) } else { Err(PluginKubeconfigError::AuthorityInvalid { path: path.to_owned() }) }
}

/// Whether both paths are of one file, by whatever links.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    one == other || identity(one).is_some_and(|one| identity(other) == Some(one))
}
