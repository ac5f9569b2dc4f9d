//! An export request of one signal, and what an answer to it says.

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use std::time::Duration;

/// A request.
#[derive(Clone, Debug)]
pub enum Request {
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// An answer that takes the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// How many items the collector rejected nevertheless.
    pub rejected: u64,
    /// What it says about that; may be a warning without rejected items.
    pub message: String,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    /// What happened, for people.
    pub problem: String,
    /// Whether the same request may be sent again at once.
    pub retryable: bool,
    /// Whether the collector itself said no; what it never saw, it may take another time.
    pub answered: bool,
    /// When the collector wants it again.
    pub after: Option<Duration>,
}

impl SendError {
    /// No answer came; the next attempt may fare better.
    pub fn unanswered(problem: String) -> SendError {
        SendError { problem, retryable: true, answered: false, after: None }
    }

    /// Whether sending the same later is of no use either.
    pub fn is_final(&self) -> bool {
        self.answered && !self.retryable
    }
}

impl Request {
    /// The request as protobuf.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Traces(request) => request.encode_to_vec(),
            Request::Logs(request) => request.encode_to_vec(),
            Request::Metrics(request) => request.encode_to_vec(),
        }
    }

    /// Reads the answer's protobuf. One that cannot be read still says by its status that the
    /// request was taken.
    pub fn read_answer(&self, body: &[u8]) -> Accepted {
        match self {
            Request::Traces(_) => Accepted::traces(&ExportTraceServiceResponse::decode(body).unwrap_or_default()),
            Request::Logs(_) => Accepted::logs(&ExportLogsServiceResponse::decode(body).unwrap_or_default()),
            Request::Metrics(_) => Accepted::metrics(&ExportMetricsServiceResponse::decode(body).unwrap_or_default()),
        }
    }
}

impl Accepted {
    /// What an answer about spans says.
    pub fn traces(answer: &ExportTraceServiceResponse) -> Accepted {
        let partial = answer.partial_success.as_ref();
        partial.map(|partial| Accepted::new(partial.rejected_spans, &partial.error_message)).unwrap_or_default()
    }

    /// What an answer about log records says.
    pub fn logs(answer: &ExportLogsServiceResponse) -> Accepted {
        let partial = answer.partial_success.as_ref();
        partial.map(|partial| Accepted::new(partial.rejected_log_records, &partial.error_message)).unwrap_or_default()
    }

    /// What an answer about metrics says.
    pub fn metrics(answer: &ExportMetricsServiceResponse) -> Accepted {
        let partial = answer.partial_success.as_ref();
        partial.map(|partial| Accepted::new(partial.rejected_data_points, &partial.error_message)).unwrap_or_default()
    }

    fn new(rejected: i64, message: &str) -> Accepted {
        Accepted { rejected: u64::try_from(rejected).unwrap_or(0), message: message.to_owned() }
    }
}
