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
mod runtime_directory;
mod socket;

pub use health::STALE;
pub use place::Place;
pub use route::{BROKE_OFF, Findings, METRICS_PATH, PATH, SETTINGS_PATH, routes};

use super::audit::States;
use super::backend::Decision;
use super::install::Installation;
use super::readiness::Readiness;
use super::repair::Found;
use crate::domain::finding::{Check, Finding, Report};
use crate::k8s::cache::PodCache;
use crate::ops::diagnose::{Examination, Hanging, Progress, diagnose};
use crate::telemetry::pipeline::Telemetry;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a node's checks may take altogether.
pub const LIMIT: Duration = Duration::from_millis(1800);

// Each wait ends before that of whoever waits for it, so that what hangs is named and not only missed.
const _: () =
    assert!(runtime::LIMIT.as_millis() < LIMIT.as_millis() && kubeconfig::LIMIT.as_millis() < LIMIT.as_millis());

/// What the agent lends for its own findings.
pub struct Doctor {
    pub place: Place,
    pub node: String,
    /// The init container that validates.
    pub validator: String,
    pub readiness: Arc<Readiness>,
    pub cache: Arc<PodCache>,
    pub states: Arc<States>,
    /// Whether pods are looked at in rounds at all.
    pub audits: bool,
    pub repair: Option<Arc<Found>>,
    pub backend: Decision,
    pub installation: Option<Arc<Installation>>,
    pub telemetry: Telemetry,
    /// The settings by their names, one in a line; none of them is a secret.
    pub settings: String,
    /// What has not come back since somebody looked.
    pub hanging: Hanging,
}

/// What examinations bring besides findings of their own.
#[derive(Default)]
struct Brought {
    /// The hash of the plugin on the node.
    plugin: OnceLock<String>,
    /// What the agent finds wrong with its installation.
    installed: OnceLock<Vec<Finding>>,
}

/// What can be seen without an agent: the node's files, its runtime, and what the API server says to the plugin.
fn files(place: &Arc<Place>, brought: &Arc<Brought>) -> Vec<Examination> {
    let at = |look: fn(&Place) -> Vec<Finding>| {
        let place = place.clone();
        move || look(&place)
    };
    let (hashed, brought) = (place.clone(), brought.clone());
    let plugin = move || -> Vec<Finding> {
        if let Some(hash) = binary::on_node(&hashed) {
            let _ = brought.plugin.set(hash);
        }
        binary::look(&hashed).into_iter().collect()
    };
    vec![
        Examination::some(Check::PluginBinary, plugin),
        Examination::some(Check::NetworkPlace, at(network::look)),
        Examination::some(Check::RuntimeDirectory, at(runtime::look)),
        Examination::some(Check::Kubeconfig, at(kubeconfig::look)),
    ]
}

/// Looks at a node from outside of its agent.
pub fn look_at(place: Place, tell: impl FnMut(Progress)) -> Report {
    let (place, brought) = (Arc::new(place), Arc::<Brought>::default());
    let findings = diagnose(files(&place, &brought), LIMIT, &Hanging::default(), tell);
    let plugin = brought.plugin.get().cloned().unwrap_or_default();
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
        let brought = Arc::<Brought>::default();
        let mut examinations = files(&Arc::new(self.place.clone()), &brought);
        let (doctor, installed) = (self.clone(), brought.clone());
        let installed = move || -> Vec<Finding> {
            let _ = installed.installed.set(installed::look(&doctor));
            Vec::new()
        };
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
            Examination::some(Check::NetworkWriters, installed),
        ]);
        let findings = diagnose(examinations, LIMIT, &self.hanging, |_| {});
        let plugin = brought.plugin.get().cloned().unwrap_or_default();
        let mut report = Report { node: self.node.clone(), version: VERSION.to_owned(), plugin, findings };
        // The agent knows exactly what is to be there.
        let findings = brought.installed.get().cloned().unwrap_or_default();
        report.merge(Report { findings, ..Report::default() });
        report
    }

    /// What it knows of one pod.
    pub fn look_at_pod(&self, namespace: &str, name: &str) -> Report {
        let findings = pod::look(self, namespace, name);
        Report { node: self.node.clone(), version: VERSION.to_owned(), plugin: String::new(), findings }
    }
}
