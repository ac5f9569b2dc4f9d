//! What is wrong with a pod's containers right now, one by one, whatever its start came to.

use super::moment::Moment;
use super::tree::{Facts, MOST};
use super::{Outcome, Part, blame};
use crate::domain::pod::PodFacts;
use crate::domain::pod_status::ContainerState;
use crate::domain::step::ErrorType;

/// Something that keeps a container from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// [`Part::Init`] or [`Part::Container`].
    pub part: Part,
    pub container: String,
    pub error_type: ErrorType,
    /// One sentence, with what the kubelet says.
    pub message: String,
}

impl Trouble {
    /// The name that a span of it would have.
    pub fn span_name(&self) -> String {
        format!("{} {}", self.part.span_name(), self.container)
    }
}

/// Every container that waits because of something that is wrong, init containers first.
pub fn troubles(pod: &PodFacts) -> Vec<Trouble> {
    let facts = Facts { pod, events: &[], outcome: Outcome::Late, over: Moment::observed(0) };
    let init = pod.status.init.iter().take(MOST).map(|status| (Part::Init, status));
    let all = init.chain(pod.status.life.containers.iter().take(MOST).map(|status| (Part::Container, status)));
    let waiting = all.filter(|(_, status)| match &status.state {
        ContainerState::Waiting { reason, .. } => !blame::USUAL.contains(&reason.as_str()),
        ContainerState::Unknown | ContainerState::Running { .. } | ContainerState::Terminated(_) => false,
    });
    let told = waiting.map(|(part, status)| {
        let (error_type, message) = blame::container(&facts, part, status);
        Trouble { part, container: super::words::name(&status.name), error_type, message }
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_status::{ContainerStatus, Life, PodStatus};

    fn waiting(name: &str, reason: &str) -> ContainerStatus {
        let (reason, message) = (reason.to_owned(), "said so".to_owned());
        ContainerStatus { name: name.into(), state: ContainerState::Waiting { reason, message }, ..Default::default() }
    }

    #[test]
    fn each_container_that_waits_in_vain_is_told_and_no_other() {
        let containers = vec![waiting("web", "ImagePullBackOff"), waiting("log", "CreateContainerConfigError")];
        let init = vec![waiting("setup", "PodInitializing"), waiting("wait", "CrashLoopBackOff")];
        let status = PodStatus { init, life: Life { containers, ..Life::default() }, ..PodStatus::default() };
        let told = troubles(&PodFacts { status, ..PodFacts::default() });
        let told: Vec<_> = told.iter().map(|it| (it.span_name(), it.error_type, it.message.as_str())).collect();
        assert_eq!(
            told,
            [
                (
                    "pod.init wait".to_owned(),
                    ErrorType::ContainerFailed,
                    "init container wait cannot start (CrashLoopBackOff): said so"
                ),
                (
                    "pod.container web".to_owned(),
                    ErrorType::ImagePullFailed,
                    "container web has no image (ImagePullBackOff): said so"
                ),
                (
                    "pod.container log".to_owned(),
                    ErrorType::ContainerFailed,
                    "container log cannot start (CreateContainerConfigError): said so"
                ),
            ]
        );
    }
}
