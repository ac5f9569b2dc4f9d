//! The clock of telemetry.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the wall clock is read at most, and how long reading it takes at most where nothing
/// comes between.
const READINGS: u32 = 8;
const READING: Duration = Duration::from_micros(20);

/// Wall-clock times that never run backwards: one reading of the wall clock, then the monotonic one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_ns: u64,
    start: Instant,
}

impl Clock {
    /// Reads both clocks. Being put to sleep between the two readings would set this clock apart
    /// from that of another process, so the wall clock is read again if that seems to have happened.
    pub fn start() -> Clock {
        let start = Instant::now();
        let (mut before, mut wall_ns) = (start, 0);
        for _ in 0..READINGS {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let since = before.duration_since(start);
            wall_ns = u64::try_from(wall.saturating_sub(since).as_nanos()).unwrap_or(u64::MAX);
            if before.elapsed() < READING {
                break;
            }
            before = Instant::now();
        }
        Clock { wall_ns, start }
    }

    /// Nanoseconds since the epoch, now.
    pub fn now_ns(&self) -> u64 {
        self.wall_ns.saturating_add(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since the epoch when the clock was started.
    pub fn start_ns(&self) -> u64 {
        self.wall_ns
    }
}
