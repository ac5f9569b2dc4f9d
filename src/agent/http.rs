//! The servers for scrapers and probes: `/metrics`, and `/healthz` with `/readyz`.

use super::readiness::Readiness;
use crate::telemetry::pipeline::Telemetry;
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use futures::future::BoxFuture;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

/// More connections than this at once are too many for a port: the oldest goes for a new one. So
/// nobody can take the descriptors that the calls of plugins need, or keep a probe waiting.
const CONNECTIONS: usize = 64;
/// How long a client may take until its request is there, the first or a further one.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last, whatever is done on it.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// What a connection may hold of a request that is not read yet: the head of one has room in it.
const REQUEST_BUFFER: usize = 16 << 10;
/// How long to wait when no connection can be taken, before the next attempt.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("unable to listen on port {port} for {purpose}; set {key} to another one")]
pub struct ListenError {
    pub purpose: &'static str,
    pub key: &'static str,
    pub port: u16,
    pub source: io::Error,
}

/// Listens on all addresses of both families, or of IPv4 where the machine has no IPv6.
pub fn listen(purpose: &'static str, key: &'static str, port: u16) -> Result<TcpListener, ListenError> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let open = TcpListener::bind(any).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
    });
    let failed = |source| ListenError { purpose, key, port, source };
    let listener = open.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Makes readiness true to what is there now, before it is told to anybody.
pub type LookFirst = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// `/metrics`, as text that the scraper asks for.
pub fn metrics(telemetry: Telemetry, look: LookFirst) -> Router {
    Router::new().route(
        "/metrics",
        get(move |headers: HeaderMap| async move {
            look().await;
            let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let (content_type, text) = telemetry.metrics().render(accept);
            ([(header::CONTENT_TYPE, content_type)], text)
        }),
    )
}

/// `/readyz`: 200, or 503 with what is waited for. `/healthz`: 503 only when a restart would help.
pub fn health(
    readiness: Arc<Readiness>,
    look: LookFirst,
    trouble: impl Fn() -> Option<String> + Clone + Send + Sync + 'static,
) -> Router {
    let ready = move || async move {
        look().await;
        match readiness.waiting_for() {
            pending if pending.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
            pending => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", pending.join(", "))),
        }
    };
    let alive = move || async move {
        match trouble() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")),
        }
    };
    Router::new().route("/readyz", get(ready)).route("/healthz", get(alive))
}

/// Where connections come from.
pub trait Accept: Send {
    /// One of them.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for tokio::net::TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(tokio::net::TcpListener::accept(self).await?.0)
    }
}

/// Serves a port until it is dropped.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    serve_on(tokio::net::TcpListener::from_std(listener)?, router).await
}

/// Serves what connects, of whatever kind, until it is dropped.
pub async fn serve_on(listener: impl Accept, router: Router) -> io::Result<()> {
    // Ends every connection when it is dropped.
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS);
    loop {
        let Ok(stream) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        // A handle holds its task's memory, also when that has ended.
        by_age.retain(|connection| !connection.is_finished());
        // What was told to end holds its descriptor until it has ended: only then is there room.
        while connections.len() >= CONNECTIONS {
            by_age.pop_front().inspect(AbortHandle::abort);
            connections.join_next().await;
        }
        by_age.push_back(connections.spawn(converse(stream, router.clone())));
    }
}

/// Serves one connection to its end.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST_WITHIN).max_buf_size(REQUEST_BUFFER);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that went away or was too slow is its own loss.
    let _ = tokio::time::timeout(CONNECTION_LIFE, connection).await;
}
