//! Takes over what plugins left behind while there was no agent: reads the spool's files, hands
//! them to the telemetry, removes them. Nothing in the spool can stop it.

use crate::host::spool::{Spool, Waiting};
use crate::host::spool_drain::{Taken, take};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::batch;
use crate::telemetry::metrics::{DropReason, Signal};
use crate::telemetry::pipeline::Telemetry;
use crate::telemetry::resource::Origin;
use crate::telemetry::story::Batch;
use crate::wire::spool::{Item, Reader};
use std::collections::HashSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the spool is looked at; mostly there is nothing.
const LOOK: Duration = Duration::from_secs(2);
/// How many files are taken over at a time. Before the next, what is queued must have left, or a
/// full spool would be lost in a full queue.
const PORTION: usize = 32;
/// How long to wait for that; what a collector that is away does not take is better counted as
/// samples than left where it keeps out what is new.
const ROOM: Duration = Duration::from_secs(30);

/// The spool's reader.
pub struct Drain {
    spool: Spool,
    telemetry: Telemetry,
    /// Files that cannot be read or removed; they are told of once and passed over then.
    stuck: HashSet<PathBuf>,
}

/// What a portion of the spool held.
#[derive(Default)]
struct Portion {
    items: u64,
    bytes: u64,
    /// Whether more is waiting.
    more: bool,
}

impl Drain {
    /// Reads the spool of this run directory.
    pub fn new(run_dir: &Path, telemetry: Telemetry) -> Drain {
        Drain { spool: Spool::in_run_dir(run_dir), telemetry, stuck: HashSet::new() }
    }

    /// Takes over what is there and what comes, for ever.
    pub async fn run(mut self) -> Result<(), Infallible> {
        loop {
            let portion = self.portion();
            if portion.items > 0 {
                let Portion { items, bytes, .. } = portion;
                self.telemetry.event(AgentEvent::SpoolDrained { items, bytes });
            }
            if portion.more {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(LOOK).await;
            }
            let _ = tokio::time::timeout(ROOM, self.telemetry.room()).await;
        }
    }

    fn portion(&mut self) -> Portion {
        let waiting = match self.spool.waiting() {
            Ok(waiting) => waiting,
            Err(error) => {
                let directory = self.spool.directory().to_owned();
                self.complain(&directory, &error.to_string());
                return Portion::default();
            }
        };
        let mut left: u64 = waiting.iter().map(|file| file.bytes).sum();
        let files: Vec<&Waiting> = waiting.iter().filter(|file| !self.stuck.contains(&file.path)).collect();
        let mut portion = Portion { more: files.len() > PORTION, ..Portion::default() };
        for file in files.into_iter().take(PORTION) {
            if let Some(items) = self.take_over(file) {
                portion.items += items;
                portion.bytes += file.bytes;
                left = left.saturating_sub(file.bytes);
            }
        }
        self.take_lost();
        self.telemetry.metrics().spool_bytes(left);
        portion
    }

    /// How many spans and log records a file held; None when it is still there.
    fn take_over(&mut self, file: &Waiting) -> Option<u64> {
        let telemetry = self.telemetry.clone();
        let mut items = 0;
        let mut problems = Vec::new();
        let taken = take(file, |bytes| {
            for item in Reader::new(bytes) {
                match read(&item) {
                    Ok(batch) => {
                        items += (batch.spans.len() + batch.logs.len()) as u64;
                        telemetry.ingest(batch, Origin::Plugin);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
        });
        for problem in &problems {
            telemetry.metrics().dropped(Signal::Traces, DropReason::Invalid, 1);
            telemetry.event(damaged(&file.path, problem));
        }
        match taken {
            Ok(Taken::All) => Some(items),
            Ok(Taken::BySomebodyElse) => None,
            Err(error) => {
                self.complain(&file.path, &error.to_string());
                None
            }
        }
    }

    /// What plugins could not leave is counted.
    fn take_lost(&mut self) {
        match self.spool.take_lost() {
            Ok(lost) => self.telemetry.ingest(Batch { lost, ..Batch::default() }, Origin::Plugin),
            Err(error) => {
                let numbers = self.spool.directory().join("lost");
                self.complain(&numbers, &error.to_string());
            }
        }
    }

    /// Tells once of something that stays as it is.
    fn complain(&mut self, path: &Path, problem: &str) {
        if self.stuck.insert(path.to_owned()) {
            self.telemetry.event(damaged(path, problem));
        }
    }
}

fn read(item: &Item<'_>) -> Result<Batch, String> {
    match item {
        Item::Record(payload) => batch::decode(payload).map_err(|error| error.to_string()),
        Item::Damaged { offset } => Err(format!("the record at byte {offset} has a wrong checksum")),
        Item::Torn { offset, bytes } => Err(format!("the {bytes} bytes from byte {offset} on are no record")),
    }
}

fn damaged(path: &Path, problem: &str) -> AgentEvent {
    AgentEvent::SpoolDamaged { path: path.display().to_string(), problem: problem.to_owned() }
}
