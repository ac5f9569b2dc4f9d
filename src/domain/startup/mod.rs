//! How a pod started: what the API server says of it, in its status and in its Events, as a tree of
//! spans with what each came to. Pure: the same facts give the same tree, whoever asks, and however
//! often.
//!
//! The API's times are those of two clocks (the API server's and the node's), mostly of whole seconds,
//! and may be missing. They are passed on as they are, each with its precision and with where it is
//! from; what nobody says when it began or ended has no span.

mod blame;
mod containers;
mod event;
mod image;
mod moment;
mod scope;
mod tree;
mod trouble;
mod words;

pub use event::PodEvent;
pub use moment::{Moment, Precision, Source};
pub use scope::Scope;
pub use tree::startup;
pub use trouble::{Trouble, troubles};

use super::identity::SpanId;
use super::pod::PodFacts;
use super::pod_status::ConditionKind;
use super::step::ErrorType;

/// How much later than its start the kubelet may write down that a pod is not ready, nanoseconds: it does both at once,
/// in whole seconds.
const AT_ONCE_NS: u64 = 2_000_000_000;

/// Whether the pod is not ready now, and was before: its start is over, and nobody says when. The kubelet says of a
/// pod from the begin on that it is not ready; that this has changed since, shows that it was, in between.
pub fn was_ready(pod: &PodFacts) -> bool {
    unready_ns(pod).is_some()
}

/// Since when a pod is not ready that was.
fn unready_ns(pod: &PodFacts) -> Option<u64> {
    let life = &pod.status.life;
    let since = life.condition(ConditionKind::Ready).filter(|ready| !ready.met)?.since_ns?;
    (since > life.started_ns?.saturating_add(AT_ONCE_NS)).then_some(since)
}

/// A whole start, or what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// What it came to.
    pub outcome: Outcome,
    /// The root first, the others in the order in which they began. Empty if there is no time at all.
    pub spans: Vec<Span>,
    /// What the kubelet and others warned of on the way, in its order.
    pub notes: Vec<Note>,
    /// How far the node's clock is ahead of the API server's, milliseconds; nothing where they do not
    /// visibly differ.
    pub clock_offset_ms: Option<i64>,
}

/// What a start came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The pod is ready.
    Ready,
    /// All its containers have done what they were to do, and nobody saw it ready.
    Completed,
    /// It has failed for good.
    Failed,
    /// It was deleted before it was ready.
    Deleted,
    /// It is not ready after all the time that it may take.
    Late,
}

/// What a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The whole start: from created to ready, or to what came of it.
    Startup,
    /// From created to assigned to the node.
    Schedule,
    /// From seen by the kubelet to a sandbox with its network: the ADD is inside.
    Sandbox,
    /// An image is pulled for a container.
    Image,
    /// A run of an init container.
    Init,
    /// A run of a container: until it is ready, or has ended.
    Container,
}

/// A part of the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub part: Part,
    /// The container that it is of; nothing for what is of the whole pod.
    pub container: Option<String>,
    /// The same for the same part of the same pod.
    pub id: SpanId,
    pub start: Moment,
    /// Never before the start.
    pub end: Moment,
    /// Whether it was still going on when it was told: then the end is that moment.
    pub unfinished: bool,
    /// The type and one sentence, if it failed.
    pub failure: Option<(ErrorType, String)>,
    pub details: Details,
}

/// What else is known of a part; what is not is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// How many runs of the container there were before.
    pub restarts: Option<u32>,
    pub exit_code: Option<i32>,
    /// `containerID` of the run.
    pub container_id: Option<String>,
    /// Whether the init container keeps running.
    pub sidecar: bool,
    pub image: Option<String>,
    /// How often it was tried.
    pub attempts: Option<u64>,
    /// How long the pull itself took, as the kubelet measured it.
    pub pull_ms: Option<u64>,
}

/// Something that was said of the pod meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When it was said last.
    pub at: Moment,
    /// The part that it belongs to.
    pub span: SpanId,
    /// The Event's reason, `FailedCreatePodSandBox` for example.
    pub reason: String,
    pub message: String,
    /// How often it was said.
    pub count: u64,
    pub warning: bool,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 5] =
        [Outcome::Ready, Outcome::Completed, Outcome::Failed, Outcome::Deleted, Outcome::Late];

    /// The attribute and label value.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Ready => "ready",
            Outcome::Completed => "completed",
            Outcome::Failed => "failed",
            Outcome::Deleted => "deleted",
            Outcome::Late => "late",
        }
    }

    /// The outcome with this name.
    pub fn from_name(name: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// What a pod's start has come to by now; nothing while it is under way, nor if the pod [`was_ready`].
    pub fn of(pod: &PodFacts) -> Option<Outcome> {
        let status = &pod.status;
        match status.phase.as_str() {
            _ if status.life.is(ConditionKind::Ready) => Some(Outcome::Ready),
            "Succeeded" => Some(Outcome::Completed),
            _ if was_ready(pod) => None,
            "Failed" => Some(Outcome::Failed),
            _ if status.deleting => Some(Outcome::Deleted),
            _ => None,
        }
    }

    /// Whether the pod started as it should.
    pub const fn is_good(self) -> bool {
        matches!(self, Outcome::Ready | Outcome::Completed)
    }
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 6] = [Part::Startup, Part::Schedule, Part::Sandbox, Part::Image, Part::Init, Part::Container];

    /// The span's name, before the container's.
    pub const fn span_name(self) -> &'static str {
        match self {
            Part::Startup => "pod.startup",
            Part::Schedule => "pod.schedule",
            Part::Sandbox => "pod.sandbox",
            Part::Image => "pod.image",
            Part::Init => super::validation_run::POD_INIT,
            Part::Container => "pod.container",
        }
    }

    /// The `phase` label.
    pub const fn phase(self) -> &'static str {
        match self {
            Part::Startup => "startup",
            Part::Schedule => "schedule",
            Part::Sandbox => "sandbox",
            Part::Image => "image",
            Part::Init => "init",
            Part::Container => "container",
        }
    }

    /// The part whose spans are called so.
    pub fn of_span(name: &str) -> Option<Part> {
        let first = name.split(' ').next().unwrap_or_default();
        Part::ALL.into_iter().find(|part| part.span_name() == first)
    }
}

impl Span {
    /// The span's name.
    pub fn name(&self) -> String {
        match &self.container {
            Some(container) => format!("{} {container}", self.part.span_name()),
            None => self.part.span_name().to_owned(),
        }
    }

    /// The coarser precision of its two times.
    pub fn precision(&self) -> Precision {
        self.start.precision.max(self.end.precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_status::{Condition, Life, PodStatus};

    /// A pod of this phase that the kubelet saw at second 100 and that is not ready since then.
    fn unready(since: u64, phase: &str, deleting: bool) -> PodFacts {
        let second = 1_000_000_000;
        let ready = Condition {
            kind: ConditionKind::Ready,
            met: false,
            since_ns: Some(since * second),
            reason: String::new(),
            message: String::new(),
        };
        let life = Life { started_ns: Some(100 * second), conditions: vec![ready], ..Life::default() };
        let status = PodStatus { phase: phase.into(), deleting, life, ..PodStatus::default() };
        PodFacts { status, ..PodFacts::default() }
    }

    #[test]
    fn of_a_pod_that_was_ready_before_nobody_says_that_it_never_was() {
        for (phase, deleting) in [("Running", true), ("Running", false), ("Failed", false)] {
            let later = unready(5000, phase, deleting);
            assert!(was_ready(&later));
            assert_eq!(Outcome::of(&later), None, "{phase}");
        }
        assert_eq!(Outcome::of(&unready(5000, "Succeeded", false)), Some(Outcome::Completed));
        assert_eq!(Outcome::of(&unready(101, "Running", true)), Some(Outcome::Deleted));
        assert_eq!(Outcome::of(&unready(102, "Failed", false)), Some(Outcome::Failed));
        let mut silent = unready(5000, "Running", true);
        silent.status.life.started_ns = None;
        assert!(!was_ready(&silent), "nothing is made up");
    }

    #[test]
    fn a_start_that_ended_unseen_was_over_at_the_latest_when_the_pod_was_not_ready_any_more() {
        let told = startup(&unready(105, "Running", false), &[], Outcome::Ready, 900_000_000_000);
        assert!(told.spans.is_empty(), "no part of it has a time");
        let mut pod = unready(105, "Running", false);
        pod.status.life.created_ns = Some(99_000_000_000);
        let told = startup(&pod, &[], Outcome::Ready, 900_000_000_000);
        assert_eq!((told.spans[0].end.ns, told.spans[0].end.source), (105_000_000_000, Source::Next));
    }
}
