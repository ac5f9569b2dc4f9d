//! The servers for scrapers and probes: `/metrics`, and `/healthz` with `/readyz`.

use super::readiness::Readiness;
use crate::telemetry::pipeline::Telemetry;
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

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

/// `/metrics`, as text that the scraper asks for.
pub fn metrics(telemetry: Telemetry) -> Router {
    Router::new().route(
        "/metrics",
        get(move |headers: HeaderMap| async move {
            let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
            let (content_type, text) = telemetry.metrics().render(accept);
            ([(header::CONTENT_TYPE, content_type)], text)
        }),
    )
}

/// `/readyz`: 200, or 503 with what is waited for. `/healthz`: 503 only when a restart would help.
pub fn health(
    readiness: Arc<Readiness>,
    trouble: impl Fn() -> Option<String> + Clone + Send + Sync + 'static,
) -> Router {
    let ready = move || async move {
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

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
}
