//! OTLP over gRPC.

use super::config::Export;
use super::request::{Accepted, Request, SendError};
use super::tls::{self, TlsError, TlsPem};
use crate::domain::failure::with_sources;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use std::time::Duration;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

/// A connection, set up when it is first used.
#[derive(Clone)]
pub struct Grpc {
    channel: Channel,
    metadata: MetadataMap,
    gzip: bool,
}

/// Why no connection can be set up.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot speak gRPC with {endpoint}")]
    Endpoint { endpoint: String, source: tonic::transport::Error },
}

impl Grpc {
    /// Prepares a connection; must be called within a runtime.
    pub fn new(export: &Export) -> Result<Grpc, GrpcError> {
        let failed = |source| GrpcError::Endpoint { endpoint: export.endpoint.shown(), source };
        let endpoint = Endpoint::from_shared(export.endpoint.url.clone()).map_err(failed)?;
        let mut endpoint = endpoint.connect_timeout(export.timeout).executor(super::quiet::Executor);
        endpoint = endpoint.user_agent(super::USER_AGENT).map_err(failed)?;
        if export.endpoint.secure {
            endpoint = endpoint.tls_config(tls_config(tls::read(&export.tls)?)).map_err(failed)?;
        }
        Ok(Grpc { channel: endpoint.connect_lazy(), metadata: metadata(&export.headers), gzip: export.gzip })
    }

    /// Sends a request once.
    pub async fn send(&self, request: Request, limit: Duration) -> Result<Accepted, SendError> {
        let answer = tokio::time::timeout(limit, self.call(request)).await;
        match answer {
            Ok(answer) => answer.map_err(|status| send_error(&status)),
            Err(_) => Err(SendError::unanswered(format!("no answer within {limit:?}"))),
        }
    }

    async fn call(&self, request: Request) -> Result<Accepted, Status> {
        let channel = self.channel.clone();
        let metadata = self.metadata.clone();
        match request {
            Request::Traces(request) => {
                let mut client = TraceServiceClient::new(channel).accept_compressed(CompressionEncoding::Gzip);
                if self.gzip {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                client.export(with(request, metadata)).await.map(|answer| Accepted::traces(answer.get_ref()))
            }
            Request::Logs(request) => {
                let mut client = LogsServiceClient::new(channel).accept_compressed(CompressionEncoding::Gzip);
                if self.gzip {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                client.export(with(request, metadata)).await.map(|answer| Accepted::logs(answer.get_ref()))
            }
            Request::Metrics(request) => {
                let mut client = MetricsServiceClient::new(channel).accept_compressed(CompressionEncoding::Gzip);
                if self.gzip {
                    client = client.send_compressed(CompressionEncoding::Gzip);
                }
                client.export(with(request, metadata)).await.map(|answer| Accepted::metrics(answer.get_ref()))
            }
        }
    }
}

fn with<T>(message: T, metadata: MetadataMap) -> tonic::Request<T> {
    tonic::Request::from_parts(metadata, tonic::Extensions::default(), message)
}

fn tls_config(pem: TlsPem) -> ClientTlsConfig {
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem.ca));
    match pem.client {
        Some((certificate, key)) => config.identity(Identity::from_pem(certificate, key)),
        None => config,
    }
}

/// The settings let only names and values pass that can be sent.
fn metadata(headers: &[(String, String)]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        let name = MetadataKey::<Ascii>::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, MetadataValue::<Ascii>::try_from(value.as_str())) {
            metadata.insert(name, value);
        }
    }
    metadata
}

/// Which failures may be tried again is said by the OTLP specification.
fn send_error(status: &Status) -> SendError {
    let after = retry_delay(status.details());
    let retryable = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        // How tonic reports that the connection broke under the request.
        Code::Unknown => std::error::Error::source(status).is_some(),
        _ => false,
    };
    let code = format!("{:?}", status.code());
    let problem = with_sources(format!("{code}: {}", status.message()), status);
    SendError { problem, retryable, answered: true, after }
}

/// `google.rpc.Status` in the details of a gRPC status, as far as it is needed.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let any = status.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(any.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).unwrap_or(0), u32::try_from(delay.nanos).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overloaded_collector_says_when_to_come_again() {
        let retry = RetryInfo { retry_delay: Some(RetryDelay { seconds: 2, nanos: 500_000_000 }) };
        let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: retry.encode_to_vec() };
        let details = RpcStatus { details: vec![any] }.encode_to_vec();
        let status = Status::with_details(Code::ResourceExhausted, "busy", details.into());
        let error = send_error(&status);
        assert_eq!((error.retryable, error.after), (true, Some(Duration::from_millis(2500))));
        assert!(!send_error(&Status::resource_exhausted("full for good")).retryable);
        assert!(send_error(&Status::unavailable("")).retryable);
        assert!(!send_error(&Status::unauthenticated("")).retryable);
    }
}
