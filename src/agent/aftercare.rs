//! What looks after pods once they are set up: the audit of their rules, the repair of those that are
//! broken, and the Events that they get.

use super::audit::{Answered, Audited, OnBroken, States};
use super::config::Settings;
use super::install::{Installed, Lent};
use super::notices;
use super::readiness::Readiness;
use super::repair::{Found, Hands, Repair};
use super::site::NodeSite;
use super::tasks::Tasks;
use crate::domain::pod::PodRef;
use crate::domain::pod_state::PodState;
use crate::k8s::cache::{Listener, PodCache};
use crate::k8s::client::ApiClient;
use crate::k8s::events::Events;
use crate::k8s::pod_changes::BlockingChanges;
use crate::telemetry::pipeline::Telemetry;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Audit and repair, before they begin.
pub struct Aftercare {
    audited: Audited,
    /// Nothing where nothing is done about broken pods.
    broken: Option<Arc<Found>>,
    pods: Events,
}

/// What the agent is, as far as aftercare needs it.
pub struct Around<'a> {
    pub cache: &'a Arc<PodCache>,
    pub readiness: &'a Arc<Readiness>,
    pub installed: Option<&'a Installed>,
    pub runtime: &'a Handle,
}

impl Aftercare {
    /// Nothing is looked at yet; the pods' Events are sent from now on.
    pub fn new(
        settings: &Settings,
        client: &Arc<ApiClient>,
        telemetry: &Telemetry,
        tasks: &mut Tasks<'_>,
    ) -> Aftercare {
        let (pods, sender) = notices::pod_events(client.clone(), &settings.node);
        tasks.spawn("pods' events", notices::send(sender, telemetry.clone()));
        let audited = Audited::new(settings, telemetry, pods.clone());
        Aftercare { audited, broken: Found::new(settings, telemetry), pods }
    }

    /// Hear of the node's pods.
    pub fn listeners(&self) -> impl Iterator<Item = Listener> {
        [self.audited.listener()].into_iter().chain(self.broken.as_ref().map(Found::listener))
    }

    /// Keeps what calls came to.
    pub fn answered(&self) -> Arc<Answered> {
        self.audited.answered.clone()
    }

    /// What is known of the pods' rules.
    pub fn states(&self) -> Arc<States> {
        self.audited.verdicts.states().clone()
    }

    /// The broken pods that something is done about, where something is.
    pub fn broken(&self) -> Option<Arc<Found>> {
        self.broken.clone()
    }

    /// Begins with both; gives the repair, whose end is waited for.
    pub fn begin(self, lent: &Lent<'_>, around: &Around<'_>, tasks: &mut Tasks<'_>) -> Option<Arc<Repair>> {
        let Aftercare { audited, broken, pods } = self;
        let Lent { settings, backend, telemetry, .. } = *lent;
        let site = Arc::new(NodeSite::new(settings, backend.clone(), telemetry.clone()));
        let on_broken = repair_drift(broken.clone());
        let verdicts = audited.verdicts.clone();
        tasks.spawn("audit", audited.task(settings, around.cache.clone(), site.clone(), on_broken));
        let found = broken?;
        let (install, socket) = (around.installed.map(|it| it.installation.clone()), lent.socket.clone());
        let hands = Hands {
            site,
            changes: BlockingChanges::new(lent.client.clone(), around.runtime.clone()),
            pods,
            node: lent.events.clone(),
            allowed: found.deletes().then(|| around.readiness.condition("the limit of deleted pods")),
            install: Box::new(move || install.as_ref()?.in_force()),
            repaired: Box::new(move |pod: &PodRef| verdicts.reached(pod, PodState::Redirected)),
            superseded: Box::new(move || socket.successor().is_some()),
        };
        let repair = Repair::new(found, around.cache.clone(), telemetry.clone(), hands);
        tasks.spawn("repair", repair.clone().run());
        Some(repair)
    }
}

/// What is done about pods that lose their rules while the agent runs. What was so before is told, and
/// left to the pods' validation.
fn repair_drift(found: Option<Arc<Found>>) -> OnBroken {
    Box::new(move |drift| {
        if let (Some(found), true) = (&found, drift.was_right) {
            found.drifted(drift.pod, drift.problem);
        }
    })
}
