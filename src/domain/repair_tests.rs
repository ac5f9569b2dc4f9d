//! Golden cases: which pods are broken, under which settings, and what is done about each.

use super::*;
use crate::domain::pod_status::{ContainerState, PodStatus};

const NODE: &str = "node-a";

fn detector() -> Detector {
    Detector {
        annotation: Detector::SIDECAR.into(),
        container: "istio-validation".into(),
        message: String::new(),
        exit_code: 126,
        labels: LabelSelector::default(),
        fields: FieldSelector::default(),
    }
}

/// No message says anything.
fn silent(_: &str) -> bool {
    false
}

fn ended(exit_code: i32, message: &str) -> Terminated {
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    Terminated { exit_code, reason: reason.into(), message: message.into(), ..Terminated::default() }
}

fn init(name: &str, state: ContainerState, last: Option<Terminated>) -> ContainerStatus {
    ContainerStatus { name: name.into(), restarts: 1, state, last, ..ContainerStatus::default() }
}

fn waiting() -> ContainerState {
    ContainerState::Waiting { reason: "CrashLoopBackOff".into(), message: String::new() }
}

fn pod(init: Vec<ContainerStatus>) -> PodFacts {
    let status = PodStatus { init, restart_policy: "Always".into(), phase: "Pending".into(), ..PodStatus::default() };
    let annotations = [(Detector::SIDECAR.to_owned(), String::new())].into();
    PodFacts {
        namespace: "shop".into(),
        name: "web-0".into(),
        uid: "u-1".into(),
        annotations,
        status,
        ..PodFacts::default()
    }
}

/// A pod whose validation failed and waits for its next run.
fn broken() -> PodFacts {
    pod(vec![init("istio-validation", waiting(), Some(ended(126, "")))])
}

fn is_broken(pod: &PodFacts) -> bool {
    detector().look(pod, NODE, silent).is_some()
}

#[test]
fn the_references_conditions_hold_for_the_run_before_this_one() {
    let name = "istio-validation";
    let running = || ContainerState::Running { started_ns: None };
    let failed = || Some(ended(126, ""));
    for (what, init, expected) in [
        ("waits after a failure", init(name, waiting(), failed()), true),
        ("runs after a failure", init(name, running(), failed()), true),
        ("says nothing of now", init(name, ContainerState::Unknown, failed()), true),
        ("passed after a failure", init(name, ContainerState::Terminated(ended(0, "")), failed()), false),
        ("runs for the first time", init(name, running(), None), false),
        ("failed with another code", init(name, waiting(), Some(ended(1, ""))), false),
        ("another container failed", init("setup", waiting(), failed()), false),
        (
            "failed with another code after the right one",
            init(name, ContainerState::Terminated(ended(1, "")), failed()),
            true,
        ),
    ] {
        assert_eq!(is_broken(&pod(vec![init])), expected, "{what}");
    }
    let completed = Terminated { reason: "Completed".into(), ..ended(3, "") };
    let odd = init(name, ContainerState::Terminated(completed), failed());
    assert!(!is_broken(&pod(vec![odd])), "it is the reason that counts");
    assert!(!is_broken(&pod(Vec::new())));
}

#[test]
fn a_run_that_has_just_failed_counts_too_whether_another_follows_or_not() {
    let now = || init("istio-validation", ContainerState::Terminated(ended(126, "")), None);
    let mut never = pod(vec![now()]);
    never.status.restart_policy = "Never".into();
    never.status.phase = "Failed".into();
    let found = detector().look(&never, NODE, silent).unwrap();
    assert_eq!((found.runs_again, found.ended.exit_code, found.restarts), (false, 126, 1));
    assert!(detector().look(&pod(vec![now()]), NODE, silent).unwrap().runs_again);
    let mut of_job = pod(vec![now()]);
    of_job.status.restart_policy = "OnFailure".into();
    assert!(detector().look(&of_job, NODE, silent).unwrap().runs_again);
    of_job.status.phase = "Failed".into();
    assert!(!detector().look(&of_job, NODE, silent).unwrap().runs_again, "its deadline is over, for example");
    let other = init("istio-validation", ContainerState::Terminated(ended(1, "")), None);
    assert!(!is_broken(&pod(vec![other])));
}

#[test]
fn the_latest_failure_is_the_one_that_is_told() {
    let both = init("istio-validation", ContainerState::Terminated(ended(126, "now")), Some(ended(126, "before")));
    assert_eq!(detector().look(&pod(vec![both]), NODE, silent).unwrap().ended.message, "now");
    let before = init("istio-validation", ContainerState::Terminated(ended(2, "now")), Some(ended(126, "before")));
    assert_eq!(detector().look(&pod(vec![before]), NODE, silent).unwrap().ended.message, "before");
}

#[test]
fn each_setting_of_the_detection_widens_or_narrows_it() {
    let with = |change: &dyn Fn(&mut Detector)| {
        let mut detector = detector();
        change(&mut detector);
        move |pod: &PodFacts| detector.look(pod, NODE, silent).is_some()
    };
    let mut bare = broken();
    bare.annotations.clear();
    assert!(!is_broken(&bare));
    assert!(with(&|detector| detector.annotation.clear())(&bare));
    let other = pod(vec![init("setup", waiting(), Some(ended(126, "")))]);
    assert!(with(&|detector| detector.container.clear())(&other));
    assert!(with(&|detector| detector.container = "setup".into())(&other));
    let code = pod(vec![init("istio-validation", waiting(), Some(ended(7, "")))]);
    assert!(with(&|detector| detector.exit_code = 0)(&code));
    assert!(with(&|detector| detector.exit_code = 7)(&code));
    let said = pod(vec![init("istio-validation", waiting(), Some(ended(126, "\n no rules \n")))]);
    let message = with(&|detector| detector.message = "no rules".into());
    assert!(message(&said) && !message(&broken()));
    // The message of a run that has just ended counts as well.
    let now = pod(vec![init("istio-validation", ContainerState::Terminated(ended(126, "no rules")), None)]);
    assert!(message(&now));
}

#[test]
fn the_first_container_that_matches_decides() {
    let any = Detector { container: String::new(), exit_code: 0, ..detector() };
    let two = pod(vec![
        init("first", ContainerState::Terminated(ended(0, "")), Some(ended(126, ""))),
        init("second", waiting(), Some(ended(9, ""))),
    ]);
    assert_eq!(any.look(&two, NODE, silent).unwrap().container, "second");
}

#[test]
fn selectors_choose_among_the_nodes_pods() {
    let with = |labels: &str, fields: &str| Detector {
        labels: LabelSelector::parse(labels).unwrap(),
        fields: FieldSelector::parse(fields).unwrap(),
        ..detector()
    };
    let mut pod = broken();
    pod.labels.insert("app".into(), "web".into());
    for (labels, fields, expected) in [
        ("app=web", "metadata.namespace=shop", true),
        ("app=db", "", false),
        ("", "metadata.namespace!=shop", false),
        ("", "spec.nodeName=node-a,status.phase=Pending", true),
    ] {
        assert_eq!(with(labels, fields).look(&pod, NODE, silent).is_some(), expected, "{labels} {fields}");
    }
}

#[test]
fn a_pod_that_is_being_deleted_is_past_repair() {
    let mut pod = broken();
    pod.status.deleting = true;
    assert!(!is_broken(&pod));
}

fn policy(mode: Mode) -> Policy {
    let label = ("cni.istio.io/uninitialized".to_owned(), "true".to_owned());
    Policy { mode, deletes: mode == Mode::Delete, evicts: false, label }
}

#[test]
fn each_mode_does_what_it_is_called() {
    let action = |policy: &Policy, pod: &PodFacts| policy.action(pod, &detector().look(pod, NODE, silent).unwrap());
    let pod = broken();
    assert_eq!(action(&policy(Mode::Repair), &pod), (Mode::Repair, Action::Restore));
    assert_eq!(action(&policy(Mode::Delete), &pod), (Mode::Delete, Action::Delete));
    let evicting = |mode| Policy { evicts: true, ..policy(mode) };
    assert_eq!(action(&evicting(Mode::Delete), &pod), (Mode::Delete, Action::Evict));
    assert_eq!(action(&evicting(Mode::Repair), &pod), (Mode::Repair, Action::Restore));
    assert_eq!(action(&policy(Mode::Label), &pod), (Mode::Label, Action::Label));
    let mut labelled = broken();
    labelled.labels.insert("cni.istio.io/uninitialized".into(), "whatever".into());
    assert_eq!(action(&policy(Mode::Label), &labelled), (Mode::Label, Action::Leave(Why::Labelled)));
    assert_eq!(action(&policy(Mode::Delete), &labelled), (Mode::Delete, Action::Delete));
}

#[test]
fn a_pod_in_the_hosts_namespace_is_neither_repaired_nor_deleted() {
    let mut pod = broken();
    pod.status.host_network = true;
    let found = detector().look(&pod, NODE, silent).unwrap();
    for mode in [Mode::Repair, Mode::Delete] {
        assert_eq!(policy(mode).action(&pod, &found), (mode, Action::Leave(Why::HostNetwork)));
    }
    assert_eq!(policy(Mode::Label).action(&pod, &found), (Mode::Label, Action::Label));
}

#[test]
fn a_static_pod_is_repaired_but_never_deleted() {
    let mut pod = broken();
    pod.annotations.insert(PodFacts::CONFIG_HASH.into(), "hash".into());
    let found = detector().look(&pod, NODE, silent).unwrap();
    for evicts in [false, true] {
        let delete = Policy { evicts, ..policy(Mode::Delete) };
        assert_eq!(delete.action(&pod, &found), (Mode::Delete, Action::Leave(Why::Static)));
    }
    assert_eq!(policy(Mode::Repair).action(&pod, &found), (Mode::Repair, Action::Restore));
    assert_eq!(policy(Mode::Label).action(&pod, &found), (Mode::Label, Action::Label));
}

#[test]
fn what_was_repaired_in_vain_is_deleted_only_if_that_is_asked_for_too() {
    let mut pod = broken();
    assert_eq!(policy(Mode::Repair).last_resort(&pod), (Mode::Repair, Action::Leave(Why::InVain)));
    let both = Policy { deletes: true, ..policy(Mode::Repair) };
    assert_eq!(both.last_resort(&pod), (Mode::Delete, Action::Delete));
    assert_eq!(Policy { evicts: true, ..both.clone() }.last_resort(&pod), (Mode::Delete, Action::Evict));
    pod.annotations.insert(PodFacts::CONFIG_HASH.into(), "hash".into());
    assert_eq!(both.last_resort(&pod), (Mode::Delete, Action::Leave(Why::Static)));
}

#[test]
fn what_the_validator_said_counts_whoever_ended_it_later() {
    let says: Says = |message| message == "not redirected";
    let ends = |exit_code| pod(vec![init("istio-validation", waiting(), Some(ended(exit_code, "not redirected")))]);
    let is_broken = |detector: &Detector, pod: &PodFacts, says| detector.look(pod, NODE, says).is_some();
    assert!(is_broken(&detector(), &ends(137), says) && is_broken(&detector(), &ends(126), says));
    assert!(!is_broken(&detector(), &ends(137), silent), "nobody says so");
    assert!(!is_broken(&detector(), &ends(0), says), "it passed");
    let other = Detector { exit_code: 3, ..detector() };
    assert!(!is_broken(&other, &ends(137), says), "another exit code is asked for");
    let message = Detector { message: "another".into(), ..detector() };
    assert!(!is_broken(&message, &ends(137), says), "another message is asked for");
}

#[test]
fn what_repair_cannot_help_is_deleted_only_if_that_is_asked_for_too() {
    let mut pod = pod(vec![init("istio-validation", ContainerState::Terminated(ended(126, "")), None)]);
    pod.status.restart_policy = "Never".into();
    let found = detector().look(&pod, NODE, silent).unwrap();
    assert_eq!(policy(Mode::Repair).action(&pod, &found), (Mode::Repair, Action::Leave(Why::NeverRunsAgain)));
    let both = Policy { deletes: true, ..policy(Mode::Repair) };
    assert_eq!(both.action(&pod, &found), (Mode::Delete, Action::Delete));
    assert_eq!(Policy { evicts: true, ..both }.action(&pod, &found), (Mode::Delete, Action::Evict));
    assert_eq!(policy(Mode::Delete).action(&pod, &found), (Mode::Delete, Action::Delete));
}

#[test]
fn only_a_validation_that_began_after_the_repair_says_that_it_was_in_vain() {
    let run = |restarts: u32, id: &str, started_ns: Option<u64>| Broken {
        container: "istio-validation".into(),
        restarts,
        ended: Terminated { container_id: id.into(), started_ns, ..ended(126, "") },
        runs_again: true,
    };
    let before = run(1, "c://1", Some(10));
    let again = |run: Broken| run.is_after(&before, 15);
    assert!(!again(run(1, "c://1", Some(10))), "the same run, seen again");
    assert!(!again(run(2, "c://2", Some(14))), "it was under way when the repair was done");
    assert!(again(run(2, "c://2", Some(16))));
    assert!(!again(run(2, "", None)), "it may have been under way");
    assert!(again(run(3, "", None)));
}

#[test]
fn the_cache_keeps_what_the_settings_ask_about() {
    let labels = LabelSelector::parse("app=web,!canary").unwrap();
    let usual = kept(&Detector { labels, ..detector() }, &policy(Mode::Repair));
    assert_eq!(usual.labels, ["app", "canary", "cni.istio.io/uninitialized"]);
    assert_eq!((usual.annotations, usual.every_init), (vec![Detector::SIDECAR.to_owned()], false));
    let any = kept(&Detector { annotation: String::new(), ..detector() }, &policy(Mode::Repair));
    assert_eq!((any.annotations, any.every_init), (Vec::new(), true));
    let other = kept(&Detector { annotation: "mesh".into(), ..detector() }, &policy(Mode::Repair));
    assert_eq!((other.annotations, other.every_init), (vec!["mesh".to_owned()], true));
}

#[test]
fn the_cause_names_container_code_and_restarts() {
    let cause = detector().look(&broken(), NODE, silent).unwrap().cause();
    assert_eq!(cause, "init container istio-validation ended with exit code 126 (Error), restarts: 1");
    let reason = format!("a\n\u{1b}[31m{}", "é".repeat(1 << 20));
    let hostile = Terminated { reason, exit_code: 126, ..Terminated::default() };
    let pod = pod(vec![init("istio-validation", waiting(), Some(hostile))]);
    let cause = detector().look(&pod, NODE, silent).unwrap().cause();
    assert!(cause.len() < 256 && !cause.contains(char::is_control), "{cause}");
}
