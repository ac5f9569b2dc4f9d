//! An ADD through the real agent: which pod it finds, from where, and what it says when it cannot.

mod support;

use istio_cni_otel::domain::request::{Answer, Backend, Command};
use istio_cni_otel::domain::settings::SkipReason;
use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::wire::agent::Call;
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use support::agent::{Agent, call_for, make, sandbox};
use support::api::{Api, Fault};
use support::{Namespace, Node, TRACE, UID, eventually, pod, prev_result};

const OTHER_UID: &str = "22222222-2222-4333-8444-555555555555";
const HASH: &str = "0123456789abcdef0123456789abcdef";

fn with_uid(uid: &str) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["uid"] = json!(uid);
    pod
}

fn enrolled(changed: bool) -> Answer {
    Answer::Enrolled { backend: Backend::Nftables, changed }
}

#[test]
fn a_known_pod_is_set_up_without_asking_the_api_server() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    api.put(&pod(json!({})));
    let agent = Agent::start(&node, &api);
    assert_eq!(node.call("ADD", &sandbox.path()).result(), prev_result());
    assert_eq!(node.call("ADD", &sandbox.path()).result(), prev_result());
    assert!(!sandbox.nft_tables().is_empty(), "the rules are there");
    assert!(node.call("CHECK", &sandbox.path()).success);
    assert_eq!(api.requests().len(), 1, "the watch and nothing else: {:?}", api.requests());
    agent.wait_for_metric(r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"}"#, 2.0);
    agent
        .wait_for_metric(r#"istio_cni_requests_total{command="check",outcome="enrolled",reason="",path="agent"}"#, 1.0);
    assert!(agent.metrics().contains(r#"istio_cni_step_duration_seconds_count{step="rules.apply""#));
    assert!(node.spooled().is_empty());
}

#[test]
fn a_pod_that_gets_no_rules_is_skipped_with_its_reason() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    let mut plain = pod(json!({}));
    plain["metadata"]["annotations"] = json!({});
    api.put(&plain);
    let _agent = Agent::start(&node, &api);
    let answer = make(&node, &call_for(UID), Some(sandbox.as_fd()));
    assert_eq!(answer.result, Ok(Answer::Skipped(SkipReason::NotInjected)));
    assert!(sandbox.nft_tables().is_empty());
}

#[test]
fn a_pod_that_appears_late_is_waited_for() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    let _agent = Agent::start(&node, &api);
    let mut call = call_for(UID);
    (call.request.bounds.pod_attempts, call.request.bounds.pod_interval) = (30, Duration::from_secs(20));
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| make(&node, &call, Some(sandbox.as_fd())));
        // It was not in the cache, and the API server does not have it yet either.
        api.wait_for("get", 1);
        api.put(&pod(json!({})));
        assert_eq!(answer.join().unwrap().result, Ok(enrolled(true)));
    });
    assert_eq!(api.count("get"), 1, "the watch brought it");
}

#[test]
fn a_pod_that_only_the_api_server_knows_is_asked_for_once() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    let _agent = Agent::start(&node, &api);
    api.hold_watches(true);
    api.put(&pod(json!({})));
    assert_eq!(make(&node, &call_for(UID), Some(sandbox.as_fd())).result, Ok(enrolled(true)));
    assert_eq!(api.count("get"), 1);
}

#[test]
fn a_replaced_pod_is_not_taken_for_its_predecessor() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    let mut old = with_uid(OTHER_UID);
    old["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = json!("not a port");
    api.put(&old);
    let _agent = Agent::start(&node, &api);
    api.hold_watches(true);
    api.put(&with_uid(UID));
    let answer = make(&node, &call_for(UID), Some(sandbox.as_fd()));
    assert_eq!(answer.result, Ok(enrolled(true)), "the annotation of the one before does not matter");
    assert_eq!(answer.pod_uid.as_deref(), Some(UID));
}

#[test]
fn a_sandbox_of_a_pod_that_was_replaced_fails_soon() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    api.put(&with_uid(OTHER_UID));
    let _agent = Agent::start(&node, &api);
    let mut call = call_for(UID);
    (call.request.bounds.pod_attempts, call.request.bounds.pod_interval) = (30, Duration::from_secs(20));
    let failure = make(&node, &call, Some(sandbox.as_fd())).result.unwrap_err();
    assert_eq!((failure.step, failure.error_type), (Step::PodLookup, ErrorType::PodReplaced));
    assert!(failure.message.contains(UID) && failure.message.contains(OTHER_UID), "{failure}");
    assert!((2..=4).contains(&api.count("get")), "a moment, in which an old view would become new: {failure}");
    assert!(sandbox.nft_tables().is_empty());
}

#[test]
fn a_static_pod_is_known_by_its_mirrors_hash() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    api.put(&pod(json!({"kubernetes.io/config.hash": HASH})));
    let _agent = Agent::start(&node, &api);
    let answer = make(&node, &call_for(HASH), Some(sandbox.as_fd()));
    assert_eq!((answer.result, answer.pod_uid.as_deref()), (Ok(enrolled(true)), Some(UID)));
    assert_eq!(api.count("get"), 0);
}

#[test]
fn an_api_server_that_fails_is_named_with_what_it_said() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    let _agent = Agent::start(&node, &api);
    let cases = [
        (Fault::Status(401), ErrorType::ApiUnauthorized, "(401)"),
        (Fault::Status(403), ErrorType::ApiForbidden, "(403)"),
        (Fault::Status(404), ErrorType::PodNotFound, "(404)"),
        (Fault::Status(500), ErrorType::ApiError, "status 500"),
        (Fault::Garbage, ErrorType::ApiInvalidResponse, "no pod: "),
        (Fault::Silence, ErrorType::ApiTimeout, "did not answer within"),
    ];
    for (fault, error_type, words) in cases {
        api.fail("get", Some(fault));
        let started = Instant::now();
        let failure = make(&node, &call_for(UID), Some(sandbox.as_fd())).result.unwrap_err();
        assert_eq!((failure.step, failure.error_type), (Step::PodLookup, error_type), "{fault:?}: {failure}");
        assert!(failure.message.starts_with("pod shop/web-0 could not be looked up: "), "{failure}");
        assert!(failure.message.contains(words), "{fault:?}: {failure}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
    assert!(sandbox.nft_tables().is_empty());
}

#[test]
fn a_name_that_no_pod_can_have_never_reaches_the_api_server() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    let _agent = Agent::start(&node, &api);
    let mut call = call_for(UID);
    call.request.pod.name = "../../../secrets/root".into();
    let failure = make(&node, &call, Some(sandbox.as_fd())).result.unwrap_err();
    assert_eq!(failure.error_type, ErrorType::PodNotFound);
    assert_eq!(api.count("get"), 0);
}

#[test]
fn a_wrong_annotation_is_the_pods_error_and_leaves_no_rule() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    api.put(&pod(json!({"traffic.sidecar.istio.io/includeInboundPorts": "80,http"})));
    let mut agent = Agent::start(&node, &api);
    let (code, message) = node.call("ADD", &sandbox.path()).error();
    assert_eq!(code, 999);
    assert!(message.contains("annotation value error for value includeInboundPorts"), "{message}");
    assert!(sandbox.nft_tables().is_empty());
    let line = agent.wait_for("redirect.decide failed");
    assert_eq!((&line["pod"], &line["k8s.pod.uid"]), (&json!("shop/web-0"), &json!(UID)));
}

#[test]
fn a_descriptor_that_is_no_pods_namespace_is_refused_before_anything_is_done() {
    let (api, node) = (Api::start(), Node::new());
    api.put(&pod(json!({})));
    let mut agent = Agent::start(&node, &api);
    let [file, mount, host] =
        ["/dev/null", "/proc/self/ns/mnt", "/proc/self/ns/net"].map(|path| File::open(path).unwrap());
    let refused = |descriptor: &File, change: fn(&mut Call)| {
        let mut call = call_for(UID);
        change(&mut call);
        make(&node, &call, Some(descriptor.as_fd())).result.unwrap_err()
    };
    for (descriptor, error_type, words) in [
        (&file, ErrorType::NetnsInvalid, "/run/netns/x is not a network namespace"),
        (&mount, ErrorType::NetnsInvalid, "/run/netns/x is a namespace, but not a network namespace"),
        (&host, ErrorType::NetnsHost, "/run/netns/x is the host's own network namespace"),
    ] {
        let failure = refused(descriptor, |_| {});
        assert_eq!((failure.step, failure.error_type), (Step::NetnsOpen, error_type));
        assert!(failure.message.contains(words), "{failure:?}");
        agent.wait_for("netns.open failed after ");
    }
    // The runtime may mean it; a file is no namespace for that.
    let meant = |call: &mut Call| (call.request.command, call.request.own_netns) = (Command::Check, true);
    assert_eq!(refused(&file, meant).error_type, ErrorType::NetnsInvalid);
    assert_eq!(refused(&host, meant).step, Step::RulesBuild, "an empty namespace has no address to build for");
    // What is said on the pod comes in its own time.
    let requests: Vec<String> = api.requests().into_iter().filter(|request| !request.starts_with("events.")).collect();
    assert_eq!(requests.len(), 1, "the watch and nothing else: {requests:?}");
}

#[test]
fn del_gc_and_status_are_answered_without_a_namespace() {
    let (api, node) = (Api::start(), Node::new());
    let _agent = Agent::start(&node, &api);
    for command in [Command::Del, Command::Gc, Command::Status] {
        let mut call = call_for(UID);
        call.request.command = command;
        assert_eq!(make(&node, &call, None).result, Ok(Answer::Done), "{command:?}");
    }
    let failure = make(&node, &call_for(UID), None).result.unwrap_err();
    assert_eq!((failure.step, failure.error_type), (Step::AgentCall, ErrorType::AgentProtocol));
}

#[test]
fn fifty_pods_at_once_are_all_set_up_without_a_request() {
    const PODS: usize = 50;
    let (api, node) = (Api::start(), Node::new());
    let names: Vec<String> = (0..PODS).map(|number| format!("web-{number}")).collect();
    for name in &names {
        let mut one = pod(json!({}));
        one["metadata"]["name"] = json!(name);
        api.put(&one);
    }
    let agent = Agent::start(&node, &api);
    let sandboxes: Vec<Namespace> = names.iter().map(|_| sandbox()).collect();
    std::thread::scope(|scope| {
        let answers: Vec<_> = std::iter::zip(&names, &sandboxes)
            .map(|(name, sandbox)| {
                let mut call = call_for(UID);
                call.request.pod.name.clone_from(name);
                let node = &node;
                scope.spawn(move || make(node, &call, Some(sandbox.as_fd())).result)
            })
            .collect();
        for answer in answers {
            assert_eq!(answer.join().unwrap(), Ok(enrolled(true)));
        }
    });
    assert!(sandboxes.iter().all(|sandbox| !sandbox.nft_tables().is_empty()));
    assert_eq!(api.requests().len(), 1, "{:?}", api.requests());
    // This build is not the one that is shipped, which is smaller.
    assert!(agent.resident() < 48 << 10, "{} kB", agent.resident());
}

#[test]
fn a_failing_add_is_one_event_on_the_pod_that_is_counted_up_and_ends_with_the_trace() {
    let (api, node, sandbox) = (Api::start(), Node::new(), sandbox());
    api.put(&pod(json!({"traffic.sidecar.istio.io/excludeInboundPorts": "http"})));
    let _agent = Agent::start(&node, &api);
    let errors = [0; 2].map(|_| node.call("ADD", &sandbox.path()).error().1);
    let event = eventually("an Event that is counted twice", || {
        let events = api.events();
        assert!(events.len() <= 1, "{events:?}");
        events.into_iter().find(|event| event["count"] == 2)
    });
    assert_eq!((&event["reason"], &event["type"]), (&json!("RedirectionFailed"), &json!("Warning")));
    assert_eq!((&event["involvedObject"]["uid"], &event["involvedObject"]["name"]), (&json!(UID), &json!("web-0")));
    let message = event["message"].as_str().unwrap();
    assert_eq!(message, errors[0], "what the kubelet shows in the midst of the runtime's words");
    assert!(message.ends_with(&format!("; step redirect.decide, trace {TRACE}")), "{message}");
}
