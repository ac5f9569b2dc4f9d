//! An OTLP collector within the test: it speaks gRPC or HTTP over a real socket, with TLS where
//! asked for, keeps what it decodes, and answers as a script says.

#![allow(dead_code, unused_imports, reason = "each test file uses another part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helper fails by panicking")]

mod certificates;
mod grpc_collector;
mod http_collector;
mod trace_tree;

pub use certificates::Certificates;
pub use trace_tree::{hex, outline, text};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Grpc,
    Http,
}

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is taken.
    Take,
    /// It is taken except for so many items.
    Reject(i64, &'static str),
    /// It is refused with this gRPC code or HTTP status.
    Refuse(i32),
    /// It is refused with this gRPC code or HTTP status, to be sent again after so many seconds.
    ComeAgain(i32, u64),
    /// There is no answer until the collector ends.
    Hang,
}

/// A decoded request.
#[derive(Clone, Debug)]
pub enum Request {
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// A request and how it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub request: Request,
    pub headers: BTreeMap<String, String>,
    /// HTTP: the path and query.
    pub path: String,
    /// How it was answered.
    pub answer: Answer,
}

/// A running collector.
pub struct Collector {
    pub address: SocketAddr,
    secure: bool,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// What the servers share.
pub struct State {
    received: Mutex<Vec<Received>>,
    script: Mutex<(VecDeque<Answer>, Answer)>,
    changed: Notify,
}

impl State {
    /// Notes a request; says how to answer it.
    pub fn take(&self, request: Request, headers: BTreeMap<String, String>, path: &str) -> Answer {
        let mut script = self.script.lock().unwrap();
        let answer = script.0.pop_front().unwrap_or_else(|| script.1.clone());
        let received = Received { request, headers, path: path.to_owned(), answer: answer.clone() };
        self.received.lock().unwrap().push(received);
        self.changed.notify_waiters();
        answer
    }
}

impl Collector {
    /// A collector on a free port of loopback.
    pub async fn start(speaks: Speaks, tls: Option<&Certificates>) -> Collector {
        Collector::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), speaks, tls)
    }

    /// A collector behind a listener; with TLS it wants a client's certificate.
    fn start_on(listener: TcpListener, speaks: Speaks, tls: Option<&Certificates>) -> Collector {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            received: Mutex::default(),
            script: Mutex::new((VecDeque::new(), Answer::Take)),
            changed: Notify::new(),
        });
        let task = match speaks {
            Speaks::Grpc => tokio::spawn(grpc_collector::serve(listener, state.clone(), tls)),
            Speaks::Http => tokio::spawn(http_collector::serve(listener, state.clone(), tls)),
        };
        Collector { address, secure: tls.is_some(), state, task }
    }

    /// The endpoint for the environment.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.address)
    }

    /// How the next requests are answered, and all later ones.
    pub fn answer(&self, next: impl IntoIterator<Item = Answer>, then: Answer) {
        *self.state.script.lock().unwrap() = (next.into_iter().collect(), then);
    }

    /// All requests so far, the refused ones too.
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// Waits until what was received fulfils the condition.
    pub async fn until(&self, what: &str, condition: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let wait = async {
            loop {
                let changed = self.state.changed.notified();
                let received = self.received();
                if condition(&received) {
                    return received;
                }
                changed.await;
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}; received: {:#?}", self.received()))
    }

    /// Waits for so many spans that were taken.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        spans(&self.until(&format!("{count} spans"), |received| spans(received).len() >= count).await)
    }

    /// Waits for so many log records that were taken.
    pub async fn logs(&self, count: usize) -> Vec<LogRecord> {
        logs(&self.until(&format!("{count} log records"), |received| logs(received).len() >= count).await)
    }

    /// Waits for metrics that were taken.
    pub async fn metrics(&self) -> Vec<Metric> {
        metrics(&self.until("metrics", |received| !metrics(received).is_empty()).await)
    }
}

/// An address where nobody listens, and that nobody else gets meanwhile.
pub struct Nobody(TcpSocket);

impl Nobody {
    pub fn new() -> Nobody {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Nobody(socket)
    }

    /// The endpoint for the environment.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// A collector comes (back) to this address.
    pub async fn collector(self, speaks: Speaks) -> Collector {
        Collector::start_on(self.0.listen(64).unwrap(), speaks, None)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Received {
    fn taken(&self) -> bool {
        self.answer == Answer::Take
    }

    /// The resources of the request.
    pub fn resources(&self) -> Vec<Resource> {
        match &self.request {
            Request::Traces(request) => request.resource_spans.iter().filter_map(|of| of.resource.clone()).collect(),
            Request::Logs(request) => request.resource_logs.iter().filter_map(|of| of.resource.clone()).collect(),
            Request::Metrics(request) => request.resource_metrics.iter().filter_map(|of| of.resource.clone()).collect(),
        }
    }

    /// The instrumentation scopes of the request, by name.
    pub fn scopes(&self) -> Vec<String> {
        let scopes: Vec<_> = match &self.request {
            Request::Traces(request) => {
                request.resource_spans.iter().flat_map(|of| &of.scope_spans).map(|of| of.scope.clone()).collect()
            }
            Request::Logs(request) => {
                request.resource_logs.iter().flat_map(|of| &of.scope_logs).map(|of| of.scope.clone()).collect()
            }
            Request::Metrics(request) => {
                request.resource_metrics.iter().flat_map(|of| &of.scope_metrics).map(|of| of.scope.clone()).collect()
            }
        };
        scopes.into_iter().flatten().map(|scope| scope.name).collect()
    }

    /// Which signal the request is about.
    pub fn signal(&self) -> &'static str {
        match self.request {
            Request::Traces(_) => "traces",
            Request::Logs(_) => "logs",
            Request::Metrics(_) => "metrics",
        }
    }
}

/// The spans of the requests that were taken.
pub fn spans(received: &[Received]) -> Vec<Span> {
    let requests = received.iter().filter(|received| received.taken()).filter_map(|received| match &received.request {
        Request::Traces(request) => Some(request),
        _ => None,
    });
    let scopes = requests.flat_map(|request| &request.resource_spans).flat_map(|of| &of.scope_spans);
    scopes.flat_map(|of| of.spans.clone()).collect()
}

/// The log records of the requests that were taken.
pub fn logs(received: &[Received]) -> Vec<LogRecord> {
    let requests = received.iter().filter(|received| received.taken()).filter_map(|received| match &received.request {
        Request::Logs(request) => Some(request),
        _ => None,
    });
    let scopes = requests.flat_map(|request| &request.resource_logs).flat_map(|of| &of.scope_logs);
    scopes.flat_map(|of| of.log_records.clone()).collect()
}

/// The metrics of the requests that were taken.
pub fn metrics(received: &[Received]) -> Vec<Metric> {
    let requests = received.iter().filter(|received| received.taken()).filter_map(|received| match &received.request {
        Request::Metrics(request) => Some(request),
        _ => None,
    });
    let scopes = requests.flat_map(|request| &request.resource_metrics).flat_map(|of| &of.scope_metrics);
    scopes.flat_map(|of| of.metrics.clone()).collect()
}
