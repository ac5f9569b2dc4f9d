//! What the agent itself finds wrong with its installation: it knows exactly what is to be there, and how often somebody
//! else undid it of late.

use super::Doctor;
use crate::domain::culprit;
use crate::domain::finding::{Check, Finding};
use crate::domain::install::{self, Part};
use crate::domain::lately::IN_WINDOW;
use crate::ops::install::InstallTarget;
use crate::telemetry::metrics::Metrics;
use std::time::Instant;

/// What is not as it should be; nothing for what is.
pub fn look(doctor: &Doctor) -> Vec<Finding> {
    let Some(installation) = &doctor.installation else { return Vec::new() };
    let node = installation.node();
    Part::ALL
        .into_iter()
        .filter_map(|part| finding(part, &node.look(part)))
        .chain([undone(doctor.telemetry.metrics(), &node.names(), installation.undone(), Instant::now())])
        .collect()
}

fn finding(part: Part, found: &install::Finding) -> Option<Finding> {
    let check = match part {
        Part::Binaries => Check::PluginBinary,
        Part::Kubeconfig => Check::Kubeconfig,
        Part::Conflist => Check::NetworkPlace,
    };
    let next = "the agent puts it right at once; if it stays so, its log says why it cannot";
    let finding = match found {
        install::Finding::Right | install::Finding::Stale(_) => None,
        install::Finding::Wrong(wrong) => Some(Finding::problem(check, wrong.why.clone(), next)),
        install::Finding::Waiting(why) => {
            Some(Finding::problem(check, why.clone(), "the agent waits for it: see who has to do what it says"))
        }
    };
    finding.map(|finding| finding.with("the agent itself has just looked at it"))
}

/// Whoever undid it long ago has stopped: that is told, and no warning.
fn undone(metrics: &Metrics, names: &[String], last: Option<String>, now: Instant) -> Finding {
    const CHECK: Check = Check::NetworkWriters;
    let so_far = format!("{} since the agent started", times(metrics.reverts_so_far()));
    let finding = match metrics.reverts_lately(now) {
        0 => Finding::ok(CHECK, format!("nobody has undone the plugin's entry {IN_WINDOW}")),
        lately => {
            let what = format!("somebody has undone the plugin's entry {} {IN_WINDOW}", times(lately));
            Finding::warning(CHECK, what, culprit::likely(names))
        }
    };
    finding.with(so_far).with_some(&last.map(|last| format!("the last time: {last}")).into_iter().collect::<Vec<_>>())
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Status;
    use crate::domain::lately::WINDOW;

    #[test]
    fn what_was_undone_long_ago_is_no_warning() {
        let metrics = Metrics::new("1", "");
        metrics.config_reverted(2);
        let found = |now| undone(&metrics, &["05-cilium.conflist".into()], Some("10-x.conflist: gone".into()), now);
        let warned = found(Instant::now());
        assert_eq!(warned.status, Status::Warning);
        assert_eq!(warned.what, "somebody has undone the plugin's entry 2 times in the last 30 minutes");
        assert_eq!(warned.evidence, ["2 times since the agent started", "the last time: 10-x.conflist: gone"]);
        let later = found(Instant::now() + WINDOW);
        assert_eq!((later.status, later.evidence), (Status::Ok, warned.evidence));
    }
}
