//! What leaves after the answer: the story's telemetry, to the agent that answered, else to
//! whoever serves the socket, else into the spool. One send, no waiting, no failure. So does the record
//! of the pod's namespace.

use super::session::{Presence, Session};
use crate::domain::identity::TraceId;
use crate::domain::pod::PodRef;
use crate::host::pod_netns::Records;
use crate::host::rolling_log;
use crate::host::spool::Spool;
use crate::host::uds::Connection;
use crate::telemetry::batch;
use crate::telemetry::console;
use crate::telemetry::event::{self, Level};
use crate::telemetry::keys;
use crate::telemetry::story::{Batch, Clock, Lost, Story, attribute};
use crate::wire::agent::{Kind, frame};
use crate::wire::cni::CniError;
use crate::wire::{netconf::Settings, spool};
use std::time::Duration;

/// An agent that is there takes the telemetry at once.
const PATIENCE: Duration = Duration::from_millis(50);

/// Hands the telemetry of a call on.
pub fn send(session: Session<'_>) {
    if !session.has_run_dir() {
        return;
    }
    keep_record(&session);
    let (presence, pod, settings) = (session.presence.get(), session.pod.clone(), session.settings().clone());
    let (agent, worth_keeping) = (session.agent.take(), session.worth_keeping.get());
    let told = session.story.into_batch();
    let bytes = batch::encode(&told);
    let sent = match agent {
        Some(mut agent) => deliver(&mut agent, &bytes),
        None if presence == Presence::Unknown => {
            Connection::connect(&settings.agent_socket, PATIENCE).is_ok_and(|mut agent| deliver(&mut agent, &bytes))
        }
        None => false,
    };
    if !sent && worth_keeping {
        keep(&settings, &told, &bytes, &pod);
    }
}

/// Tells a later agent where the namespace is. Without that it looks among the host's processes.
fn keep_record(session: &Session<'_>) {
    if let Some(record) = session.set_up.take() {
        let _ = Records::new(&session.settings().run_dir).keep(&record);
    }
}

fn deliver(agent: &mut Connection, bytes: &[u8]) -> bool {
    agent.limit(PATIENCE);
    frame(Kind::Telemetry, bytes).is_ok_and(|frame| agent.send(&frame).is_ok())
}

/// Leaves the telemetry in the spool, and its lines in the log file.
fn keep(settings: &Settings, told: &Batch, bytes: &[u8], pod: &PodRef) {
    let items =
        Lost { spans: told.spans.len() as u64 + told.lost.spans, logs: told.logs.len() as u64 + told.lost.logs };
    if let Some(record) = spool::record(bytes) {
        let file = [&spool::MAGIC[..], &record].concat();
        // What could not be left is counted in the spool; the ADD is answered already.
        let _ = Spool::in_run_dir(&settings.run_dir).leave(&file, items);
    }
    let lines: String = told.logs.iter().map(|record| console::json_line(record, pod)).collect();
    let _ = rolling_log::append(&settings.run_dir, lines.as_bytes());
}

/// The line of an error on standard error, outside of any call.
pub fn to_stderr(clock: Clock, error: &CniError) {
    let story =
        Story::begin(clock, TraceId::of_pod(""), None, PodRef::default(), Level::Info, Some(console::stderr_json));
    let attributes = vec![attribute(keys::ERROR_TYPE, error.error_type.as_str())];
    story.log(Level::Error, event::REQUEST_FAILED, &format!("istio-cni failed with: {error}"), attributes);
}
