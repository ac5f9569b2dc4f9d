//! OTLP over HTTP with protobuf. Each request runs on a thread of its own: the client blocks, and
//! a thread that hangs with a collector ends by its time limit without holding up the runtime.

use super::config::Export;
use super::request::{Accepted, Request, SendError};
use super::tls::{self, TlsError, TlsPem};
use crate::domain::failure::whole;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// How much of an answer is read.
const MAX_ANSWER: u64 = 64 << 10;

/// A client with its connections.
#[derive(Clone)]
pub struct Http {
    agent: ureq::Agent,
    url: String,
    headers: Vec<(String, String)>,
    gzip: bool,
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the certificates or the key for TLS to the collector are no PEM")]
    Pem(#[source] ureq::Error),
    #[error("the file for OTEL_EXPORTER_OTLP_CLIENT_KEY has no private key")]
    NoKey,
}

impl Http {
    /// Prepares a client.
    pub fn new(export: &Export) -> Result<Http, HttpError> {
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(super::USER_AGENT);
        if export.endpoint.secure {
            config = config.tls_config(tls_config(&tls::read(&export.tls)?)?);
        }
        Ok(Http {
            agent: config.build().new_agent(),
            url: export.endpoint.url.clone(),
            headers: export.headers.clone(),
            gzip: export.gzip,
        })
    }

    /// Sends a request once.
    pub async fn send(&self, request: Request, limit: Duration) -> Result<Accepted, SendError> {
        let (answered, answer) = oneshot::channel();
        let client = self.clone();
        let thread = std::thread::Builder::new().name("otlp-http".to_owned());
        let started = thread.spawn(move || {
            let sent = super::quiet::run(|| client.post(&request, limit));
            // Whoever waited has given up, at the shutdown's deadline.
            let _ = answered.send(sent);
        });
        if let Err(error) = started {
            return Err(SendError::unanswered(format!("cannot start a thread: {error}")));
        }
        answer.await.unwrap_or_else(|_| Err(SendError::unanswered("the sending thread ended early".to_owned())))
    }

    fn post(&self, request: &Request, limit: Duration) -> Result<Accepted, SendError> {
        let mut post = self.agent.post(&self.url).config().timeout_global(Some(limit)).build();
        post = post.header("content-type", "application/x-protobuf");
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        let mut body = request.encode();
        if self.gzip {
            body = compressed(&body).map_err(|error| SendError::unanswered(format!("cannot compress: {error}")))?;
            post = post.header("content-encoding", "gzip");
        }
        let mut answer = post.send(&body[..]).map_err(|error| transport_error(&error))?;
        let status = answer.status().as_u16();
        let after = answer.headers().get("retry-after").and_then(|value| retry_after(value.to_str().ok()?));
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().unwrap_or_default();
        match status {
            200..300 => Ok(request.read_answer(&text)),
            _ => Err(SendError {
                problem: format!("HTTP status {status}"),
                retryable: matches!(status, 429 | 502 | 503 | 504),
                answered: true,
                after,
            }),
        }
    }
}

/// Whatever kept an answer from coming may be over a moment later, except a certificate that is
/// not believed or an address that means nothing.
fn transport_error(error: &ureq::Error) -> SendError {
    let hopeless = matches!(error, ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::BadUri(_));
    SendError { retryable: !hopeless, ..SendError::unanswered(whole(error)) }
}

fn compressed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// `Retry-After` in seconds or as a date.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn tls_config(pem: &TlsPem) -> Result<TlsConfig, HttpError> {
    let roots = certificates(&pem.ca)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config =
        TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).unversioned_rustls_crypto_provider(provider);
    if let Some((chain, key)) = &pem.client {
        config = config.client_cert(Some(ClientCert::new_with_certs(&certificates(chain)?, private_key(key)?)));
    }
    Ok(config.build())
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, HttpError> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(HttpError::Pem)? {
            found.push(certificate);
        }
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> Result<PrivateKey<'static>, HttpError> {
    for item in parse_pem(pem) {
        if let PemItem::PrivateKey(key) = item.map_err(HttpError::Pem)? {
            return Ok(key);
        }
    }
    Err(HttpError::NoKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let later = retry_after("Wed, 21 Oct 2099 07:28:00 GMT").unwrap();
        assert!(later > Duration::from_secs(86_400));
        assert_eq!(retry_after("soon"), None);
    }
}
