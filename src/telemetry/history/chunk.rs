//! Items as bytes: a batch is taken apart by trace into chunks of OTLP's protobuf, and read again.

use super::facts::Facts;
use crate::domain::identity::TraceId;
use crate::telemetry::story::Batch;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A chunk is closed when it has so many bytes: what is forgotten of a large trace is whole chunks.
const CHUNK: usize = 8 << 10;

/// Items in a row.
#[derive(Clone, PartialEq, Message)]
struct Items {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<Span>,
    #[prost(message, repeated, tag = "2")]
    logs: Vec<LogRecord>,
}

/// Items of one trace, as bytes.
#[derive(Default)]
pub struct Chunk {
    /// Protobuf of [`Items`].
    pub bytes: Vec<u8>,
    /// By what each of them is known again, and where it ends in the bytes.
    pub items: Vec<(u64, u32)>,
}

/// What a batch says of one trace.
pub struct Part {
    pub trace: TraceId,
    pub chunks: Vec<Chunk>,
    pub facts: Facts,
    /// Items that are too large to be kept.
    pub oversized: u64,
}

/// Takes a batch apart. Items of no trace are left out, and so are those with more bytes than
/// `most`, but for what they say in short.
pub fn parts(batch: &Batch, most: usize) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for span in &batch.spans {
        let Some(part) = part_of(&mut parts, &span.trace_id) else { continue };
        part.facts.span(span);
        part.push(1, span, id_of_span(span), most);
    }
    for log in &batch.logs {
        let Some(part) = part_of(&mut parts, &log.trace_id) else { continue };
        part.facts.log(log);
        part.push(2, log, id_of_log(log), most);
    }
    for chunk in parts.iter_mut().flat_map(|part| &mut part.chunks) {
        chunk.bytes.shrink_to_fit();
        chunk.items.shrink_to_fit();
    }
    parts
}

/// The part of a trace, made if it is not there yet: mostly a batch is of one trace.
fn part_of<'a>(parts: &'a mut Vec<Part>, trace: &[u8]) -> Option<&'a mut Part> {
    let trace = TraceId(trace.try_into().ok().filter(|id| *id != [0; 16])?);
    let at = match parts.iter().position(|part| part.trace == trace) {
        Some(at) => at,
        None => {
            parts.push(Part { trace, chunks: Vec::new(), facts: Facts::default(), oversized: 0 });
            parts.len() - 1
        }
    };
    parts.get_mut(at)
}

impl Part {
    fn push(&mut self, tag: u32, item: &impl Message, id: u64, most: usize) {
        let size = item.encoded_len();
        if size > most {
            self.oversized += 1;
            return;
        }
        let chunk = self.chunks.pop_if(|last| last.bytes.len() + size <= CHUNK).unwrap_or_default();
        self.chunks.push(chunk.with(tag, item, id));
    }
}

impl Chunk {
    fn with(mut self, tag: u32, item: &impl Message, id: u64) -> Chunk {
        prost::encoding::message::encode(tag, item, &mut self.bytes);
        self.items.push((id, u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)));
        self
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        self.bytes.capacity() + self.items.capacity() * size_of::<(u64, u32)>() + size_of::<Chunk>()
    }

    /// The same without the items that are known.
    pub fn without(self, known: impl Fn(u64) -> bool) -> Chunk {
        if !self.items.iter().any(|(id, _)| known(*id)) {
            return self;
        }
        let (mut kept, mut from) = (Chunk::default(), 0);
        for (id, end) in self.items {
            if let Some(item) = self.bytes.get(from..end as usize).filter(|_| !known(id)) {
                kept.bytes.extend_from_slice(item);
                kept.items.push((id, u32::try_from(kept.bytes.len()).unwrap_or(u32::MAX)));
            }
            from = end as usize;
        }
        kept
    }
}

/// Reads chunks again, in the order of time. Of a span that was told twice the longer one counts.
pub fn read(chunks: &[Vec<u8>]) -> (Vec<Span>, Vec<LogRecord>) {
    let (mut spans, mut logs) = (Vec::<Span>::new(), Vec::new());
    let mut told: HashMap<Vec<u8>, usize> = HashMap::new();
    for bytes in chunks {
        // What is read here was written here.
        let Ok(items) = Items::decode(bytes.as_slice()) else { continue };
        for span in items.spans {
            match told.get(&span.span_id).and_then(|at| spans.get_mut(*at)) {
                Some(known) if known.end_time_unix_nano < span.end_time_unix_nano => *known = span,
                Some(_) => {}
                None => {
                    told.insert(span.span_id.clone(), spans.len());
                    spans.push(span);
                }
            }
        }
        logs.extend(items.logs);
    }
    spans.sort_by_key(|span| (span.start_time_unix_nano, std::cmp::Reverse(span.end_time_unix_nano)));
    logs.sort_by_key(|log| log.time_unix_nano);
    (spans, logs)
}

fn id_of_span(span: &Span) -> u64 {
    hash(&(&span.span_id, span.end_time_unix_nano))
}

fn id_of_log(log: &LogRecord) -> u64 {
    let text = match log.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text.as_str(),
        _ => "",
    };
    hash(&(&log.span_id, log.time_unix_nano, &log.event_name, text))
}

fn hash(parts: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}
