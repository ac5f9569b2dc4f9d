//! The collector's HTTP side.

use super::{Answer, Certificates, Request, State as Shared};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};
use tokio_rustls::server::TlsStream;

/// Serves until it is dropped.
pub fn serve(
    listener: TcpListener,
    state: Arc<Shared>,
    tls: Option<&Certificates>,
) -> impl Future<Output = ()> + Send + use<> {
    let acceptor = tls.map(acceptor);
    let router = Router::new().fallback(export).with_state(state);
    async move {
        match acceptor {
            None => axum::serve(listener, router).await.unwrap(),
            Some(acceptor) => axum::serve(Secure { listener, acceptor }, router).await.unwrap(),
        }
    }
}

async fn export(State(state): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").as_deref(), Some("application/x-protobuf"));
    let mut bytes = body.to_vec();
    if header("content-encoding").as_deref() == Some("gzip") {
        bytes.clear();
        GzDecoder::new(&body[..]).read_to_end(&mut bytes).unwrap();
    }
    let request = match uri.path().rsplit('/').next() {
        Some("traces") => Request::Traces(Message::decode(&bytes[..]).unwrap()),
        Some("logs") => Request::Logs(Message::decode(&bytes[..]).unwrap()),
        Some("metrics") => Request::Metrics(Message::decode(&bytes[..]).unwrap()),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let names = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let status = |code: i32| StatusCode::from_u16(u16::try_from(code).unwrap()).unwrap();
    match state.take(request.clone(), names.collect::<BTreeMap<_, _>>(), &uri.to_string()) {
        Answer::Take => answer(&request, 0, ""),
        Answer::Reject(items, message) => answer(&request, items, message),
        Answer::Refuse(code) => status(code).into_response(),
        Answer::ComeAgain(code, seconds) => (status(code), [("retry-after", seconds.to_string())]).into_response(),
        Answer::Hang => std::future::pending().await,
    }
}

fn answer(request: &Request, rejected: i64, message: &str) -> Response {
    let error_message = message.to_owned();
    let body = match request {
        Request::Traces(_) => {
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans: rejected, error_message });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        }
        Request::Logs(_) => {
            let partial_success = Some(ExportLogsPartialSuccess { rejected_log_records: rejected, error_message });
            ExportLogsServiceResponse { partial_success }.encode_to_vec()
        }
        Request::Metrics(_) => {
            let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message });
            ExportMetricsServiceResponse { partial_success }.encode_to_vec()
        }
    };
    ([("content-type", "application/x-protobuf")], body).into_response()
}

fn acceptor(tls: &Certificates) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(tls.authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(tls.server.0.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(tls.server.1.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(config.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap()))
}

struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A client without a certificate is turned away here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
