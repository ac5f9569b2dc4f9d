//! The plugin and a node agent that answers, refuses, hangs, talks nonsense or is not there.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::failure::Failure;
use istio_cni_otel::domain::identity::{SpanId, TraceId, TraceLink};
use istio_cni_otel::domain::request::{Answer as Outcome, Backend, Conclusion};
use istio_cni_otel::domain::settings::SkipReason;
use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::telemetry::keys;
use istio_cni_otel::telemetry::story::{Batch, error_type_of, text_attribute};
use istio_cni_otel::wire::agent::{Kind, encode_conclusion, frame};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};
use support::*;

fn says(result: Result<Outcome, Failure>) -> Mood {
    Mood::Says(conclusion(result))
}

fn rushes(result: Result<Outcome, Failure>) -> Mood {
    Mood::Rushes(conclusion(result))
}

/// A conclusion's frame, with a link that the pod's annotations gave.
fn conclusion(result: Result<Outcome, Failure>) -> Vec<u8> {
    let link = TraceLink {
        trace_id: TraceId([7; 16]),
        span_id: SpanId([8; 8]),
        flags: 1,
        state: String::new(),
        source: "annotation",
        baggage: Vec::new(),
    };
    let conclusion = Conclusion { pod_uid: Some(UID.to_owned()), links: vec![link], result };
    frame(Kind::Conclusion, &encode_conclusion(&conclusion).unwrap()).unwrap()
}

fn failure(step: Step, error_type: ErrorType, message: &str) -> Failure {
    Failure { step, error_type, code: 999, message: message.to_owned(), retryable: true }
}

fn span<'a>(batch: &'a Batch, name: &str) -> &'a Span {
    batch.spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}"))
}

#[test]
fn the_agents_answer_is_the_plugins() {
    let node = Node::new();
    let heard = agent(&node, says(Ok(Outcome::Enrolled { backend: Backend::Nftables, changed: true })));
    let pod = Namespace::new();
    assert_eq!(node.call("ADD", &pod.path()).result(), prev_result());
    let heard = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(heard.descriptor, "the namespace's descriptor comes beside the call");
    let call = heard.call.unwrap();
    assert_eq!((&call["command"], &call["namespace"], &call["name"]), (&json!("add"), &json!("shop"), &json!("web-0")));
    assert_eq!((&call["traceId"], &call["uid"], &call["level"]), (&json!(TRACE), &json!(UID), &json!("debug")));
    let told = heard.telemetry.expect("telemetry follows the answer");
    let (request, step) = (span(&told, "cni.add"), span(&told, "agent.call"));
    assert_eq!(call["parentSpanId"], json!(SpanId(step.span_id.clone().try_into().unwrap()).to_hex()));
    assert_eq!(step.parent_span_id, request.span_id);
    assert_eq!(request.links[0].trace_id, [7; 16], "the pod's own link comes with the conclusion");
    let said = |key| text_attribute(&request.attributes, key);
    assert_eq!((said(keys::OUTCOME), said(keys::PATH)), (Some("enrolled"), Some("agent")));
    assert!(node.spooled().is_empty() && !node.path("istio-cni.log").exists(), "nothing is left behind");
}

#[test]
fn a_call_says_how_much_will_be_told_after_its_answer() {
    let enrolled = Ok(Outcome::Enrolled { backend: Backend::Nftables, changed: true });
    let refused = Err(failure(Step::RulesApply, ErrorType::RulesRejected, "the kernel says no"));
    for level in ["debug", "info", "error", "none"] {
        for (command, result) in [
            ("ADD", enrolled.clone()),
            ("ADD", refused.clone()),
            ("CHECK", enrolled.clone()),
            ("CHECK", refused.clone()),
            ("STATUS", Ok(Outcome::Done)),
            ("STATUS", refused.clone()),
            ("DEL", Ok(Outcome::Done)),
        ] {
            let node = Node::new().conf("plugin_log_level", json!(level));
            let node = match command {
                "STATUS" => node.conf("cniVersion", json!("1.1.0")).conf("prevResult", json!(null)),
                _ => node,
            };
            let heard = agent(&node, says(result));
            node.call(command, &Namespace::new().path());
            let heard = heard.recv_timeout(Duration::from_secs(20)).unwrap();
            let call = heard.call.unwrap_or_else(|| panic!("{command} at {level} made no call"));
            let (tells, told) = (&call["tells"], heard.telemetry.unwrap());
            let said = |what: &str| tells[what].as_u64().unwrap() as usize;
            assert_eq!(said("spans"), told.spans.len(), "{command} at {level}");
            let logs = told.logs.len();
            assert!((logs..=logs + 3).contains(&said("logs")), "{command} at {level}: {tells} and {logs}");
        }
    }
}

#[test]
fn the_agents_refusal_is_final() {
    let node = Node::with_pod(&pod(json!({})));
    let refusal = failure(Step::RulesApply, ErrorType::RulesRejected, "the kernel says no");
    let _heard = agent(&node, says(Err(refusal)));
    let wire = Wire::new(Addresses::V4);
    let (code, text) = node.call("ADD", &wire.pod.path()).error();
    assert_eq!(
        (code, text.as_str()),
        (999, "the kernel says no; step rules.apply, trace 11111111222243338444555555555555")
    );
    assert!(node.api.as_ref().unwrap().requests().is_empty(), "the plugin does not try what the agent could not do");
}

#[test]
fn the_agents_skip_is_a_success() {
    let node = Node::new();
    let heard = agent(&node, says(Ok(Outcome::Skipped(SkipReason::NoProxy))));
    assert_eq!(node.call("ADD", &Namespace::new().path()).result(), prev_result());
    let told = heard.recv_timeout(Duration::from_secs(20)).unwrap().telemetry.unwrap();
    assert_eq!(text_attribute(&span(&told, "cni.add").attributes, keys::REASON), Some("no_proxy_container"));
}

/// Every way in which an agent is there, but of no use, with the type that its step gets.
fn moods() -> Vec<(Mood, ErrorType, &'static str)> {
    let busy = failure(Step::AgentCall, ErrorType::AgentBusy, "at its limit of requests under way");
    vec![
        (Mood::Silent, ErrorType::AgentTimeout, "did not answer within 1500 ms (agent_timeout_ms)"),
        (Mood::HangsUp, ErrorType::AgentProtocol, "hung up without an answer"),
        (
            Mood::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            ErrorType::AgentProtocol,
            "is no answer of a node agent",
        ),
        (Mood::Says(frame(Kind::Conclusion, b"{}").unwrap()), ErrorType::AgentProtocol, "is no answer of a node agent"),
        (Mood::Says(frame(Kind::Call, b"{}").unwrap()), ErrorType::AgentProtocol, "instead of a conclusion"),
        (Mood::Says(b"R\xff\xff\xff\xff".to_vec()), ErrorType::AgentProtocol, "is no answer of a node agent"),
        (Mood::Says(b"R\0\0\0\x09{".to_vec()), ErrorType::AgentTimeout, "did not answer within"),
        (says(Ok(Outcome::Done)), ErrorType::AgentProtocol, "does not say whether the pod has its rules"),
        (says(Err(busy.clone())), ErrorType::AgentBusy, "at its limit of requests under way"),
        (rushes(Err(busy)), ErrorType::AgentBusy, "at its limit of requests under way"),
    ]
}

#[test]
fn without_a_usable_answer_the_plugin_goes_on_alone_and_the_trace_says_so() {
    for (mood, kind, _) in moods() {
        let node = Node::with_pod(&pod(json!({})));
        let _heard = agent(&node, mood);
        let wire = Wire::new(Addresses::V4);
        let start = Instant::now();
        assert_eq!(node.call("ADD", &wire.pod.path()).result(), prev_result());
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(!wire.pod.nft_tables().is_empty(), "{kind:?}: the pod has its rules");
        let [told] = &node.spooled()[..] else { panic!("{kind:?}: one batch in the spool") };
        assert_eq!(error_type_of(span(told, "agent.call")), Some(kind));
        let request = span(told, "cni.add");
        assert_eq!(text_attribute(&request.attributes, keys::PATH), Some("standalone"));
        assert_eq!(error_type_of(request), None);
    }
}

#[test]
fn when_both_ways_fail_the_error_names_both() {
    for (mood, _, expected) in moods() {
        let node = Node::new();
        let _heard = agent(&node, mood);
        let (code, message) = node.call("ADD", &Namespace::new().path()).error();
        assert_eq!(code, 999);
        let (first, second) = message.split_once("; before that the node agent was of no help: ").expect(&message);
        assert!(first.contains("istio-cni-kubeconfig does not exist") && second.contains(expected), "{message}");
    }
}

#[test]
fn a_socket_that_nobody_serves_is_no_error() {
    let node = Node::with_pod(&pod(json!({})));
    drop(UnixListener::bind(node.path("agent.sock")).unwrap());
    let wire = Wire::new(Addresses::V4);
    let answer = node.call("ADD", &wire.pod.path());
    assert_eq!(answer.result(), prev_result());
    assert_eq!(answer.messages("error"), Vec::<String>::new());
    let away = format!(
        "the node agent does not answer at {} (Connection refused (os error 111))",
        node.path("agent.sock").display()
    );
    assert_eq!(answer.messages("warn"), [format!("{away}; the plugin goes on alone")]);
    let debug = answer.messages("debug");
    assert!(
        debug.iter().any(|line| line.starts_with("agent.call done in ") && line.ends_with(" ms: absent")),
        "{debug:?}"
    );
    let told = &node.spooled()[0];
    assert_eq!(text_attribute(&span(told, "agent.call").attributes, keys::AGENT), Some("absent"));
}

#[test]
fn a_failure_without_an_agent_says_that_it_is_away_and_what_to_do() {
    let node = Node::new();
    drop(UnixListener::bind(node.path("agent.sock")).unwrap());
    let (_, message) = node.call("ADD", &Namespace::new().path()).error();
    let expected = format!(
        "failed to createNewK8sClient: the kubeconfig {} does not exist, and the plugin needs it to work alone: start the \
         node agent on this node, or put a kubeconfig there; the node agent does not answer at {} (Connection refused \
         (os error 111)); step pod.lookup",
        node.path("istio-cni-kubeconfig").display(),
        node.path("agent.sock").display()
    );
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn what_is_no_socket_is_an_error_of_the_step_only() {
    let node = Node::with_pod(&pod(json!({})));
    std::fs::write(node.path("agent.sock"), "").unwrap();
    let too_long = node.path(&"x".repeat(200));
    let wire = Wire::new(Addresses::V4);
    assert!(node.call("ADD", &wire.pod.path()).success);
    let node = node.conf("agent_socket", json!(too_long));
    assert!(node.call("ADD", &wire.pod.path()).success);
    let told = node.spooled();
    // A plain file refuses connections as a socket without a server does.
    assert_eq!(error_type_of(span(&told[0], "agent.call")), None);
    assert_eq!(error_type_of(span(&told[1], "agent.call")), Some(ErrorType::AgentUnreachable));
}

#[test]
fn a_pod_that_is_skipped_without_io_still_tells_an_agent() {
    let node = Node::new().env("CNI_ARGS", "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns-0");
    let heard = agent(&node, Mood::Silent);
    assert_eq!(node.call("ADD", "/nonexistent").result(), prev_result());
    let heard = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(heard.call, None, "there is nothing to ask");
    let told = heard.telemetry.unwrap();
    assert_eq!(text_attribute(&span(&told, "cni.add").attributes, keys::REASON), Some("namespace_excluded"));
}

#[test]
fn a_broken_configuration_is_told_to_the_agent_at_the_socket_that_it_names() {
    let elsewhere = tempfile::tempdir().unwrap();
    let socket = elsewhere.path().join("other.sock");
    let heard = agent_at(&socket, Mood::Silent);
    for (key, value) in [("cniVersion", json!("9.9.9")), ("redirect_backend", json!("ebpf"))] {
        let node = Node::new().conf("agent_socket", json!(socket)).conf(key, value);
        assert!(!node.call_as_is().success);
        let told = heard.recv_timeout(Duration::from_secs(20)).unwrap().telemetry.unwrap();
        assert!(error_type_of(span(&told, "cni.add")).is_some(), "{key}");
        assert!(node.spooled().is_empty());
    }
}

#[test]
fn del_tells_the_agent_but_does_not_wait_for_it() {
    let node = Node::new();
    let heard = agent(&node, says(Ok(Outcome::Done)));
    assert!(node.call("DEL", "/nonexistent").success);
    let told = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(told.call.unwrap()["command"], json!("del"));
    assert_eq!(text_attribute(&span(&told.telemetry.unwrap(), "cni.del").attributes, keys::OUTCOME), Some("done"));
    let node = Node::new().conf("agent_timeout_ms", json!(60_000));
    let _heard = agent(&node, Mood::Silent);
    let start = Instant::now();
    assert!(node.call("DEL", "/nonexistent").success);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(node.spooled().len(), 1);
}

#[test]
fn status_is_lenient_about_a_missing_agent_unless_it_is_told_to_be_strict() {
    let node = Node::new().conf("cniVersion", json!("1.1.0")).conf("prevResult", json!(null));
    let lenient = node.call("STATUS", "");
    assert!(lenient.success && lenient.stdout.is_empty(), "{lenient:?}");
    assert!(lenient.messages("warn")[0].contains("an ADD of a meshed pod could not succeed now"), "{}", lenient.stderr);
    let node = node.conf("status_mode", json!("strict"));
    let (code, message) = node.call("STATUS", "").error();
    assert_eq!(code, 50);
    assert!(message.starts_with("the node agent does not answer at "), "{message}");
    assert!(message.contains("), and the plugin alone is not ready: "), "{message}");
    assert!(message.contains("istio-cni-kubeconfig does not exist"), "{message}");
    let _heard = agent(&node, Mood::HangsUp);
    assert_eq!(node.call("STATUS", "").error().0, 51, "a broken agent looks after no pod either");
    node.write_kubeconfig("http://127.0.0.1:1");
    assert!(node.call("STATUS", "").success, "the plugin could do it alone");
    let node = node.conf("redirect_backend", json!("nftables"));
    let answer = crippled(forbid_netfilter_netlink, || node.call("STATUS", ""));
    assert_eq!(answer.error().0, 51, "the kernel cannot do it");
    assert!(node.spooled().is_empty(), "a runtime asks every few seconds: no files for that");
}

#[test]
fn an_agent_that_is_not_ready_is_believed_in_the_strict_mode() {
    let node = Node::new().conf("cniVersion", json!("1.1.0")).conf("prevResult", json!(null));
    let unready = Failure { code: 50, ..failure(Step::PodLookup, ErrorType::ApiUnreachable, "no pods yet") };
    let _heard = agent(&node, says(Err(unready)));
    assert!(node.call("STATUS", "").success);
    let node = node.conf("status_mode", json!("strict"));
    assert_eq!(node.call("STATUS", "").error(), (50, "no pods yet; step pod.lookup".to_owned()));
}
