//! Whichever step fails, the CNI error's details say which it was and under which trace all of it
//! can be looked up, in one form; on the real plugin, alone and through an agent.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::failure::Failure;
use istio_cni_otel::domain::request::Conclusion;
use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::wire::agent::{Kind, encode_conclusion, frame};
use serde_json::{Value, json};
use support::*;

/// The last part of the error's details.
fn place(answer: &Answer) -> String {
    let error: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("no error: {answer:?}"));
    let details = error["details"].as_str().unwrap_or_else(|| panic!("no details: {answer:?}"));
    details.rsplit("; ").next().unwrap().to_owned()
}

/// A call without an agent that fails at this step.
fn failing_at(step: Step) -> Answer {
    let wire = Wire::new(Addresses::V4);
    let meshed = || Node::with_pod(&pod(json!({})));
    match step {
        Step::ConfigParse => Node::new().conf("redirect_backend", json!("ebpf")).call_as_is(),
        Step::NetnsOpen => Node::new().call("ADD", "/nonexistent"),
        Step::PodLookup => Node::new().call("ADD", &wire.pod.path()),
        Step::RedirectDecide => {
            let wrong = pod(json!({"sidecar.istio.io/interceptionMode": "NONE"}));
            Node::with_pod(&wrong).call("ADD", &wire.pod.path())
        }
        Step::RulesBuild => meshed().call("ADD", &Namespace::new().path()),
        Step::RulesApply => {
            let node = meshed().conf("redirect_backend", json!("nftables"));
            let answer = crippled(forbid_netfilter_netlink, || node.call("ADD", &wire.pod.path()));
            assert!(answer.error().1.starts_with("the kernel has no nf_tables support for "), "{answer:?}");
            answer
        }
        Step::RulesVerify => meshed().call("CHECK", &wire.pod.path()),
        Step::AgentCall => unreachable!("without a usable answer of the agent the plugin goes on alone"),
        installing => unreachable!("{} is no step of a call", installing.name()),
    }
}

/// Every step that can be the last one of a call.
fn final_steps() -> impl Iterator<Item = Step> {
    Step::CALL.iter().copied().filter(|step| *step != Step::AgentCall)
}

#[test]
fn the_step_that_failed_and_the_trace_stand_in_the_details() {
    for step in final_steps() {
        let answer = failing_at(step);
        assert_eq!(place(&answer), format!("step {}, trace {TRACE}", step.name()), "{answer:?}");
    }
}

#[test]
fn a_step_that_failed_in_the_agent_is_named_the_same_way() {
    for step in final_steps() {
        let node = Node::new();
        let message = "no".to_owned();
        let failure = Failure { step, error_type: ErrorType::Internal, code: 999, message, retryable: false };
        let conclusion = Conclusion { pod_uid: Some(UID.to_owned()), links: Vec::new(), result: Err(failure) };
        let _heard =
            agent(&node, Mood::Says(frame(Kind::Conclusion, &encode_conclusion(&conclusion).unwrap()).unwrap()));
        let (code, text) = node.call("ADD", &Namespace::new().path()).error();
        assert_eq!((code, text), (999, format!("no; step {}, trace {TRACE}", step.name())));
    }
}

#[test]
fn when_the_agent_was_of_no_help_the_step_that_failed_after_it_is_named() {
    let node = Node::new();
    let _heard = agent(&node, Mood::HangsUp);
    let answer = node.call("ADD", &Namespace::new().path());
    assert!(answer.error().1.contains("; before that the node agent was of no help: "), "{answer:?}");
    assert_eq!(place(&answer), format!("step pod.lookup, trace {TRACE}"));
}

#[test]
fn a_call_about_no_pod_names_the_step_alone() {
    let strict = Node::new().conf("cniVersion", json!("1.1.0")).conf("status_mode", json!("strict"));
    let about_no_pod = Node::new().env("CNI_ARGS", "").conf("redirect_backend", json!("ebpf"));
    let unreadable = Node::new().env("CNI_ARGS", "K8S_POD_NAME");
    for (answer, step) in [
        (strict.call("STATUS", ""), "pod.lookup"),
        (about_no_pod.call_as_is(), "config.parse"),
        (unreadable.call_as_is(), "config.parse"),
        (Node::new().env("CNI_PATH", "").call_as_is(), "config.parse"),
    ] {
        assert_eq!(place(&answer), format!("step {step}"), "{answer:?}");
    }
}
