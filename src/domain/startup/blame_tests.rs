//! Who is blamed for a start that did not come to its end.

use super::super::{Moment, Outcome, PodEvent, Source, startup};
use super::*;
use crate::domain::pod::PodFacts;
use crate::domain::pod_status::{Condition, Life, PodStatus};

const START: u64 = 1_000;

fn at(second: u64) -> u64 {
    second * 1_000_000_000
}

fn ended(exit_code: i32, finished: u64) -> ContainerState {
    ContainerState::Terminated(run(exit_code, finished))
}

fn run(exit_code: i32, finished: u64) -> Terminated {
    let (started_ns, finished_ns) = (Some(at(START)), Some(at(finished)));
    let (reason, message) = ("Error".to_owned(), "password=hunter2".to_owned());
    Terminated { exit_code, reason, message, started_ns, finished_ns, ..Terminated::default() }
}

fn runs() -> ContainerState {
    ContainerState::Running { started_ns: Some(at(START)) }
}

fn waits(reason: &str) -> ContainerState {
    ContainerState::Waiting { reason: reason.into(), message: String::new() }
}

fn of(name: &str, state: ContainerState) -> ContainerStatus {
    ContainerStatus { name: name.into(), state, ..ContainerStatus::default() }
}

fn sidecar(state: ContainerState) -> ContainerStatus {
    ContainerStatus { sidecar: true, ..of("istio-proxy", state) }
}

/// In a back-off after a run that finished then.
fn crashes(status: ContainerStatus, finished: u64) -> ContainerStatus {
    ContainerStatus { state: waits("CrashLoopBackOff"), last: Some(run(1, finished)), restarts: 1, ..status }
}

/// The sentence about a pod with these containers.
fn sentence(outcome: Outcome, init: &[ContainerStatus], containers: &[ContainerStatus]) -> String {
    said(outcome, init, containers, &[])
}

fn said(outcome: Outcome, init: &[ContainerStatus], containers: &[ContainerStatus], events: &[PodEvent]) -> String {
    let kind = ConditionKind::SandboxReady;
    let made = Condition { kind, met: true, since_ns: None, reason: String::new(), message: String::new() };
    let life = Life {
        created_ns: Some(at(START)),
        conditions: vec![made],
        containers: containers.to_vec(),
        ..Life::default()
    };
    let status = PodStatus { init: init.to_vec(), life, ..PodStatus::default() };
    let pod = PodFacts { uid: "u-1".into(), status, ..PodFacts::default() };
    let told = startup(&pod, events, outcome, at(START + 600));
    let all: Vec<&str> = told.spans.iter().filter_map(|span| Some(span.failure.as_ref()?.1.as_str())).collect();
    assert!(all.iter().all(|text| !text.contains("hunter2")), "{all:?}");
    let root = all.into_iter().next().unwrap();
    root.strip_prefix("the pod is not ready after 10m: ").unwrap_or(root).to_owned()
}

#[test]
fn of_several_that_failed_the_first_by_time_is_blamed() {
    let late = sentence(Outcome::Failed, &[], &[of("web", ended(1, 1_009)), of("db", ended(2, 1_005))]);
    assert_eq!(late, "container db ended with exit code 2 (Error)");
    let both = [crashes(of("web", runs()), 1_009), crashes(of("db", runs()), 1_005)];
    assert!(sentence(Outcome::Late, &[], &both).starts_with("container db ended with exit code 1"));
    // The kubelet has said of the other one earlier that it fails.
    let first = Some(Moment::second(at(1_002), Source::Event));
    let container = Some("web".to_owned());
    let backs_off = PodEvent { reason: "BackOff".into(), container, first, ..PodEvent::default() };
    assert!(said(Outcome::Late, &[], &both, &[backs_off]).starts_with("container web ended"));
}

#[test]
fn a_sidecar_that_was_ended_after_the_others_is_not_to_blame_and_one_that_failed_is() {
    let killed = [sidecar(ended(143, 1_004))];
    let failed = [of("web", ended(1, 1_005))];
    assert_eq!(sentence(Outcome::Failed, &killed, &failed), "container web ended with exit code 1 (Error)");
    let broken = [sidecar(ended(255, 1_004))];
    assert_eq!(
        sentence(Outcome::Failed, &broken, &failed),
        "init container istio-proxy ended with exit code 255 (Error)"
    );
}

#[test]
fn a_sidecar_that_is_not_ready_is_blamed_where_the_next_waits_for_it_and_else_last() {
    let next = |state| [sidecar(runs()), of("migrate", state)];
    let web = [of("web", waits("PodInitializing"))];
    let proxy = "init container istio-proxy runs and is not ready";
    assert_eq!(sentence(Outcome::Late, &next(waits("PodInitializing")), &web), proxy);
    assert_eq!(sentence(Outcome::Late, &next(runs()), &web), "init container migrate has not ended");
    assert_eq!(
        sentence(Outcome::Late, &next(ended(2, 1_003)), &web),
        "init container migrate ended with exit code 2 (Error)"
    );
    assert_eq!(sentence(Outcome::Late, &[sidecar(runs())], &web), proxy);
    let unready = [of("web", runs())];
    assert_eq!(sentence(Outcome::Late, &[sidecar(runs())], &unready), "container web runs and is not ready");
    let ready = [ContainerStatus { ready: true, ..of("web", runs()) }];
    assert_eq!(sentence(Outcome::Late, &[sidecar(runs())], &ready), proxy);
}

#[test]
fn a_sidecar_that_crashes_is_blamed_before_what_only_waits() {
    let crashing = crashes(sidecar(runs()), 1_003);
    let blamed = |init: &[ContainerStatus], web| sentence(Outcome::Late, init, &[of("web", web)]);
    let proxy = "init container istio-proxy ended with exit code 1";
    assert!(blamed(std::slice::from_ref(&crashing), runs()).starts_with(proxy));
    assert!(blamed(&[crashing.clone(), of("migrate", runs())], waits("PodInitializing")).starts_with(proxy));
    let failed = [crashing, of("migrate", ended(2, 1_002))];
    assert!(blamed(&failed, waits("PodInitializing")).starts_with("init container migrate"));
}

#[test]
fn who_has_done_its_work_is_not_blamed_for_it() {
    let containers = [of("once", ended(0, 1_002)), of("web", runs())];
    assert_eq!(sentence(Outcome::Late, &[], &containers), "container web runs and is not ready");
    let trouble = sentence(Outcome::Late, &[], &[of("web", runs()), of("db", waits("CreateContainerConfigError"))]);
    assert_eq!(trouble, "container db cannot start (CreateContainerConfigError)");
}

#[test]
fn a_validator_that_found_no_redirection_is_named_in_our_words() {
    let why = sentence(Outcome::Late, &[of("istio-validation", ended(126, 1_002))], &[]);
    assert_eq!(
        why,
        "init container istio-validation ended with exit code 126 (Error): the pod's traffic is not redirected"
    );
}
