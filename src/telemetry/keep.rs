//! What becomes of items that could not be sent: those that came out of the spool stay there, the
//! others are put into it, within its bounds, so that a collector that is away costs time and not
//! telemetry. Whatever cannot be kept is counted.

use super::batch;
use super::core::Core;
use super::held::Share;
use super::metrics::{DropReason, Signal};
use super::receipt::Receipt;
use super::resource::Origin;
use super::story::{Batch, Lost};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;
use std::io;

/// Keeps telemetry beyond the life of the process. Samples were taken of it and its lines were
/// shown already: whoever reads it again only has to send it.
pub trait Keeper: Send + Sync {
    /// Keeps a batch's bytes ([`batch::encode`]), which hold so many items.
    fn keep(&self, bytes: &[u8], items: Lost) -> Kept;

    /// Notes how many items this process holds in memory, for whoever comes after it if it is
    /// killed.
    fn note(&self, held: Lost) -> io::Result<()>;

    /// Removes the note: the process ends in order.
    fn end_note(&self);
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
    pub place: Place,
}

/// Where an item is while it waits to be sent.
#[derive(Debug)]
pub enum Place {
    /// In a file of the spool, too.
    Spool(Receipt),
    /// In this process' memory alone; the share says so where it outlives the process.
    Memory(Share),
}

/// Where items come from that are to be queued.
pub enum Source<'a> {
    /// A file of the spool.
    Spool(&'a Receipt),
    /// This process' memory; the share is of all of them at least.
    Memory(&'a mut Share),
}

impl Source<'_> {
    /// The same, for some of the items.
    pub fn again(&mut self) -> Source<'_> {
        match self {
            Source::Spool(receipt) => Source::Spool(receipt),
            Source::Memory(share) => Source::Memory(share),
        }
    }

    /// The place of one item.
    pub fn place<T: Item>(&mut self) -> Place {
        match self {
            Source::Spool(receipt) => Place::Spool(receipt.clone()),
            Source::Memory(share) => Place::Memory(share.split(T::ONE)),
        }
    }
}

impl<T> Queued<T> {
    /// It has arrived, or is lost for good and counted.
    pub fn settle(self) {
        if let Place::Spool(receipt) = self.place {
            receipt.settle();
        }
    }
}

/// Spans and log records.
pub trait Item: Sized {
    /// The signal that they are of.
    const SIGNAL: Signal;
    /// The count of one.
    const ONE: Lost;
    /// Them as a batch.
    fn batch(items: Vec<Self>) -> Batch;
}

impl Item for Span {
    const SIGNAL: Signal = Signal::Traces;
    const ONE: Lost = Lost { spans: 1, logs: 0 };
    fn batch(spans: Vec<Span>) -> Batch {
        Batch { spans, ..Batch::default() }
    }
}

impl Item for LogRecord {
    const SIGNAL: Signal = Signal::Logs;
    const ONE: Lost = Lost { spans: 0, logs: 1 };
    fn batch(logs: Vec<LogRecord>) -> Batch {
        Batch { logs, ..Batch::default() }
    }
}

/// Keeps items that could not be sent, and says how many are kept now. Those that cannot be kept
/// are counted as lost for `reason`.
pub fn put_back<T: Item>(core: &Core, items: Vec<Queued<T>>, reason: DropReason) -> u64 {
    let mut kept = 0;
    let mut homeless: BTreeMap<Origin, Vec<T>> = BTreeMap::new();
    let mut shares = Vec::new();
    for Queued { origin, item, place } in items {
        match place {
            // Vanishing unsettled, it keeps its file.
            Place::Spool(_) => kept += 1,
            Place::Memory(share) => {
                shares.push(share);
                homeless.entry(origin).or_default().push(item);
            }
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
    drop(shares);
    core.held.settle();
    kept
}
