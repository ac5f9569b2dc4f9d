//! `doctor`: the troubleshooting page as a program. One set of checks has two homes: a command on the node looks at files
//! itself, also when the agent is dead; the agent looks at the same, and at what only it knows.

mod binary;
mod flow;
mod health;
mod installed;
mod kubeconfig;
mod network;
mod place;
mod pod;
mod pods;
mod route;
mod runtime;
mod socket;

pub use place::Place;
pub use route::{Findings, METRICS_PATH, PATH, SETTINGS_PATH, routes};

use super::audit::States;
use super::backend::Decision;
use super::install::Installation;
use super::readiness::Readiness;
use super::repair::Found;
use crate::domain::finding::{Check, Finding, Report};
use crate::k8s::cache::PodCache;
use crate::ops::diagnose::{Examination, Progress, diagnose};
use crate::telemetry::pipeline::Telemetry;
use std::sync::Arc;
use std::time::Duration;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a node's checks may take altogether.
pub const LIMIT: Duration = Duration::from_millis(1800);

/// What the agent lends for its own findings.
pub struct Doctor {
    pub place: Place,
    pub node: String,
    /// The init container that validates.
    pub validator: String,
    pub readiness: Arc<Readiness>,
    pub cache: Arc<PodCache>,
    pub states: Arc<States>,
    pub repair: Option<Arc<Found>>,
    pub backend: Decision,
    pub installation: Option<Arc<Installation>>,
    pub telemetry: Telemetry,
    /// The settings by their names, in one line; none of them is a secret.
    pub settings: String,
}

/// What can be seen without an agent: the node's files, its runtime, and what the API server says to the plugin.
fn files(place: &Arc<Place>) -> Vec<Examination> {
    let at = |look: fn(&Place) -> Vec<Finding>| {
        let place = place.clone();
        move || look(&place)
    };
    vec![
        Examination::some(Check::PluginBinary, at(|place| binary::look(place).into_iter().collect())),
        Examination::some(Check::NetworkPlace, at(network::look)),
        Examination::some(Check::RuntimeDirectory, at(|place| runtime::look(place).into_iter().collect())),
        Examination::some(Check::Kubeconfig, at(kubeconfig::look)),
    ]
}

/// Looks at a node from outside of its agent.
pub fn look_at(place: Place, tell: impl FnMut(Progress)) -> Report {
    let place = Arc::new(place);
    let findings = diagnose(files(&place), LIMIT, tell);
    let plugin = binary::on_node(&place).unwrap_or_default();
    let mut report = Report { plugin, findings, ..Report::default() };
    report.sort();
    report
}

impl Doctor {
    /// All that the agent finds on its node.
    pub fn look(self: &Arc<Self>) -> Report {
        let mine = |check: Check, look: fn(&Doctor) -> Finding| {
            let doctor = self.clone();
            Examination::one(check, move || look(&doctor))
        };
        let mut examinations = files(&Arc::new(self.place.clone()));
        examinations.extend([
            mine(Check::AgentReady, health::ready),
            mine(Check::AgentSocket, |doctor| socket::look(&doctor.place)),
            mine(Check::AgentCapabilities, health::capabilities),
            mine(Check::WatchFresh, health::watch),
            mine(Check::Backend, health::backend),
            mine(Check::PodsValidation, pods::validation),
            mine(Check::PodsRedirected, pods::redirected),
            mine(Check::PodsRepair, pods::repair),
            mine(Check::Telemetry, flow::look),
        ]);
        let mut report = Report {
            node: self.node.clone(),
            version: VERSION.to_owned(),
            plugin: binary::on_node(&self.place).unwrap_or_default(),
            findings: diagnose(examinations, LIMIT, |_| {}),
        };
        // The agent knows exactly what is to be there.
        report.merge(Report { findings: installed::look(self), ..Report::default() });
        report
    }

    /// What it knows of one pod.
    pub fn look_at_pod(&self, namespace: &str, name: &str) -> Report {
        let findings = pod::look(self, namespace, name);
        Report { node: self.node.clone(), version: VERSION.to_owned(), plugin: String::new(), findings }
    }
}
