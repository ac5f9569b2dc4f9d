//! Whether the container runtime answers, and says that it can start pods. A runtime that is silent or refuses is heard
//! of here, whatever is known of its directories.

use super::place::Place;
use super::runtime_directory;
use crate::domain::failure::whole;
use crate::domain::finding::{Check, Finding};
use crate::host::runtime::{CriError, DOCKER, KNOWN, RuntimeView, ask_all, known_sockets};
use std::time::Duration;

const CHECK: Check = Check::RuntimeReady;
/// How long all runtimes together may take for their answers: less than all examinations may.
pub const LIMIT: Duration = Duration::from_secs(1);

/// Asks, and says what was answered and which directories were named.
pub fn look(place: &Place) -> Vec<Finding> {
    if !place.installs {
        return Vec::new();
    }
    let (answered, silent) = asked(place, LIMIT);
    vec![ready(place, &answered, &silent), runtime_directory::look(place, &answered)]
}

/// What those that answer within the limit say, and why others do not.
pub fn asked(place: &Place, limit: Duration) -> (Vec<RuntimeView>, Vec<CriError>) {
    let sockets = place.runtime.clone().map_or_else(|| known_sockets(&place.root), |socket| vec![socket]);
    let (mut answered, mut silent) = (Vec::new(), Vec::new());
    for answer in ask_all(&sockets, limit) {
        match answer {
            Ok(view) => answered.push(view),
            Err(error) => silent.push(error),
        }
    }
    (answered, silent)
}

fn ready(place: &Place, answered: &[RuntimeView], silent: &[CriError]) -> Finding {
    let refusals: Vec<String> = silent.iter().map(whole).collect();
    let Some(first) = answered.first() else { return nobody(place, silent).with_some(&refusals) };
    let troubles: Vec<(String, &str)> = answered.iter().filter_map(trouble).collect();
    let sources: Vec<String> = answered.iter().map(|view| format!("{}, by {}", view.name, view.source)).collect();
    let finding = match troubles.split_first() {
        // Who can start pods is the one that is used.
        Some(((what, next), others)) if others.len() + 1 == answered.len() => Finding::problem(CHECK, what, *next),
        _ => Finding::ok(CHECK, format!("{} answers, and can start pods", first.name)),
    };
    finding.with_some(&sources).with_some(&refusals)
}

/// What keeps a runtime from starting pods, and what to do about it.
fn trouble(view: &RuntimeView) -> Option<(String, &'static str)> {
    let name = &view.name;
    if let Some(problem) = &view.broken {
        return Some((format!("no pod starts on this node: {name} is not ready: {problem}"), "see the runtime's log"));
    }
    if let Some(error) = &view.load_error {
        let what = format!("{name} could not load the network configuration: {error}");
        return Some((what, "correct or remove the file that it names"));
    }
    let problem = view.not_ready.as_ref()?;
    let what = format!("{name} is not ready to set up pods' networks: {problem}");
    Some((what, "see network.valid, and the runtime's log"))
}

fn nobody(place: &Place, silent: &[CriError]) -> Finding {
    let name_it = "name the runtime's socket, as it is seen from here, with CONTAINER_RUNTIME_ENDPOINT";
    match silent {
        [] if !place.sees_node => {
            let what = "no container runtime was asked: the node's root directory cannot be seen from here";
            Finding::unknown(CHECK, what, "mount the host's /proc at /host/proc, with CAP_SYS_PTRACE")
        }
        [] => unasked(place, name_it),
        [CriError::Missing { .. }] => Finding::warning(
            CHECK,
            "the runtime's socket that is named is not there",
            "correct CONTAINER_RUNTIME_ENDPOINT, or start the runtime",
        ),
        errors if errors.iter().any(|error| matches!(error, CriError::Denied { .. })) => Finding::unknown(
            CHECK,
            "the container runtime may not be asked by this process",
            "run doctor as root on the node, or in the agent's pod",
        ),
        errors => {
            let refuses = errors.iter().any(|error| matches!(error, CriError::Refused { .. }));
            let what = match refuses {
                true => "no pod starts on this node: the container runtime answers with an error",
                false => "no pod starts on this node: the container runtime does not answer",
            };
            let next = "see the runtime's log, and restart it; where an error says that the service is unknown, its CRI is switched off (disabled_plugins)";
            Finding::problem(CHECK, what, next)
        }
    }
}

/// There is no socket that is known.
fn unasked(place: &Place, next: &str) -> Finding {
    let what = "no container runtime was asked: there is no socket at the places that are known";
    let finding = Finding::unknown(CHECK, what, next).with(format!("looked for {}", KNOWN.join(", ")));
    match place.root.join(DOCKER).exists() {
        true => finding.with(
            "Docker is here; it is asked by way of cri-dockerd only, as the kubelet does, which has no socket here",
        ),
        false => finding,
    }
}
