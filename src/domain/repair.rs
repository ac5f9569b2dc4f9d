//! Which pods started without their redirection, and what is to be done about each: decided from the
//! API's object alone, so that what was seen and what is done can be told apart and tested.

use super::field_selector::FieldSelector;
use super::label_selector::LabelSelector;
use super::pod::PodFacts;
use super::pod_status::{ContainerStatus, Terminated};
use super::prune::Kept;
use super::startup::Scope;
use super::validation::EXIT_NOT_REDIRECTED;

/// The name of the span of an attempt.
pub const REPAIR: &str = "repair.pod";

/// How much of a container's reason is told.
const REASON: usize = 64;

/// What is done about broken pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Their rules are programmed in place.
    Repair,
    /// They are deleted or evicted, so that others take their place.
    Delete,
    /// They get a label.
    Label,
}

impl Mode {
    /// Every mode, the one that wins over the others first.
    pub const ALL: [Mode; 3] = [Mode::Repair, Mode::Delete, Mode::Label];

    /// The `type` label of the metric.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Repair => "repair",
            Mode::Delete => "delete",
            Mode::Label => "label",
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepairResult {
    Success,
    Fail,
    /// There was nothing to be done, or nothing that may be done.
    Skip,
}

impl RepairResult {
    /// Every result.
    pub const ALL: [RepairResult; 3] = [RepairResult::Success, RepairResult::Fail, RepairResult::Skip];

    /// The `result` label of the metric.
    pub const fn name(self) -> &'static str {
        match self {
            RepairResult::Success => "success",
            RepairResult::Fail => "fail",
            RepairResult::Skip => "skip",
        }
    }
}

/// By what a broken pod is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detector {
    /// The key of an annotation that the pod has; empty asks for none.
    pub annotation: String,
    /// The name of the init container that validates; empty is any.
    pub container: String,
    /// Its termination message without blanks at its ends; empty is any.
    pub message: String,
    /// Its exit code; 0 is any.
    pub exit_code: i32,
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

/// Whether a termination message says that the redirection is missing.
pub type Says = fn(&str) -> bool;

/// A pod's failed validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The init container.
    pub container: String,
    /// How often it was restarted so far.
    pub restarts: u32,
    /// How it ended.
    pub ended: Terminated,
    /// Whether it is run once more.
    pub runs_again: bool,
}

impl Detector {
    /// The failed validation of a pod of this node, if it has one that is to be dealt with: the
    /// reference's conditions on the run before this one, and the same on a run that has just ended.
    /// A pod that is being deleted is past repair.
    ///
    /// Where the exit code is the validator's own, `says` is asked whether a termination message is the
    /// validator's and says that the redirection is missing: then the exit code may be another.
    pub fn look(&self, pod: &PodFacts, node: &str, says: Says) -> Option<Broken> {
        if !self.selects(pod, node) {
            return None;
        }
        let (status, ended) = pod.status.init.iter().find_map(|status| Some((status, self.failed(status, says)?)))?;
        Some(Broken {
            container: status.name.clone(),
            restarts: status.restarts,
            ended: ended.clone(),
            runs_again: pod.status.restart_policy != "Never" && !pod.status.is_over(),
        })
    }

    /// Whether anything may be done about a pod at all.
    pub fn selects(&self, pod: &PodFacts, node: &str) -> bool {
        let annotated = self.annotation.is_empty() || pod.annotations.contains_key(&self.annotation);
        annotated && !pod.status.deleting && self.labels.selects(&pod.labels) && self.fields.selects(pod, node)
    }

    /// How the container's validation failed, if it has. The latest run is the one that counts.
    fn failed<'a>(&self, status: &'a ContainerStatus, says: Says) -> Option<&'a Terminated> {
        let now = status.state.terminated();
        let is_meant = self.container.is_empty() || status.name == self.container;
        let passed = now.is_some_and(|now| now.reason == "Completed" || now.exit_code == 0);
        if !is_meant || passed {
            return None;
        }
        now.into_iter().chain(&status.last).find(|ended| self.is_failure(ended, says))
    }

    fn is_failure(&self, ended: &Terminated, says: Says) -> bool {
        let message = self.message.is_empty() || ended.message.trim() == self.message;
        // Whoever kills it once it has spoken changes the exit code, and not what it found.
        let said = || self.exit_code == i32::from(EXIT_NOT_REDIRECTED) && ended.exit_code != 0 && says(&ended.message);
        message && (self.exit_code == 0 || ended.exit_code == self.exit_code || said())
    }
}

impl Broken {
    /// What happened, for people.
    pub fn cause(&self) -> String {
        let Broken { container, restarts, ended, .. } = self;
        // The API server does not bound it.
        let reason: String = ended.reason.chars().filter(|c| !c.is_control()).take(REASON).collect();
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        format!("init container {container} ended with exit code {}{reason}, restarts: {restarts}", ended.exit_code)
    }

    /// Whether this validation began only after a repair that was done about `before` at this time
    /// (nanoseconds since the epoch), and failed nevertheless.
    pub fn is_after(&self, before: &Broken, repaired_ns: u64) -> bool {
        let same = self.restarts == before.restarts && self.ended.container_id == before.ended.container_id;
        match self.ended.started_ns {
            _ if same => false,
            // The API's times are cut to seconds, so this may be too cautious; the next failure then counts.
            Some(started) => started > repaired_ns,
            None => self.restarts > before.restarts + 1,
        }
    }
}

/// What the settings say is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    /// Pods are deleted if that is all that helps: `REPAIR_DELETE_PODS` beside `REPAIR_REPAIR_PODS`.
    pub deletes: bool,
    /// Pods go by the Eviction API, which heeds disruption budgets.
    pub evicts: bool,
    /// The label that broken pods get.
    pub label: (String, String),
}

/// What is to be done about one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Restore,
    Delete,
    Evict,
    Label,
    /// Nothing.
    Leave(Why),
}

/// Why nothing is done about a broken pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is in the host's network namespace, in which there must be no rules.
    HostNetwork,
    /// Its validation is not run again, so rules come too late.
    NeverRunsAgain,
    /// It is a static pod: its object would only be made anew, over and over, and the pod stay.
    Static,
    /// It has the label.
    Labelled,
    /// It was repaired again and again, and its validation failed each time.
    InVain,
}

impl Policy {
    /// What is to be done about a broken pod, and under which mode it is counted.
    pub fn action(&self, pod: &PodFacts, broken: &Broken) -> (Mode, Action) {
        let removal = self.removal(pod);
        match self.mode {
            Mode::Label if pod.labels.contains_key(&self.label.0) => (Mode::Label, Action::Leave(Why::Labelled)),
            Mode::Label => (Mode::Label, Action::Label),
            mode if pod.status.host_network => (mode, Action::Leave(Why::HostNetwork)),
            Mode::Delete => (Mode::Delete, removal),
            Mode::Repair if broken.runs_again => (Mode::Repair, Action::Restore),
            Mode::Repair if self.deletes => (Mode::Delete, removal),
            Mode::Repair => (Mode::Repair, Action::Leave(Why::NeverRunsAgain)),
        }
    }

    /// What is to be done about a pod that was repaired again and again, in vain.
    pub fn last_resort(&self, pod: &PodFacts) -> (Mode, Action) {
        if self.deletes { (Mode::Delete, self.removal(pod)) } else { (self.mode, Action::Leave(Why::InVain)) }
    }

    fn removal(&self, pod: &PodFacts) -> Action {
        match (pod.annotations.contains_key(PodFacts::CONFIG_HASH), self.evicts) {
            (true, _) => Action::Leave(Why::Static),
            (_, true) => Action::Evict,
            (_, false) => Action::Delete,
        }
    }
}

impl Why {
    /// A sentence's second half: why, and what to do.
    pub fn words(self) -> &'static str {
        match self {
            Why::HostNetwork => {
                "it is in the host's network namespace and can never be redirected: take it out of the mesh, or give \
                 it a network namespace of its own"
            }
            Why::NeverRunsAgain => {
                "its validation is never run again, so rules would come too late: delete it so that its owner makes \
                 another one, or let the agent do that with REPAIR_DELETE_PODS=true beside REPAIR_REPAIR_PODS=true"
            }
            Why::Static => {
                "it is a static pod, which deleting its object does not end: take its manifest off the node and put it \
                 back"
            }
            Why::Labelled => "it has the label already",
            Why::InVain => {
                "its rules were programmed and read back again and again, and its validation failed each time: look \
                 at what it says in the pod's log, and at who else changes the pod's rules"
            }
        }
    }
}

/// What the cache must keep of pods for this.
pub fn kept(detector: &Detector, policy: &Policy) -> Kept {
    let labels = detector.labels.keys().map(str::to_owned).chain([policy.label.0.clone()]);
    Kept {
        labels: labels.collect(),
        annotations: Some(detector.annotation.clone()).filter(|key| !key.is_empty()).into_iter().collect(),
        // Pods without a sidecar have statuses of init containers kept only where that is asked for.
        every_init: detector.annotation != Detector::SIDECAR,
        startups: Scope::Off,
        validator: detector.container.clone(),
    }
}

impl Detector {
    /// The annotation of pods that have a sidecar.
    pub const SIDECAR: &'static str = "sidecar.istio.io/status";
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
