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
mod words;

pub use event::PodEvent;
pub use moment::{Moment, Precision, Source};
pub use scope::Scope;
pub use tree::startup;

use super::identity::SpanId;
use super::pod::PodFacts;
use super::pod_status::ConditionKind;
use super::step::ErrorType;

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

    /// What a pod's start has come to by now; nothing while it is under way.
    pub fn of(pod: &PodFacts) -> Option<Outcome> {
        let status = &pod.status;
        match status.phase.as_str() {
            _ if status.life.is(ConditionKind::Ready) => Some(Outcome::Ready),
            "Succeeded" => Some(Outcome::Completed),
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
