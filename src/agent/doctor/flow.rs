//! Whether the telemetry reaches its collector: what was lost of late, and what waits.

use super::Doctor;
use crate::domain::finding::{Check, Finding};
use crate::domain::lately::IN_WINDOW;
use crate::host::spool::Spool;
use crate::telemetry::metrics::{DropReason, Metrics, Signal};
use std::time::Instant;

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
    let lost = lost_lately(metrics, Instant::now());
    if !lost.is_empty() {
        let next = "see whether the collector is there, and takes what it is sent; the agent's log has its answers";
        return Finding::warning(CHECK, format!("telemetry was lost {IN_WINDOW}"), next)
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
    let finding = match destinations.is_empty() {
        true => {
            Finding::ok(CHECK, "no collector is configured; /metrics and this agent's memory have all that there is")
        }
        false => Finding::ok(CHECK, format!("nothing was lost {IN_WINDOW}")).with_some(&destinations),
    };
    finding.with_some(&lost_before(metrics))
}

/// What was lost in the half hour before this time.
fn lost_lately(metrics: &Metrics, now: Instant) -> Vec<String> {
    let lost = metrics.dropped_lately(now).into_iter();
    lost.map(|(signal, reason, count)| format!("{count} {} were lost {IN_WINDOW}: {}", signal.name(), reason.name()))
        .collect()
}

/// What was lost since the agent started, however long ago.
fn lost_before(metrics: &Metrics) -> Vec<String> {
    let each = Signal::ALL.into_iter().flat_map(|signal| DropReason::ALL.map(|reason| (signal, reason)));
    let counted = each.map(|(signal, reason)| (signal, reason, metrics.dropped_so_far(signal, reason)));
    let lost = counted.filter(|(_, _, count)| *count > 0);
    lost.map(|(signal, reason, count)| {
        format!("before that, since the agent started: {count} {}: {}", signal.name(), reason.name())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lately::WINDOW;

    #[test]
    fn what_was_lost_last_week_is_told_and_no_warning() {
        let metrics = Metrics::new("1", "");
        assert!(lost_lately(&metrics, Instant::now()).is_empty() && lost_before(&metrics).is_empty());
        metrics.dropped(Signal::Traces, DropReason::QueueFull, 5);
        assert_eq!(lost_lately(&metrics, Instant::now()), ["5 traces were lost in the last 30 minutes: queue_full"]);
        assert!(lost_lately(&metrics, Instant::now() + WINDOW).is_empty());
        assert_eq!(lost_before(&metrics), ["before that, since the agent started: 5 traces: queue_full"]);
    }
}
