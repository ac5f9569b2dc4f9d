//! What is kept of a call once it is answered: where a pod's namespace is, and that its rules were
//! read back.

use super::states::SettingUp;
use super::verdict::Verdicts;
use crate::domain::notice::Notice;
use crate::domain::pod::PodRef;
use crate::domain::pod_state::PodState;
use crate::domain::refusal;
use crate::domain::request::{Answer, Command, Conclusion, Request};
use crate::host::pod_netns::{Record, Records};
use crate::telemetry::agent_event::AgentEvent;
use crate::telemetry::pipeline::Telemetry;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::Notify;

/// Keeps what calls came to.
pub struct Answered {
    pub records: Records,
    pub verdicts: Arc<Verdicts>,
    pub telemetry: Telemetry,
    /// Wakes the audit.
    pub news: Arc<Notify>,
    /// Says something on a pod.
    pub say: Box<dyn Fn(Notice) + Send + Sync>,
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
            (Command::Add, Err(failure), known) => {
                self.doubt(known.as_deref().or(request.pod.uid.as_deref()));
                if let Some(notice) = refusal::notice(request, known.as_deref(), failure) {
                    (self.say)(notice);
                }
            }
            (Command::Del, _, _) => {
                // Sandboxes that ended long ago are deleted again while the pod has another one.
                if let Some(uid) = request.pod.uid.as_deref()
                    && self.records.forget(uid, &request.container_id)
                {
                    self.doubt(Some(uid));
                }
            }
            _ => {}
        }
    }

    /// The sandbox that was redirected is gone, or another one is not: the audit looks soon. What was
    /// said to be wrong stays said.
    fn doubt(&self, uid: Option<&str>) {
        if let Some(uid) = uid {
            self.verdicts.states().doubt(uid);
            self.news.notify_one();
        }
    }

    fn added(&self, request: &Request, netns: Option<&OwnedFd>, uid: &str, answer: Answer) {
        let pod = PodRef { uid: Some(uid.to_owned()), ..request.pod.clone() };
        match answer {
            Answer::Enrolled { .. } => {}
            Answer::Skipped(_) => return self.verdicts.reached(&pod, PodState::Skipped),
            Answer::Done => return,
        }
        // The record comes first: a DEL doubts only what it finds recorded.
        let record = netns.and_then(|netns| Record::of_add(request, uid, netns));
        if let Some(Err(error)) = record.map(|record| self.records.keep(&record)) {
            let problem = crate::domain::failure::whole(&error);
            self.telemetry.event(AgentEvent::NetnsRecordFailed { problem });
        }
        self.verdicts.reached(&pod, PodState::Redirected);
    }
}
