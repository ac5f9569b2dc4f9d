//! The pod's rules as they are now beside those that an ADD would make, by a look into its network namespace.

use super::moments::at;
use super::problems::of_failure;
use super::subject::Subject;
use super::{Explainer, LOOK};
use crate::domain::pod_state::PodState;
use crate::domain::render;
use crate::ops::examine::Examined;
use crate::wire::explain::{Decision, Difference, Problem, Rules};
use tokio::time::timeout;

/// How many differences are told.
const MOST: usize = 100;

impl Explainer {
    /// Looks, where there is something to look at. It never takes longer than its bounds.
    pub(super) async fn rules(&self, subject: &Subject, decision: Option<&Decision>, now_ns: u64) -> (Rules, u64) {
        let none = |state: &str| (Rules { state: state.to_owned(), ..Rules::default() }, 0);
        let Some(pod) = subject.facts.clone() else { return none("none") };
        if decision.is_none_or(|decision| decision.result != "enroll") {
            return none(PodState::Skipped.name());
        }
        if pod.status.is_over() || pod.status.addresses.is_empty() {
            return none("none");
        }
        let look = async {
            // A look that takes longer than anybody waits keeps its turn: the threads are everybody's.
            let turn = self.looks.clone().acquire_owned().await.ok()?;
            let (site, pod) = (self.site.clone(), pod.clone());
            let look = move || {
                let examined = site.examine(&pod);
                drop(turn);
                examined
            };
            tokio::task::spawn_blocking(look).await.ok()
        };
        match timeout(LOOK, look).await {
            Ok(Some(examined)) => told(examined, now_ns),
            _ => (Rules { problem: Some(late(now_ns)), at: Some(at(now_ns)), ..none(PodState::Unknown.name()).0 }, 0),
        }
    }
}

fn late(now_ns: u64) -> Problem {
    Problem {
        at: at(now_ns),
        step: "rules.verify".to_owned(),
        error_type: "lock_timeout".to_owned(),
        message: format!("the pod's rules could not be read within {} s", LOOK.as_secs()),
        next: "ask again; if it lasts, look for a plugin or an agent that hangs on the node".to_owned(),
        count: 1,
    }
}

/// What was found, and how many of the differences are left out.
fn told(examined: Examined, now_ns: u64) -> (Rules, u64) {
    let Examined { netns, wanted, found, problem } = examined;
    let state = match (&problem, &found) {
        (None, Some((_, differences))) if differences.is_empty() => PodState::Redirected,
        (None, Some(_)) => PodState::Broken,
        _ => PodState::Unknown,
    };
    let lines = wanted.as_ref().zip(found.as_ref()).map(|(rules, (backend, _))| render::text(rules, *backend));
    let left_out = found.iter().map(|(_, differences)| differences.len().saturating_sub(MOST) as u64).sum();
    let differences = found.iter().flat_map(|(_, differences)| differences).take(MOST);
    let rules = Rules {
        state: state.name().to_owned(),
        at: Some(at(now_ns)),
        backend: found.as_ref().map(|(backend, _)| backend.name().to_owned()).unwrap_or_default(),
        netns: netns.unwrap_or_default(),
        count: wanted.as_ref().map_or(0, |rules| rules.rule_count() as u64),
        wanted: lines.iter().flat_map(|text| text.lines()).map(str::to_owned).collect(),
        differences: differences.map(|one| Difference { place: one.place.clone(), what: one.what.clone() }).collect(),
        problem: problem.map(|problem| of_failure(&problem, now_ns)),
    };
    (rules, left_out)
}
