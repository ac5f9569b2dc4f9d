//! What is kept of a call once it is answered: where a pod's namespace is, and that its rules were
//! read back.

use super::states::SettingUp;
use super::verdict::Verdicts;
use crate::domain::pod::PodRef;
use crate::domain::pod_state::PodState;
use crate::domain::request::{Answer, Command, Conclusion, Request};
use crate::host::pod_netns::{Record, Records};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Keeps what calls came to.
pub struct Answered {
    pub records: Records,
    pub verdicts: Arc<Verdicts>,
    pub telemetry: Telemetry,
}

impl Answered {
    /// A call begins: until the guard is dropped, its pod is being set up.
    pub fn begins(&self, request: &Request) -> Option<SettingUp> {
        (request.command == Command::Add).then(|| self.verdicts.states().setting_up(&request.pod))
    }

    /// A call was answered; nobody waits for this.
    pub fn ends(&self, request: &Request, netns: Option<&OwnedFd>, conclusion: &Conclusion) {
        match (request.command, &conclusion.result, &conclusion.pod_uid) {
            (Command::Add, Ok(answer), Some(uid)) => self.added(request, netns, uid, *answer),
            (Command::Del, _, _) => {
                if let Some(uid) = request.pod.uid.as_deref().filter(|uid| !uid.is_empty()) {
                    self.records.forget(uid, &request.container_id);
                }
            }
            _ => {}
        }
    }

    fn added(&self, request: &Request, netns: Option<&OwnedFd>, uid: &str, answer: Answer) {
        let pod = PodRef { uid: Some(uid.to_owned()), ..request.pod.clone() };
        match answer {
            Answer::Enrolled { .. } => self.verdicts.reached(&pod, PodState::Redirected),
            Answer::Skipped(_) => return self.verdicts.reached(&pod, PodState::Skipped),
            Answer::Done => return,
        }
        let record = netns.and_then(|netns| Record::of_add(request, uid, netns));
        if let Some(Err(error)) = record.map(|record| self.records.keep(&record)) {
            let problem = crate::domain::failure::whole(&error);
            self.telemetry.event(AgentEvent::NetnsRecordFailed { problem });
        }
    }
}
