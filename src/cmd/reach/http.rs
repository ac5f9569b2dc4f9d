//! One GET on a connection that is there, by HTTP/1.1: the answer is bounded.

use crate::domain::unseen::misleads;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// The most bytes of an answer.
const MOST: usize = 16 << 20;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub body: Vec<u8>,
}

/// No whole answer came.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the path {path:?} cannot be asked for")]
    Path { path: String, source: axum::http::Error },
    #[error("the connection broke")]
    Connection(#[from] hyper::Error),
    #[error("its answer broke off, or has more than {} MiB", MOST >> 20)]
    Body { source: axum::Error },
}

impl Answer {
    /// The first line of the body as text, for a message.
    pub fn line(&self) -> String {
        line(&String::from_utf8_lossy(&self.body))
    }
}

/// Asks for a path.
pub(super) async fn get(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    path: &str,
) -> Result<Answer, HttpError> {
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("istio-cni-otel/", env!("CARGO_PKG_VERSION")))
        .body(Body::empty())
        .map_err(|source| HttpError::Path { path: path.to_owned(), source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = to_bytes(Body::new(response.into_body()), MOST).await;
        Ok(Answer { status, body: body.map_err(|source| HttpError::Body { source })?.to_vec() })
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // It may end before the last of its answer was read from it.
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(HttpError::Connection(error)),
        },
    }
}

/// A value of a query.
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    text.bytes().fold(String::new(), |mut all, byte| {
        match plain(byte) {
            true => all.push(char::from(byte)),
            false => all.push_str(&format!("%{byte:02X}")),
        }
        all
    })
}

/// The first line of somebody's text, short and without control characters.
pub(super) fn line(text: &str) -> String {
    const SHOWN: usize = 300;
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.trim().chars().filter(|c| !misleads(*c)).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn answered(text: &'static [u8]) -> Result<Answer, HttpError> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let server = tokio::spawn(async move {
            let mut asked = vec![0; 1 << 10];
            let read = theirs.read(&mut asked).await.unwrap();
            theirs.write_all(text).await.unwrap();
            drop(theirs);
            String::from_utf8(asked[..read].to_vec()).unwrap()
        });
        let answer = get(ours, "/api/v1/explain?pod=a/b").await;
        let asked = server.await.unwrap();
        assert!(asked.starts_with("GET /api/v1/explain?pod=a/b HTTP/1.1\r\nhost: localhost\r\n"), "{asked}");
        answer
    }

    #[tokio::test]
    async fn an_answer_has_its_status_and_its_body() {
        let whole = answered(b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\n\nno\x1b[").await.unwrap();
        assert_eq!((whole.status, whole.line().as_str()), (404, "no["));
        let until_the_end = answered(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}").await.unwrap();
        assert_eq!(until_the_end, Answer { status: 200, body: b"{}".to_vec() });
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        assert!(matches!(
            answered(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}").await,
            Err(HttpError::Body { .. })
        ));
        assert!(matches!(answered(b"").await, Err(HttpError::Connection(_))));
        assert!(matches!(answered(b"SSH-2.0\r\n").await, Err(HttpError::Connection(_))));
    }

    #[test]
    fn a_value_of_a_query_is_escaped() {
        assert_eq!(encoded("shop/web-0"), "shop/web-0");
        assert_eq!(encoded("a&b=c é"), "a%26b%3Dc%20%C3%A9");
    }
}
