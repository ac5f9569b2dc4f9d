//! The collector's gRPC side.

use super::{Answer, Certificates, Request, State};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Response, Status};

#[derive(Clone)]
struct Services(Arc<State>);

/// Serves until it is dropped.
pub fn serve(
    listener: TcpListener,
    state: Arc<State>,
    tls: Option<&Certificates>,
) -> impl Future<Output = ()> + Send + use<> {
    let mut server = Server::builder();
    if let Some(tls) = tls {
        let identity = Identity::from_pem(&tls.server.0, &tls.server.1);
        let authority = Certificate::from_pem(&tls.authority);
        server = server.tls_config(ServerTlsConfig::new().identity(identity).client_ca_root(authority)).unwrap();
    }
    let services = Services(state);
    let router = server
        .add_service(TraceServiceServer::new(services.clone()).accept_compressed(Gzip))
        .add_service(LogsServiceServer::new(services.clone()).accept_compressed(Gzip))
        .add_service(MetricsServiceServer::new(services).accept_compressed(Gzip));
    async move { router.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap() }
}

impl Services {
    /// The number of rejected items and the message, or the refusal.
    async fn answer(&self, request: Request, metadata: &MetadataMap) -> Result<(i64, String), Status> {
        match self.0.take(request, headers(metadata), "") {
            Answer::Take => Ok((0, String::new())),
            Answer::Reject(items, message) => Ok((items, message.to_owned())),
            Answer::Refuse(code) => Err(Status::new(Code::from(code), "as the script says")),
            Answer::ComeAgain(code, seconds) => Err(come_again(code, seconds)),
            Answer::Hang => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl TraceService for Services {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let (rejected_spans, error_message) = self.answer(Request::Traces(request), &metadata).await?;
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl LogsService for Services {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let (rejected_log_records, error_message) = self.answer(Request::Logs(request), &metadata).await?;
        let partial_success = Some(ExportLogsPartialSuccess { rejected_log_records, error_message });
        Ok(Response::new(ExportLogsServiceResponse { partial_success }))
    }
}

#[tonic::async_trait]
impl MetricsService for Services {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let (rejected_data_points, error_message) = self.answer(Request::Metrics(request), &metadata).await?;
        let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points, error_message });
        Ok(Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}

fn headers(metadata: &MetadataMap) -> BTreeMap<String, String> {
    let ascii = metadata.iter().filter_map(|entry| match entry {
        KeyAndValueRef::Ascii(key, value) => Some((key.to_string(), value.to_str().unwrap().to_owned())),
        KeyAndValueRef::Binary(..) => None,
    });
    ascii.collect()
}

/// A status whose details are `google.rpc.Status` with `RetryInfo`.
fn come_again(code: i32, seconds: u64) -> Status {
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
        retry_delay: Option<Delay>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Delay {
        #[prost(int64, tag = "1")]
        seconds: i64,
    }
    let delay = Delay { seconds: i64::try_from(seconds).unwrap() };
    let info = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
    let any = Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info };
    Status::with_details(Code::from(code), "come again", RpcStatus { details: vec![any] }.encode_to_vec().into())
}
