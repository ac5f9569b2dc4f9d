//! Why a start did not come to its end, in one sentence.

use super::moment::Moment;
use super::tree::{Blame, Facts};
use super::words::{name, one_line, seconds};
use super::{Outcome, Part, PodEvent, image};
use crate::domain::pod_status::{ConditionKind, ContainerState, ContainerStatus, Terminated};
use crate::domain::step::ErrorType;

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
const USUAL: [&str; 3] = ["", "ContainerCreating", "PodInitializing"];

/// Why the whole start failed.
pub(super) fn root(facts: &Facts<'_>, start: Moment) -> Blame {
    match facts.outcome {
        Outcome::Failed => failed(facts),
        Outcome::Deleted => {
            let (_, why) = waits(facts);
            (ErrorType::PodDeleted, format!("the pod was deleted before it was ready: {why}"))
        }
        // The other two are no failures.
        Outcome::Late | Outcome::Ready | Outcome::Completed => {
            let (error_type, why) = waits(facts);
            let after = seconds(facts.over.ns.saturating_sub(start.ns));
            (error_type, format!("the pod is not ready after {after}: {why}"))
        }
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
    let mut ended = ended.filter(|(_, _, ended)| ended.exit_code != 0);
    match ended.next() {
        Some((part, status, run)) => self::ended(part, &status.name, run),
        None => (ErrorType::PodFailed, format!("the pod failed, and nobody says why{said}")),
    }
}

/// What the start waits for: the first thing that is not there.
fn waits(facts: &Facts<'_>) -> Blame {
    let status = &facts.pod.status;
    let sandbox = status.life.is(ConditionKind::SandboxReady) || facts.first_evidence().is_some();
    if !sandbox {
        return self::sandbox(facts);
    }
    let init = status.init.iter().filter(|status| !status.ready && !is_done(status));
    let init = init.map(|status| (Part::Init, status));
    let others = status.life.containers.iter().filter(|status| !status.ready).map(|status| (Part::Container, status));
    let (mut first, mut others) = (init, others);
    if let Some((part, status)) = first.next() {
        return container(facts, part, status);
    }
    // Of containers, which start together, the one that says what is wrong with it.
    let usual = |(_, status): &(Part, &ContainerStatus)| match &status.state {
        ContainerState::Waiting { reason, .. } => USUAL.contains(&reason.as_str()),
        ContainerState::Unknown => true,
        ContainerState::Running { .. } | ContainerState::Terminated(_) => false,
    };
    let worst = others.clone().find(|it| !usual(it)).or_else(|| others.next());
    if let Some((part, status)) = worst {
        return container(facts, part, status);
    }
    let ready = status.life.condition(ConditionKind::Ready).map(|it| one_line(&it.message)).unwrap_or_default();
    let why = if ready.is_empty() { "nobody says what it waits for".to_owned() } else { ready };
    (ErrorType::PodNotReady, why)
}

fn is_done(status: &ContainerStatus) -> bool {
    status.state.terminated().is_some_and(|ended| ended.exit_code == 0)
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
fn container(facts: &Facts<'_>, part: Part, status: &ContainerStatus) -> Blame {
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
            (error_type, format!("{how}; it was restarted {} times and waits for the next", status.restarts))
        }
        _ => (ErrorType::ContainerFailed, format!("{who} cannot start ({}){said}", name(reason))),
    }
}

/// How a run ended that should not have ended so.
pub(super) fn ended(part: Part, container: &str, run: &Terminated) -> Blame {
    let who = called(part, container);
    let reason = if run.reason.is_empty() { String::new() } else { format!(" ({})", name(&run.reason)) };
    let words = if run.message.trim().is_empty() { String::new() } else { format!(": {}", one_line(&run.message)) };
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
