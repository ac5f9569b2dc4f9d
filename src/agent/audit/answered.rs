//! What is kept of a call once it is answered: where a pod's namespace is, and that its rules were
//! read back.

use super::states::UnderWay;
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
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Keeps what calls came to.
pub struct Answered {
    pub records: Records,
    pub verdicts: Arc<Verdicts>,
    pub telemetry: Telemetry,
    /// Wakes the audit.
    pub news: Arc<Notify>,
    /// Held while what one call came to is kept.
    pub keeping: Mutex<()>,
    /// Says something on a pod.
    pub say: Box<dyn Fn(Notice) + Send + Sync>,
}

impl Answered {
    /// A call begins that changes its pod: until what it came to is kept, an ADD's pod is being set up.
    pub fn begins(&self, request: &Request) -> Option<UnderWay> {
        let is_add = request.command == Command::Add;
        let changes = is_add || request.command == Command::Del;
        changes.then(|| self.verdicts.states().begins(&request.pod, &request.container_id, is_add))
    }

    /// A call was answered; nobody waits for this. So the sandbox's next call may have ended before, and
    /// then knows better.
    pub fn ends(&self, request: &Request, netns: Option<&OwnedFd>, conclusion: &Conclusion, call: Option<UnderWay>) {
        let Some(call) = call else { return };
        let known = conclusion.pod_uid.as_deref();
        if let Err(failure) = &conclusion.result
            && let Some(notice) = refusal::notice(request, known, failure)
        {
            (self.say)(notice);
        }
        let _keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        if !call.ends_last() {
            // The audit may have left the pod alone because of this call.
            drop(call);
            return self.news.notify_one();
        }
        match (request.command, &conclusion.result, known) {
            (Command::Add, Ok(answer), Some(uid)) => self.added(request, netns, uid, *answer),
            (Command::Add, Err(_), known) => {
                drop(call);
                self.doubt(known.or(request.pod.uid.as_deref()));
            }
            (Command::Del, ..) => {
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
        let record = netns.and_then(|netns| Record::of_add(request, uid, netns));
        if let Some(Err(error)) = record.map(|record| self.records.keep(&record)) {
            let problem = crate::domain::failure::whole(&error);
            self.telemetry.event(AgentEvent::NetnsRecordFailed { problem });
        }
        self.verdicts.reached(&pod, PodState::Redirected);
    }
}
