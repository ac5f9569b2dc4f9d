//! Puts the installation together with what it tells the cluster and hears of it.

use super::installation::{Around, Installation};
use super::node::Node;
use crate::agent::backend::Decision;
use crate::agent::config::Settings;
use crate::agent::departure::Departing;
use crate::agent::log_control::LogControl;
use crate::agent::readiness::Condition;
use crate::agent::socket_name::SocketName;
use crate::agent::tasks::Tasks;
use crate::domain::notice::{AGENT, Notice, ObjectRef, Severity};
use crate::k8s::client::ApiClient;
use crate::k8s::events::Events;
use crate::telemetry::pipeline::Telemetry;
use std::sync::Arc;

/// What is installed, and what becomes of it in the end.
pub struct Installed {
    pub installation: Arc<Installation>,
    pub departing: Departing,
}

/// What the rest of the agent lends.
pub struct Lent<'a> {
    pub settings: &'a Settings,
    pub client: &'a Arc<ApiClient>,
    pub backend: &'a Decision,
    pub log: &'a Arc<LogControl>,
    pub socket: &'a Arc<SocketName>,
    pub telemetry: &'a Telemetry,
    /// Where something is said on objects of the cluster.
    pub events: &'a Events,
}

impl Installed {
    /// The installation that the settings ask for, if they do. Nothing is done yet but listening to
    /// the cluster; `ready` makes a condition of readiness.
    pub fn set_up(lent: &Lent<'_>, ready: impl FnOnce() -> Condition, tasks: &mut Tasks<'_>) -> Option<Installed> {
        let Lent { settings, client, backend, log, socket, telemetry, events } = *lent;
        let install = settings.install.as_ref()?;
        let (departing, watching) = Departing::new(settings, client.clone(), telemetry.clone());
        tasks.spawn("DaemonSet watch", watching.run());
        let socket = socket.clone();
        let around = Around {
            telemetry: telemetry.clone(),
            ready: ready(),
            successor: Box::new(move || socket.successor()),
            complain: complaints(events.clone(), &settings.node),
        };
        let node = Node::new(settings, install, backend.clone(), log.clone(), telemetry.clone());
        Some(Installed { installation: Installation::new(node, around), departing })
    }
}

/// Puts on the node what the installation complains about.
fn complaints(events: Events, node: &str) -> Box<dyn Fn(String) + Send + Sync> {
    let about = ObjectRef::node(node, None);
    Box::new(move |message| {
        let (severity, reason) = (Severity::Warning, "CNIConfigReverted");
        events.say(Notice { component: AGENT, about: about.clone(), severity, reason, message });
    })
}
