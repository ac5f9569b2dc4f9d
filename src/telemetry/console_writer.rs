//! The agent's console: a thread of its own writes the lines, so that a pipe that nobody reads
//! cannot hold up a request. Lines that do not fit the queue are counted as dropped.

use super::console::tab_line;
use super::metrics::{DropReason, Metrics, Signal};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// How many lines may wait.
const QUEUE_LINES: usize = 4096;

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The reference's default: fields between tabs.
    #[default]
    Tabs,
    /// The reference's `--log_as_json`.
    Json,
}

/// Where the agent's lines go.
pub struct Console {
    format: Format,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

struct State {
    lines: Option<SyncSender<String>>,
    done: Option<oneshot::Receiver<()>>,
}

impl Console {
    /// Starts the thread that writes to `out`. Without a thread every line is dropped and counted.
    pub fn start(out: Box<dyn Write + Send>, format: Format, metrics: Arc<Metrics>) -> Console {
        let (lines, waiting) = sync_channel(QUEUE_LINES);
        let (ended, done) = oneshot::channel();
        let thread = thread::Builder::new().name("console".to_owned());
        let lines = thread.spawn(move || write_lines(&waiting, out, ended)).ok().map(|_| lines);
        Console { format, metrics, state: Mutex::new(State { lines, done: Some(done) }) }
    }

    /// Shows a record in a scope (`cni-agent`, `cni-plugin`). Never waits.
    pub fn show(&self, record: &LogRecord, scope: &str) {
        let line = match self.format {
            Format::Tabs => tab_line(record, scope),
            Format::Json => super::console::agent_json_line(record, scope),
        };
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lines.as_ref().is_none_or(|lines| lines.try_send(line).is_err()) {
            self.metrics.dropped(Signal::Console, DropReason::QueueFull, 1);
        }
    }

    /// Takes no more lines and waits, until the deadline, for those that were taken.
    pub async fn shutdown(&self, deadline: Instant) {
        let done = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.lines = None;
            state.done.take()
        };
        if let Some(done) = done {
            let _ = timeout_at(deadline, done).await;
        }
    }
}

fn write_lines(waiting: &Receiver<String>, mut out: Box<dyn Write + Send>, ended: oneshot::Sender<()>) {
    while let Ok(mut line) = waiting.recv() {
        // Lines that came meanwhile go out in the same write.
        while line.len() < 32 << 10 {
            let Ok(next) = waiting.try_recv() else { break };
            line.push_str(&next);
        }
        // Nobody is left to be told that the console is gone.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
    let _ = ended.send(());
}
