//! What comes out of the pipeline on the console and as metrics.

use super::*;
use crate::domain::failure::Failure;
use crate::domain::identity::TraceId;
use crate::domain::pod::PodRef;
use crate::domain::step::Step;
use crate::telemetry::screen::Screen;
use crate::telemetry::story::Clock;
use crate::telemetry::story::Story;
use std::sync::mpsc;

const UID: &str = "11111111-2222-4333-8444-555555555555";

fn start(console: Box<dyn Write + Send>) -> Telemetry {
    let identity = Identity { version: "1".into(), ..Identity::default() };
    let warning = Warning { variable: "OTEL_BSP_SCHEDULE_DELAY".into(), problem: "\"x\" is no number".into() };
    let config = (Config::default(), vec![warning]);
    let setup = Setup {
        config,
        identity,
        revision: "",
        level: Level::Debug,
        console,
        format: Format::Tabs,
        keeper: None,
        history: 0,
    };
    Telemetry::start(setup, &Handle::current())
}

fn told() -> Batch {
    let pod = PodRef { namespace: "shop".into(), name: "cart-0".into(), uid: Some(UID.into()) };
    let story = Story::begin(Clock::start(), TraceId::of_pod(UID), None, pod, Level::Debug, None);
    let _ = story.request("cni.add", |_| story.step(Step::PodLookup, |_| Ok::<(), Failure>(())));
    story.into_batch()
}

#[tokio::test]
async fn a_batch_becomes_samples_and_lines_of_its_pod() {
    let screen = Screen::default();
    let telemetry = start(Box::new(screen.clone()));
    telemetry.ingest(told(), Origin::Plugin);
    telemetry.event(AgentEvent::Ready { uptime_ms: 12 });
    telemetry.set_level(Level::Warn);
    telemetry.event(AgentEvent::Ready { uptime_ms: 13 });
    telemetry.shutdown(Duration::from_secs(5)).await;
    let text = screen.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].ends_with("\twarn\tcni-agent\tOTEL_BSP_SCHEDULE_DELAY is ignored: \"x\" is no number"), "{text}");
    assert!(lines[1].contains("\tdebug\tcni-plugin\tpod.lookup done in ") && lines[1].contains(UID), "{text}");
    assert!(lines[1].contains("\ttrace_id=11111111222243338444555555555555"), "{text}");
    assert!(lines[2].ends_with("\tinfo\tcni-agent\tready 12 ms after the start"), "{text}");
    assert!(lines[3].ends_with("\tinfo\tcni-agent\tthe level of this log is warn now"), "{text}");
    let (_, page) = telemetry.metrics().render(None);
    assert!(page.contains(r#"istio_cni_requests_total{command="add",outcome="done",reason="",path=""} 1"#), "{page}");
}

/// A console whose reader is gone to lunch.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_console_that_nobody_reads_costs_counted_lines_only() {
    let (_hold, reader) = mpsc::channel();
    let telemetry = start(Box::new(Stuck(reader)));
    for _ in 0..6000 {
        telemetry.event(AgentEvent::Ready { uptime_ms: 1 });
    }
    let dropped = telemetry.metrics().dropped_so_far(Signal::Console, DropReason::QueueFull);
    assert!((1000..6000).contains(&dropped), "{dropped}");
    telemetry.shutdown(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn what_a_plugin_lost_is_counted() {
    let telemetry = start(Box::new(Screen::default()));
    let lost = crate::telemetry::story::Lost { spans: 3, logs: 2 };
    telemetry.ingest(Batch { lost, ..Batch::default() }, Origin::Plugin);
    assert_eq!(telemetry.metrics().dropped_so_far(Signal::Traces, DropReason::SpoolFull), 3);
    assert_eq!(telemetry.metrics().dropped_so_far(Signal::Logs, DropReason::SpoolFull), 2);
    telemetry.shutdown(Duration::from_secs(1)).await;
}
