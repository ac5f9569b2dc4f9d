//! Puts the audit together: what hears of pods, what keeps the calls' results, and the task.

use super::answered::Answered;
use super::rounds::{Audit, OnBroken};
use super::states::States;
use super::verdict::Verdicts;
use crate::agent::config::Settings;
use crate::agent::site::NodeSite;
use crate::host::pod_netns::Records;
use crate::k8s::cache::{Listener, PodCache};
use crate::k8s::events::Events;
use crate::telemetry::pipeline::Telemetry;
use std::sync::Arc;
use tokio::sync::Notify;

/// The audit before it begins.
pub struct Audited {
    /// What is known of the pods; others may say what they did.
    pub verdicts: Arc<Verdicts>,
    /// Keeps what the plugin's calls came to.
    pub answered: Arc<Answered>,
    news: Arc<Notify>,
    telemetry: Telemetry,
}

impl Audited {
    /// `events` is where something is said on pods.
    pub fn new(settings: &Settings, telemetry: &Telemetry, events: Events) -> Audited {
        let metrics = telemetry.metrics().clone();
        let states = States::new(move |state, count| metrics.pods(state, count));
        let on_pods = events.clone();
        let verdicts = Verdicts::new(states, telemetry.clone(), move |notice| events.say(notice));
        let records = Records::new(&settings.run_dir);
        let (news, telemetry) = (Arc::<Notify>::default(), telemetry.clone());
        let answered = Answered {
            records,
            verdicts: verdicts.clone(),
            telemetry: telemetry.clone(),
            news: news.clone(),
            keeping: std::sync::Mutex::default(),
            say: Box::new(move |notice| on_pods.say(notice)),
        };
        Audited { verdicts, answered: Arc::new(answered), news, telemetry }
    }

    /// Hears of pods that come and go.
    pub fn listener(&self) -> Listener {
        Audit::listener(&self.verdicts, &self.news)
    }

    /// The task that looks at the pods of `cache`; `on_broken` hears of those that are broken.
    pub fn task(
        self,
        settings: &Settings,
        cache: Arc<PodCache>,
        site: Arc<NodeSite>,
        on_broken: OnBroken,
    ) -> impl Future<Output = Result<(), std::convert::Infallible>> + Send + 'static {
        let Audited { verdicts, answered, news, telemetry } = self;
        let audit = Audit {
            cache,
            verdicts,
            look: Arc::new(move |pod| site.look(pod)),
            on_broken,
            records: answered.records.clone(),
            telemetry,
            interval: settings.audit.interval,
            excluded: settings.exclude_namespaces.clone(),
            own_namespace: settings.pod_namespace.clone(),
            news,
        };
        audit.run()
    }
}
