//! How soon to put things right again when somebody keeps undoing it, and when to complain.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A quiet time of this length makes everything that was before forgotten.
const WINDOW: Duration = Duration::from_secs(60);
/// So many corrections follow at once: whoever writes a file in several steps means no harm.
const AT_ONCE: usize = 5;
/// The first pause, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause. In the time between, pods start without rules: it has to be short.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So many reverts within the window are a fight.
const FIGHT: usize = 3;
/// How often a fight that lasts is complained about.
const COMPLAIN_EVERY: Duration = Duration::from_secs(600);

/// The corrections of late, and what was said of them.
#[derive(Debug, Default)]
pub struct Reverts {
    corrections: VecDeque<Instant>,
    reverts: VecDeque<Instant>,
    complained: Option<Instant>,
}

impl Reverts {
    /// How long to wait before correcting something now.
    pub fn pause(&mut self, now: Instant) -> Duration {
        forget(&mut self.corrections, now);
        let Some(beyond) = self.corrections.len().checked_sub(AT_ONCE) else { return Duration::ZERO };
        let doublings = u32::try_from(beyond.min(10)).unwrap_or(10);
        FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
    }

    /// Something was corrected.
    pub fn corrected(&mut self, now: Instant) {
        remember(&mut self.corrections, now);
    }

    /// Somebody undid it. True when that is to be complained about.
    pub fn reverted(&mut self, now: Instant) -> bool {
        forget(&mut self.reverts, now);
        remember(&mut self.reverts, now);
        let quiet = self.complained.is_some_and(|at| now.saturating_duration_since(at) < COMPLAIN_EVERY);
        if self.reverts.len() < FIGHT || quiet {
            return false;
        }
        self.complained = Some(now);
        true
    }
}

/// Forgets what is older than the window.
fn forget(times: &mut VecDeque<Instant>, now: Instant) {
    while times.front().is_some_and(|at| now.saturating_duration_since(*at) > WINDOW) {
        times.pop_front();
    }
}

/// Adds a time; more than enough of them are kept.
fn remember(times: &mut VecDeque<Instant>, now: Instant) {
    const ENOUGH: usize = 64;
    if times.len() == ENOUGH {
        times.pop_front();
    }
    times.push_back(now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_follow_at_once_then_slower_and_a_quiet_minute_forgives() {
        let (mut reverts, start) = (Reverts::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pauses.push(reverts.pause(start).as_millis());
            reverts.corrected(start);
        }
        assert_eq!(pauses, [0, 0, 0, 0, 0, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(reverts.pause(start + WINDOW + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn the_third_revert_within_a_minute_is_a_fight_and_complained_about_rarely() {
        let (mut reverts, start) = (Reverts::default(), Instant::now());
        let complained = (0..1000).filter(|second| reverts.reverted(start + Duration::from_secs(*second)));
        assert_eq!(complained.collect::<Vec<_>>(), [2, 602]);
        let apart = (2000..4000).step_by(61).filter(|second| reverts.reverted(start + Duration::from_secs(*second)));
        assert_eq!(apart.count(), 0);
    }
}
