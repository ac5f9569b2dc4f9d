//! What the agent itself finds wrong with its installation: it knows exactly what is to be there, and how often somebody
//! else undid it.

use super::Doctor;
use crate::domain::culprit;
use crate::domain::finding::{Check, Finding};
use crate::domain::install::{self, Part};
use crate::ops::install::InstallTarget;

/// What is not as it should be; nothing for what is.
pub fn look(doctor: &Doctor) -> Vec<Finding> {
    let Some(installation) = &doctor.installation else { return Vec::new() };
    let node = installation.node();
    Part::ALL
        .into_iter()
        .filter_map(|part| finding(part, &node.look(part)))
        .chain([undone(doctor, &node.names())])
        .collect()
}

fn finding(part: Part, found: &install::Finding) -> Option<Finding> {
    let check = match part {
        Part::Binaries => Check::PluginBinary,
        Part::Kubeconfig => Check::Kubeconfig,
        Part::Conflist => Check::NetworkPlace,
    };
    let next = "the agent puts it right at once; if it stays so, its log says why it cannot";
    match found {
        install::Finding::Right | install::Finding::Stale(_) => None,
        install::Finding::Wrong(wrong) => Some(Finding::problem(check, wrong.why.clone(), next)),
        install::Finding::Waiting(why) => {
            Some(Finding::problem(check, why.clone(), "the agent waits for it: see who has to do what it says"))
        }
    }
}

fn undone(doctor: &Doctor, names: &[String]) -> Finding {
    const CHECK: Check = Check::NetworkWriters;
    match doctor.telemetry.metrics().reverts_so_far() {
        0 => Finding::ok(CHECK, "nobody has undone the plugin's entry since the agent started"),
        times => {
            let often = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            let what = format!("somebody has undone the plugin's entry {often} since the agent started");
            Finding::warning(CHECK, what, culprit::likely(names))
        }
    }
}
