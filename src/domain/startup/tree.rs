//! The tree: one root, and below it what the start was made of.

use super::moment::{Moment, Source};
use super::words::{name, one_line};
use super::{Details, Note, Outcome, Part, PodEvent, Span, Startup, blame, containers, image, unready_ns};
use crate::domain::identity::{SpanId, TraceId};
use crate::domain::pod::PodFacts;
use crate::domain::pod_status::ConditionKind;
use crate::domain::step::ErrorType;

/// So many Events are looked at, containers told of each kind, and notes made: a pod seldom has more, and
/// nobody can make a trace of thousands.
pub(super) const MOST: usize = 100;
/// An Event of the kubelet that the API server has so much later, nanoseconds, was perhaps only slow to arrive.
const SLOW_NS: i128 = 5_000_000_000;
/// Two clocks that differ by less do not visibly differ, for times are whole seconds.
const APART_NS: i128 = 2_000_000_000;

/// What everything is made of.
pub(super) struct Facts<'a> {
    pub pod: &'a PodFacts,
    pub events: &'a [PodEvent],
    pub outcome: Outcome,
    /// When the start was over.
    pub over: Moment,
}

/// The start of a pod that has come to this, as it was seen then (nanoseconds since the epoch).
pub fn startup(pod: &PodFacts, events: &[PodEvent], outcome: Outcome, now_ns: u64) -> Startup {
    let events = events.get(..MOST).unwrap_or(events);
    let facts = Facts { pod, events, outcome, over: over(pod, events, outcome, now_ns) };
    let mut spans: Vec<Span> = facts.schedule().into_iter().collect();
    spans.extend(facts.sandbox());
    spans.extend(image::spans(&facts));
    spans.extend(containers::spans(&facts));
    spans.sort_by_key(|span| (span.start.ns, span.end.ns));
    let root = facts.root(&spans);
    let notes = if root.is_some() { facts.notes(&spans) } else { Vec::new() };
    let spans = root.into_iter().chain(spans).collect();
    Startup { outcome, spans, notes, clock_offset_ms: facts.clock_offset_ms() }
}

/// When it was over: as somebody says, or else when it was seen.
fn over(pod: &PodFacts, events: &[PodEvent], outcome: Outcome, now_ns: u64) -> Moment {
    let life = &pod.status.life;
    let finished = || {
        let all = pod.status.init.iter().chain(&life.containers);
        let last = all.filter_map(|status| status.state.terminated()?.finished_ns).max();
        last.map(|ns| Moment::second(ns, Source::Container))
    };
    let said = match outcome {
        Outcome::Ready => {
            let since = life.met_ns(ConditionKind::Ready).map(|ns| Moment::second(ns, Source::Condition));
            let before = || unready_ns(pod).map(|ns| Moment::second(ns, Source::Next));
            since.or_else(before)
        }
        Outcome::Completed => finished(),
        Outcome::Failed => finished().or_else(|| {
            let ended = events.iter().filter(|event| !life.reason.is_empty() && event.reason == life.reason);
            let disrupted = life.met_ns(ConditionKind::DisruptionTarget);
            let disrupted = disrupted.map(|ns| Moment::second(ns, Source::Condition));
            ended.filter_map(|event| event.last).max_by_key(|at| at.ns).or(disrupted)
        }),
        Outcome::Deleted => life.deleted_ns.map(|ns| Moment::second(ns, Source::Pod)),
        Outcome::Late => None,
    };
    said.unwrap_or(Moment::observed(now_ns))
}

impl Facts<'_> {
    /// A span that is over.
    pub(super) fn ended(&self, part: Part, container: Option<&str>, run: &str, start: Moment, end: Moment) -> Span {
        let end = Moment { ns: end.ns.max(start.ns), ..end };
        let container = container.map(name);
        let id = SpanId::derived(&[&self.pod.uid, part.span_name(), container.as_deref().unwrap_or_default(), run]);
        let details = Details::default();
        Span { part, container, id, start, end, unfinished: false, failure: None, details }
    }

    /// A span that is not: it reaches to the end of all.
    pub(super) fn unfinished(&self, part: Part, container: Option<&str>, run: &str, start: Moment) -> Span {
        let run = format!("{run} unfinished");
        Span { unfinished: true, ..self.ended(part, container, &run, start, self.over) }
    }

    /// The first time that a container, or what is done for one, shows that there is a sandbox.
    pub(super) fn first_evidence(&self) -> Option<Moment> {
        let all = self.pod.status.init.iter().chain(&self.pod.status.life.containers);
        let starts =
            all.flat_map(|status| [status.state.started_ns(), status.last.as_ref().and_then(|it| it.started_ns)]);
        let starts = starts.flatten().map(|ns| Moment::second(ns, Source::Container));
        let events = self.events.iter().filter(|event| event.container.is_some());
        let events =
            events.filter(|event| ["Pulling", "Pulled", "Created", "Started"].contains(&event.reason.as_str()));
        starts.chain(events.filter_map(|event| event.first)).min_by_key(|at| at.ns)
    }

    /// A static pod is assigned by nobody, and its object is made after it started.
    fn is_static(&self) -> bool {
        self.pod.annotations.contains_key(PodFacts::CONFIG_HASH)
    }

    fn schedule(&self) -> Option<Span> {
        let life = &self.pod.status.life;
        let created = Moment::second(life.created_ns.filter(|_| !self.is_static())?, Source::Pod);
        let said = self.events.iter().find(|event| event.reason == "Scheduled").and_then(|event| event.first);
        let condition = life.met_ns(ConditionKind::Scheduled).map(|ns| Moment::second(ns, Source::Condition));
        // The scheduler's Event may be more exact than the condition.
        let end = said.filter(|said| condition.is_none_or(|it| it.precision > said.precision)).or(condition)?;
        Some(self.ended(Part::Schedule, None, "", created, end))
    }

    fn sandbox(&self) -> Option<Span> {
        let life = &self.pod.status.life;
        let seen = life.started_ns.map(|ns| Moment::second(ns, Source::Pod));
        let scheduled = life.met_ns(ConditionKind::Scheduled).map(|ns| Moment::second(ns, Source::Condition));
        let failures: u64 = self.failed_sandboxes().map(|event| event.count).sum();
        let ready = life.met_ns(ConditionKind::SandboxReady).map(|ns| Moment::second(ns, Source::Condition));
        let evidence = self.first_evidence().map(Moment::at_the_latest);
        // A condition that is younger than a container is that of another sandbox, or was written late: a busy kubelet
        // does so seconds after it has begun with the first container.
        let ready = ready.filter(|ready| evidence.is_none_or(|evidence| ready.ns <= evidence.ns));
        let mut span = match (seen, ready.or(evidence)) {
            (_, Some(end)) => self.ended(Part::Sandbox, None, "", seen.or(scheduled)?, end),
            (Some(start), None) if !self.outcome.is_good() => {
                let failure = blame::no_sandbox(self);
                // A pod that was not admitted was never given one.
                if self.outcome == Outcome::Failed && failure.is_none() {
                    return None;
                }
                Span { failure, ..self.unfinished(Part::Sandbox, None, "", start) }
            }
            // The kubelet has not begun with it, or nobody says when it was there.
            _ => return None,
        };
        span.details.attempts = (failures > 0).then(|| failures.saturating_add(u64::from(!span.unfinished)));
        Some(span)
    }

    /// What was said of sandboxes that could not be made.
    pub(super) fn failed_sandboxes(&self) -> impl Iterator<Item = &PodEvent> {
        self.events.iter().filter(|event| event.reason == "FailedCreatePodSandBox")
    }

    /// The root. Where the node's clock is behind, something of it may have begun before the pod was created.
    fn root(&self, spans: &[Span]) -> Option<Span> {
        let created = self.pod.status.life.created_ns.map(|ns| Moment::second(ns, Source::Pod));
        let start = spans.iter().map(|span| span.start).chain(created).min_by_key(|at| at.ns)?;
        let failure = (!self.outcome.is_good()).then(|| blame::root(self, start));
        let root = self.ended(Part::Startup, None, "", start, self.over);
        Some(Span { id: TraceId::of_pod(&self.pod.uid).root_span(), failure, ..root })
    }

    /// What was warned of, on the part that it is about.
    fn notes(&self, spans: &[Span]) -> Vec<Note> {
        let told = |event: &&PodEvent| (event.warning || event.reason == "SandboxChanged") && !is_ours(event);
        let mut notes: Vec<Note> =
            self.events.iter().filter(told).filter_map(|event| self.note(event, spans)).collect();
        notes.sort_by_key(|note| note.at.ns);
        notes
    }

    fn note(&self, event: &PodEvent, spans: &[Span]) -> Option<Note> {
        let part = match event.reason.as_str() {
            "FailedScheduling" => Part::Schedule,
            "FailedCreatePodSandBox" | "SandboxChanged" | "FailedMount" | "FailedAttachVolume" => Part::Sandbox,
            "Failed" | "BackOff" | "ErrImageNeverPull" | "InspectFailed" if event.message.contains("image") => {
                Part::Image
            }
            _ => Part::Container,
        };
        let container = event.container.as_deref().map(name);
        let of_container = |span: &&Span| container.is_some() && span.container == container;
        let fits = |span: &&Span| span.part == part && span.container == container;
        let span = spans.iter().find(fits).or_else(|| spans.iter().rfind(of_container));
        let root = TraceId::of_pod(&self.pod.uid).root_span();
        Some(Note {
            at: event.last.or(event.first)?,
            span: span.map_or(root, |span| span.id),
            reason: name(&event.reason),
            message: one_line(&event.message),
            count: event.count.max(1),
            warning: event.warning,
        })
    }

    /// How far the node's clock is ahead, as far as anything shows it: the API server writes down when it got
    /// an Event that the node has dated, and nobody can have seen a pod before it was assigned.
    fn clock_offset_ms(&self) -> Option<i64> {
        let life = &self.pod.status.life;
        let dated = |event: &PodEvent| Some(i128::from(event.first?.ns) - i128::from(event.received_ns?));
        let dated = self.events.iter().filter(|event| event.component == "kubelet").filter_map(dated);
        let nearest = dated.min_by_key(|offset| offset.unsigned_abs());
        let offset = match nearest {
            Some(offset) => (offset >= APART_NS || offset <= -SLOW_NS).then_some(offset),
            None if self.is_static() => None,
            None => {
                let (seen, scheduled) = (life.started_ns?, life.met_ns(ConditionKind::Scheduled)?);
                let offset = i128::from(seen) - i128::from(scheduled);
                (offset <= -APART_NS).then_some(offset)
            }
        }?;
        i64::try_from(offset / 1_000_000).ok()
    }
}

/// Our own Events say what is told elsewhere already.
fn is_ours(event: &PodEvent) -> bool {
    use crate::domain::notice::{AGENT, REPAIR};
    [AGENT, REPAIR].contains(&event.component.as_str())
}

/// A failure of a part.
pub(super) type Blame = (ErrorType, String);
