//! What becomes of items that could not be sent: those that came out of the spool stay there, the
//! others are put into it, within its bounds, so that a collector that is away costs time and not
//! telemetry. Whatever cannot be kept is counted.

use super::batch;
use super::core::Core;
use super::metrics::{DropReason, Signal};
use super::receipt::Receipt;
use super::resource::Origin;
use super::story::{Batch, Lost};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;

/// Keeps telemetry beyond the life of the process. Samples were taken of it and its lines were
/// shown already: whoever reads it again only has to send it.
pub trait Keeper: Send + Sync {
    /// Keeps a batch's bytes ([`batch::encode`]), which hold so many items.
    fn keep(&self, bytes: &[u8], items: Lost) -> Kept;
}

/// What became of what was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It waits.
    Waits,
    /// There was no room; the loss stands where it is counted later.
    LossNoted,
    /// It is lost, and nobody but the caller knows.
    Lost,
}

/// An item on its way to the collector.
#[derive(Debug)]
pub struct Queued<T> {
    /// Who told it.
    pub origin: Origin,
    pub item: T,
    /// Where it is kept meanwhile, if it is.
    pub receipt: Option<Receipt>,
}

impl<T> Queued<T> {
    /// It has arrived, or is lost for good and counted.
    pub fn settle(self) {
        if let Some(receipt) = self.receipt {
            receipt.settle();
        }
    }
}

/// Spans and log records.
pub trait Item: Sized {
    /// The signal that they are of.
    const SIGNAL: Signal;
    /// Them as a batch.
    fn batch(items: Vec<Self>) -> Batch;
}

impl Item for Span {
    const SIGNAL: Signal = Signal::Traces;
    fn batch(spans: Vec<Span>) -> Batch {
        Batch { spans, ..Batch::default() }
    }
}

impl Item for LogRecord {
    const SIGNAL: Signal = Signal::Logs;
    fn batch(logs: Vec<LogRecord>) -> Batch {
        Batch { logs, ..Batch::default() }
    }
}

/// Keeps items that could not be sent, and says how many are kept now. Those that cannot be kept
/// are counted as lost for `reason`.
pub fn put_back<T: Item>(core: &Core, items: Vec<Queued<T>>, reason: DropReason) -> u64 {
    let mut kept = 0;
    let mut homeless: BTreeMap<Origin, Vec<T>> = BTreeMap::new();
    for Queued { origin, item, receipt } in items {
        match receipt {
            // Vanishing unsettled, it keeps its file.
            Some(_) => kept += 1,
            None => homeless.entry(origin).or_default().push(item),
        }
    }
    for (origin, items) in homeless {
        let Some(keeper) = &core.keeper else {
            core.metrics.dropped(T::SIGNAL, reason, items.len() as u64);
            continue;
        };
        let mut oversized = items.len() as u64;
        for (bytes, held) in batch::pieces(T::batch(items), origin) {
            let count = held.spans + held.logs;
            oversized -= count;
            match keeper.keep(&bytes, held) {
                Kept::Waits => kept += count,
                Kept::LossNoted => {}
                Kept::Lost => core.metrics.dropped(T::SIGNAL, reason, count),
            }
        }
        core.metrics.dropped(T::SIGNAL, reason, oversized);
    }
    kept
}
