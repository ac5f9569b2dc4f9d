//! A running pod's rules are made again, whatever was left of them: its namespace is found among
//! those of real processes, and packets prove the repair.

mod support;

use istio_cni_otel::domain::outbound::Outbound;
use istio_cni_otel::domain::pod::PodFacts;
use istio_cni_otel::domain::pod_state::PodState;
use istio_cni_otel::domain::repair::{Action, Mode};
use istio_cni_otel::domain::request::{Backend, Bounds};
use istio_cni_otel::domain::ruleset::Difference;
use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::host::fake::FakeNamespaces;
use istio_cni_otel::host::kernel::HostNamespaces;
use istio_cni_otel::ops::attempt::{Attempt, Concluded, attempt};
use istio_cni_otel::ops::ports::{Applied, BoxedError, Changed, FoundNamespace, PodChanges, PodNamespaces};
use istio_cni_otel::ops::repair::{Site, look, restore};
use istio_cni_otel::telemetry::keys;
use istio_cni_otel::telemetry::story::{Batch, text_attribute};
use support::*;

const BACKENDS: [Backend; 2] = [Backend::Nftables, Backend::Iptables];

/// What is left of the rules before the repair.
const LEFT: [(&str, [&str; 2]); 3] = [
    ("nothing", ["nft flush ruleset", "nft flush ruleset"]),
    ("half", ["nft flush chain inet istio-proxy-nat istio-redirect", "iptables-nft -t nat -F ISTIO_REDIRECT"]),
    (
        "somebody else's",
        ["nft insert rule inet istio-proxy-nat output accept", "iptables-nft -t nat -I ISTIO_OUTPUT -j RETURN"],
    ),
];

#[test]
fn a_repair_makes_the_rules_whole_whatever_was_left_of_them() {
    for (index, backend) in BACKENDS.into_iter().enumerate() {
        // The kernel takes the proxy's user from iptables only where there is such a user.
        if backend == Backend::Iptables && !other_users_for("a repair with iptables") {
            continue;
        }
        for (left, commands) in LEFT {
            let wire = Wire::new(Addresses::V4);
            let pod = Sandboxed::start(&wire.pod);
            let proc = Proc::showing([&pod]);
            let _proxy = Listeners::start(&wire.pod, "pod", &[15001, 15006], &[]);
            let _peer = Listeners::start(&wire.peer, "peer", &[80], &[]);
            let outbound = || Probe::tcp(FAR4[0], 80).run(&wire.pod);
            let facts = meshed(&[POD4]);
            repaired(&proc, &facts, backend).0.unwrap();
            assert_eq!(outbound(), "pod:15001 to 10.2.0.9:80", "{backend:?}");
            assert_eq!(looked(&proc, &facts, backend), (PodState::Redirected, None));

            wire.pod.sh(commands[index]);
            assert_eq!(looked(&proc, &facts, backend), (PodState::Broken, Some(ErrorType::RulesDrifted)), "{left}");
            assert_ne!(outbound(), "pod:15001 to 10.2.0.9:80", "{backend:?} {left}");

            let (applied, told) = repaired(&proc, &facts, backend);
            assert_eq!(applied, Ok(Applied { backend, changed: true }), "{left}");
            assert_eq!(outbound(), "pod:15001 to 10.2.0.9:80", "{backend:?} {left}");
            assert_eq!(Probe::tcp(POD4, 8080).run(&wire.peer), "pod:15006 to 10.1.0.5:8080", "{backend:?} {left}");
            assert_eq!(looked(&proc, &facts, backend), (PodState::Redirected, None));
            let steps: Vec<&str> = told.spans.iter().map(|span| span.name.as_str()).collect();
            assert_eq!(steps, ["repair.netns", "rules.build", "rules.apply", "rules.verify"]);
            let attribute = |key| text_attribute(&told.spans[0].attributes, key).unwrap().to_owned();
            assert_eq!(attribute(keys::NETNS_SOURCE), "proc");
            assert_eq!(attribute(keys::NETNS), proc.entry(pod.pid()).join("ns/net").to_str().unwrap());
        }
    }
}

#[test]
fn a_pod_with_users_of_its_own_is_repaired_too() {
    // Of iptables tests/kernel_userns.rs shows the same; there the proxy's user has to be one of the pod's.
    let backend = Backend::Nftables;
    let pod = Sandboxed::start_with_own_users(&format!("ip link set lo up && ip addr add {POD4}/32 dev lo"));
    let (proc, facts) = (Proc::showing([&pod]), meshed(&[POD4]));
    assert_eq!(looked(&proc, &facts, backend), (PodState::Broken, Some(ErrorType::RulesDrifted)));
    assert_eq!(repaired(&proc, &facts, backend).0, Ok(Applied { backend, changed: true }));
    assert_eq!(looked(&proc, &facts, backend), (PodState::Redirected, None));
}

#[test]
fn a_repair_of_what_is_whole_changes_nothing() {
    let wire = Wire::new(Addresses::Dual);
    let pod = Sandboxed::start(&wire.pod);
    let proc = Proc::showing([&pod]);
    let facts = meshed(&[POD4, POD6]);
    assert!(repaired(&proc, &facts, Backend::Nftables).0.unwrap().changed);
    assert!(!repaired(&proc, &facts, Backend::Nftables).0.unwrap().changed);
}

#[test]
fn a_pod_without_a_namespace_is_not_repaired_and_its_state_is_unknown() {
    let proc = Proc::new();
    let facts = meshed(&["10.9.9.9"]);
    let (applied, told) = repaired(&proc, &facts, Backend::Nftables);
    let failure = applied.unwrap_err();
    assert_eq!((failure.step, failure.error_type), (Step::RepairNetns, ErrorType::NetnsMissing));
    assert!(failure.message.starts_with("failed to find network namespace"), "{failure}");
    assert_eq!(told.spans.len(), 1);
    assert_eq!(looked(&proc, &facts, Backend::Nftables), (PodState::Unknown, Some(ErrorType::NetnsMissing)));
}

#[test]
fn a_wrong_annotation_is_told_before_anything_is_entered() {
    let wire = Wire::new(Addresses::V4);
    let pod = Sandboxed::start(&wire.pod);
    let proc = Proc::showing([&pod]);
    let mut facts = meshed(&[POD4]);
    facts.annotations.insert("traffic.sidecar.istio.io/includeInboundPorts".into(), "none at all".into());
    let failure = repaired(&proc, &facts, Backend::Nftables).0.unwrap_err();
    assert_eq!((failure.step, failure.error_type), (Step::RulesBuild, ErrorType::AnnotationInvalid));
    assert_eq!(wire.pod.nft_tables(), Vec::<String>::new());
}

/// What the kernel said yes to, and does not have: somebody was quicker, or it is broken.
#[test]
fn a_repair_whose_rules_are_not_there_when_they_are_read_back_has_failed() {
    let namespaces = FakeNamespaces::with_addresses([POD4.parse().unwrap()]);
    let gone = Difference { place: "istio-proxy-nat istio-redirect".into(), what: "missing rule".into() };
    let (pod, outbound, bounds) = (meshed(&[POD4]), Ok(Outbound::default()), Bounds::default());
    let site = Site {
        pods: &Found,
        namespaces: &namespaces,
        backend: Backend::Nftables,
        outbound: &outbound,
        bounds: &bounds,
    };
    let label = <(String, String)>::default();
    for (differences, result) in [(vec![gone], "fail"), (vec![], "success")] {
        namespaces.drift(differences);
        let tried =
            Attempt { pod: &pod, cause: "it failed", mode: Mode::Repair, number: 1, label: &label, install: None };
        let story = story_of(&pod);
        let concluded = attempt(&story, &tried, Action::Restore, &Found, &|story, pod| restore(story, pod, &site));
        match &concluded {
            Concluded::Failed { failure, .. } => {
                assert_eq!(
                    (result, failure.step, failure.error_type),
                    ("fail", Step::RulesVerify, ErrorType::RulesDrifted)
                );
            }
            _ => assert_eq!(result, "success", "{concluded:?}"),
        }
        let told = story.into_batch();
        let whole = told.spans.iter().find(|span| span.name == "repair.pod").unwrap();
        assert_eq!(text_attribute(&whole.attributes, keys::REPAIR_RESULT), Some(result), "what is counted");
    }
    assert!(namespaces.programmed().is_some());
}

/// Finds a namespace, and is asked for nothing else.
struct Found;

#[expect(clippy::unwrap_used, reason = "tests assert by panicking")]
impl PodNamespaces for Found {
    fn find(&self, _: &PodFacts) -> Result<FoundNamespace, BoxedError> {
        let netns = std::fs::File::open("/dev/null").unwrap().into();
        Ok(FoundNamespace { netns, path: String::new(), source: "recorded", outbound: None })
    }
}

impl PodChanges for Found {
    fn delete(&self, _: &PodFacts) -> Result<Changed, BoxedError> {
        unreachable!("a repair in place deletes nothing")
    }

    fn evict(&self, _: &PodFacts) -> Result<Changed, BoxedError> {
        unreachable!("a repair in place evicts nothing")
    }

    fn label(&self, _: &PodFacts, _: &str, _: &str) -> Result<Changed, BoxedError> {
        unreachable!("a repair in place labels nothing")
    }
}

fn repaired(
    proc: &Proc,
    pod: &PodFacts,
    backend: Backend,
) -> (Result<Applied, istio_cni_otel::domain::failure::Failure>, Batch) {
    let story = story_of(pod);
    let applied = at_site(proc, backend, |site| restore(&story, pod, site));
    (applied, story.into_batch())
}

fn looked(proc: &Proc, pod: &PodFacts, backend: Backend) -> (PodState, Option<ErrorType>) {
    let looked = at_site(proc, backend, |site| look(pod, site));
    (looked.state, looked.problem.map(|problem| problem.error_type))
}

fn at_site<T>(proc: &Proc, backend: Backend, work: impl FnOnce(&Site<'_>) -> T) -> T {
    let pods = pod_netns(proc);
    let (outbound, bounds) = (Ok(Outbound::default()), Bounds::default());
    work(&Site { pods: &pods, namespaces: &HostNamespaces::FreshThread, backend, outbound: &outbound, bounds: &bounds })
}
