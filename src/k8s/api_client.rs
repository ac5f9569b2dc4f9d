//! One GET of one pod over HTTP/1.1, with TLS by rustls, and a typed error for each way in which
//! an API server can fail to answer it.

use super::kubeconfig::header;
use super::pod::Pod;
use crate::domain::api_access::{ApiAccess, Trust};
use crate::domain::failure::Classify;
use crate::domain::pod::PodFacts;
use crate::domain::step::ErrorType;
use rustls::pki_types::PrivateKeyDer;
use serde::Deserialize;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// What the API server sees as the client.
const USER_AGENT: &str = concat!("istio-cni/", env!("CARGO_PKG_VERSION"));
/// No pod is larger: etcd refuses objects beyond 1.5 MiB.
const MAX_POD: u64 = 8 << 20;
/// How much of an error answer is read.
const MAX_STATUS: u64 = 64 << 10;
/// A pod's JSON fits into one such buffer.
const BUFFER: usize = 32 << 10;

/// Why an API server gave no pod.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("no connection to the API server {server}: check that it can be reached from this node")]
    Unreachable { server: String, source: ureq::Error },
    #[error(
        "no TLS with the API server {server}: check the certificate authority and the client certificate in the kubeconfig"
    )]
    Tls { server: String, source: ureq::Error },
    #[error(
        "the kubeconfig's {what} for the API server {server} cannot be used: correct it, or let the agent write the kubeconfig anew"
    )]
    Pem { server: String, what: &'static str, source: ureq::Error },
    #[error(
        "the kubeconfig's {what} for the API server {server} has no such thing in it: it must be PEM; correct it, or let the agent write the kubeconfig anew"
    )]
    NoPem { server: String, what: &'static str },
    #[error("the API server {server} did not answer within {} ms (api_timeout_ms): check its load, and the network between this node and it", .limit.as_millis())]
    Timeout { server: String, limit: Duration },
    #[error(
        "the API server {server} does not accept the kubeconfig's credentials (401{message}): the agent renews them, so check the istio-cni-node pod of this node"
    )]
    Unauthorized { server: String, message: String },
    #[error(
        "the API server {server} does not allow to get pods of namespace {namespace} (403{message}): check the ClusterRole istio-cni"
    )]
    Forbidden { server: String, namespace: String, message: String },
    #[error(
        "the API server {server} knows no pod {namespace}/{name} (404{message}): it was deleted, or its object has not arrived yet; the runtime tries again while the pod is wanted"
    )]
    NotFound { server: String, namespace: String, name: String, message: String },
    #[error("the API server {server} answered with status {status}{message}; check its health and its log")]
    Status { server: String, status: u16, message: String },
    #[error(
        "the API server {server} answered something that is not the pod {namespace}/{name}: {what}; check that the kubeconfig's server is an API server"
    )]
    NotThePod { server: String, namespace: String, name: String, what: String },
}

impl Classify for RequestError {
    fn error_type(&self) -> ErrorType {
        match self {
            RequestError::Unreachable { .. } | RequestError::Tls { .. } => ErrorType::ApiUnreachable,
            RequestError::Pem { .. } | RequestError::NoPem { .. } => ErrorType::KubeconfigInvalid,
            RequestError::Timeout { .. } => ErrorType::ApiTimeout,
            RequestError::Unauthorized { .. } => ErrorType::ApiUnauthorized,
            RequestError::Forbidden { .. } => ErrorType::ApiForbidden,
            RequestError::NotFound { .. } => ErrorType::PodNotFound,
            RequestError::Status { .. } => ErrorType::ApiError,
            RequestError::NotThePod { .. } => ErrorType::ApiInvalidResponse,
        }
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// Gets a pod. The whole exchange, name resolution and TLS included, ends within `limit`. `counted`
/// hears of the request, if one was made, and of the HTTP status, if there was an answer.
pub fn get_pod(
    access: &ApiAccess,
    namespace: &str,
    name: &str,
    limit: Duration,
    counted: impl Fn(Option<u16>),
) -> Result<PodFacts, RequestError> {
    let call = Exchange { access, namespace, name, limit };
    let url = format!("{}/api/v1/namespaces/{}/pods/{}", access.server, escaped(namespace), escaped(name));
    let mut request = call.agent()?.get(&url);
    if let Some(authorization) = &access.authorization {
        request = request.header("Authorization", header(authorization));
    }
    let response = request.call();
    counted(response.as_ref().ok().map(|response| response.status().as_u16()));
    let mut response = response.map_err(|error| call.transport_error(error))?;
    let status = response.status().as_u16();
    if status != 200 {
        let body = response.body_mut().with_config().limit(MAX_STATUS).read_to_vec();
        return Err(call.refusal(status, &body.unwrap_or_default()));
    }
    if let Some(size) = response.body().content_length().filter(|size| *size > MAX_POD) {
        return Err(call.not_the_pod(format!("it has {size} bytes, at most {MAX_POD} are read")));
    }
    let body = response.body_mut().with_config().limit(MAX_POD).read_to_vec();
    call.pod(&body.map_err(|error| call.body_error(error))?)
}

/// One exchange, for its errors.
struct Exchange<'a> {
    access: &'a ApiAccess,
    namespace: &'a str,
    name: &'a str,
    limit: Duration,
}

impl Exchange<'_> {
    fn agent(&self) -> Result<ureq::Agent, RequestError> {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy of the runtime's environment is for image pulls; the API server is near.
            .proxy(None)
            .timeout_global(Some(self.limit))
            .user_agent(USER_AGENT)
            .accept("application/json")
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER);
        if !matches!(self.access.trust, Trust::PlainHttp) {
            config = config.tls_config(self.tls()?);
        }
        Ok(ureq::Agent::with_parts(config.build(), DefaultConnector::default(), AddressFirst))
    }

    fn tls(&self) -> Result<TlsConfig, RequestError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::clone(&provider));
        tls = match &self.access.trust {
            Trust::Authorities(pem) => {
                let roots = self.certificates("certificate-authority", pem)?;
                tls.root_certs(RootCerts::from(roots))
            }
            Trust::Anybody | Trust::PlainHttp => tls.disable_verification(true).root_certs(RootCerts::from(Vec::new())),
        };
        if let Some(client) = &self.access.client_certificate {
            let chain = self.certificates("client-certificate", &client.chain)?;
            let key = self.private_key(&client.key)?;
            self.check_pair(&chain, &key, &provider)?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
        }
        Ok(tls.build())
    }

    fn certificates(&self, what: &'static str, pem: &[u8]) -> Result<Vec<Certificate<'static>>, RequestError> {
        let mut found = Vec::new();
        for item in parse_pem(pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|source| self.pem(what, source))? {
                found.push(certificate);
            }
        }
        if found.is_empty() { Err(RequestError::NoPem { server: self.server(), what }) } else { Ok(found) }
    }

    fn private_key(&self, pem: &[u8]) -> Result<PrivateKey<'static>, RequestError> {
        PrivateKey::from_pem(pem).map_err(|source| self.pem("client-key", source))
    }

    /// Makes sure that the key is one and belongs to the certificate: the HTTP library takes that
    /// for granted.
    fn check_pair(
        &self,
        chain: &[Certificate<'static>],
        key: &PrivateKey<'static>,
        provider: &rustls::crypto::CryptoProvider,
    ) -> Result<(), RequestError> {
        let unusable = |error| self.pem("client-certificate or client-key", ureq::Error::Rustls(error));
        let der = PrivateKeyDer::try_from(key.der().to_vec())
            .map_err(|text| unusable(rustls::Error::General(text.to_owned())))?;
        let chain = chain.iter().map(|certificate| certificate.der().to_vec().into()).collect();
        rustls::sign::CertifiedKey::from_der(chain, der, provider).map(|_| ()).map_err(unusable)
    }

    fn pod(&self, body: &[u8]) -> Result<PodFacts, RequestError> {
        let pod: Pod = serde_json::from_slice(body).map_err(|error| self.not_the_pod(error.to_string()))?;
        pod.asked_for(self.namespace, self.name).map_err(|reason| self.not_the_pod(reason))
    }

    fn refusal(&self, status: u16, body: &[u8]) -> RequestError {
        let (server, namespace, message) = (self.server(), self.namespace.to_owned(), status_message(body));
        match status {
            401 => RequestError::Unauthorized { server, message },
            403 => RequestError::Forbidden { server, namespace, message },
            404 => RequestError::NotFound { server, namespace, name: self.name.to_owned(), message },
            status => RequestError::Status { server, status, message },
        }
    }

    fn transport_error(&self, error: ureq::Error) -> RequestError {
        let server = self.server();
        match error {
            ureq::Error::Timeout(_) => RequestError::Timeout { server, limit: self.limit },
            ureq::Error::Io(ref io) if matches!(io.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                RequestError::Timeout { server, limit: self.limit }
            }
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => RequestError::Tls { server, source: error },
            ureq::Error::Io(ref io) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                RequestError::Tls { server, source: error }
            }
            ureq::Error::Io(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                RequestError::Unreachable { server, source: error }
            }
            other => self.not_the_pod(other.to_string()),
        }
    }

    /// An error after the answer's head had come.
    fn body_error(&self, error: ureq::Error) -> RequestError {
        match self.transport_error(error) {
            RequestError::Unreachable { source, .. } => self.not_the_pod(format!("it broke off: {source}")),
            other => other,
        }
    }

    fn not_the_pod(&self, what: String) -> RequestError {
        let (namespace, name) = (self.namespace.to_owned(), self.name.to_owned());
        RequestError::NotThePod { server: self.server(), namespace, name, what }
    }

    fn pem(&self, what: &'static str, source: ureq::Error) -> RequestError {
        RequestError::Pem { server: self.server(), what, source }
    }

    fn server(&self) -> String {
        self.access.server.clone()
    }
}

/// Addresses need no name resolution, and so no thread that is waited for with a limit.
#[derive(Debug)]
struct AddressFirst;

impl Resolver for AddressFirst {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        match format!("{host}:{port}").parse::<SocketAddr>() {
            Ok(address) => {
                let mut addresses = self.empty();
                addresses.push(address);
                Ok(addresses)
            }
            Err(_) => DefaultResolver::default().resolve(uri, config, timeout),
        }
    }
}

/// A path segment: everything but unreserved characters as `%XX`.
fn escaped(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The `message` of a Status object, for the end of a sentence.
fn status_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice::<Status>(body) {
        Ok(status) if !status.message.is_empty() => format!(": {}", shortened(&status.message)),
        _ => String::new(),
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 300;
    text.chars().take(SHOWN).collect()
}
