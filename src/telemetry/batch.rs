//! A [`Batch`] as bytes: what the plugin hands to the agent, in the socket's telemetry frame and
//! in a record of the spool.
//!
//! One protobuf message with OTLP's own spans (field 1) and log records (field 2), without their
//! resource (that is the agent's to say), with how many were lost on the way (fields 3, 4),
//! whether the agent told it (field 5), where it is not the plugin's, and with counts of requests to
//! the API server (field 6). A reader that is older ignores the fields that it does not know.
//! The reading side trusts nothing: structure that our writer never produces is refused as a
//! whole, and lengths are cut to the limits below.

use super::api_request::{ApiRequest, RESOURCES, VERBS, known};
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

/// Requests to the API server that ended the same way.
#[derive(Clone, PartialEq, Message)]
struct WireRequests {
    #[prost(string, tag = "1")]
    verb: String,
    #[prost(string, tag = "2")]
    resource: String,
    /// The HTTP status; 0 when there was no answer.
    #[prost(uint32, tag = "3")]
    code: u32,
    #[prost(uint32, tag = "4")]
    count: u32,
}

impl From<&(ApiRequest, u32)> for WireRequests {
    fn from((request, count): &(ApiRequest, u32)) -> Self {
        let ApiRequest { verb, resource, code } = *request;
        let code = code.unwrap_or_default().into();
        WireRequests { verb: verb.to_owned(), resource: resource.to_owned(), code, count: *count }
    }
}

impl From<&WireRequests> for (ApiRequest, u32) {
    fn from(wire: &WireRequests) -> Self {
        let code = u16::try_from(wire.code).ok().filter(|code| *code != 0);
        let (verb, resource) = (known(&VERBS, &wire.verb), known(&RESOURCES, &wire.resource));
        (ApiRequest { verb, resource, code }, wire.count)
    }
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
    Wire::of(batch.clone(), Origin::Plugin).into_bytes()
}

/// Writes a batch of any size as several, so that nothing is left out, and says how many items
/// each of them has.
pub fn pieces(batch: Batch, origin: Origin) -> Vec<(Vec<u8>, Lost)> {
    let (mut pieces, mut rest) = (Vec::new(), vec![Wire::of(batch, origin)]);
    while let Some(mut wire) = rest.pop() {
        let items = Lost { spans: wire.spans.len() as u64, logs: wire.logs.len() as u64 };
        let fits = wire.spans.len() <= MAX_SPANS && wire.logs.len() <= MAX_LOGS && wire.encoded_len() <= MAX_BYTES;
        if fits || items.spans + items.logs < 2 {
            pieces.push((wire.into_bytes(), items));
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

    fn into_bytes(mut self) -> Vec<u8> {
        let mut spans = self.spans.len().min(MAX_SPANS);
        let mut logs = self.logs.len().min(MAX_LOGS);
        loop {
            self.lost_spans += (self.spans.len() - spans) as u64;
            self.lost_logs += (self.logs.len() - logs) as u64;
            self.spans.truncate(spans);
            self.logs.truncate(logs);
            if self.encoded_len() <= MAX_BYTES {
                return self.encode_to_vec();
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
mod tests {
    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::identity::TraceId;
    use crate::domain::pod::PodRef;
    use crate::domain::step::Step;
    use crate::telemetry::event::Level;
    use crate::telemetry::keys;
    use crate::telemetry::story::{Clock, Story, text_attribute};
    use proptest::prelude::*;

    const UID: &str = "11111111-2222-4333-8444-555555555555";

    fn told(value: &str) -> Batch {
        let pod = PodRef { namespace: "shop".into(), name: "cart-0".into(), uid: Some(UID.into()) };
        let story = Story::begin(Clock::start(), TraceId::of_pod(UID), None, pod, Level::Debug, None);
        let _ = story.request("cni.add", |open| {
            open.set(keys::REASON, value);
            story.step(Step::PodLookup, |_| Ok::<(), Failure>(()))
        });
        story.into_batch()
    }

    #[test]
    fn a_story_reads_back_as_it_was_told() {
        let batch = told("why");
        assert_eq!(decode(&encode(&batch)).unwrap(), batch);
    }

    #[test]
    fn losses_travel_with_the_batch() {
        let batch = Batch { lost: Lost { spans: 3, logs: 4 }, ..Batch::default() };
        assert_eq!(decode(&encode(&batch)).unwrap().lost, Lost { spans: 3, logs: 4 });
    }

    #[test]
    fn counts_of_api_requests_travel_with_the_batch() {
        let request = |code| ApiRequest { verb: "get", resource: "pods", code };
        let api_requests = vec![(request(Some(503)), 3), (request(None), 1), (request(Some(200)), 1)];
        let batch = Batch { api_requests, ..told("why") };
        assert_eq!(decode(&encode(&batch)).unwrap(), batch);
    }

    #[test]
    fn counts_that_nobody_knows_or_too_many_make_no_series() {
        let odd = WireRequests { verb: "steal".into(), resource: "secrets".into(), code: 70_000, count: 2 };
        let wire = Wire { api_requests: vec![odd; MAX_API_REQUESTS + 1], ..Wire::default() };
        let read = decode(&wire.encode_to_vec()).unwrap().api_requests;
        assert_eq!(read.len(), MAX_API_REQUESTS);
        assert_eq!(read[0], (ApiRequest { verb: "", resource: "", code: None }, 2));
    }

    #[test]
    fn a_record_of_an_older_plugin_is_read() {
        // As it was before there were counts: a lost span and two lost log records.
        let batch = decode(&[0x18, 1, 0x20, 2]).unwrap();
        assert_eq!(batch, Batch { lost: Lost { spans: 1, logs: 2 }, ..Batch::default() });
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let batch = told(&"ö".repeat(1 << 20));
        let read = decode(&encode(&batch)).unwrap();
        let text = read.spans.iter().find_map(|span| text_attribute(&span.attributes, keys::REASON)).unwrap();
        assert!(text.len() <= sanitize::MAX_TEXT && text.chars().all(|c| c == 'ö'), "{} bytes", text.len());
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let one = told("x").spans.remove(0);
        let mut batch = Batch { spans: vec![one; MAX_SPANS + 10], ..Batch::default() };
        for span in &mut batch.spans {
            let text = "y".repeat(sanitize::MAX_TEXT);
            span.attributes.extend([crate::telemetry::story::attribute(keys::REASON, text)]);
        }
        let read = decode(&encode(&batch)).unwrap();
        assert!(!read.spans.is_empty());
        assert_eq!(read.spans.len() as u64 + read.lost.spans, (MAX_SPANS + 10) as u64);
    }

    #[test]
    fn a_batch_of_any_size_is_written_in_pieces_without_loss() {
        let mut batch = told("x");
        let (span, log) = (batch.spans.remove(0), batch.logs.remove(0));
        batch.logs = (0..MAX_LOGS as u64 + 5).map(|n| LogRecord { time_unix_nano: n + 1, ..log.clone() }).collect();
        batch.spans = (1..2000_u64).map(|n| Span { span_id: n.to_be_bytes().into(), ..span.clone() }).collect();
        for span in &mut batch.spans {
            span.attributes.push(crate::telemetry::story::attribute(keys::REASON, "y".repeat(1 << 12)));
        }
        let pieces = pieces(batch.clone(), Origin::Agent);
        assert!(pieces.len() > 8, "{}", pieces.len());
        let mut read = Batch::default();
        for (bytes, items) in pieces {
            let (piece, origin) = decode_with_origin(&bytes).unwrap();
            assert_eq!(origin, Origin::Agent);
            assert_eq!(items, Lost { spans: piece.spans.len() as u64, logs: piece.logs.len() as u64 });
            read.spans.extend(piece.spans);
            read.logs.extend(piece.logs);
            assert_eq!(piece.lost, Lost::default());
        }
        assert_eq!(read, batch);
    }

    #[test]
    fn items_without_usable_ids_are_refused() {
        for bad in [vec![], vec![0; 16], vec![1; 15], vec![1; 17]] {
            let mut batch = told("x");
            batch.spans[0].trace_id = bad.clone();
            let refused = decode(&encode(&batch)).unwrap_err().to_string();
            assert_eq!(refused, "a span of the telemetry has no usable trace id");
            let mut batch = told("x");
            batch.spans[0].span_id = bad;
            assert!(decode(&encode(&batch)).is_err());
        }
        let mut batch = told("x");
        batch.spans[0].parent_span_id = vec![1; 3];
        assert!(decode(&encode(&batch)).is_err());
    }

    #[test]
    fn oversized_and_overfull_messages_are_refused() {
        assert!(matches!(decode(&vec![0; MAX_BYTES + 1]), Err(DecodeError::TooLarge { .. })));
        let wire = Wire { logs: vec![LogRecord::default(); MAX_LOGS + 1], ..Wire::default() };
        assert!(matches!(decode(&wire.encode_to_vec()), Err(DecodeError::TooMany { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn a_damaged_batch_is_read_without_panic(at in 0_usize..4096, byte in any::<u8>()) {
            let mut bytes = encode(&told("why"));
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(batch) = decode(&bytes) {
                prop_assert!(batch.spans.iter().all(|span| span.trace_id.len() == 16 && span.span_id.len() == 8));
            }
        }
    }
}
