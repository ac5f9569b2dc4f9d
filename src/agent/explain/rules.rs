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
/// How much is told of the rules as they are; anybody in the pod who may can add to them.
const MOST_TEXT: usize = 64 << 10;

/// How much more there is of what is bounded in the rules.
#[derive(Default)]
pub(super) struct LeftOutRules {
    pub differences: u64,
    pub found: u64,
}

impl Explainer {
    /// Looks, where there is something to look at. It never takes longer than its bounds.
    pub(super) async fn rules(
        &self,
        subject: &Subject,
        decision: Option<&Decision>,
        now_ns: u64,
    ) -> (Rules, LeftOutRules) {
        let none = |state: &str| (Rules { state: state.to_owned(), ..Rules::default() }, LeftOutRules::default());
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
            _ => (
                Rules { problem: Some(late(now_ns)), at: Some(at(now_ns)), ..none(PodState::Unknown.name()).0 },
                LeftOutRules::default(),
            ),
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

/// The rules as they are, by line, and how many lines are left out.
fn lines(text: &str) -> (Vec<String>, u64) {
    if text.is_empty() {
        return (vec!["# nothing of ours is there".to_owned()], 0);
    }
    let mut room = MOST_TEXT;
    let fits = |line: &&str| {
        let left = room.checked_sub(line.len() + 1);
        room = left.unwrap_or_default();
        left.is_some()
    };
    let found: Vec<String> = text.lines().take_while(fits).map(str::to_owned).collect();
    let left_out = text.lines().count().saturating_sub(found.len()) as u64;
    (found, left_out)
}

/// What was found, and how much of it is left out.
fn told(examined: Examined, now_ns: u64) -> (Rules, LeftOutRules) {
    let Examined { netns, wanted, found, text, problem } = examined;
    let state = match (&problem, &found) {
        (None, Some((_, differences))) if differences.is_empty() => PodState::Redirected,
        (None, Some(_)) => PodState::Broken,
        _ => PodState::Unknown,
    };
    let should = wanted.as_ref().zip(found.as_ref()).map(|(rules, (backend, _))| render::text(rules, *backend));
    let more = found.iter().map(|(_, differences)| differences.len().saturating_sub(MOST) as u64).sum();
    let (are, more_lines) = found.as_ref().map(|_| lines(&text)).unwrap_or_default();
    let differences = found.iter().flat_map(|(_, differences)| differences).take(MOST);
    let rules = Rules {
        state: state.name().to_owned(),
        at: Some(at(now_ns)),
        backend: found.as_ref().map(|(backend, _)| backend.name().to_owned()).unwrap_or_default(),
        netns: netns.unwrap_or_default(),
        count: wanted.as_ref().map_or(0, |rules| rules.rule_count() as u64),
        wanted: should.iter().flat_map(|text| text.lines()).map(str::to_owned).collect(),
        found: are,
        differences: differences.map(|one| Difference { place: one.place.clone(), what: one.what.clone() }).collect(),
        problem: problem.map(|problem| of_failure(&problem, now_ns)),
    };
    (rules, LeftOutRules { differences: more, found: more_lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_as_they_are_are_bounded_in_whole_lines_and_said_to_be_none() {
        assert_eq!(lines(""), (vec!["# nothing of ours is there".to_owned()], 0));
        assert_eq!(lines("a\nb\n"), (vec!["a".to_owned(), "b".to_owned()], 0));
        let (found, left_out) = lines(&format!("{}\n", "r".repeat(1023)).repeat(70));
        assert_eq!((found.len(), left_out), (64, 6));
        let (found, left_out) = lines(&format!("a\n{}\nb\n", "r".repeat(MOST_TEXT)));
        assert_eq!((found, left_out), (vec!["a".to_owned()], 2));
    }
}
