//! One pod, for those who ask for it: what the agent knows of its rules and of its validation.

use super::{Doctor, pods};
use crate::domain::finding::{Check, Finding};
use crate::domain::identity::TraceId;
use crate::domain::pod::PodFacts;
use crate::domain::pod_state::PodState;
use crate::domain::validation_run::runs;

/// What is known of the pod of this name.
pub fn look(doctor: &Doctor, namespace: &str, name: &str) -> Vec<Finding> {
    let Some(pod) = doctor.cache.named(namespace, name) else {
        let what = format!("no pod {namespace}/{name} is known on node {}", doctor.node);
        let next = "look whether it runs on this node (kubectl get pod -o wide), and see watch.fresh";
        let known = format!("{} pods are known", doctor.cache.count());
        return vec![Finding::warning(Check::PodKnown, what, next).with(known)];
    };
    let known = Finding::ok(Check::PodKnown, format!("pod {namespace}/{name} is known"))
        .with(format!("uid {}, phase {}", pod.uid, pod.status.phase))
        .with(format!("trace {}", TraceId::of_pod(&pod.uid).to_hex()));
    vec![known, redirected(doctor, &pod), validation(doctor, &pod)]
}

fn redirected(doctor: &Doctor, pod: &PodFacts) -> Finding {
    const CHECK: Check = Check::PodRedirected;
    let state = doctor.states.of(&pod.uid);
    let seen =
        state.map_or_else(|| "nothing was found of it".to_owned(), |state| format!("it was found {}", state.name()));
    let finding = match state {
        Some(PodState::Redirected) => Finding::ok(CHECK, "it has exactly the rules that it should have"),
        Some(PodState::Skipped) => {
            Finding::ok(CHECK, "it is to have no rules: not meshed, excluded, or in the host's network")
        }
        Some(PodState::Broken) => {
            let next =
                "let the agent repair it (repair.repairPods), or delete it; explain says which rules are missing";
            Finding::problem(CHECK, "it does not have the rules that it should have", next)
        }
        Some(PodState::Unknown) => {
            let next = "the agent's log says why; mostly its namespace was not found";
            Finding::warning(CHECK, "whether it has the rules that it should have could not be found out", next)
        }
        None => {
            let what = "it has not been looked at: it is over, has no address yet, or is being set up";
            Finding::unknown(CHECK, what, "ask again when it runs; explain shows what its ADD came to")
        }
    };
    finding.with(seen)
}

fn validation(doctor: &Doctor, pod: &PodFacts) -> Finding {
    const CHECK: Check = Check::PodValidation;
    if let Some(why) = pods::failing(doctor, pod) {
        let next = "see pod.redirected; where that is fine, the validation's message says which probe failed";
        let known = format!("container {}, {} runs are known", doctor.validator, runs(pod, &doctor.validator).len());
        return Finding::problem(CHECK, format!("its validation fails: {why}"), next).with(known);
    }
    match runs(pod, &doctor.validator).len() {
        0 => Finding::ok(CHECK, "no run of its validation has ended, or it has none"),
        count => Finding::ok(CHECK, "its last validation passed").with(format!("{count} runs are known")),
    }
}
