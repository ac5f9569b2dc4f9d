//! What the agent knows of the node's pods: validations that fail, pods without their rules, and what is done about
//! them over and over.

use super::Doctor;
use crate::domain::finding::{Check, Finding, so_many};
use crate::domain::pod::PodFacts;
use crate::domain::pod_state::PodState;
use crate::domain::pod_status::Terminated;
use crate::domain::validation_run::{RunResult, runs};
use std::collections::HashSet;
use std::sync::Arc;

/// Pods whose last validation failed, and that have not got past it since.
pub fn validation(doctor: &Doctor) -> Finding {
    const CHECK: Check = Check::PodsValidation;
    let pods = doctor.cache.all();
    let mut failing: Vec<String> = pods
        .iter()
        .filter_map(|pod| Some((pod, failing(doctor, pod)?)))
        .map(|(pod, why)| format!("{}, container {}: {why}", named(pod), doctor.validator))
        .collect();
    failing.sort();
    match failing.len() {
        0 => Finding::ok(CHECK, "no pod's validation fails"),
        count => {
            let what = format!("the validation of {} fails, so that pods do not start", so_many(count, "pod"));
            let next = "see pods.redirected and agent.ready first: the pods may have started before the plugin was there; explain says it for each pod";
            Finding::problem(CHECK, what, next).with_some(&failing)
        }
    }
}

/// Why the pod's validation fails, if it does.
pub fn failing(doctor: &Doctor, pod: &PodFacts) -> Option<String> {
    if pod.status.is_over() || pod.status.deleting {
        return None;
    }
    let last = runs(pod, &doctor.validator).pop()?;
    match last.result() {
        RunResult::Passed => None,
        RunResult::Failed | RunResult::Broke => Some(how_it_ended(last.ended)),
    }
}

fn how_it_ended(Terminated { exit_code, message, .. }: &Terminated) -> String {
    let told = crate::wire::termination::decode(message.as_bytes()).ok();
    let told = told.and_then(|validation| validation.failure.map(|failure| failure.message));
    match told {
        Some(told) => format!("exit code {exit_code}: {told}"),
        None => format!("exit code {exit_code}"),
    }
}

/// Pods without the rules that they should have.
pub fn redirected(doctor: &Doctor) -> Finding {
    const CHECK: Check = Check::PodsRedirected;
    let pods = doctor.cache.all();
    let [broken, unknown] =
        [PodState::Broken, PodState::Unknown].map(|state| names(&pods, doctor.states.in_state(state)));
    let right = doctor.states.in_state(PodState::Redirected).len();
    if !broken.is_empty() {
        let pods = so_many(broken.len(), "meshed pod");
        let what = format!("the rules of {pods} are not as they should be, so that traffic may pass the proxy by");
        let next = "let the agent repair them (repair.repairPods), or delete them, so that others take their place; find out who changed their rules";
        return Finding::problem(CHECK, what, next).with_some(&broken);
    }
    if !unknown.is_empty() {
        let what = format!("the rules of {} could not be looked at", so_many(unknown.len(), "meshed pod"));
        let next = "mount the host's /proc at /host/proc, with CAP_SYS_PTRACE; the agent's log says why for each";
        return Finding::warning(CHECK, what, next).with_some(&unknown);
    }
    let seen = format!("redirected as it should be, from their setup: {}", so_many(right, "meshed pod"));
    if !doctor.audits {
        let what = "pods that this agent has not set up are not looked at, as the settings say";
        return Finding::unknown(CHECK, what, "set AUDIT_INTERVAL to have all pods looked at").with(seen);
    }
    if !doctor.states.all_seen() {
        let what = "the node's pods have not all been looked at since the agent started";
        return Finding::unknown(CHECK, what, "ask again in a while; see watch.fresh if it stays so").with(seen);
    }
    Finding::ok(CHECK, format!("redirected as it should be: {}", so_many(right, "meshed pod")))
}

/// What is done over and over.
pub fn repair(doctor: &Doctor) -> Finding {
    const CHECK: Check = Check::PodsRepair;
    let Some(found) = &doctor.repair else {
        return Finding::ok(CHECK, "nothing is done about broken pods, as the settings say");
    };
    let troubles = found.troubles();
    let next = "see network.place and runtime.directory: pods break over and over where they start without the plugin";
    let often: Vec<String> =
        troubles.often.iter().map(|(owner, count)| format!("{owner}: {count} pods in 30 minutes")).collect();
    let held = names(&doctor.cache.all(), troubles.held);
    if !held.is_empty() {
        let pods = so_many(held.len(), "broken pod");
        let what = format!("the deletion of {pods} is held back, because too many were deleted within a minute");
        return Finding::problem(CHECK, what, next).with_some(&held).with_some(&often);
    }
    if !often.is_empty() {
        return Finding::problem(CHECK, "pods are deleted or evicted over and over", next).with_some(&often);
    }
    let in_vain = names(&doctor.cache.all(), troubles.in_vain);
    if !in_vain.is_empty() {
        let what = format!("the validation of {} failed again after a repair", so_many(in_vain.len(), "pod"));
        let next = "see who takes their rules away; explain shows each pod's repairs";
        return Finding::warning(CHECK, what, next).with_some(&in_vain);
    }
    Finding::ok(CHECK, "no pod is repaired, deleted or evicted over and over")
}

/// The pods with these UIDs, by name where they are known.
fn names(pods: &[Arc<PodFacts>], uids: Vec<String>) -> Vec<String> {
    let mut wanted: HashSet<String> = uids.into_iter().collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut names: Vec<String> = pods.iter().filter(|pod| wanted.remove(&pod.uid)).map(|pod| named(pod)).collect();
    names.extend(wanted);
    names.sort();
    names
}

pub fn named(pod: &PodFacts) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_and_those_that_have_gone_meanwhile_by_their_uid() {
        let pod = |name: &str, uid: &str| {
            Arc::new(PodFacts { namespace: "shop".into(), name: name.into(), uid: uid.into(), ..PodFacts::default() })
        };
        let pods = [pod("web-1", "u-1"), pod("web-0", "u-0"), pod("web-2", "u-2")];
        let uids = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect();
        assert_eq!(names(&pods, uids(&["u-1", "gone", "u-0"])), ["gone", "shop/web-0", "shop/web-1"]);
        assert!(names(&pods, Vec::new()).is_empty());
    }
}
