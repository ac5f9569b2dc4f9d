//! What is said on a pod that could not be set up, in an Event. The kubelet says the same, in the midst of what
//! the runtime says about it; this is one sentence, by whom it is, and with the trace.

use super::failure::Failure;
use super::identity::TraceId;
use super::notice::{AGENT, LONGEST_MESSAGE, Notice, ObjectRef, Severity};
use super::request::{Command, Request};
use super::step::{ErrorType, Step};

/// The Event on the pod whose ADD failed like this; `pod_uid` is the API object's UID, where it is known.
/// Nothing for other calls, for what is no pod (any more), and where the plugin goes on alone.
pub fn notice(request: &Request, pod_uid: Option<&str>, failure: &Failure) -> Option<Notice> {
    let uid = pod_uid.or(request.pod.uid.as_deref()).filter(|uid| !uid.is_empty())?;
    let gone = matches!(failure.error_type, ErrorType::PodNotFound | ErrorType::PodReplaced);
    let pod = &request.pod;
    if request.command != Command::Add || failure.step == Step::AgentCall || gone || pod.name.is_empty() {
        return None;
    }
    // Each attempt has another namespace; the same said again is counted, and not said twice.
    let message = match request.netns.as_str() {
        "" => failure.message.clone(),
        netns => failure.message.replace(netns, "the pod's network namespace"),
    };
    let place = format!("; step {}, trace {}", failure.step.name(), TraceId::of_pod(uid).to_hex());
    let fits = message.floor_char_boundary(LONGEST_MESSAGE - place.len());
    let message = format!("{}{place}", message.get(..fits).unwrap_or(&message));
    let about = ObjectRef::pod(&pod.namespace, &pod.name, uid);
    Some(Notice { component: AGENT, about, severity: Severity::Warning, reason: "RedirectionFailed", message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::CODE_ISTIO;
    use crate::domain::outbound::Outbound;
    use crate::domain::pod::PodRef;
    use crate::domain::request::{Backend, Bounds};

    const UID: &str = "11111111-2222-4333-8444-555555555555";

    fn said(command: Command, step: Step, error_type: ErrorType, message: &str) -> Option<String> {
        let request = Request {
            command,
            container_id: "cafe".into(),
            ifname: "eth0".into(),
            netns: "/run/netns/cni-1".into(),
            own_netns: false,
            pod: PodRef { namespace: "shop".into(), name: "web-0".into(), uid: Some("of the runtime".into()) },
            backend: Backend::Auto,
            outbound: Ok(Outbound::default()),
            bounds: Bounds::default(),
        };
        let failure = Failure { step, error_type, code: CODE_ISTIO, message: message.into(), retryable: true };
        let notice = notice(&request, Some(UID), &failure)?;
        assert_eq!((notice.about.uid.as_str(), notice.reason), (UID, "RedirectionFailed"));
        assert!(notice.message.len() <= LONGEST_MESSAGE);
        Some(notice.message)
    }

    #[test]
    fn a_failed_add_is_one_sentence_with_its_step_and_trace_whatever_the_namespace_is_called() {
        let said = said(Command::Add, Step::RulesApply, ErrorType::RulesRejected, "no rules in /run/netns/cni-1");
        let trace = "step rules.apply, trace 11111111222243338444555555555555";
        assert_eq!(said, Some(format!("no rules in the pod's network namespace; {trace}")));
        let long = self::said(Command::Add, Step::RulesApply, ErrorType::RulesRejected, &"é".repeat(2000)).unwrap();
        assert!(long.ends_with(trace));
    }

    #[test]
    fn what_is_nobodys_business_on_the_pod_is_not_said() {
        for (command, step, error_type) in [
            (Command::Check, Step::RulesVerify, ErrorType::RulesDrifted),
            (Command::Add, Step::AgentCall, ErrorType::AgentBusy),
            (Command::Add, Step::PodLookup, ErrorType::PodNotFound),
            (Command::Add, Step::PodLookup, ErrorType::PodReplaced),
        ] {
            assert_eq!(said(command, step, error_type, "m"), None, "{command:?} {error_type:?}");
        }
    }
}
