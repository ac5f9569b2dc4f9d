//! A [`Batch`] as bytes: what the plugin hands to the agent, in the socket's telemetry frame and
//! in a record of the spool.
//!
//! One protobuf message with OTLP's own spans (field 1) and log records (field 2), without their
//! resource (that is the agent's to say), with how many were lost on the way (fields 3, 4),
//! whether the agent told it (field 5), where it is not the plugin's, and with counts of requests to
//! the API server (field 6). A reader that is older ignores the fields that it does not know.
//! The reading side trusts nothing: structure that our writer never produces is refused as a
//! whole, and lengths are cut to the limits below.

use super::api_request::{ApiRequest, WireRequests};
use super::resource::Origin;
use super::sanitize;
use super::story::{Batch, Lost};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// The most bytes that a batch may have; an ADD's has about 5 kB.
pub const MAX_BYTES: usize = 1 << 20;
/// The most spans in a batch.
pub const MAX_SPANS: usize = 512;
/// The most log records in a batch.
pub const MAX_LOGS: usize = 2048;
/// The most counts of API requests in a batch: one for each way in which they end.
pub const MAX_API_REQUESTS: usize = 64;

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<Span>,
    #[prost(message, repeated, tag = "2")]
    logs: Vec<LogRecord>,
    #[prost(uint64, tag = "3")]
    lost_spans: u64,
    #[prost(uint64, tag = "4")]
    lost_logs: u64,
    #[prost(bool, tag = "5")]
    of_agent: bool,
    #[prost(message, repeated, tag = "6")]
    api_requests: Vec<WireRequests>,
}

/// Why bytes are no batch.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than a batch may have.
    #[error("the telemetry has {size} bytes; at most {MAX_BYTES} are read")]
    TooLarge {
        /// How many there are.
        size: usize,
    },
    /// No protobuf, or not of this message.
    #[error("the telemetry is no protobuf message of spans and log records")]
    Malformed(#[source] prost::DecodeError),
    /// More items than a batch may have.
    #[error("the telemetry has {spans} spans and {logs} log records; at most {MAX_SPANS} and {MAX_LOGS} are read")]
    TooMany {
        /// How many spans there are.
        spans: usize,
        /// How many log records there are.
        logs: usize,
    },
    /// An item that cannot be right.
    #[error(transparent)]
    Invalid(#[from] sanitize::Invalid),
}

/// Writes a batch. Texts are cut and items left out (the last ones first, and counted as lost)
/// where [`decode`] would refuse them.
pub fn encode(batch: &Batch) -> Vec<u8> {
    let mut wire = Wire::of(batch.clone(), Origin::Plugin);
    wire.cut();
    wire.encode_to_vec()
}

/// Writes a batch of any size as several, and says how many items each of them has. Left out is
/// only an item that is too large on its own.
pub fn pieces(batch: Batch, origin: Origin) -> Vec<(Vec<u8>, Lost)> {
    let (mut pieces, mut rest) = (Vec::new(), vec![Wire::of(batch, origin)]);
    while let Some(mut wire) = rest.pop() {
        let fits = wire.spans.len() <= MAX_SPANS && wire.logs.len() <= MAX_LOGS && wire.encoded_len() <= MAX_BYTES;
        if fits || wire.spans.len() + wire.logs.len() < 2 {
            wire.cut();
            let items = Lost { spans: wire.spans.len() as u64, logs: wire.logs.len() as u64 };
            pieces.push((wire.encode_to_vec(), items));
            continue;
        }
        let (spans, logs) = (wire.spans.len() / 2, wire.logs.len() / 2);
        let (spans, logs) = (wire.spans.split_off(spans), wire.logs.split_off(logs));
        // The first half is the next to be looked at.
        rest.push(Wire { spans, logs, of_agent: wire.of_agent, ..Wire::default() });
        rest.push(wire);
    }
    pieces
}

impl Wire {
    fn of(batch: Batch, origin: Origin) -> Wire {
        let Batch { spans, logs, api_requests, lost } = batch;
        let of_agent = origin == Origin::Agent;
        let api_requests = api_requests.iter().take(MAX_API_REQUESTS).map(WireRequests::from).collect();
        let mut wire = Wire { spans, logs, lost_spans: lost.spans, lost_logs: lost.logs, of_agent, api_requests };
        wire.spans.iter_mut().for_each(sanitize::cut_span);
        wire.logs.iter_mut().for_each(sanitize::cut_log);
        wire
    }

    /// Leaves out what [`decode`] would refuse.
    fn cut(&mut self) {
        let mut spans = self.spans.len().min(MAX_SPANS);
        let mut logs = self.logs.len().min(MAX_LOGS);
        loop {
            self.lost_spans += (self.spans.len() - spans) as u64;
            self.lost_logs += (self.logs.len() - logs) as u64;
            self.spans.truncate(spans);
            self.logs.truncate(logs);
            if self.encoded_len() <= MAX_BYTES {
                return;
            }
            // Log records repeat much of what their spans say, so they go first.
            if logs > 0 { logs /= 2 } else { spans /= 2 }
        }
    }
}

/// Reads a batch that anybody may have written.
pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
    decode_with_origin(bytes).map(|(batch, _)| batch)
}

/// The same, with whose it is.
pub fn decode_with_origin(bytes: &[u8]) -> Result<(Batch, Origin), DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::TooLarge { size: bytes.len() });
    }
    let mut wire = Wire::decode(bytes).map_err(DecodeError::Malformed)?;
    if wire.spans.len() > MAX_SPANS || wire.logs.len() > MAX_LOGS {
        return Err(DecodeError::TooMany { spans: wire.spans.len(), logs: wire.logs.len() });
    }
    wire.spans.iter_mut().try_for_each(sanitize::span)?;
    wire.logs.iter_mut().try_for_each(sanitize::log)?;
    let origin = if wire.of_agent { Origin::Agent } else { Origin::Plugin };
    let api_requests = wire.api_requests.iter().take(MAX_API_REQUESTS).map(<(ApiRequest, u32)>::from).collect();
    let lost = Lost { spans: wire.lost_spans, logs: wire.lost_logs };
    Ok((Batch { spans: wire.spans, logs: wire.logs, api_requests, lost }, origin))
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
