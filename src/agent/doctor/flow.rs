//! Whether the telemetry reaches its collector: what was lost since the agent started, and what waits.

use super::Doctor;
use crate::domain::finding::{Check, Finding};
use crate::host::spool::Spool;
use crate::telemetry::metrics::{DropReason, Signal};

const CHECK: Check = Check::Telemetry;
/// What plugins leave is read within two seconds: so many files are a collector that takes nothing.
const WAITING: usize = 16;

/// Looks at losses and at the spool.
pub fn look(doctor: &Doctor) -> Finding {
    let destinations: Vec<String> = doctor
        .telemetry
        .destinations()
        .into_iter()
        .map(|(signal, endpoint)| format!("{} go to {endpoint}", signal.name()))
        .collect();
    let metrics = doctor.telemetry.metrics();
    let mut lost = Vec::new();
    for signal in Signal::ALL {
        for reason in DropReason::ALL {
            let count = metrics.dropped_so_far(signal, reason);
            if count > 0 {
                lost.push(format!("{count} {} were lost: {}", signal.name(), reason.name()));
            }
        }
    }
    if !lost.is_empty() {
        let next = "see whether the collector is there, and takes what it is sent; the agent's log has its answers";
        return Finding::warning(CHECK, "telemetry was lost since the agent started", next)
            .with_some(&lost)
            .with_some(&destinations);
    }
    let failing = doctor.telemetry.failing().into_iter();
    let failing: Vec<String> = failing.map(|(signal, problem)| format!("{}: {problem}", signal.name())).collect();
    if !failing.is_empty() {
        let next =
            "see whether the collector is there, and whether this node reaches it; what waits is sent when it is back";
        return Finding::warning(CHECK, "telemetry does not reach its collector; nothing is lost yet", next)
            .with_some(&failing)
            .with_some(&destinations);
    }
    let mut waiting = Spool::in_run_dir(&doctor.place.run_dir).waiting().unwrap_or_default();
    // Who has no collector leaves what it has read to whoever has one.
    waiting.retain(|file| !(destinations.is_empty() && file.told));
    let bytes: u64 = waiting.iter().map(|file| file.bytes).sum();
    if waiting.len() >= WAITING {
        let what = format!(
            "telemetry does not reach its collector: {} files with {bytes} bytes wait in the spool",
            waiting.len()
        );
        let next = "see whether the collector is there; what waits is sent when it is back, and nothing is lost yet";
        return Finding::warning(CHECK, what, next).with_some(&destinations);
    }
    match destinations.is_empty() {
        true => {
            Finding::ok(CHECK, "no collector is configured; /metrics and this agent's memory have all that there is")
        }
        false => Finding::ok(CHECK, "nothing was lost since the agent started").with_some(&destinations),
    }
}
