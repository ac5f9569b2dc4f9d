//! Every metric: its name, kind, unit, labels and help text. `otel-config/registry/` describes the
//! same list for collectors and dashboards.

use crate::telemetry::keys::{self, Key};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only goes up; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts samples by their size; `le` bounds in the metric's unit.
    Histogram(&'static [f64]),
}

/// The declaration of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// The name, the same for Prometheus and OTLP.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The UCUM unit. Where a name must not get a suffix in a collector's translation, it is an
    /// annotation in braces.
    pub unit: &'static str,
    /// Its labels, in the order of a sample's label values.
    pub labels: &'static [Key],
    /// One sentence for people.
    pub help: &'static str,
}

/// Seconds from 0.1 ms (a netlink batch) to a minute (a request's longest wait).
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// Seconds from one, as exact as the API's times are, to an hour.
const STARTUP_SECONDS: &[f64] = &[
    0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0, 3600.0,
];

macro_rules! catalog {
    ($($constant:ident = $name:literal, $kind:expr, $unit:literal, [$($label:ident),*], $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: Definition = Definition {
            name: $name, kind: $kind, unit: $unit, labels: &[$(keys::$label),*], help: $help,
        };)*

        /// Every metric.
        pub const ALL: &[Definition] = &[$($constant,)*];
    };
}

catalog! {
    REQUESTS = "istio_cni_requests_total", Kind::Counter, "{request}",
        [LABEL_COMMAND, LABEL_OUTCOME, LABEL_REASON, LABEL_PATH],
        "CNI requests by command, outcome, reason (of a skip or an error) and the process that did the work.";
    REQUEST_DURATION = "istio_cni_request_duration_seconds", Kind::Histogram(SECONDS), "s",
        [LABEL_COMMAND, LABEL_OUTCOME, LABEL_PATH],
        "Time from the plugin's first instruction to the answer of a CNI request.";
    STEP_DURATION = "istio_cni_step_duration_seconds", Kind::Histogram(SECONDS), "s",
        [LABEL_STEP, LABEL_OUTCOME, ERROR_TYPE],
        "Time of one step of a request.";
    STARTUP_DURATION = "istio_cni_pod_startup_duration_seconds", Kind::Histogram(STARTUP_SECONDS), "s",
        [LABEL_PHASE, LABEL_OUTCOME],
        "Time of a pod's start from created to ready, or to what came of it, and of its parts, as exact as the API server tells it.";
    INSTALL_READY = "istio_cni_install_ready", Kind::Gauge, "{installation}",
        [],
        "Whether the installation was verified just now and pods can be set up: 1 or 0, the same as /readyz.";
    INSTALLS = "istio_cni_installs_total", Kind::Counter, "{installation}",
        [LABEL_RESULT],
        "Passes of the installation by result: SUCCESS, or the part that failed.";
    CONFIG_REVERTS = "istio_cni_config_reverts_total", Kind::Counter, "{change}",
        [],
        "How often others changed or removed the plugin's entry in the node's network configuration.";
    VALIDATIONS = "istio_cni_validations_total", Kind::Counter, "{validation}",
        [LABEL_RESULT],
        "Ended runs of pods' validation containers by result: passed, failed, or broke (it ended for another reason).";
    REPAIRS = "istio_cni_repair_pods_repaired_total", Kind::Counter, "{attempt}",
        [LABEL_TYPE, LABEL_RESULT],
        "Attempts at pods that started without their redirection, by what is done about such pods and by result.";
    REPAIR_HELD = "istio_cni_repair_held_pods", Kind::Gauge, "{pod}",
        [],
        "Broken pods that are not deleted because the limit of deletions per minute is reached.";
    PODS = "istio_cni_pods", Kind::Gauge, "{pod}",
        [LABEL_STATE],
        "Pods of the node by the state of their redirection, as their ADD or the last look at their rules found it.";
    API_REQUESTS = "istio_cni_api_requests_total", Kind::Counter, "{request}",
        [LABEL_VERB, LABEL_RESOURCE, LABEL_CODE],
        "Requests to the Kubernetes API server, by the agent and by plugins that worked alone, by HTTP status code; error where there was no answer.";
    WATCH_AGE = "istio_cni_watch_last_sync_age_seconds", Kind::Gauge, "s",
        [LABEL_RESOURCE],
        "Time since a watch last heard from the Kubernetes API server.";
    TELEMETRY_DROPPED = "istio_cni_telemetry_dropped_total", Kind::Counter, "{item}",
        [LABEL_SIGNAL, LABEL_REASON],
        "Spans, log records, metric data points and console lines that were lost, and why; of what a killed process held, the most that can be lost.";
    SPOOL_BYTES = "istio_cni_telemetry_spool_bytes", Kind::Gauge, "By",
        [],
        "Size of the telemetry that waits in the spool, left by plugins or not yet taken by the collector.";
    BUILD_INFO = "istio_cni_build_info", Kind::Gauge, "{build}",
        [LABEL_VERSION, LABEL_REVISION],
        "Always 1; the labels say what runs.";
    PROCESS_CPU = "process_cpu_seconds_total", Kind::Counter, "s",
        [],
        "Total user and system CPU time spent.";
    PROCESS_RESIDENT = "process_resident_memory_bytes", Kind::Gauge, "By",
        [],
        "Resident memory size.";
    PROCESS_START = "process_start_time_seconds", Kind::Gauge, "s",
        [],
        "Start time of the process since the epoch.";
    PROCESS_OPEN_FDS = "process_open_fds", Kind::Gauge, "{fd}",
        [],
        "Number of open file descriptors.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for definition in ALL {
            let total = definition.name.ends_with("_total");
            assert_eq!(total, definition.kind == Kind::Counter, "{}", definition.name);
            let seconds = definition.name.trim_end_matches("_total").ends_with("_seconds");
            assert_eq!(seconds, definition.unit == "s", "{}", definition.name);
            assert_eq!(definition.name.ends_with("_bytes"), definition.unit == "By", "{}", definition.name);
            if let Kind::Histogram(bounds) = definition.kind {
                assert!(bounds.is_sorted());
            }
        }
    }
}
