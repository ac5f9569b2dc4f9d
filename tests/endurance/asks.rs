//! What an agent says of its readiness when asked, compared with the changes that its log tells.

use istio_cni_otel::telemetry::timestamp::Timestamp;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// The log's line may be made a moment after the change that it tells.
const MOMENT: Duration = Duration::from_millis(20);

/// One question and its answer, with the times before and after, as the log writes times.
#[derive(Debug)]
pub struct Ask {
    from: String,
    until: String,
    pub ready: bool,
}

impl Ask {
    /// Asks.
    pub fn of(ask: impl FnOnce() -> bool) -> Ask {
        let from = time(Duration::ZERO);
        let ready = ask();
        Ask { from, until: time(MOMENT), ready }
    }
}

fn time(later: Duration) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + later;
    Timestamp(u64::try_from(now.as_nanos()).unwrap()).to_string()
}

/// The changes of readiness by their times. Times of one width are in order as texts are.
pub struct Changes(Vec<(String, bool)>);

impl Changes {
    /// Those that this log tells.
    pub fn of(log: &[Value]) -> Changes {
        let change = |line: &Value| {
            let message = line["msg"].as_str()?;
            let ready = message.starts_with("ready again") || message.contains("ms after the start");
            let told = ready || message.starts_with("not ready any more");
            told.then(|| (line["time"].as_str().expect("a time").to_owned(), ready))
        };
        Changes(log.iter().filter_map(change).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The answer was true at some moment between question and answer.
    pub fn assert_agree(&self, ask: &Ask) {
        let before = self.0.iter().rev().find(|(time, _)| *time < ask.from).map(|(_, ready)| *ready);
        let between = self.0.iter().filter(|(time, _)| (&ask.from..=&ask.until).contains(&time));
        let mut possible = before.into_iter().chain(between.map(|(_, ready)| *ready));
        assert!(possible.any(|ready| ready == ask.ready), "{ask:?} is not what the log says: {:#?}", self.0);
    }
}
