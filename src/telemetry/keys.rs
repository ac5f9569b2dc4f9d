//! The closed list of attribute keys. A key can only be declared here, so whatever stands on a
//! span, a log record or a metric is one of these, and `otel-config/registry/` describes each.

/// The key of an attribute; as a metric label its dots become underscores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(&'static str);

impl Key {
    /// The key as OTLP has it.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// The key as a Prometheus label.
    pub fn label(self) -> String {
        self.0.replace('.', "_")
    }
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)*) => {
        $($(#[doc = $doc])+ pub const $name: Key = Key($text);)*

        /// Every key.
        pub const ALL: &[Key] = &[$($name,)*];
    };
}

keys! {
    // Identity and errors, as OpenTelemetry's own registry has them.
    /// The pod's name.
    POD_NAME = "k8s.pod.name";
    /// The pod's namespace.
    POD_NAMESPACE = "k8s.namespace.name";
    /// The pod's UID.
    POD_UID = "k8s.pod.uid";
    /// The type of an error: a [`crate::domain::step::ErrorType`].
    ERROR_TYPE = "error.type";

    // Who is telling: the resource.
    /// The service.
    SERVICE_NAME = "service.name";
    /// The one agent of all.
    SERVICE_INSTANCE = "service.instance.id";
    /// The cluster.
    CLUSTER_NAME = "k8s.cluster.name";

    // What the agent says of itself.
    /// The version of this software.
    SERVICE_VERSION = "service.version";
    /// The node's name.
    NODE_NAME = "k8s.node.name";
    /// A file or socket.
    FILE_PATH = "file.path";
    /// Where a server listens.
    SERVER_ADDRESS = "server.address";
    /// The port on which a server listens.
    SERVER_PORT = "server.port";
    /// What went wrong, in words.
    EXCEPTION_MESSAGE = "exception.message";
    /// What a server is for: `metrics` or `health`.
    SERVER_PURPOSE = "istio_cni.server.purpose";
    /// Milliseconds from the start of the process.
    UPTIME_MS = "istio_cni.agent.uptime_ms";
    /// Why the agent is, or was, not ready.
    READY_REASON = "istio_cni.agent.ready_reason";
    /// Why an installation was gone through: a [`crate::domain::install::Reason`].
    INSTALL_REASON = "istio_cni.install.reason";
    /// What an installation came to: a [`crate::domain::install::PassResult`].
    INSTALL_RESULT = "istio_cni.install.result";
    /// How many files an installation changed.
    INSTALL_CHANGES = "istio_cni.install.changes";
    /// What the plugin's kubeconfig says, without its secrets.
    INSTALL_KUBECONFIG = "istio_cni.install.kubeconfig";
    /// Who probably changes what was installed, and what stops it.
    INSTALL_ADVICE = "istio_cni.install.advice";
    /// The threshold of the agent's log: a [`super::event::Level`].
    LOG_LEVEL = "istio_cni.agent.log_level";
    /// The threshold of the plugin's log.
    PLUGIN_LOG_LEVEL = "istio_cni.agent.plugin_log_level";
    /// Where the thresholds of the logs come from: a file, or the configuration.
    LOG_LEVEL_SOURCE = "istio_cni.agent.log_level_source";
    /// Why the agent stops: a signal's name, or the task that ended.
    STOP_CAUSE = "istio_cni.agent.stop_cause";
    /// How many requests were still under way at the end.
    REQUESTS_LEFT = "istio_cni.agent.requests_left";
    /// The task of the agent.
    TASK = "istio_cni.agent.task";
    /// The resource of a watch.
    WATCH_RESOURCE = "istio_cni.watch.resource";
    /// How many objects a watch knows.
    WATCH_OBJECTS = "istio_cni.watch.objects";
    /// The DaemonSet that the agent belongs to: namespace, slash, name.
    DAEMONSET = "istio_cni.daemonset";
    /// What a watch sees of that DaemonSet: `present`, `being deleted` or `gone`.
    DAEMONSET_STATE = "istio_cni.daemonset.state";
    /// Why the plugin is removed at the end, or not: a reason of
    /// [`crate::domain::departure::Departure`].
    DEPARTURE_REASON = "istio_cni.departure.reason";
    /// The sentence of a departure.
    DEPARTURE_CAUSE = "istio_cni.departure.cause";
    /// The reason of an Event on an object of the cluster.
    OBJECT_EVENT_REASON = "istio_cni.object_event.reason";
    /// The object of an Event: kind, slash, name.
    OBJECT_EVENT_OBJECT = "istio_cni.object_event.object";
    /// How many Events.
    OBJECT_EVENT_COUNT = "istio_cni.object_event.count";
    /// Why this backend was chosen.
    BACKEND_CAUSE = "istio_cni.rules.backend_cause";
    /// How long calls waited for the choice of a backend.
    BACKEND_LIMIT_MS = "istio_cni.rules.backend_limit_ms";
    /// The effective user of a process that was turned away at the socket.
    PEER_UID = "istio_cni.peer.uid";
    /// A signal of telemetry.
    TELEMETRY_SIGNAL = "istio_cni.telemetry.signal";
    /// Why telemetry was dropped.
    TELEMETRY_REASON = "istio_cni.telemetry.reason";
    /// How many items of telemetry.
    TELEMETRY_ITEMS = "istio_cni.telemetry.items";
    /// Where telemetry is sent.
    TELEMETRY_ENDPOINT = "istio_cni.telemetry.endpoint";
    /// How telemetry is sent: `grpc` or `http/protobuf`.
    TELEMETRY_PROTOCOL = "istio_cni.telemetry.protocol";
    /// How many spans.
    TELEMETRY_SPANS = "istio_cni.telemetry.spans";
    /// How many log records.
    TELEMETRY_LOGS = "istio_cni.telemetry.log_records";
    /// How many bytes of telemetry.
    TELEMETRY_BYTES = "istio_cni.telemetry.bytes";
    /// The agent's settings, by their names in the environment.
    CONFIG_SETTINGS = "istio_cni.config.settings";
    /// The environment variable with a value that is not used, or a name that nobody reads.
    CONFIG_VARIABLE = "istio_cni.config.variable";
    /// The module of a library that logged something.
    DEPENDENCY = "istio_cni.dependency";

    // Which request it is.
    /// The CNI command, in lower case.
    COMMAND = "istio_cni.command";
    /// The sandbox' container id, `CNI_CONTAINERID`.
    CONTAINER_ID = "container.id";
    /// The name of a container of the pod.
    CONTAINER_NAME = "k8s.container.name";
    /// How many runs of the container there were before.
    CONTAINER_RESTARTS = "k8s.container.restart_count";
    /// How the container's process ended.
    EXIT_CODE = "process.exit.code";
    /// What a validation came to: a [`crate::domain::validation_run::RunResult`].
    VALIDATION_RESULT = "istio_cni.validation.result";
    /// `ipv4` or `ipv6`.
    NETWORK_TYPE = "network.type";
    /// How many probes a validation sent.
    VALIDATION_ATTEMPTS = "istio_cni.validation.attempts";
    /// How probes of a validation failed: a [`crate::domain::validation::AttemptError`].
    VALIDATION_ERROR = "istio_cni.validation.error";
    /// The interface, `CNI_IFNAME`.
    INTERFACE = "network.interface.name";
    /// The network namespace's path, `CNI_NETNS`.
    NETNS = "istio_cni.netns";
    /// How a running pod's network namespace was found: `recorded` at its ADD, or by its address
    /// among the processes in `proc`.
    NETNS_SOURCE = "istio_cni.netns.source";
    /// What came of calling the agent: `answered`, or `absent` when nobody serves its socket.
    AGENT = "istio_cni.agent.presence";

    // What a request came to.
    /// A [`super::outcome::Outcome`].
    OUTCOME = "istio_cni.outcome";
    /// A skip reason or an error type; empty when there is nothing to explain.
    REASON = "istio_cni.reason";
    /// A [`super::outcome::CallPath`].
    PATH = "istio_cni.path";
    /// `enroll` or `skip`.
    DECISION = "istio_cni.decision";

    // What a step did.
    /// The step of a log record.
    STEP = "istio_cni.step";
    /// Where the pod's object came from: `cache` or `api`.
    POD_SOURCE = "istio_cni.pod.source";
    /// How many times the pod was asked for.
    POD_ATTEMPTS = "istio_cni.pod.attempts";
    /// What programmed or compared the rules.
    RULES_BACKEND = "istio_cni.rules.backend";
    /// Whether the rules had to be changed.
    RULES_CHANGED = "istio_cni.rules.changed";
    /// How a pod stands to its redirection: a [`crate::domain::pod_state::PodState`].
    POD_STATE = "istio_cni.pod.state";
    /// How many pods were looked at.
    AUDIT_PODS = "istio_cni.audit.pods";
    /// How long looking at the pods took.
    AUDIT_DURATION_MS = "istio_cni.audit.duration_ms";
    /// How many rules the pod gets.
    RULES_COUNT = "istio_cni.rules.count";
    /// Whether there are IPv6 rules among them.
    RULES_IPV6 = "istio_cni.rules.ipv6";
    /// How many differences were found between the rules wanted and those there.
    RULES_DIFFERENCES = "istio_cni.rules.differences";

    /// On how many addresses the validator listens.
    VALIDATION_LISTENERS = "istio_cni.validation.listeners";

    // How a pod started.
    /// What a pod's start came to: a [`crate::domain::startup::Outcome`].
    STARTUP_OUTCOME = "istio_cni.startup.outcome";
    /// What came of asking for the Events on the pod: `known`, or `unknown`.
    STARTUP_EVENTS = "istio_cni.startup.events";
    /// Whether a part of the start was still going on when it was told.
    STARTUP_UNFINISHED = "istio_cni.startup.unfinished";
    /// How often a sandbox was made, or an image pulled.
    STARTUP_ATTEMPTS = "istio_cni.startup.attempts";
    /// How far the node's clock is ahead of the API server's.
    STARTUP_CLOCK_OFFSET_MS = "istio_cni.startup.clock_offset_ms";
    /// How exact the coarser time of a span is: a [`crate::domain::startup::Precision`].
    TIME_PRECISION = "istio_cni.time.precision";
    /// What says when it began: a [`crate::domain::startup::Source`].
    TIME_START_SOURCE = "istio_cni.time.start_source";
    /// What says when it ended: a [`crate::domain::startup::Source`].
    TIME_END_SOURCE = "istio_cni.time.end_source";
    /// The image of a container, as the pod names it.
    IMAGE_NAME = "container.image.name";
    /// How long the kubelet says that a pull took.
    IMAGE_PULL_MS = "istio_cni.image.pull_ms";
    /// Whether an init container keeps running.
    CONTAINER_SIDECAR = "istio_cni.container.sidecar";
    /// The reason of an Event on the pod.
    POD_EVENT_REASON = "istio_cni.pod_event.reason";
    /// How often it was said.
    POD_EVENT_COUNT = "istio_cni.pod_event.count";

    // What a repair did.
    /// What is done about broken pods: a [`crate::domain::repair::Mode`].
    REPAIR_MODE = "istio_cni.repair.mode";
    /// Which attempt at the pod it is, counted from 1.
    REPAIR_ATTEMPT = "istio_cni.repair.attempt";
    /// What an attempt came to: a [`crate::domain::repair::RepairResult`].
    REPAIR_RESULT = "istio_cni.repair.result";
    /// What the pod was found broken by.
    REPAIR_CAUSE = "istio_cni.repair.cause";
    /// How many pods may be deleted in a minute.
    REPAIR_LIMIT = "istio_cni.repair.limit";
    /// How many pods were still worked on when the agent ended.
    REPAIRS_LEFT = "istio_cni.repair.pods_left";

    // A link to another trace.
    /// Where the link was found: `environment` or `annotation`; or what it is to: `install`.
    LINK_SOURCE = "istio_cni.link.source";

    // Labels of metrics; besides these there is error.type.
    /// A CNI command.
    LABEL_COMMAND = "command";
    /// A [`super::outcome::Outcome`].
    LABEL_OUTCOME = "outcome";
    /// A skip reason, an error type, or why telemetry was dropped.
    LABEL_REASON = "reason";
    /// A [`super::outcome::CallPath`].
    LABEL_PATH = "path";
    /// A [`crate::domain::startup::Part`].
    LABEL_PHASE = "phase";
    /// A [`crate::domain::step::Step`].
    LABEL_STEP = "step";
    /// The verb of an API request.
    LABEL_VERB = "verb";
    /// The resource of an API request or a watch.
    LABEL_RESOURCE = "resource";
    /// The HTTP status code of an API answer.
    LABEL_CODE = "code";
    /// What an installation came to, in the reference's words.
    LABEL_RESULT = "result";
    /// What is done about broken pods, in the reference's words.
    LABEL_TYPE = "type";
    /// A [`crate::domain::pod_state::PodState`].
    LABEL_STATE = "state";
    /// A [`super::metrics::Signal`].
    LABEL_SIGNAL = "signal";
    /// The version of this software.
    LABEL_VERSION = "version";
    /// The source revision that it was built from.
    LABEL_REVISION = "revision";
}

/// What the key of a member of the W3C baggage begins with; the member's name follows.
pub const LINK_BAGGAGE_PREFIX: &str = "istio_cni.link.baggage.";
