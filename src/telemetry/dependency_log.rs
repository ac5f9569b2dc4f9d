//! What the libraries log through `tracing` (kube, hyper, tonic, rustls) at warning or above goes
//! the way of the agent's own events. The exporter's own connections are silent (`otlp::quiet`),
//! so that a failing export does not feed itself, and one library cannot flood the log.

use super::agent_event::AgentEvent;
use super::pipeline::Telemetry;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// How many events of one module are told in a [`WINDOW`].
const MOST: u32 = 10;
/// The time for which events are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// What these say, the agent says itself, with what it means for the pods.
const SAID_BETTER: [&str; 2] = ["kube_client::client", "kube_client::client::builder"];

/// Forwards events of libraries.
pub struct DependencyLog {
    telemetry: Telemetry,
    told: Mutex<BTreeMap<&'static str, (Instant, u32)>>,
}

/// Makes this the process' `tracing` subscriber. A second call changes nothing.
pub fn install(telemetry: &Telemetry) {
    let subscriber = tracing_subscriber::registry().with(DependencyLog::new(telemetry));
    // Somebody was first: then that is where the libraries log.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

impl DependencyLog {
    /// A layer that tells this telemetry.
    pub fn new(telemetry: &Telemetry) -> DependencyLog {
        DependencyLog { telemetry: telemetry.clone(), told: Mutex::default() }
    }

    /// Whether this module has not said too much lately.
    fn may_tell(&self, module: &'static str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = told.entry(module).or_insert((Instant::now(), 0));
        if since.elapsed() > WINDOW {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        *count <= MOST
    }
}

impl<S: Subscriber> Layer<S> for DependencyLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<tracing_subscriber::filter::LevelFilter> {
        Some(tracing_subscriber::filter::LevelFilter::WARN)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if SAID_BETTER.contains(&metadata.target()) || !self.may_tell(metadata.target()) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let (dependency, text) = (metadata.target().to_owned(), text.0);
        self.telemetry.event(match *metadata.level() {
            Level::ERROR => AgentEvent::DependencyFailed { dependency, text },
            _ => AgentEvent::DependencyWarned { dependency, text },
        });
    }
}

/// The message, then the fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.insert_str(0, &format!("{value:?}"));
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::console_writer::Format;
    use crate::telemetry::event;
    use crate::telemetry::otlp::config::Config;
    use crate::telemetry::otlp::quiet;
    use crate::telemetry::pipeline::Setup;
    use crate::telemetry::resource::Identity;
    use crate::telemetry::screen::Screen;

    #[tokio::test]
    async fn warnings_of_libraries_are_told_and_a_flood_is_not() {
        let screen = Screen::default();
        let setup = Setup {
            config: (Config::default(), Vec::new()),
            identity: Identity::default(),
            revision: "",
            level: event::Level::Debug,
            console: Box::new(screen.clone()),
            format: Format::Tabs,
            keeper: None,
            history: 0,
        };
        let telemetry = Telemetry::start(setup, &tokio::runtime::Handle::current());
        let subscriber = tracing_subscriber::registry().with(DependencyLog::new(&telemetry));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "kube", "of no interest");
            tracing::warn!(target: "kube", code = 410, "watch expired");
            tracing::error!(target: "hyper", "broken");
            quiet::run(|| tracing::error!(target: "tonic", "while exporting"));
            for _ in 0..100 {
                tracing::warn!(target: "h2", "again");
            }
        });
        telemetry.shutdown(Duration::from_secs(5)).await;
        let text = screen.text();
        assert!(text.contains("\twarn\tcni-agent\tkube: watch expired code=410\n"), "{text}");
        assert!(text.contains("\terror\tcni-agent\thyper: broken\n"), "{text}");
        assert!(!text.contains("of no interest") && !text.contains("while exporting"), "{text}");
        assert_eq!(text.matches("h2: again").count(), 10);
    }
}
