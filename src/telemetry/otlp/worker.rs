//! The tasks behind the queues: they make requests of what waits, send them, and account for
//! every item that does not arrive.

use super::config::{Batches, Export, Retry};
use super::queue::Queue;
use super::request::{Accepted, Request, SendError};
use super::stop::Stop;
use super::transport::Transport;
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::core::Core;
use crate::telemetry::metrics::{DropReason, Signal};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often at most the collector's complaints about single items are repeated in the log.
const COMPLAINTS_EVERY: Duration = Duration::from_secs(60);

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

    /// Sends a request of so many items; false when it did not arrive. Losses are counted here.
    pub async fn send(&mut self, request: Request, items: u64) -> bool {
        let sent = tokio::select! {
            sent = self.transport.export(request, self.limit, &self.stop) => sent,
            () = self.stop.due() => {
                self.core.metrics.dropped(self.signal, DropReason::Shutdown, items);
                return false;
            }
        };
        match sent {
            Ok(accepted) => self.arrived(&accepted, items),
            Err(error) => self.failed(error, items),
        }
    }

    fn arrived(&mut self, accepted: &Accepted, items: u64) -> bool {
        if self.failing {
            self.failing = false;
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
        true
    }

    fn failed(&mut self, error: SendError, items: u64) -> bool {
        self.core.metrics.dropped(self.signal, DropReason::ExportFailed, items);
        if !self.failing {
            self.failing = true;
            let (signal, endpoint) = (self.signal.name().to_owned(), self.endpoint.clone());
            self.core.event(AgentEvent::ExportFailed { signal, endpoint, problem: error.problem });
        }
        false
    }
}

/// Empties a queue of spans or log records until the end is asked for, and then for good.
pub async fn drain<T>(queue: Arc<Queue<T>>, batches: Batches, mut sender: Sender, request: impl Fn(Vec<T>) -> Request) {
    let stop = sender.stop.clone();
    while !stop.is_requested() {
        tokio::select! {
            () = queue.filled() => {}
            () = sleep(batches.delay) => {}
            _ = stop.requested() => {}
        }
        let items = queue.pop();
        if !items.is_empty() {
            let count = items.len() as u64;
            sender.send(request(items), count).await;
        }
    }
    // One failure is enough: the rest would meet the same collector.
    loop {
        let items = queue.pop();
        let count = items.len() as u64;
        if items.is_empty() || !sender.send(request(items), count).await {
            break;
        }
    }
    let left = queue.close().len() as u64;
    sender.core.metrics.dropped(sender.signal, DropReason::Shutdown, left);
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
        sender.send(request, points).await;
        if stop.is_requested() {
            return;
        }
    }
}
