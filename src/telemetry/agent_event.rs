//! What the agent says of itself: one variant per log event, with its name, level, wording and
//! attributes in one place. To say something new, add a variant here and describe it in
//! `otel-config/registry/`.

use super::event::{EventName, Level};
use super::keys::{self, Key};
use super::story::attribute;
use opentelemetry_proto::tonic::common::v1::KeyValue;

macro_rules! agent_events {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident { $($field:ident: $type:ty = $key:ident),* $(,)? }
        = $name:literal, $level:ident, $message:literal $(, $argument:expr)*;
    )*) => {
        /// A log event of the agent itself. Its fields are the attributes of the record.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AgentEvent {
            $($(#[doc = $doc])+ $variant { $($field: $type),* },)*
        }

        impl AgentEvent {
            /// Every event with its level and the keys of its attributes.
            pub const ALL: &[(EventName, Level, &[Key])] =
                &[$((EventName($name), Level::$level, &[$(keys::$key),*]),)*];

            /// The name.
            pub const fn name(&self) -> EventName {
                match self { $(AgentEvent::$variant { .. } => EventName($name),)* }
            }

            /// The severity.
            pub const fn level(&self) -> Level {
                match self { $(AgentEvent::$variant { .. } => Level::$level,)* }
            }

            /// One sentence for people.
            pub fn message(&self) -> String {
                match self { $(
                    #[allow(unused_variables, reason = "not every field is part of the sentence")]
                    AgentEvent::$variant { $($field),* } => format!($message $(, $argument)*),
                )* }
            }

            /// The fields as attributes.
            pub fn attributes(&self) -> Vec<KeyValue> {
                match self { $(
                    AgentEvent::$variant { $($field),* } => vec![$(attribute(keys::$key, $field.clone())),*],
                )* }
            }
        }
    };
}

agent_events! {
    /// The process begins.
    Starting { version: String = SERVICE_VERSION, node: String = NODE_NAME }
        = "istio_cni.agent.starting", Info, "CNI version: {version}, node agent of node {node}";
    /// The settings that the agent goes by.
    Configured { settings: String = CONFIG_SETTINGS }
        = "istio_cni.agent.configured", Info, "CNI agent configuration: {settings}";
    /// Requests are served.
    Ready { uptime_ms: u64 = UPTIME_MS }
        = "istio_cni.agent.ready", Info, "ready {uptime_ms} ms after the start";
    /// Not everything is as it should be any more.
    Unready { reason: String = READY_REASON }
        = "istio_cni.agent.unready", Warn, "not ready any more: {reason}";
    /// Everything is as it should be again.
    ReadyAgain { reason: String = READY_REASON }
        = "istio_cni.agent.ready_again", Info, "ready again; what was missing until now: {reason}";
    /// The plugin cannot be put into the node's network configuration yet.
    InstallWaiting { path: String = FILE_PATH, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.install.waiting", Warn, "Waiting for CNI network config file to be written in {path}...: {problem}";
    /// A file of the network configuration's directory is passed over.
    ConfigSkipped { path: String = FILE_PATH, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.install.config_skipped", Warn, "{path} is passed over: {problem}";
    /// The installation is as it should be, but perhaps not as it is meant.
    InstallDoubtful { path: String = FILE_PATH, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.install.doubtful", Warn, "{path}: {problem}";
    /// The plugin's kubeconfig is another one now.
    KubeconfigWritten { path: String = FILE_PATH, content: String = INSTALL_KUBECONFIG }
        = "istio_cni.install.kubeconfig_written", Info, "wrote kubeconfig file {path} with: {content}";
    /// Changes of files are not told by the kernel.
    InstallUnwatched { problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.install.unwatched", Warn, "{problem}";
    /// Somebody else changed what was installed.
    ConfigReverted { path: String = FILE_PATH, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.install.reverted", Warn, "somebody changed {path}: {problem}";
    /// Somebody else keeps changing what was installed.
    ConfigFought { path: String = FILE_PATH, advice: String = INSTALL_ADVICE }
        = "istio_cni.install.fought", Warn,
        "Configuration has been reconciled multiple times in a short period of time. This may be due to a \
         conflicting component constantly reverting our work. {path}: {advice}";
    /// Another agent serves this node by now; this one leaves the installation to it.
    Superseded { path: String = FILE_PATH }
        = "istio_cni.install.superseded", Warn,
        "another agent has taken over the socket {path}; this one installs and removes nothing any more";
    /// Somebody asked for another threshold of the log.
    LevelChanged { level: String = LOG_LEVEL }
        = "istio_cni.agent.level_changed", Info, "the level of this log is {level} now";
    /// The file that sets the levels of the logs came, changed or went.
    LevelsChanged { agent: String = LOG_LEVEL, plugin: String = PLUGIN_LOG_LEVEL, source: String = LOG_LEVEL_SOURCE }
        = "istio_cni.agent.levels_changed", Info,
        "the agent logs at level {agent} and plugins at level {plugin} now, as {source} says";
    /// The file that sets the levels of the logs cannot be used, and counts as absent.
    LevelFileIgnored { path: String = FILE_PATH, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.agent.level_file_ignored", Warn, "the file {path} is ignored: {problem}";
    /// The process stops.
    Stopping { cause: String = STOP_CAUSE }
        = "istio_cni.agent.stopping", Info, "stopping: {cause}";
    /// The time for requests under way ran out.
    DrainIncomplete { requests: usize = REQUESTS_LEFT }
        = "istio_cni.agent.drain_incomplete", Warn, "{requests} requests were still under way when time ran out";
    /// A task ended that should run as long as the process.
    TaskEnded { task: String = TASK, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.agent.task_ended", Error, "task {task} ended unasked: {problem}";
    /// The socket for the plugin is open.
    SocketListening { path: String = FILE_PATH }
        = "istio_cni.socket.listening", Info, "listening for the plugin on {path}";
    /// Somebody connected to the socket who may not.
    PeerRefused { uid: u64 = PEER_UID }
        = "istio_cni.socket.peer_refused", Warn, "refused a connection of user {uid}: only root may ask for rules";
    /// Something on the socket that is no call, or no telemetry.
    CallRefused { problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.socket.call_refused", Warn, "refused what came through the socket: {problem}";
    /// A server for people and probes is open.
    HttpListening { purpose: String = SERVER_PURPOSE, address: String = SERVER_ADDRESS, port: u64 = SERVER_PORT }
        = "istio_cni.http.listening", Info, "serving {purpose} on {}:{port}", in_url(address);
    /// Nobody can ask at this address.
    HttpUnavailable { purpose: String = SERVER_PURPOSE, address: String = SERVER_ADDRESS, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.http.unavailable", Warn, "cannot serve {purpose} on {address}, going on without it: {problem}";
    /// A watch has the whole list.
    WatchSynced { resource: String = WATCH_RESOURCE, objects: usize = WATCH_OBJECTS }
        = "istio_cni.watch.synced", Info, "watch of {resource} in sync with {objects} objects";
    /// A watch cannot be set up; nothing is known yet.
    WatchUnavailable { resource: String = WATCH_RESOURCE, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.watch.unavailable", Warn, "cannot watch {resource} yet, trying again: {problem}";
    /// A watch broke; it is being set up again.
    WatchLost { resource: String = WATCH_RESOURCE, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.watch.lost", Warn, "watch of {resource} lost, trying again: {problem}";
    /// The DaemonSet that the agent belongs to is not watched.
    DaemonSetUnwatched { daemonset: String = DAEMONSET, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.daemonset.unwatched", Warn,
        "DaemonSet {daemonset} is not watched: an uninstall that also takes away the service account will leave the \
         plugin on this node; {problem}";
    /// The DaemonSet that the agent belongs to is watched again, or for the first time, or changed.
    DaemonSetWatched { daemonset: String = DAEMONSET, state: String = DAEMONSET_STATE }
        = "istio_cni.daemonset.watched", Info, "watching DaemonSet {daemonset}: it is {state}";
    /// The agent stops, and the plugin stays because the DaemonSet does.
    DepartureKept { reason: String = DEPARTURE_REASON, cause: String = DEPARTURE_CAUSE }
        = "istio_cni.departure.kept", Info, "{cause}";
    /// The agent stops, and the plugin stays because nothing proves an uninstall.
    DepartureUnproven { reason: String = DEPARTURE_REASON, cause: String = DEPARTURE_CAUSE }
        = "istio_cni.departure.unproven", Warn, "{cause}";
    /// The agent stops because it is uninstalled.
    DepartureProven { reason: String = DEPARTURE_REASON, cause: String = DEPARTURE_CAUSE }
        = "istio_cni.departure.proven", Info, "{cause}, removing the plugin";
    /// An Event on an object could not be sent; said once until one is.
    ObjectEventUnsent {
        reason: String = OBJECT_EVENT_REASON, object: String = OBJECT_EVENT_OBJECT, problem: String = EXCEPTION_MESSAGE,
    } = "istio_cni.object_event.unsent", Warn, "cannot put the Event {reason} on {object}: {problem}";
    /// More Events were to be sent than can be.
    ObjectEventsDropped { count: u64 = OBJECT_EVENT_COUNT }
        = "istio_cni.object_event.dropped", Debug, "{count} Events were not sent: there were too many at once";
    /// Pods that started without their redirection are looked for.
    RepairStarting {}
        = "istio_cni.repair.starting", Info, "starting CNI sidecar repair controller";
    /// Pods that started without their redirection are not looked for.
    RepairDisabled {}
        = "istio_cni.repair.disabled", Info, "CNI repair controller is disabled";
    /// So many broken pods were deleted that no more are for now.
    RepairLimited { limit: u64 = REPAIR_LIMIT }
        = "istio_cni.repair.limited", Error,
        "the limit of {limit} broken pods deleted per minute (REPAIR_LIMIT_PER_MINUTE) is reached, the others are left \
         for now: where so many pods start without their redirection, something is wrong with the installation on this \
         node; look at /readyz, at this agent's log since its start, and at who else writes the network configuration";
    /// Broken pods are deleted again.
    RepairResumed { limit: u64 = REPAIR_LIMIT }
        = "istio_cni.repair.resumed", Info,
        "broken pods are deleted again: the limit of {limit} per minute left room for all that waited";
    /// A broken pod is another agent's.
    RepairSuperseded { namespace: String = POD_NAMESPACE, name: String = POD_NAME }
        = "istio_cni.repair.superseded", Debug,
        "{namespace}/{name} is left to the agent that has taken over the socket";
    /// Not all repairs were over before the agent's time was.
    RepairIncomplete { pods: usize = REPAIRS_LEFT }
        = "istio_cni.repair.incomplete", Warn,
        "{pods} broken pods were still worked on when time ran out: the next agent looks at them anew";
    /// How the node's rules are programmed.
    BackendChosen { backend: String = RULES_BACKEND, cause: String = BACKEND_CAUSE }
        = "istio_cni.backend.chosen", Info, "rules are programmed with {backend}: {cause}";
    /// How rules can be programmed is not found out yet.
    BackendUndecided { limit_ms: u64 = BACKEND_LIMIT_MS }
        = "istio_cni.backend.undecided", Warn,
        "trying how the kernel takes rules lasts longer than {limit_ms} ms; plugins go on alone meanwhile";
    /// No pod can be set up on this node.
    BackendUnusable { backend: String = RULES_BACKEND, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.backend.unusable", Error, "no meshed pod can start on this node, {backend} cannot be used: {problem}";
    /// Telemetry of plugins that found no agent, or of an agent that found no collector, was taken over.
    SpoolDrained { items: u64 = TELEMETRY_ITEMS, bytes: u64 = TELEMETRY_BYTES }
        = "istio_cni.spool.drained", Info,
        "took over {items} spans and log records ({bytes} bytes) that waited in the spool";
    /// Some of what plugins left behind cannot be read.
    SpoolDamaged { path: String = FILE_PATH, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.spool.damaged", Warn, "part of the telemetry in {path} cannot be read: {problem}";
    /// It cannot be noted how much telemetry is in memory.
    HeldUnnoted { path: String = FILE_PATH, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.spool.unnoted", Warn,
        "cannot note in {path} how much telemetry is in memory; it is not counted if this process is killed: {problem}";
    /// A process was killed that held telemetry in memory.
    TelemetryKilled { spans: u64 = TELEMETRY_SPANS, logs: u64 = TELEMETRY_LOGS }
        = "istio_cni.telemetry.killed", Warn,
        "an agent was killed and took at most {spans} spans and {logs} log records along that it had not sent yet";
    /// Telemetry goes out.
    ExportStarted {
        signal: String = TELEMETRY_SIGNAL, endpoint: String = TELEMETRY_ENDPOINT, protocol: String = TELEMETRY_PROTOCOL,
    } = "istio_cni.telemetry.export_started", Info, "sending {signal} to {endpoint} ({protocol})";
    /// A request to the collector failed for good; said once until one succeeds.
    ExportFailed {
        signal: String = TELEMETRY_SIGNAL, endpoint: String = TELEMETRY_ENDPOINT, problem: String = EXCEPTION_MESSAGE,
    } = "istio_cni.telemetry.export_failed", Warn,
        "cannot send {signal} to {endpoint}; traffic is not affected, what fits the spool is sent later and the rest \
         is counted: {problem}";
    /// Metrics did not arrive; said once until they do.
    TotalsUnsent {
        signal: String = TELEMETRY_SIGNAL, endpoint: String = TELEMETRY_ENDPOINT, problem: String = EXCEPTION_MESSAGE,
    } = "istio_cni.telemetry.totals_unsent", Warn,
        "cannot send {signal} to {endpoint}; the next export carries the same totals: {problem}";
    /// The collector takes requests again.
    ExportRecovered { signal: String = TELEMETRY_SIGNAL, endpoint: String = TELEMETRY_ENDPOINT }
        = "istio_cni.telemetry.export_recovered", Info, "sending {signal} to {endpoint} again";
    /// The collector took a request, but not all of it.
    ExportRejected {
        signal: String = TELEMETRY_SIGNAL, items: u64 = TELEMETRY_ITEMS, problem: String = EXCEPTION_MESSAGE,
    } = "istio_cni.telemetry.export_rejected", Warn, "the collector rejected {items} items of {signal}: {problem}";
    /// At the end of the process, telemetry that the collector did not take was put into the spool.
    TelemetryKept { signal: String = TELEMETRY_SIGNAL, items: u64 = TELEMETRY_ITEMS }
        = "istio_cni.telemetry.kept", Info, "kept {items} items of {signal} in the spool, for the next agent to send";
    /// Telemetry was lost; said at most every half minute for each signal and reason.
    TelemetryDropped {
        signal: String = TELEMETRY_SIGNAL, reason: String = TELEMETRY_REASON, items: u64 = TELEMETRY_ITEMS,
    } = "istio_cni.telemetry.dropped", Warn, "lost {items} items of {signal}: {reason}";
    /// A record of a pod's network namespace could not be written, or is none.
    NetnsRecordFailed { problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.netns.record_failed", Warn,
        "{problem}; the namespace will be looked for among those of the host's processes";
    /// The Events on pods are not to be had; said once until they are.
    StartupEventsUnread { problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.startup.events_unread", Warn,
        "the starts of pods are told without what the Events on them say: {problem}";
    /// It could not be written down which pods' starts were told.
    StartupUnremembered { problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.startup.unremembered", Warn,
        "the next agent may tell the starts of some pods once more: {problem}";
    /// The rules of pods were looked at.
    AuditDone { pods: u64 = AUDIT_PODS, duration_ms: u64 = AUDIT_DURATION_MS }
        = "istio_cni.audit.done", Debug, "looked at the rules of {pods} pods in {duration_ms} ms";
    /// A variable of the environment has a value that is not used, or a name that nobody reads.
    ConfigIgnored { variable: String = CONFIG_VARIABLE, problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.config.ignored", Warn, "{variable} is ignored: {problem}";
    /// A variable of the environment has a value that cannot be used, and something is not done for it.
    ConfigRefused { problem: String = EXCEPTION_MESSAGE }
        = "istio_cni.config.refused", Warn, "pods of which no ADD is recorded cannot be compared or repaired: {problem}";
    /// A library warns.
    DependencyWarned { dependency: String = DEPENDENCY, text: String = EXCEPTION_MESSAGE }
        = "istio_cni.dependency.warned", Warn, "{dependency}: {text}";
    /// A library reports an error.
    DependencyFailed { dependency: String = DEPENDENCY, text: String = EXCEPTION_MESSAGE }
        = "istio_cni.dependency.failed", Error, "{dependency}: {text}";
}

/// An address as it stands before a port.
fn in_url(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_before_a_port_stands_in_brackets() {
        let listening = |address: &str| AgentEvent::HttpListening {
            purpose: "/metrics".into(),
            address: address.into(),
            port: 15014,
        };
        assert_eq!(listening("::").message(), "serving /metrics on [::]:15014");
        assert_eq!(listening("127.0.0.1").message(), "serving /metrics on 127.0.0.1:15014");
        assert!(listening("::").attributes().contains(&attribute(keys::SERVER_ADDRESS, "::")));
    }

    #[test]
    fn an_event_says_its_fields_in_words_and_attributes() {
        let event = AgentEvent::WatchSynced { resource: "pods".into(), objects: 12 };
        assert_eq!(event.message(), "watch of pods in sync with 12 objects");
        assert_eq!(
            event.attributes(),
            [attribute(keys::WATCH_RESOURCE, "pods"), attribute(keys::WATCH_OBJECTS, 12_u64)]
        );
        assert!(AgentEvent::ALL.contains(&(event.name(), event.level(), &[keys::WATCH_RESOURCE, keys::WATCH_OBJECTS])));
    }
}
