//! What a batch is as bytes, and which bytes are none.

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
fn an_item_that_is_too_large_on_its_own_is_left_out_and_counted() {
    let mut batch = told("x");
    batch.logs.clear();
    batch.spans.truncate(2);
    let text = "y".repeat(sanitize::MAX_TEXT);
    for n in 0..sanitize::MAX_ENTRIES {
        batch.spans[0].attributes.insert(0, crate::telemetry::story::attribute(keys::REASON, format!("{n}{text}")));
    }
    let pieces = pieces(batch.clone(), Origin::Plugin);
    let held: Vec<u64> = pieces.iter().map(|(_, items)| items.spans).collect();
    assert_eq!(held, [0, 1]);
    assert_eq!(decode(&pieces[1].0).unwrap().spans, batch.spans[1..]);
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
