//! The agent's side of the spool. What plugins left while there was no agent is handed to the
//! telemetry, and its files are removed when the collector has it; what an agent could not send is
//! put back. Nothing in the spool can stop the agent.

use super::claims::Claims;
use crate::host::held_file::{self, HeldFile};
use crate::host::spool::{Spool, Waiting};
use crate::host::spool_claim::claim;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::batch;
use crate::telemetry::keep::{Keeper, Kept};
use crate::telemetry::metrics::{DropReason, Signal};
use crate::telemetry::pipeline::Telemetry;
use crate::telemetry::resource::Origin;
use crate::telemetry::story::{Batch, Lost};
use crate::wire::spool::{self as wire, Item, Reader};
use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often the spool is looked at; mostly there is nothing.
const LOOK: Duration = Duration::from_secs(2);
/// How many files are taken over without a pause.
const PORTION: usize = 32;

/// The spool's reader.
pub struct Drain {
    spool: Spool,
    telemetry: Telemetry,
    claims: Arc<Claims>,
    /// Files that this agent has taken over before, and could not send.
    known: HashSet<PathBuf>,
    /// Files that cannot be read or removed; they are told of once and passed over then.
    stuck: HashSet<PathBuf>,
}

/// What a portion of the spool held.
#[derive(Default)]
struct Portion {
    files: usize,
    items: u64,
    bytes: u64,
    /// Whether more is waiting.
    more: bool,
}

impl Drain {
    /// Reads the spool of this run directory.
    pub fn new(run_dir: &Path, telemetry: Telemetry) -> Drain {
        let spool = Spool::in_run_dir(run_dir);
        Drain { spool, telemetry, claims: Arc::default(), known: HashSet::new(), stuck: HashSet::new() }
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
                let _ = tokio::time::timeout(LOOK, self.claims.released()).await;
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    fn portion(&mut self) -> Portion {
        self.take_held();
        let waiting = match self.spool.waiting() {
            Ok(waiting) => waiting,
            Err(error) => {
                let directory = self.spool.directory().to_owned();
                self.complain(&directory, &error.to_string());
                return Portion::default();
            }
        };
        self.known.retain(|path| waiting.iter().any(|file| file.path == *path));
        let mut left: u64 = waiting.iter().map(|file| file.bytes).sum();
        let mut portion = Portion::default();
        for file in &waiting {
            if self.stuck.contains(&file.path) || self.claims.hold(&file.path) {
                continue;
            }
            // It waits for a collector alone, which the next agent may have.
            if file.told && !self.telemetry.has_collector() {
                continue;
            }
            if portion.files == PORTION || !self.claims.have_room() || !self.telemetry.has_room() {
                portion.more = true;
                break;
            }
            if self.take_over(file, &mut portion) && !self.claims.hold(&Spool::told(&file.path)) {
                left = left.saturating_sub(file.bytes);
            }
        }
        for (path, problem) in self.claims.take_stuck() {
            self.complain(&path, &problem);
        }
        self.take_lost();
        self.telemetry.metrics().spool_bytes(left);
        portion
    }

    /// Hands a file's content to the telemetry; false when it stays with somebody else.
    fn take_over(&mut self, file: &Waiting, portion: &mut Portion) -> bool {
        let claimed = claim(file).and_then(|claim| claim.map(|claim| Ok((claim.read()?, claim))).transpose());
        let (bytes, claim) = match claimed {
            Ok(Some(claimed)) => claimed,
            Ok(None) => return false,
            Err(error) => {
                self.complain(&file.path, &error.to_string());
                return false;
            }
        };
        let known = !self.known.insert(claim.path().to_owned());
        portion.files += 1;
        portion.bytes += if known { 0 } else { file.bytes };
        let receipt = self.claims.receipt(claim);
        for item in Reader::new(&bytes) {
            match read(&item) {
                Ok((batch, origin)) => {
                    let items = batch.spans.len() + batch.logs.len();
                    portion.items += if known { 0 } else { items as u64 };
                    self.telemetry.take_over(batch, origin, file.told, &receipt);
                }
                Err(problem) if !known => {
                    self.telemetry.metrics().dropped(Signal::Traces, DropReason::Invalid, 1);
                    self.telemetry.event(damaged(&file.path, &problem));
                }
                Err(_) => {}
            }
        }
        receipt.settle();
        true
    }

    /// What found no place in the spool is counted.
    fn take_lost(&mut self) {
        match self.spool.take_lost() {
            Ok(lost) => self.telemetry.ingest(Batch { lost, ..Batch::default() }, Origin::Plugin),
            Err(error) => {
                let numbers = self.spool.directory().join("lost");
                self.complain(&numbers, &error.to_string());
            }
        }
    }

    /// What processes held that were killed is counted.
    fn take_held(&mut self) {
        // A directory that cannot be read is told of by who looks for what waits.
        for path in self.spool.held().unwrap_or_default() {
            if !self.stuck.contains(&path)
                && let Err(error) = self.bury(&path)
            {
                self.complain(&path, &error.to_string());
            }
        }
        // The file is made before a call has to wait for that, and again where it could not be made.
        self.telemetry.note_again();
        if let Some(problem) = self.telemetry.unnoted() {
            let path = self.spool.directory().display().to_string();
            self.telemetry.event(AgentEvent::HeldUnnoted { path, problem });
        }
    }

    /// Counts what this process held, if it is dead. At every moment one note at least says how
    /// much it was, until the collector has been told.
    fn bury(&mut self, path: &Path) -> io::Result<()> {
        let Some(dead) = held_file::claim(path)? else { return Ok(()) };
        let held = dead.held;
        let inherited = self.telemetry.inherit(held.unwrap_or_default());
        dead.remove()?;
        match held {
            Some(Lost { spans: 0, logs: 0 }) => {}
            Some(_) => self.telemetry.bury(inherited),
            None => self.telemetry.event(damaged(path, "it does not say how much a killed process held in memory")),
        }
        Ok(())
    }

    /// Tells once of something that stays as it is.
    fn complain(&mut self, path: &Path, problem: &str) {
        if self.stuck.insert(path.to_owned()) {
            self.telemetry.event(damaged(path, problem));
        }
    }
}

fn read(item: &Item<'_>) -> Result<(Batch, Origin), String> {
    match item {
        Item::Record(payload) => batch::decode_with_origin(payload).map_err(|error| error.to_string()),
        Item::Damaged { offset } => Err(format!("the record at byte {offset} has a wrong checksum")),
        Item::Torn { offset, bytes } => Err(format!("the {bytes} bytes from byte {offset} on are no record")),
    }
}

fn damaged(path: &Path, problem: &str) -> AgentEvent {
    AgentEvent::SpoolDamaged { path: path.display().to_string(), problem: problem.to_owned() }
}

/// Puts what cannot be sent into the spool, and notes there how much is in memory.
pub struct SpoolKeeper {
    spool: Spool,
    /// Made when there is something to note.
    held: Mutex<Option<HeldFile>>,
}

impl SpoolKeeper {
    /// Into the spool of this run directory.
    pub fn new(run_dir: &Path) -> SpoolKeeper {
        SpoolKeeper { spool: Spool::in_run_dir(run_dir), held: Mutex::default() }
    }
}

impl Keeper for SpoolKeeper {
    fn keep(&self, bytes: &[u8], items: Lost) -> Kept {
        let Some(record) = wire::record(bytes) else { return Kept::Lost };
        let file = [&wire::MAGIC[..], &record].concat();
        if self.spool.put_back(&file).is_ok() {
            return Kept::Waits;
        }
        // The count outlives this process, whose metrics nobody may read any more.
        if self.spool.add_lost(items).is_ok() { Kept::LossNoted } else { Kept::Lost }
    }

    fn note(&self, items: Lost) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match held.take().filter(HeldFile::is_there) {
            Some(file) => file,
            None => self.spool.make_held()?,
        };
        held.insert(file).write(items)
    }

    fn end_note(&self) {
        if let Some(file) = self.held.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // One that stays says that nothing was held.
            let _ = file.remove();
        }
    }
}
