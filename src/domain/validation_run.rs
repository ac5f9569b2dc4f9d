//! The runs of a pod's validation container, as the API server tells them: which there were, how
//! each ended, and how to know one again.

use super::identity::SpanId;
use super::pod::PodFacts;
use super::pod_status::{ContainerStatus, Terminated};
use super::validation::EXIT_NOT_REDIRECTED;

/// The init container that validates, unless a setting says otherwise.
pub const CONTAINER: &str = "istio-validation";
/// The span of an init container's run, before the container's name.
pub const POD_INIT: &str = "pod.init";
/// The span of a whole validation.
pub const VALIDATE: &str = "validate";
/// The exit code of a validation that found no redirection.
pub const FAILED: i32 = EXIT_NOT_REDIRECTED as i32;

/// One run of the validation container, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The container's name.
    pub container: &'a str,
    /// How many runs there were before.
    pub number: u32,
    /// How it ended.
    pub ended: &'a Terminated,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunResult {
    /// The redirection is in place.
    Passed,
    /// It is not.
    Failed,
    /// The container ended for another reason, and nothing is known.
    Broke,
}

impl RunResult {
    /// Every result.
    pub const ALL: [RunResult; 3] = [RunResult::Passed, RunResult::Failed, RunResult::Broke];

    /// The attribute and label value.
    pub const fn name(self) -> &'static str {
        match self {
            RunResult::Passed => "passed",
            RunResult::Failed => "failed",
            RunResult::Broke => "broke",
        }
    }

    /// The result with this name.
    pub fn from_name(name: &str) -> Option<RunResult> {
        RunResult::ALL.into_iter().find(|result| result.name() == name)
    }
}

/// The ended runs of this container that the API server still tells of, the older one first.
pub fn runs<'a>(pod: &'a PodFacts, container: &str) -> Vec<Run<'a>> {
    let Some(status) = pod.status.init.iter().find(|status| status.name == container) else { return Vec::new() };
    let ContainerStatus { name, restarts, state, last, .. } = status;
    let run = |number, ended| Run { container: name, number, ended };
    let last = last.as_ref().map(|ended| run(restarts.saturating_sub(1), ended));
    last.into_iter().chain(state.terminated().map(|ended| run(*restarts, ended))).collect()
}

impl Run<'_> {
    /// What it came to.
    pub fn result(&self) -> RunResult {
        match self.ended.exit_code {
            0 => RunResult::Passed,
            FAILED => RunResult::Failed,
            _ => RunResult::Broke,
        }
    }

    /// The id of its span: the same whoever tells it, and however often.
    pub fn span(&self, pod_uid: &str) -> SpanId {
        let run = match self.ended.container_id.as_str() {
            "" => self.number.to_string(),
            id => id.to_owned(),
        };
        SpanId::derived(&[pod_uid, self.container, &run])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_status::{ContainerState, PodStatus};

    fn ended(exit_code: i32, container_id: &str) -> Terminated {
        Terminated { exit_code, container_id: container_id.into(), ..Terminated::default() }
    }

    fn pod(state: ContainerState, last: Option<Terminated>, restarts: u32) -> PodFacts {
        let status = |name: &str| ContainerStatus {
            name: name.into(),
            restarts,
            state: state.clone(),
            last: last.clone(),
            ..ContainerStatus::default()
        };
        let init = vec![status("other"), status(CONTAINER)];
        PodFacts { status: PodStatus { init, ..PodStatus::default() }, ..PodFacts::default() }
    }

    #[test]
    fn the_last_run_comes_before_the_one_that_has_just_ended() {
        let pod = pod(ContainerState::Terminated(ended(0, "b")), Some(ended(126, "a")), 3);
        let runs = runs(&pod, CONTAINER);
        let told: Vec<_> = runs.iter().map(|run| (run.number, run.result(), run.container)).collect();
        assert_eq!(told, [(2, RunResult::Failed, CONTAINER), (3, RunResult::Passed, CONTAINER)]);
    }

    #[test]
    fn what_runs_waits_or_is_not_there_has_not_ended() {
        assert!(runs(&pod(ContainerState::Running { started_ns: None }, None, 0), CONTAINER).is_empty());
        let waiting = pod(
            ContainerState::Waiting { reason: "CrashLoopBackOff".into(), message: String::new() },
            Some(ended(1, "")),
            1,
        );
        assert_eq!(runs(&waiting, CONTAINER).iter().map(Run::result).collect::<Vec<_>>(), [RunResult::Broke]);
        assert!(runs(&waiting, "istio-init").is_empty());
    }

    #[test]
    fn a_run_is_known_again_and_told_from_others() {
        let first = pod(ContainerState::Terminated(ended(126, "a")), None, 0);
        let later = pod(ContainerState::Running { started_ns: None }, Some(ended(126, "a")), 1);
        let id = |pod: &PodFacts, uid| runs(pod, CONTAINER)[0].span(uid);
        assert_eq!(id(&first, "u-1"), id(&later, "u-1"));
        assert_ne!(id(&first, "u-1"), id(&first, "u-2"));
        let unnamed = |restarts| pod(ContainerState::Terminated(ended(126, "")), None, restarts);
        assert_ne!(id(&unnamed(0), "u-1"), id(&unnamed(1), "u-1"));
    }

    #[test]
    fn names_read_back() {
        for result in RunResult::ALL {
            assert_eq!(RunResult::from_name(result.name()), Some(result));
        }
    }
}
