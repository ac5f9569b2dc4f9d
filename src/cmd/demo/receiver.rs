//! An OTLP receiver (HTTP/protobuf on loopback) that keeps what the agent exports.

use super::forward::Onward;
use super::metrics::Metrics;
use crate::telemetry::otlp::request::Request;
use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What one export request of ours may have; ours have far less.
const BODY_LIMIT: usize = 8 << 20;

/// Everything received so far.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub spans: Vec<Span>,
    pub logs: Vec<LogRecord>,
    pub metrics: Metrics,
}

/// The running receiver.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    received: Mutex<Received>,
    /// How many requests were kept.
    count: watch::Sender<usize>,
    onward: Option<Onward>,
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    /// Listens on a free port of loopback, until the runtime ends. Each request also goes `onward`.
    pub async fn start(onward: Option<Onward>) -> Result<Receiver> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { received: Mutex::default(), count: watch::Sender::new(0), onward });
        let routes = Router::new()
            .route("/v1/{signal}", post(export))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Receiver { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has now.
    pub fn received(&self) -> Received {
        self.shared.received().clone()
    }

    /// Waits until what was received holds something, and returns that.
    pub async fn wait_for<T>(&self, limit: Duration, what: &str, found: impl Fn(&Received) -> Option<T>) -> Result<T> {
        let mut count = self.shared.count.subscribe();
        let wait = async {
            loop {
                count.borrow_and_update();
                if let Some(value) = found(&self.shared.received()) {
                    return Ok(value);
                }
                count.changed().await?;
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(result) => result,
            Err(_) => bail!("the agent did not export {what} within {} s", limit.as_secs()),
        }
    }
}

async fn export(
    State(shared): State<Arc<Shared>>,
    Path(signal): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_protobuf = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-protobuf");
    if !is_protobuf || headers.contains_key(header::CONTENT_ENCODING) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let request = match signal.as_str() {
        "traces" => ExportTraceServiceRequest::decode(body).map(Request::Traces),
        "metrics" => ExportMetricsServiceRequest::decode(body).map(Request::Metrics),
        "logs" => ExportLogsServiceRequest::decode(body).map(Request::Logs),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let Ok(request) = request else { return StatusCode::BAD_REQUEST.into_response() };
    if let Some(onward) = &shared.onward {
        // Where the forwarder has ended it says why at the end.
        let _ended = onward.send(Some(request.clone()));
    }
    shared.received().keep(request);
    shared.count.send_modify(|count| *count += 1);
    // The empty message: everything was accepted.
    ([(header::CONTENT_TYPE, "application/x-protobuf")], Bytes::new()).into_response()
}

impl Received {
    fn keep(&mut self, request: Request) {
        match request {
            Request::Traces(request) => {
                let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                self.spans.extend(scopes.flat_map(|scope| scope.spans));
            }
            Request::Logs(request) => {
                let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
                self.logs.extend(scopes.flat_map(|scope| scope.log_records));
            }
            Request::Metrics(request) => {
                let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
                scopes.flat_map(|scope| scope.metrics).for_each(|metric| self.metrics.take(metric));
            }
        }
    }
}
