//! One remembered trace: its first items and its newest, and what they say in short.

use super::Summary;
use super::chunk::{Chunk, Part};
use super::facts::Facts;
use crate::domain::identity::TraceId;
use std::collections::VecDeque;

/// What a trace takes beside its items: the maps' shares and the structures themselves.
const OVERHEAD: usize = 512;

/// One trace.
#[derive(Default)]
pub struct Entry {
    chunks: VecDeque<Chunk>,
    /// How many bytes they take.
    bytes: usize,
    pub facts: Facts,
    /// How many items went because there were too many.
    pub forgotten: u64,
    /// That of its last change; 0 before the first.
    pub version: u64,
}

impl Entry {
    /// Whether nothing was added yet.
    pub fn is_new(&self) -> bool {
        self.version == 0
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        self.bytes + self.facts.size() + OVERHEAD
    }

    /// Adds what is not there yet, and keeps it within `most` bytes; false if nothing was new.
    pub fn add(&mut self, part: Part, most: usize) -> bool {
        let Part { chunks, facts, oversized, .. } = part;
        let mut is_changed = self.is_new() || oversized > 0;
        for chunk in chunks {
            let chunk = chunk.without(|id| self.knows(id));
            if !chunk.items.is_empty() {
                self.bytes += chunk.size();
                self.chunks.push_back(chunk);
                is_changed = true;
            }
        }
        if is_changed {
            self.facts.merge(facts);
            self.forgotten += oversized;
            self.shrink(most);
        }
        is_changed
    }

    /// Forgets what is neither among the first quarter of what may stay nor among the newest.
    fn shrink(&mut self, most: usize) {
        let most = most.saturating_sub(self.facts.size() + OVERHEAD);
        let mut first_bytes = 0;
        let first = self.chunks.iter().take_while(|chunk| {
            first_bytes += chunk.size();
            first_bytes <= most / 4
        });
        let first = first.count().max(usize::from(self.chunks.len() > 1));
        while self.bytes > most {
            let Some(gone) = self.chunks.remove(first.min(self.chunks.len().saturating_sub(1))) else { return };
            self.bytes = self.bytes.saturating_sub(gone.size());
            self.forgotten += gone.items.len() as u64;
        }
    }

    fn knows(&self, id: u64) -> bool {
        self.chunks.iter().any(|chunk| chunk.items.iter().any(|(known, _)| *known == id))
    }

    /// Its items, in the order in which they came.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        self.chunks.iter().map(|chunk| chunk.bytes.clone()).collect()
    }

    /// It in short.
    pub fn summary(&self, trace: TraceId) -> Summary {
        let failure = self.facts.failure();
        Summary {
            trace,
            kinds: self.facts.kinds(),
            title: self.facts.title(trace),
            pod: self.facts.pod(|_| true).cloned(),
            began_ns: self.facts.began_ns,
            ended_ns: self.facts.ended_ns,
            error: failure.map(|failure| failure.error.clone()),
            message: failure.map(|failure| failure.message.clone()),
            spans: self.facts.spans,
            forgotten: self.forgotten,
            version: self.version,
        }
    }
}
