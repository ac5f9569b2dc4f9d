//! Says in the log, now and then, how much telemetry was lost since the last time.

use super::agent_event::AgentEvent;
use super::metrics::{DropReason, Metrics, Signal};

/// How many items were lost so far, by signal and reason.
pub type Counts = [[u64; DropReason::ALL.len()]; Signal::ALL.len()];

/// What was lost since an earlier count.
pub struct Drops {
    /// The count now.
    pub counts: Counts,
    /// One event for each signal and reason with losses.
    pub events: Vec<AgentEvent>,
}

impl Drops {
    /// Compares with an earlier count.
    pub fn since(metrics: &Metrics, earlier: Counts) -> Drops {
        let mut events = Vec::new();
        let counts = Signal::ALL.map(|signal| DropReason::ALL.map(|reason| metrics.dropped_so_far(signal, reason)));
        for ((signal, now), before) in Signal::ALL.into_iter().zip(counts).zip(earlier) {
            for ((reason, now), before) in DropReason::ALL.into_iter().zip(now).zip(before) {
                if now > before {
                    let (signal, reason) = (signal.name().to_owned(), reason.name().to_owned());
                    events.push(AgentEvent::TelemetryDropped { signal, reason, items: now - before });
                }
            }
        }
        Drops { counts, events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_new_losses_are_told() {
        let metrics = Metrics::new("1", "");
        metrics.dropped(Signal::Traces, DropReason::QueueFull, 5);
        let first = Drops::since(&metrics, Counts::default());
        metrics.dropped(Signal::Traces, DropReason::QueueFull, 2);
        let second = Drops::since(&metrics, first.counts);
        let lost = |items| AgentEvent::TelemetryDropped { signal: "traces".into(), reason: "queue_full".into(), items };
        assert_eq!((first.events, second.events), (vec![lost(5)], vec![lost(2)]));
    }
}
