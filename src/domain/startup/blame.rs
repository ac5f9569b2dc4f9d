//! Why a start did not come to its end, in one sentence.

use super::moment::Moment;
use super::tree::{Blame, Facts};
use super::words::{name, one_line, seconds};
use super::{Outcome, Part, PodEvent, image};
use crate::domain::pod_status::{ConditionKind, ContainerState, ContainerStatus, Terminated};
use crate::domain::step::ErrorType;
use crate::domain::validation_run;

/// What a container waits for that has not got its image, as the kubelet calls it.
const IMAGE: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
];
/// What it waits for if nothing is wrong.
pub(super) const USUAL: [&str; 3] = ["", "ContainerCreating", "PodInitializing"];

/// Why the whole start failed.
pub(super) fn root(facts: &Facts<'_>, start: Moment) -> Blame {
    match facts.outcome {
        Outcome::Failed => failed(facts),
        Outcome::Deleted => deleted(facts),
        // The other two are no failures.
        Outcome::Late | Outcome::Ready | Outcome::Completed => {
            let (error_type, why) = waits(facts);
            let after = seconds(facts.over.ns.saturating_sub(start.ns));
            (error_type, format!("the pod is not ready after {after}: {why}"))
        }
    }
}

/// What kept a pod from being ready that was deleted, and whether somebody made room for others by that.
fn deleted(facts: &Facts<'_>) -> Blame {
    let (_, why) = waits(facts);
    match facts.pod.status.life.condition(ConditionKind::DisruptionTarget).filter(|it| it.met) {
        Some(evicted) => {
            let by = one_line(&evicted.message);
            (ErrorType::PodEvicted, format!("the pod was evicted before it was ready ({by}): {why}"))
        }
        None => (ErrorType::PodDeleted, format!("the pod was deleted before it was ready: {why}")),
    }
}

/// Why the pod as a whole has failed.
fn failed(facts: &Facts<'_>) -> Blame {
    let status = &facts.pod.status;
    let (reason, message) = (one_line(&status.life.reason), one_line(&status.life.message));
    let said = if message.is_empty() { String::new() } else { format!(": {message}") };
    if status.life.reason == "Evicted" || (reason.is_empty() && status.life.is(ConditionKind::DisruptionTarget)) {
        let why = status.life.condition(ConditionKind::DisruptionTarget).map(|it| one_line(&it.message));
        let said = if said.is_empty() { why.map(|why| format!(": {why}")).unwrap_or_default() } else { said };
        return (ErrorType::PodEvicted, format!("the pod was evicted{said}"));
    }
    if !reason.is_empty() {
        return (ErrorType::PodFailed, format!("the pod failed ({reason}){said}"));
    }
    let init = status.init.iter().map(|status| (Part::Init, status));
    let all = init.chain(status.life.containers.iter().map(|status| (Part::Container, status)));
    let ended = all.filter_map(|(part, status)| Some((part, status, status.state.terminated()?)));
    // What failed first; the kubelet ends sidecars once all others have ended, so that they come last.
    let first = ended
        .filter(|(_, _, ended)| ended.exit_code != 0)
        .min_by_key(|(_, status, ended)| (status.sidecar && is_killed(ended), ended.finished_ns.unwrap_or(u64::MAX)));
    match first {
        Some((part, status, run)) => self::ended(part, &status.name, run),
        None => (ErrorType::PodFailed, format!("the pod failed, and nobody says why{said}")),
    }
}

/// Whether a run ended as what the kubelet ends does: by SIGTERM or SIGKILL.
fn is_killed(ended: &Terminated) -> bool {
    ended.reason != "OOMKilled" && [143, 137].contains(&ended.exit_code)
}

/// What the start waits for: the first thing that is not there.
fn waits(facts: &Facts<'_>) -> Blame {
    let status = &facts.pod.status;
    let sandbox = status.life.is(ConditionKind::SandboxReady) || facts.first_evidence().is_some();
    if !sandbox {
        return self::sandbox(facts);
    }
    if let Some((part, status)) = stands_at(facts).or_else(|| worst(facts)) {
        return container(facts, part, status);
    }
    let ready = status.life.condition(ConditionKind::Ready).map(|it| one_line(&it.message)).unwrap_or_default();
    let why = if ready.is_empty() { "nobody says what it waits for".to_owned() } else { ready };
    (ErrorType::PodNotReady, why)
}

/// The init container that the others wait for: the first that has not done its work. One that keeps running is it
/// only where nothing behind it has begun, or where it has really failed.
fn stands_at<'a>(facts: &Facts<'a>) -> Option<(Part, &'a ContainerStatus)> {
    let status = &facts.pod.status;
    let at = status.init.iter().position(|status| !status.sidecar && !is_done(status));
    let own = at.and_then(|at| status.init.get(at));
    // Where only sidecars are left, the first container shows whether they let it begin.
    let next = own.or(status.life.containers.first().filter(|_| !status.life.is(ConditionKind::Initialized)));
    let next = next.map(|next| (trouble(facts, next), next.last.is_some()));
    let before = status.init.get(..at.unwrap_or(status.init.len())).unwrap_or_default();
    let sidecars = before.iter().filter(|status| status.sidecar && !status.ready);
    let is = |kind| move |status: &&ContainerStatus| trouble(facts, status) == kind;
    let failed = sidecars.clone().find(is(Trouble::Failed)).filter(|_| next.is_some_and(|it| it.0 != Trouble::Failed));
    // They start one after the other: of those that run, the last one has not let the next begin.
    let slow = || sidecars.clone().rfind(is(Trouble::Unready)).or(sidecars.clone().next());
    let holds = failed.or_else(|| slow().filter(|_| next == Some((Trouble::Waits, false))));
    holds.or(own).map(|status| (Part::Init, status))
}

/// Of containers, which run together, the one that is worst off; of those that have failed, the one that did so first.
fn worst<'a>(facts: &Facts<'a>) -> Option<(Part, &'a ContainerStatus)> {
    let status = &facts.pod.status;
    let sidecars = status.init.iter().filter(|status| status.sidecar).map(|status| (Part::Init, status));
    let all = status.life.containers.iter().map(|status| (Part::Container, status)).chain(sidecars);
    let rank = |status: &ContainerStatus| {
        let trouble = trouble(facts, status);
        let at = failed_ns(facts, status).filter(|_| trouble == Trouble::Failed);
        // A sidecar is blamed last, unless it has really failed.
        (status.sidecar && trouble != Trouble::Failed, trouble, at.unwrap_or(u64::MAX))
    };
    all.filter(|(_, status)| !status.ready).min_by_key(|(_, status)| rank(status))
}

/// When a container failed first, as far as anybody says.
fn failed_ns(facts: &Facts<'_>, status: &ContainerStatus) -> Option<u64> {
    let of_it = |event: &&PodEvent| event.container.as_deref() == Some(&status.name);
    let said = facts.events.iter().filter(of_it).filter(|event| ["Failed", "BackOff"].contains(&event.reason.as_str()));
    let ended = status.state.terminated().into_iter().chain(&status.last).filter_map(|ended| ended.finished_ns);
    said.filter_map(|event| Some(event.first?.ns)).chain(ended).min()
}

/// What is with a container that is not ready; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// It ended as it should not, or cannot start.
    Failed,
    /// It runs.
    Unready,
    /// It has not started, and nothing is wrong with that.
    Waits,
    /// It has done its work.
    Done,
}

fn trouble(facts: &Facts<'_>, status: &ContainerStatus) -> Trouble {
    match &status.state {
        ContainerState::Terminated(ended) if ended.exit_code == 0 => Trouble::Done,
        ContainerState::Terminated(_) => Trouble::Failed,
        ContainerState::Running { .. } => Trouble::Unready,
        ContainerState::Waiting { reason, .. } if !USUAL.contains(&reason.as_str()) => Trouble::Failed,
        _ if image::trouble(facts, &status.name).is_some() => Trouble::Failed,
        ContainerState::Waiting { .. } | ContainerState::Unknown => Trouble::Waits,
    }
}

fn is_done(status: &ContainerStatus) -> bool {
    status.ready || status.state.terminated().is_some_and(|ended| ended.exit_code == 0)
}

/// Why there is no sandbox.
fn sandbox(facts: &Facts<'_>) -> Blame {
    let nothing = || (ErrorType::SandboxFailed, "it has no sandbox yet, and nobody says why".to_owned());
    no_sandbox(facts).unwrap_or_else(nothing)
}

/// The same, if anybody says why.
pub(super) fn no_sandbox(facts: &Facts<'_>) -> Option<Blame> {
    let latest = |events: &mut dyn Iterator<Item = &PodEvent>| {
        let last = events.max_by_key(|event| event.last.or(event.first).map(|at| at.ns));
        last.map(|event| (event.last.or(event.first).map(|at| at.ns), one_line(&event.message)))
    };
    let made = latest(&mut facts.failed_sandboxes());
    let volumes = ["FailedMount", "FailedAttachVolume"];
    let volume = latest(&mut facts.events.iter().filter(|event| volumes.contains(&event.reason.as_str())));
    match (made, volume) {
        (Some((made, message)), volume) if volume.as_ref().is_none_or(|(at, _)| made >= *at) => {
            Some((ErrorType::SandboxFailed, format!("its sandbox could not be made: {message}")))
        }
        (_, volume) => {
            volume.map(|(_, message)| (ErrorType::VolumeFailed, format!("a volume could not be mounted: {message}")))
        }
    }
}

/// What is with a container that is not as it should be.
pub(super) fn container(facts: &Facts<'_>, part: Part, status: &ContainerStatus) -> Blame {
    match &status.state {
        ContainerState::Terminated(run) => ended(part, &status.name, run),
        ContainerState::Running { .. } => running(facts, part, status),
        ContainerState::Waiting { reason, message } => waiting(facts, part, status, (reason, message)),
        ContainerState::Unknown => (ErrorType::PodNotReady, format!("{} has not started", called(part, &status.name))),
    }
}

fn waiting(facts: &Facts<'_>, part: Part, status: &ContainerStatus, (reason, message): (&str, &str)) -> Blame {
    let who = called(part, &status.name);
    let said = if message.trim().is_empty() { String::new() } else { format!(": {}", one_line(message)) };
    if IMAGE.contains(&reason) {
        // "Back-off pulling image" says less than what was said before it.
        let said = image::trouble(facts, &status.name).map_or(said, |trouble| format!(": {trouble}"));
        return (ErrorType::ImagePullFailed, format!("{who} has no image ({}){said}", name(reason)));
    }
    if USUAL.contains(&reason) {
        return match image::trouble(facts, &status.name) {
            Some(trouble) => (ErrorType::ImagePullFailed, format!("{who} has no image: {trouble}")),
            None => (ErrorType::PodNotReady, format!("{who} has not started{said}")),
        };
    }
    match &status.last {
        Some(run) if reason == "CrashLoopBackOff" => {
            let (error_type, how) = ended(part, &status.name, run);
            let why = if has_failed_hook(facts, status) { ", because its postStart hook failed" } else { "" };
            (error_type, format!("{how}{why}; it was restarted {} times and waits for the next", status.restarts))
        }
        _ => (ErrorType::ContainerFailed, format!("{who} cannot start ({}){said}", name(reason))),
    }
}

/// Whether the kubelet ends this container because what is to be done after its start fails.
fn has_failed_hook(facts: &Facts<'_>, status: &ContainerStatus) -> bool {
    let failed = |event: &PodEvent| event.reason == "FailedPostStartHook";
    facts.events.iter().any(|event| failed(event) && event.container.as_deref() == Some(&status.name))
}

/// How a run ended that should not have ended so. What it said at its end may be anything, secrets too, and is not
/// repeated, unless the runtime says why it never began; what a validator says is told with its validation.
pub(super) fn ended(part: Part, container: &str, run: &Terminated) -> Blame {
    let who = called(part, container);
    let reason = if run.reason.is_empty() { String::new() } else { format!(" ({})", name(&run.reason)) };
    let validated = part == Part::Init && container == validation_run::CONTAINER;
    let words = match run.exit_code {
        _ if run.never_began() && !run.message.trim().is_empty() => format!(": {}", one_line(&run.message)),
        validation_run::FAILED if validated => ": the pod's traffic is not redirected".to_owned(),
        _ => String::new(),
    };
    (ErrorType::ContainerFailed, format!("{who} ended with exit code {}{reason}{words}", run.exit_code))
}

/// Why a run that goes on is not enough.
pub(super) fn running(facts: &Facts<'_>, part: Part, status: &ContainerStatus) -> Blame {
    let who = called(part, &status.name);
    let unhealthy = |event: &&PodEvent| event.reason == "Unhealthy" && event.container.as_deref() == Some(&status.name);
    let probe = facts.events.iter().filter(unhealthy).max_by_key(|event| event.last.map(|at| at.ns));
    let said = probe.map(|event| format!(": {}", one_line(&event.message))).unwrap_or_default();
    let what = match part {
        Part::Init if !status.sidecar => "has not ended",
        _ => "runs and is not ready",
    };
    (ErrorType::PodNotReady, format!("{who} {what}{said}"))
}

fn called(part: Part, container: &str) -> String {
    let what = if part == Part::Init { "init container" } else { "container" };
    format!("{what} {}", name(container))
}

#[cfg(test)]
#[path = "blame_tests.rs"]
mod tests;
