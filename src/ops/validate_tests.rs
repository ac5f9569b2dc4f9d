//! Cases of a validation, over sockets that a script plays and a clock that moves by itself.

use super::*;
use crate::domain::identity::TraceId;
use crate::domain::pod::PodRef;
use crate::telemetry::console;
use crate::telemetry::story::Batch;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What the script's namespace does with a probe, the how-manieth it is.
type Fate = fn(SocketAddr, u32) -> Probed;

struct Script {
    addresses: Result<Vec<&'static str>, ()>,
    taken: &'static [&'static str],
    fate: Fate,
    sent: u32,
    now: Duration,
}

impl ProbeSockets for Script {
    fn addresses(&mut self) -> Result<Vec<IpAddr>, BoxedError> {
        let addresses = self.addresses.clone().map_err(|()| BoxedError::new(ValidateError::NoListener(Vec::new())))?;
        Ok(addresses.into_iter().map(|text| text.parse().unwrap()).collect())
    }

    fn listen(&mut self, at: SocketAddr) -> Result<(), String> {
        let taken = self.taken.contains(&at.to_string().as_str());
        if taken { Err(format!("listen tcp {at}: bind: address already in use")) } else { Ok(()) }
    }

    fn probe(&mut self, _: SocketAddr, to: SocketAddr, limit: Duration) -> Probed {
        self.sent += 1;
        let probed = (self.fate)(to, self.sent);
        let hangs = probed.refused.as_ref().is_some_and(|(kind, _)| *kind == AttemptError::TimedOut);
        self.now += if hangs { limit } else { Duration::from_millis(1) };
        probed
    }

    fn elapsed(&self) -> Duration {
        self.now
    }

    fn pause(&mut self, time: Duration) {
        self.now += time;
    }
}

fn caught(to: SocketAddr, _: u32) -> Probed {
    arrived(to, Ok(to))
}

fn refused(to: SocketAddr, _: u32) -> Probed {
    let error = format!("dial tcp 127.0.0.1:0->{to}: connect: connection refused");
    Probed { refused: Some((AttemptError::Refused, error)), ..Probed::default() }
}

fn arrived(to: SocketAddr, original: Result<SocketAddr, String>) -> Probed {
    let own = if to.is_ipv4() { "127.0.0.1" } else { "::1" }.parse::<IpAddr>().unwrap();
    let (local, remote) = (SocketAddr::new(own, 15006), SocketAddr::new(own, 40000));
    Probed { arrived: vec![Arrived { local, remote, original }], ..Probed::default() }
}

fn plan() -> Plan {
    Plan {
        outbound_port: 15001,
        inbound_port: 15006,
        probe_port: 15002,
        timeout: Duration::from_secs(5),
        dual_stack: false,
        proxy_uid: Some(1337),
        own_uid: 1337,
    }
}

fn script(addresses: &[&'static str], fate: Fate) -> Script {
    Script { addresses: Ok(addresses.to_vec()), taken: &[], fate, sent: 0, now: Duration::ZERO }
}

fn run(plan: &Plan, mut script: Script) -> (Validation, Batch) {
    let clock = Clock::start();
    let story = Story::begin(clock, TraceId([1; 16]), None, PodRef::default(), Level::Debug, None);
    let validation = validate(&story, clock, plan, &mut script);
    (validation, story.into_batch())
}

/// What is said at the usual level: `level message`.
fn lines(batch: &Batch) -> Vec<String> {
    let shown = batch.logs.iter().filter(|log| console::level(log) >= Level::Info);
    shown.map(|log| format!("{} {}", console::level(log).name(), console::text_of(log.body.as_ref()))).collect()
}

const REFUSED: &str = "error Error connecting to 127.0.0.6:15002: dial tcp 127.0.0.1:0->127.0.0.6:15002: connect: \
                       connection refused";

#[test]
fn the_first_probe_is_enough_where_the_rules_are_right() {
    let (validation, told) = run(&plan(), script(&["10.1.0.5"], caught));
    assert!(validation.passed());
    assert_eq!(validation.families.iter().map(|of| (of.family, of.attempts)).collect::<Vec<_>>(), [(Family::V4, 1)]);
    assert_eq!(
        lines(&told),
        [
            "info Starting iptables validation. This check verifies that iptables rules are properly established for \
             the network.",
            "info Listening on 127.0.0.1:15001",
            "info Listening on 127.0.0.1:15006",
            "info Local addr 127.0.0.1:15006",
            "info Original addr 127.0.0.1: 15002",
            "info Validation passed, iptables rules established",
        ]
    );
    let spans: Vec<_> = told.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(spans, ["validate.listen", "validate.connect", "validate"]);
}

#[test]
fn what_repeats_itself_is_said_once_a_second() {
    let (validation, told) = run(&plan(), script(&["10.1.0.5"], refused));
    let failure = validation.failure.unwrap();
    assert_eq!(failure.error_type, ErrorType::RedirectMissing);
    assert!(failure.message.starts_with("no probe to 127.0.0.6:15002 came back to 127.0.0.1:15001,127.0.0.1:15006 within 5s (29 sent, the last one: connection refused)"), "{}", failure.message);
    let run = &validation.families[0].errors[0];
    assert_eq!((run.kind, run.count), (AttemptError::Refused, 29));
    let lines = lines(&told);
    assert_eq!(lines.iter().filter(|line| *line == REFUSED).count(), 5, "{lines:#?}");
    let end: Vec<&str> = lines[lines.len() - 6..].iter().map(String::as_str).collect();
    assert!(end[0].starts_with("error validate.connect failed after "), "{}", end[0]);
    assert_eq!(
        end[1..],
        [
            "error validation timeout",
            "error iptables validation failed; workload is not ready for Istio.",
            "error When using Istio CNI, this can occur if a pod is scheduled before the node is ready.",
            "error If installed with 'cni.repair.deletePods=true', this pod should automatically be deleted and retry.",
            "error Otherwise, this pod will need to be manually removed so that it is scheduled on a node with \
             istio-cni running, allowing iptables rules to be established.",
        ]
    );
    // The others are there for those who search.
    assert_eq!(told.logs.iter().filter(|log| log.event_name == event::VALIDATION_ATTEMPT.as_str()).count(), 29);
}

#[test]
fn rules_that_come_late_are_found() {
    let late = |to, sent| if sent < 3 { refused(to, sent) } else { caught(to, sent) };
    let (validation, _) = run(&plan(), script(&["10.1.0.5"], late));
    assert!(validation.passed());
    assert_eq!((validation.families[0].attempts, validation.families[0].errors[0].count), (3, 2));
}

#[test]
fn each_family_that_has_rules_is_validated() {
    let dual = Plan { dual_stack: true, ..plan() };
    let families = |plan: &Plan, addresses: &[&'static str]| {
        let (validation, _) = run(plan, script(addresses, caught));
        assert!(validation.passed());
        validation.families.iter().map(|of| of.family.name()).collect::<Vec<_>>()
    };
    assert_eq!(families(&plan(), &["10.1.0.5", "fd00::5"]), ["ipv4"]);
    assert_eq!(families(&dual, &["10.1.0.5", "fd00::5"]), ["ipv4", "ipv6"]);
    assert_eq!(families(&dual, &["10.1.0.5", "fe80::5"]), ["ipv4"]);
    assert_eq!(families(&plan(), &["fd00::5"]), ["ipv6"]);
}

#[test]
fn all_families_are_tried_although_one_fails() {
    let only_v6 = |to: SocketAddr, sent| if to.is_ipv4() { refused(to, sent) } else { caught(to, sent) };
    let (validation, told) = run(&Plan { dual_stack: true, ..plan() }, script(&["10.1.0.5", "fd00::5"], only_v6));
    let results: Vec<_> = validation.families.iter().map(|of| (of.passed, of.attempts)).collect();
    assert_eq!(results, [(false, 29), (true, 1)]);
    assert!(validation.failure.unwrap().message.contains("127.0.0.6"));
    assert_eq!(lines(&told).iter().filter(|line| *line == "error validation timeout").count(), 1);
}

#[test]
fn probes_that_hang_do_not_take_longer_than_said() {
    let hangs = |to: SocketAddr, _| Probed {
        refused: Some((AttemptError::TimedOut, format!("dial tcp 127.0.0.1:0->{to}: i/o timeout"))),
        ..Probed::default()
    };
    let mut script = script(&["10.1.0.5"], hangs);
    let clock = Clock::start();
    let story = Story::begin(clock, TraceId([1; 16]), None, PodRef::default(), Level::Off, None);
    assert!(!validate(&story, clock, &plan(), &mut script).passed());
    assert!(script.now <= plan().timeout + LAST_PROBE_LIMIT, "{:?}", script.now);
}

#[test]
fn a_destination_that_is_not_the_probes_is_wrong() {
    let wrong = |to: SocketAddr, _| arrived(to, Ok(SocketAddr::new(to.ip(), 15006)));
    let (validation, told) = run(&plan(), script(&["10.1.0.5"], wrong));
    assert_eq!(validation.failure.unwrap().error_type, ErrorType::RedirectWrong);
    assert_eq!(validation.families[0].errors[0].kind, AttemptError::WrongDestination);
    assert!(lines(&told).contains(&"info Original addr 127.0.0.1: 15006".to_owned()));
    // The right port is not enough.
    let other = |to: SocketAddr, _| arrived(to, Ok("10.1.0.9:15002".parse().unwrap()));
    assert!(!run(&plan(), script(&["10.1.0.5"], other)).0.passed());
    // The destination may not be known at all.
    let unknown = |to: SocketAddr, _| arrived(to, Err("no such file or directory".into()));
    let (validation, told) = run(&plan(), script(&["10.1.0.5"], unknown));
    assert_eq!(validation.failure.unwrap().error_type, ErrorType::RedirectWrong);
    let lines = lines(&told);
    assert!(lines.contains(&"error Error ipv4 getsockopt: no such file or directory".to_owned()), "{lines:?}");
    assert!(lines.contains(&"error Error getting original dst: no such file or directory".to_owned()), "{lines:?}");
}

#[test]
fn connections_of_others_decide_nothing() {
    let stranger = |to: SocketAddr, sent| Probed {
        lost: vec!["accept tcp 127.0.0.1:15001: accept4: too many open files".into()],
        arrived: [arrived(to, Ok("10.1.0.9:80".parse().unwrap())), caught(to, sent)]
            .into_iter()
            .flat_map(|probed| probed.arrived)
            .collect(),
        ..Probed::default()
    };
    let (validation, told) = run(&plan(), script(&["10.1.0.5"], stranger));
    assert!(validation.passed());
    let lost = "error Listener failed to accept connection: accept tcp 127.0.0.1:15001: accept4: too many open files";
    assert!(lines(&told).iter().any(|line| line == lost));
}

#[test]
fn connections_of_others_neither_pass_nor_explain_a_failure_nor_fill_the_log() {
    let many = |to: SocketAddr, sent: u32| {
        // Each is from another port of a neighbour, and for another of the pod's own.
        let stranger = |n: u32| {
            let port = u16::try_from(1 + sent * 10 + n).unwrap();
            let probed = arrived(to, Ok(SocketAddr::new("10.1.0.5".parse().unwrap(), port)));
            probed.arrived.into_iter().map(|it| Arrived { remote: "10.1.0.9:4000".parse().unwrap(), ..it })
        };
        let mut strangers: Vec<Arrived> = (0..10).flat_map(stranger).collect();
        // Even one that names the probe's own destination shows nothing about the pod's rules.
        strangers.push(Arrived { original: Ok(to), ..strangers[0].clone() });
        Probed { arrived: strangers, ..Probed::default() }
    };
    let (validation, told) = run(&plan(), script(&["10.1.0.5"], many));
    let failure = validation.failure.unwrap();
    assert_eq!(failure.error_type, ErrorType::RedirectMissing, "{}", failure.message);
    let originals: BTreeSet<String> =
        lines(&told).into_iter().filter(|line| line.starts_with("info Original addr 10.1.0.9")).collect();
    assert!((10..=MOST_SAID).contains(&originals.len()), "{}", originals.len());
}

#[test]
fn a_taken_port_is_said_and_blamed_only_where_it_matters() {
    let one = Script { taken: &["127.0.0.1:15001"], ..script(&["10.1.0.5"], caught) };
    let (validation, told) = run(&plan(), one);
    assert!(validation.passed());
    let error = "error Error on listening: listen tcp 127.0.0.1:15001: bind: address already in use";
    assert!(lines(&told).iter().any(|line| line == error));

    let elsewhere = |_, _| Probed::default();
    let one = Script { taken: &["127.0.0.1:15006"], ..script(&["10.1.0.5"], elsewhere) };
    let failure = run(&plan(), one).0.failure.unwrap();
    assert_eq!(failure.error_type, ErrorType::PortTaken);
    let where_and_why = "; nothing could listen on 127.0.0.1:15006 (address already in use): another process may have";
    assert!(failure.message.contains(where_and_why), "{}", failure.message);
    let (validation, _) = run(&plan(), script(&["10.1.0.5"], elsewhere));
    assert_eq!(validation.failure.unwrap().error_type, ErrorType::RedirectMissing);

    let both = Script { taken: &["127.0.0.1:15001", "127.0.0.1:15006"], ..script(&["10.1.0.5"], caught) };
    let (validation, told) = run(&plan(), both);
    let failure = validation.failure.unwrap();
    assert_eq!(failure.error_type, ErrorType::PortTaken);
    let failed = "error Validation failed: no listener available: 127.0.0.1:15001,127.0.0.1:15006";
    assert!(lines(&told).iter().any(|line| line.starts_with(failed)), "{:?}", lines(&told));
    assert!(validation.families.is_empty());
}

#[test]
fn the_wrong_user_is_told_so() {
    let (validation, _) = run(&Plan { own_uid: 0, ..plan() }, script(&["10.1.0.5"], refused));
    let message = validation.failure.unwrap().message;
    assert!(
        message.ends_with("the probes are of user 0, and user 1337 is the proxy; run this as user 1337"),
        "{message}"
    );
}

#[test]
fn a_pod_without_address_is_not_said_to_be_unredirected() {
    let (validation, told) = run(&plan(), script(&["127.0.0.1", "fe80::1"], caught));
    assert_eq!(validation.failure.unwrap().error_type, ErrorType::AddressMissing);
    assert!(!lines(&told).iter().any(|line| line.contains("workload is not ready")));
}

#[test]
fn where_addresses_cannot_be_asked_for_ipv4_is_validated() {
    let (validation, told) = run(&plan(), Script { addresses: Err(()), ..script(&[], caught) });
    assert!(validation.passed());
    assert!(lines(&told).iter().any(|line| line.starts_with("warn only IPv4 is validated")));
}
