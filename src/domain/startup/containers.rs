//! The runs of the pod's containers. The API server knows two of each: the last that ended, and the one
//! after it.

use super::moment::{Moment, Source};
use super::tree::{Facts, MOST};
use super::words::one_line;
use super::{Details, Part, Span, blame};
use crate::domain::pod_status::{ConditionKind, ContainerState, ContainerStatus, Terminated};
use crate::domain::validation_run::Run;

/// Every run that anybody says has begun before all was over.
pub(super) fn spans(facts: &Facts<'_>) -> Vec<Span> {
    let status = &facts.pod.status;
    let init = status.init.iter().take(MOST).map(|status| (Part::Init, status));
    let containers = status.life.containers.iter().take(MOST).map(|status| (Part::Container, status));
    let runs = init.chain(containers).flat_map(|(part, status)| {
        let last = status.last.as_ref().and_then(|ended| {
            let number = status.restarts.saturating_sub(1);
            over(facts, part, status, number, ended)
        });
        let now = match &status.state {
            ContainerState::Terminated(ended) => over(facts, part, status, status.restarts, ended),
            ContainerState::Running { started_ns: Some(ns) } => Some(running(facts, part, status, *ns)),
            ContainerState::Running { started_ns: None } | ContainerState::Waiting { .. } | ContainerState::Unknown => {
                None
            }
        };
        last.into_iter().chain(now)
    });
    runs.filter(|span| span.start.ns <= facts.over.ns).collect()
}

/// A run that has ended.
fn over(facts: &Facts<'_>, part: Part, status: &ContainerStatus, number: u32, ended: &Terminated) -> Option<Span> {
    let start = Moment::second(ended.started_ns?, Source::Container);
    let end = Moment::second(ended.finished_ns?, Source::Container);
    let mut span = facts.ended(part, Some(&status.name), "", start, end);
    // A run has one id, whoever tells it.
    span.id = Run { container: &status.name, number, ended }.span(&facts.pod.uid);
    let failed = ended.exit_code != 0 && !is_dismissed(facts, status, ended);
    span.failure = failed.then(|| blame::ended(part, &status.name, ended));
    span.details = Details {
        exit_code: Some(ended.exit_code),
        container_id: Some(one_line(&ended.container_id)).filter(|id| !id.is_empty()),
        ..details(status, number)
    };
    Some(span)
}

/// Whether this run of a sidecar came to its end because no container was left that needs it: the kubelet ended it
/// then, and what its exit code says is not that it failed.
fn is_dismissed(facts: &Facts<'_>, status: &ContainerStatus, ended: &Terminated) -> bool {
    let others = &facts.pod.status.life.containers;
    let before = |other: &ContainerStatus| {
        let finished = other.state.terminated().and_then(|run| run.finished_ns);
        finished.is_some_and(|at| ended.finished_ns.is_some_and(|end| at <= end))
    };
    status.sidecar && !others.is_empty() && others.iter().all(before)
}

/// A run that goes on: an init container's is not over, unless it is one that keeps running; any other's part
/// is until it is ready.
fn running(facts: &Facts<'_>, part: Part, status: &ContainerStatus, started_ns: u64) -> Span {
    let start = Moment::second(started_ns, Source::Container);
    let run = status.restarts.to_string();
    let ready = match part {
        Part::Init if status.sidecar => next(facts, status, started_ns).map(Moment::at_the_latest),
        Part::Init => None,
        _ => ready(facts, status),
    };
    let mut span = match ready {
        Some(end) => facts.ended(part, Some(&status.name), &run, start, end),
        None => facts.unfinished(part, Some(&status.name), &run, start),
    };
    if span.unfinished && !status.ready && !facts.outcome.is_good() {
        span.failure = Some(blame::running(facts, part, status));
    }
    span.details = details(status, status.restarts);
    span
}

/// When a container that is ready became so, at the latest: all of them had by then.
fn ready(facts: &Facts<'_>, status: &ContainerStatus) -> Option<Moment> {
    let life = &facts.pod.status.life;
    let since = life.met_ns(ConditionKind::ContainersReady).or(life.met_ns(ConditionKind::Ready))?;
    let others = life.containers.len() > 1 || facts.pod.status.init.iter().any(|init| init.sidecar);
    let at = Moment::second(since, Source::Condition);
    status.ready.then_some(if others { at.at_the_latest() } else { at })
}

/// What came after an init container that keeps running: it had started by then.
fn next(facts: &Facts<'_>, sidecar: &ContainerStatus, started_ns: u64) -> Option<Moment> {
    let pod = &facts.pod.status;
    let later = pod.init.iter().skip_while(|status| status.name != sidecar.name).skip(1);
    let first =
        |status: &ContainerStatus| status.last.as_ref().and_then(|it| it.started_ns).or(status.state.started_ns());
    let begun = later.chain(&pod.life.containers).filter_map(first).filter(|ns| *ns >= started_ns).min();
    let initialized = pod.life.met_ns(ConditionKind::Initialized).filter(|ns| *ns >= started_ns);
    match (begun, initialized) {
        (Some(begun), Some(initialized)) if initialized < begun => Some(Moment::second(initialized, Source::Condition)),
        (Some(begun), _) => Some(Moment::second(begun, Source::Container)),
        (None, initialized) => initialized.map(|ns| Moment::second(ns, Source::Condition)),
    }
}

fn details(status: &ContainerStatus, number: u32) -> Details {
    Details { restarts: Some(number), sidecar: status.sidecar, ..Details::default() }
}
