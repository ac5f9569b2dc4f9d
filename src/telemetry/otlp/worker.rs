//! The tasks behind the queues: they make requests of what waits, send them, and account for
//! every item that does not arrive: it is put back where it can be sent from later, or counted.

use super::config::{Batches, Export, Retry};
use super::queue::Queue;
use super::request::{Accepted, Request, SendError};
use super::stop::Stop;
use super::transport::Transport;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::core::Core;
use crate::telemetry::keep::{Item, Queued, put_back};
use crate::telemetry::metrics::{DropReason, Signal};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often at most the collector's complaints about single items are repeated in the log.
const COMPLAINTS_EVERY: Duration = Duration::from_secs(60);

/// How sending a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The collector took it; what it rejected of it is counted.
    Arrived,
    /// The collector never wants it.
    Refused,
    /// It may be sent later.
    Failed,
    /// The same, and the process ends.
    OutOfTime,
}

impl Sent {
    fn lost_for(self) -> Option<DropReason> {
        match self {
            Sent::Arrived => None,
            Sent::Refused | Sent::Failed => Some(DropReason::ExportFailed),
            Sent::OutOfTime => Some(DropReason::Shutdown),
        }
    }
}

/// Sends the requests of one signal and says how that went.
pub struct Sender {
    core: Arc<Core>,
    signal: Signal,
    endpoint: String,
    transport: Transport,
    limit: Duration,
    stop: Stop,
    failing: bool,
    complained: Option<Instant>,
}

impl Sender {
    /// A sender; `limit` is for one request with its retries.
    pub fn new(core: Arc<Core>, signal: Signal, export: Export, retry: Retry, limit: Duration, stop: Stop) -> Sender {
        let endpoint = export.endpoint.shown();
        let transport = Transport::new(export, retry);
        Sender { core, signal, endpoint, transport, limit, stop, failing: false, complained: None }
    }

    /// Sends a request of so many items, made anew for each attempt.
    pub async fn send(&mut self, request: impl Fn() -> Request, items: u64) -> Sent {
        let sent = tokio::select! {
            sent = self.transport.export(request, self.limit, &self.stop) => sent,
            () = self.stop.due() => return Sent::OutOfTime,
        };
        match sent {
            Ok(accepted) => self.arrived(&accepted, items),
            Err(error) => self.failed(error),
        }
    }

    fn arrived(&mut self, accepted: &Accepted, items: u64) -> Sent {
        if self.failing {
            self.failing = false;
            self.core.exported(self.signal, None);
            let (signal, endpoint) = (self.signal.name().to_owned(), self.endpoint.clone());
            self.core.event(AgentEvent::ExportRecovered { signal, endpoint });
        }
        let rejected = accepted.rejected.min(items);
        self.core.metrics.dropped(self.signal, DropReason::Rejected, rejected);
        let silent = self.complained.is_some_and(|last| last.elapsed() < COMPLAINTS_EVERY);
        if !silent && (rejected > 0 || !accepted.message.is_empty()) {
            self.complained = Some(Instant::now());
            let (signal, problem) = (self.signal.name().to_owned(), accepted.message.clone());
            self.core.event(AgentEvent::ExportRejected { signal, items: rejected, problem });
        }
        Sent::Arrived
    }

    fn failed(&mut self, error: SendError) -> Sent {
        let sent = if error.is_final() { Sent::Refused } else { Sent::Failed };
        if !self.failing {
            self.failing = true;
            self.core.exported(self.signal, Some(&error.problem));
            let (signal, endpoint) = (self.signal.name().to_owned(), self.endpoint.clone());
            let problem = error.problem;
            self.core.event(match self.signal {
                Signal::Metrics => AgentEvent::TotalsUnsent { signal, endpoint, problem },
                _ => AgentEvent::ExportFailed { signal, endpoint, problem },
            });
        }
        sent
    }
}

/// Empties a queue of spans or log records until the end is asked for, and then for good.
pub async fn drain<T: Item>(
    queue: Arc<Queue<Queued<T>>>,
    batches: Batches,
    mut sender: Sender,
    request: impl Fn(&[Queued<T>]) -> Request,
) {
    let stop = sender.stop.clone();
    let mut kept = 0;
    while !stop.is_requested() {
        tokio::select! {
            () = queue.filled() => {}
            () = sleep(batches.delay) => {}
            _ = stop.requested() => {}
        }
        let items = queue.pop();
        if !items.is_empty() {
            let sent = sender.send(|| request(&items), items.len() as u64).await;
            let put_back = account(&sender.core, items, sent);
            kept += if stop.is_requested() { put_back } else { 0 };
        }
    }
    // One failure is enough: the rest would meet the same collector.
    loop {
        let items = queue.pop();
        if items.is_empty() {
            break;
        }
        let sent = sender.send(|| request(&items), items.len() as u64).await;
        kept += account(&sender.core, items, sent);
        if sent != Sent::Arrived {
            break;
        }
    }
    kept += put_back(&sender.core, queue.close(), DropReason::Shutdown);
    if kept > 0 {
        // The collector cannot be told; whoever reads the console can.
        sender.core.console_event(&AgentEvent::TelemetryKept { signal: T::SIGNAL.name().to_owned(), items: kept });
    }
}

/// What becomes of items after an attempt to send them; says how many are kept for later.
fn account<T: Item>(core: &Core, items: Vec<Queued<T>>, sent: Sent) -> u64 {
    match (sent, sent.lost_for()) {
        (Sent::Failed | Sent::OutOfTime, Some(reason)) => return put_back(core, items, reason),
        (_, Some(reason)) => core.metrics.dropped(T::SIGNAL, reason, items.len() as u64),
        (_, None) => {}
    }
    items.into_iter().for_each(Queued::settle);
    core.held.settle();
    0
}

/// Sends the metrics in an interval, and once more at the end. `collect` makes a request and says
/// how many data points it has.
pub async fn report(interval: Duration, mut sender: Sender, mut collect: impl FnMut() -> (Request, u64)) {
    let stop = sender.stop.clone();
    loop {
        tokio::select! {
            () = sleep(interval) => {}
            _ = stop.requested() => {}
        }
        let (request, points) = collect();
        let sent = sender.send(|| request.clone(), points).await;
        // The next export carries the same totals and later ones, so none is kept, and one that
        // does not arrive is a loss only if there is no next one, or that would be refused too.
        let last = stop.is_requested();
        if let Some(reason) = sent.lost_for().filter(|_| last || sent == Sent::Refused) {
            sender.core.metrics.dropped(sender.signal, reason, points);
        }
        if last {
            return;
        }
    }
}
