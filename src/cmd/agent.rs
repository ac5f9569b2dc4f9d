//! `istio-cni-otel agent`: the flags, the environment and the signals of the node agent.

use super::cli::{fail, wrong_use};
use crate::agent::app::{Agent, Bound, Ending, StartError};
use crate::agent::config::{Settings, unknown};
use crate::agent::log_control::LogControl;
use crate::agent::spool::SpoolKeeper;
use crate::telemetry::console_writer::Format;
use crate::telemetry::otlp::config::Config;
use crate::telemetry::pipeline::Setup;
use crate::telemetry::resource::Identity;
use anyhow::Context;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The flags that were given, by their name in the environment.
#[derive(Clone, Debug, Default)]
pub struct AgentArgs(HashMap<&'static str, String>);

/// A flag: its names on the command line and in the environment, whether it may stand alone (and
/// then means true), and its help. Without help it is accepted because the reference has it.
struct Flag {
    name: &'static str,
    key: &'static str,
    alone: bool,
    help: &'static str,
}

const fn text(name: &'static str, key: &'static str, help: &'static str) -> Flag {
    Flag { name, key, alone: false, help }
}

const fn switch(name: &'static str, key: &'static str, help: &'static str) -> Flag {
    Flag { name, key, alone: true, help }
}

const FLAGS: &[Flag] = &[
    text("cni-agent-run-dir", "CNI_AGENT_RUN_DIR", "Directory of the socket and the spool [/var/run/istio-cni]"),
    text("kubeconfig", "KUBECONFIG", "Path of a kubeconfig [the pod's service account]"),
    text("kube-ca-file", "KUBE_CA_FILE", "CA of the API server [the service account's]"),
    text("node-name", "KUBERNETES_NODE_NAME", "Node whose pods are served [NODE_NAME, or the host's name]"),
    text("monitoring-port", "MONITORING_PORT", "Port of /metrics; 0 or less for none, auto for any [15014]"),
    text("health-port", "HEALTH_PORT", "Port of /healthz and /readyz; 0 or auto for any [8000]"),
    text("page-address", "PAGE_ADDRESS", "Loopback address and port of the page, or off [127.0.0.1:15015]"),
    text("redirect-backend", "REDIRECT_BACKEND", "What programs the rules: auto, nftables or iptables [auto]"),
    text(
        "log_output_level",
        "LOG_OUTPUT_LEVEL",
        "none, fatal, error, warn, info or debug, or scope:level,...; scopes default, cni-agent, cni-plugin, all [info]",
    ),
    switch("log_as_json", "LOG_AS_JSON", "Log JSON lines"),
    text("trace-url", "TRACE_URL", "Where a trace can be looked at: a URL with {trace_id} in it [none]"),
    switch("skip-install", "SKIP_INSTALL", "Install nothing on the node; only serve the plugin [false]"),
    text("mounted-cni-net-dir", "MOUNTED_CNI_NET_DIR", "The node's network configuration [/host/etc/cni/net.d]"),
    text("cni-bin-source-dir", "CNI_BIN_SOURCE_DIR", "Directory of the plugin to install [/opt/cni/bin]"),
    text("cni-bin-target-dirs", "CNI_BIN_TARGET_DIRS", "Where it belongs on the node, comma list [/host/opt/cni/bin]"),
    text("cni-conf-name", "CNI_CONF_NAME", "File of the primary network configuration [the first one]"),
    switch(
        "chained-cni-plugin",
        "CHAINED_CNI_PLUGIN",
        "Chain the plugin to the primary; else a file of its own [true]",
    ),
    switch(
        "istio-owned-cni-config",
        "ISTIO_OWNED_CNI_CONFIG",
        "Chain it in a copy of the primary, before all others [false]",
    ),
    text(
        "istio-owned-cni-config-filename",
        "ISTIO_OWNED_CNI_CONFIG_FILENAME",
        "File of the copy of --istio-owned-cni-config [02-istio-cni.conflist]",
    ),
    text("plugin-kubeconfig", "PLUGIN_KUBECONFIG", "The plugin's own way to the API server: file or none [file]"),
    text("kubeconfig-mode", "KUBECONFIG_MODE", "Mode of the plugin's kubeconfig [0600]"),
    switch("cni-conf-group-read", "CNI_CONF_GROUP_READ", "Let the group read configuration files of ours [false]"),
    switch("skip-tls-verify", "SKIP_TLS_VERIFY", "Let the plugin trust any API server [false]"),
    text("ztunnel-uds-address", "ZTUNNEL_UDS_ADDRESS", ""),
    switch("ambient-enabled", "AMBIENT_ENABLED", ""),
    switch("enable-ambient-detection-retry", "ENABLE_AMBIENT_DETECTION_RETRY", ""),
    text("log-level", "LOG_LEVEL", ""),
    text("cni-network-config", "CNI_NETWORK_CONFIG", ""),
    text("cni-network-config-file", "CNI_NETWORK_CONFIG_FILE", ""),
    switch("repair-enabled", "REPAIR_ENABLED", "Look for pods that started without their redirection [true]"),
    switch("repair-delete-pods", "REPAIR_DELETE_PODS", "Delete them [false]"),
    switch("repair-label-pods", "REPAIR_LABEL_PODS", "Label them [false]"),
    switch("repair-evict", "REPAIR_EVICT", "Delete them by the Eviction API, which heeds disruption budgets [false]"),
    text("repair-limit-per-minute", "REPAIR_LIMIT_PER_MINUTE", "How many of them are deleted per minute; 0: any [30]"),
    text("repair-attempts", "REPAIR_ATTEMPTS", "How often each is tried until its next change [5]"),
    text("repair-broken-pod-label-key", "REPAIR_BROKEN_POD_LABEL_KEY", "Their label [cni.istio.io/uninitialized]"),
    text("repair-broken-pod-label-value", "REPAIR_BROKEN_POD_LABEL_VALUE", "Its value [true]"),
    text("repair-node-name", "REPAIR_NODE_NAME", "As --node-name, where that is not given"),
    text(
        "repair-sidecar-annotation",
        "REPAIR_SIDECAR_ANNOTATION",
        "Annotation of pods that are looked at; empty for all [sidecar.istio.io/status]",
    ),
    text(
        "repair-init-container-name",
        "REPAIR_INIT_CONTAINER_NAME",
        "Init container that fails in them; empty for any [istio-validation]",
    ),
    text(
        "repair-init-container-termination-message",
        "REPAIR_INIT_CONTAINER_TERMINATION_MESSAGE",
        "Its termination message [any]",
    ),
    text("repair-init-container-exit-code", "REPAIR_INIT_CONTAINER_EXIT_CODE", "Its exit code; 0 for any [126]"),
    text("repair-label-selectors", "REPAIR_LABEL_SELECTORS", "Only pods that this label selector selects [all]"),
    text("repair-field-selectors", "REPAIR_FIELD_SELECTORS", "Only pods that this field selector selects [all]"),
    switch("log_caller", "LOG_CALLER", ""),
    text("log_stacktrace_level", "LOG_STACKTRACE_LEVEL", ""),
    text("log_target", "LOG_TARGET", ""),
    text("vklog", "VKLOG", ""),
    text("ctrlz_port", "CTRLZ_PORT", ""),
    text("ctrlz_address", "CTRLZ_ADDRESS", ""),
];

const ABOUT: &str = "Run the node agent: serve the plugin from a cache of this node's pods, export telemetry";

const AFTER_HELP: &str = "Examples:
  istio-cni-otel agent
  KUBECONFIG=admin.conf istio-cni-otel agent --node-name worker-1 --cni-agent-run-dir /tmp/run
  istio-cni-otel agent --redirect-backend nftables --log_output_level cni-agent:debug --log_as_json

Every flag can be given in the environment too, in upper case with underscores (--node-name as
KUBERNETES_NODE_NAME); a flag wins. Also read: POD_NAME, POD_NAMESPACE, EXCLUDE_NAMESPACES, PLUGIN_*,
NATIVE_NFTABLES, REPAIR_*, AUDIT_INTERVAL, STARTUP_*, HISTORY_BYTES, HOST_PROC, CONTAINER_RUNTIME_ENDPOINT,
K8S_CLUSTER_NAME and OpenTelemetry's OTEL_* variables; CONFIGURATION.md has each with its default. The other flags of
Istio's install-cni are accepted. The file log-level in the run directory, in the form of
--log_output_level, sets the levels while the agent runs. SIGUSR1 makes the running agent log at
level debug, SIGUSR2 at its own level again.";

impl Flag {
    fn argument(&self) -> Arg {
        let other = if self.name.contains('-') { self.name.replace('-', "_") } else { self.name.replace('_', "-") };
        let argument = Arg::new(self.key)
            .long(self.name)
            .help(self.help)
            .hide(self.help.is_empty())
            .allow_hyphen_values(true)
            .value_name(if self.alone { "BOOL" } else { "VALUE" });
        let argument = if other == self.name { argument } else { argument.alias(other) };
        if self.alone { argument.num_args(0..=1).require_equals(true).default_missing_value("true") } else { argument }
    }
}

impl Args for AgentArgs {
    fn augment_args(command: Command) -> Command {
        command.about(ABOUT).after_help(AFTER_HELP).args(FLAGS.iter().map(Flag::argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        AgentArgs::augment_args(command)
    }
}

impl FromArgMatches for AgentArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |flag: &Flag| Some((flag.key, matches.get_one::<String>(flag.key)?.clone()));
        Ok(AgentArgs(FLAGS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(AgentArgs::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl AgentArgs {
    /// The flags that were given, by their name in the environment.
    pub fn flags(&self) -> &HashMap<&'static str, String> {
        &self.0
    }

    /// By which name a setting was given: that of the flag, else that in the environment.
    fn name_of(&self, key: &'static str) -> String {
        let given = FLAGS.iter().find(|flag| flag.key == key && self.0.contains_key(key));
        given.map_or_else(|| key.to_owned(), |flag| format!("--{}", flag.name))
    }
}

/// Runs the agent until a signal: 0 when it was asked to stop, 1 when it could not go on, 2 when a
/// setting cannot be used.
pub fn run(args: &AgentArgs) -> ExitCode {
    let environment: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let lookup = |key: &str| args.flags().get(key).or_else(|| environment.get(key)).cloned();
    let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let settings = match Settings::read(&lookup, &hostname) {
        Ok(settings) => Settings { unknown: unknown(environment.keys().map(String::as_str)), ..settings },
        Err(error) => return wrong_use(&error.said_of(&args.name_of(error.key))),
    };
    let setup = setup(&settings, &lookup);
    match start(settings, setup) {
        Err(error) => match error.downcast_ref::<StartError>() {
            Some(StartError::Api(error)) => wrong_use(&format!("the agent cannot start: {}", error.whole())),
            _ => fail(&format!("the agent cannot start: {error:#}"), 1),
        },
        Ok((agent, signals)) => {
            let stop = signals.received(agent.log_control());
            match agent.run(stop) {
                Ending::Asked => ExitCode::SUCCESS,
                Ending::TaskEnded(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn start(settings: Settings, setup: Setup) -> anyhow::Result<(Bound, Signals)> {
    let agent = Agent::build(settings, setup)?;
    let signals = Signals::heed(agent.runtime()).context("signals cannot be heeded")?;
    Ok((agent.bind()?, signals))
}

fn setup(settings: &Settings, lookup: &dyn Fn(&str) -> Option<String>) -> Setup {
    let given = |key: &str| lookup(key).filter(|value| !value.is_empty());
    Setup {
        config: Config::from_env(lookup),
        identity: Identity {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: given("POD_UID").unwrap_or_else(random_instance),
            node: settings.node.clone(),
            cluster: given("K8S_CLUSTER_NAME").unwrap_or_default(),
        },
        revision: option_env!("ISTIO_CNI_OTEL_REVISION").unwrap_or_default(),
        level: settings.levels.agent,
        console: Box::new(std::io::stdout()),
        format: if settings.log_json { Format::Json } else { Format::Tabs },
        keeper: Some(Arc::new(SpoolKeeper::new(&settings.run_dir))),
        history: settings.history,
    }
}

fn random_instance() -> String {
    crate::telemetry::story::random_span_id().to_hex()
}

/// The signals that ask the agent to stop, or to log more or less, heeded from the moment this is
/// made.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// SIGUSR1: log all there is.
    debug: Signal,
    /// SIGUSR2: log as configured again.
    configured: Signal,
}

impl Signals {
    fn heed(runtime: &Handle) -> std::io::Result<Signals> {
        let _inside = runtime.enter();
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            debug: signal(SignalKind::user_defined1())?,
            configured: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal to stop, and says which in the reference's words. Until then the others
    /// change the log's level.
    async fn received(mut self, log: Arc<LogControl>) -> String {
        let name = loop {
            tokio::select! {
                _ = self.terminate.recv() => break "terminated",
                _ = self.interrupt.recv() => break "interrupt",
                _ = self.debug.recv() => log.log_all(),
                _ = self.configured.recv() => log.log_as_configured(),
            }
        };
        format!("Exit signal received: {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flags_variable_is_taken_for_an_unknown_setting() {
        assert_eq!(unknown(FLAGS.iter().map(|flag| flag.key)), []);
    }
}
