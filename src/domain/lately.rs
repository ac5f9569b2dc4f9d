//! How often something happened within the last half hour, so that what is long over is told from what goes on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long something counts as of late.
pub const WINDOW: Duration = Duration::from_secs(30 * 60);
/// The same, for people.
pub const IN_WINDOW: &str = "in the last 30 minutes";
/// What happens within so long of each other is counted together.
const TOGETHER: Duration = Duration::from_secs(60);

/// Counts, each with the time of its first; no more than there are minutes in the window.
#[derive(Debug, Default)]
pub struct Lately(VecDeque<(Instant, u64)>);

impl Lately {
    /// It happened so often now.
    pub fn add(&mut self, count: u64, now: Instant) {
        if count == 0 {
            return;
        }
        while self.0.front().is_some_and(|(at, _)| !is_of_late(*at, now)) {
            self.0.pop_front();
        }
        match self.0.back_mut() {
            Some((at, counted)) if now.saturating_duration_since(*at) < TOGETHER => *counted += count,
            _ => self.0.push_back((now, count)),
        }
    }

    /// How often it happened of late.
    pub fn count(&self, now: Instant) -> u64 {
        self.0.iter().filter(|(at, _)| is_of_late(*at, now)).map(|(_, count)| count).sum()
    }
}

fn is_of_late(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_for_half_an_hour_does_not_count() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        lately.add(0, start);
        assert_eq!(lately.0.len(), 0);
        lately.add(2, start);
        lately.add(1, start + Duration::from_secs(10));
        lately.add(4, start + Duration::from_secs(600));
        assert_eq!(lately.count(start + Duration::from_secs(700)), 7);
        assert_eq!(lately.count(start + WINDOW), 4);
        assert_eq!(lately.count(start + WINDOW + Duration::from_secs(600)), 0);
    }

    #[test]
    fn it_takes_no_more_room_however_long_it_goes_on() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        for second in 0..100_000 {
            lately.add(1, start + Duration::from_secs(second));
        }
        assert!(lately.0.len() <= 31, "{}", lately.0.len());
        let now = start + Duration::from_secs(100_000);
        assert!((1740..=1800).contains(&lately.count(now)), "{}", lately.count(now));
    }
}
