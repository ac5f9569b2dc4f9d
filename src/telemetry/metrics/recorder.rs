//! The metrics of the agent, and the few ways to change them.

use super::catalog::{self, Definition};
use super::family::{Family, Label, Snapshot};
use super::process;
use crate::domain::lately::Lately;
use crate::domain::pod_state::PodState;
use crate::telemetry::api_request::ApiRequest;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
    /// The agent's own console.
    Console,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Signal; 4] = [Signal::Traces, Signal::Metrics, Signal::Logs, Signal::Console];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
            Signal::Console => "console",
        }
    }
}

/// Why telemetry was lost. What the sampler leaves out is not lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The queue in front of the exporter (or the console) was full.
    QueueFull,
    /// The collector could not be reached, or did not answer well, until the retries ran out.
    ExportFailed,
    /// The collector took the request and rejected these items.
    Rejected,
    /// The time for the last flush ran out.
    Shutdown,
    /// What a plugin left behind or handed over could not be read.
    Invalid,
    /// The spool had no room left to keep it in.
    SpoolFull,
    /// A process was killed that held it in memory: at most so many, because what was on its way
    /// then may have arrived.
    Killed,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 7] = [
        DropReason::QueueFull,
        DropReason::ExportFailed,
        DropReason::Rejected,
        DropReason::Shutdown,
        DropReason::Invalid,
        DropReason::SpoolFull,
        DropReason::Killed,
    ];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue_full",
            DropReason::ExportFailed => "export_failed",
            DropReason::Rejected => "rejected",
            DropReason::Shutdown => "shutdown",
            DropReason::Invalid => "invalid",
            DropReason::SpoolFull => "spool_full",
            DropReason::Killed => "killed",
        }
    }
}

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    pub(super) requests: Family<4>,
    pub(super) request_duration: Family<3>,
    pub(super) step_duration: Family<3>,
    pub(super) startup_duration: Family<2>,
    pub(super) installs: Family<1>,
    pub(super) validations: Family<1>,
    pub(super) repairs: Family<2>,
    repair_held: Family<0>,
    install_ready: Family<0>,
    config_reverts: Family<0>,
    pods: Family<1>,
    api_requests: Family<3>,
    watch_age: Family<1>,
    dropped: Family<2>,
    spool_bytes: Family<0>,
    build_info: Family<2>,
    watches: Mutex<BTreeMap<&'static str, Instant>>,
    /// What was lost of late, of what was lost at all.
    lost: Mutex<BTreeMap<(Signal, DropReason), Lately>>,
    reverted: Mutex<Lately>,
}

const fn family<const N: usize>(definition: &'static Definition) -> Family<N> {
    Family::new(definition)
}

impl Metrics {
    /// The registry of a process of this version, built from this source revision.
    pub fn new(version: &'static str, revision: &'static str) -> Metrics {
        let metrics = Metrics {
            requests: const { family(&catalog::REQUESTS) },
            request_duration: const { family(&catalog::REQUEST_DURATION) },
            step_duration: const { family(&catalog::STEP_DURATION) },
            startup_duration: const { family(&catalog::STARTUP_DURATION) },
            installs: const { family(&catalog::INSTALLS) },
            validations: const { family(&catalog::VALIDATIONS) },
            repairs: const { family(&catalog::REPAIRS) },
            repair_held: const { family(&catalog::REPAIR_HELD) },
            install_ready: const { family(&catalog::INSTALL_READY) },
            config_reverts: const { family(&catalog::CONFIG_REVERTS) },
            pods: const { family(&catalog::PODS) },
            api_requests: const { family(&catalog::API_REQUESTS) },
            watch_age: const { family(&catalog::WATCH_AGE) },
            dropped: const { family(&catalog::TELEMETRY_DROPPED) },
            spool_bytes: const { family(&catalog::SPOOL_BYTES) },
            build_info: const { family(&catalog::BUILD_INFO) },
            watches: Mutex::default(),
            lost: Mutex::default(),
            reverted: Mutex::default(),
        };
        metrics.build_info.set([version.into(), revision.into()], 1.0);
        metrics.install_ready(false);
        // An alert on an increase needs the zero before it.
        metrics.config_reverted(0);
        for signal in Signal::ALL {
            for reason in DropReason::ALL {
                metrics.dropped(signal, reason, 0);
            }
        }
        metrics
    }

    /// Whether the agent is ready.
    pub fn install_ready(&self, ready: bool) {
        self.install_ready.set([], if ready { 1.0 } else { 0.0 });
    }

    /// Counts changes that somebody else made to what was installed.
    pub fn config_reverted(&self, times: u32) {
        self.config_reverts.add([], times.into());
        self.reverted.lock().unwrap_or_else(PoisonError::into_inner).add(times.into(), Instant::now());
    }

    /// How often others changed it so far.
    pub fn reverts_so_far(&self) -> u64 {
        self.config_reverts.number([]).unwrap_or_default() as u64
    }

    /// How often others changed it within the half hour before this time.
    pub fn reverts_lately(&self, now: Instant) -> u64 {
        self.reverted.lock().unwrap_or_else(PoisonError::into_inner).count(now)
    }

    /// How many broken pods the limit of deletions holds back; gives how many it were before.
    pub fn repair_held(&self, pods: usize) -> usize {
        let before = self.repair_held.number([]).unwrap_or_default() as usize;
        self.repair_held.set([], pods as f64);
        before
    }

    /// So many pods are in this state.
    pub fn pods(&self, state: PodState, count: usize) {
        self.pods.set([state.name().into()], count as f64);
    }

    /// Counts requests to the API server that ended the same way.
    pub fn api_requests(&self, request: ApiRequest, count: u32) {
        let ApiRequest { verb, resource, code } = request;
        let code = code.filter(|code| (100..600).contains(code));
        let code: Label = code.map_or("error".into(), |code| code.to_string().into());
        self.api_requests.add([verb.into(), resource.into(), code], count.into());
    }

    /// The watch of a resource heard from the API server just now.
    pub fn watch_synced(&self, resource: &'static str) {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner).insert(resource, Instant::now());
    }

    /// How long ago the watch of a resource heard from the API server; None if it never did.
    pub fn watch_age(&self, resource: &str) -> Option<Duration> {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.get(resource).map(Instant::elapsed)
    }

    /// Counts lost telemetry.
    pub fn dropped(&self, signal: Signal, reason: DropReason, items: u64) {
        // Exact up to 2^53 items.
        self.dropped.add([signal.name().into(), reason.name().into()], items as f64);
        if items > 0 {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.entry((signal, reason)).or_default().add(items, Instant::now());
        }
    }

    /// How much telemetry of a signal was lost for a reason so far.
    pub fn dropped_so_far(&self, signal: Signal, reason: DropReason) -> u64 {
        self.dropped.number([signal.name().into(), reason.name().into()]).unwrap_or_default() as u64
    }

    /// How much telemetry was lost within the half hour before this time, by signal and reason; nothing that is zero.
    pub fn dropped_lately(&self, now: Instant) -> Vec<(Signal, DropReason, u64)> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = lost.iter().map(|((signal, reason), lately)| (*signal, *reason, lately.count(now)));
        counts.filter(|(_, _, count)| *count > 0).collect()
    }

    /// The spool's size is this now.
    pub fn spool_bytes(&self, bytes: u64) {
        self.spool_bytes.set([], bytes as f64);
    }

    /// Every metric that has a series, in the catalog's order.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        for (resource, synced) in self.watches.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.watch_age.set([(*resource).into()], synced.elapsed().as_secs_f64());
        }
        let mut snapshots = vec![
            self.requests.snapshot(),
            self.request_duration.snapshot(),
            self.step_duration.snapshot(),
            self.startup_duration.snapshot(),
            self.install_ready.snapshot(),
            self.installs.snapshot(),
            self.validations.snapshot(),
            self.config_reverts.snapshot(),
            self.repairs.snapshot(),
            self.repair_held.snapshot(),
            self.pods.snapshot(),
            self.api_requests.snapshot(),
            self.watch_age.snapshot(),
            self.dropped.snapshot(),
            self.spool_bytes.snapshot(),
            self.build_info.snapshot(),
        ];
        snapshots.extend(process::snapshots());
        snapshots.retain(|snapshot| !snapshot.series.is_empty());
        snapshots
    }
}
