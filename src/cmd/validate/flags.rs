//! The command line of the validator: that of Istio's `pilot-agent istio-iptables`, which pod
//! templates start with.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::collections::HashMap;
use std::ffi::OsString;

/// The flags that were given, by name.
#[derive(Clone, Debug, Default)]
pub struct ValidateArgs(HashMap<&'static str, String>);

/// A flag: its long and short name, whether it may stand alone (and then means true), and its help.
/// Without help it is accepted because the template or a user of the reference may give it: it says
/// what rules are to be made, and none are made here.
struct Flag {
    name: &'static str,
    short: Option<char>,
    alone: bool,
    help: &'static str,
}

const fn text(name: &'static str, short: char, help: &'static str) -> Flag {
    Flag { name, short: Some(short), alone: false, help }
}

const fn long(name: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, alone: false, help }
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, alone: true, help }
}

const FLAGS: &[Flag] = &[
    text("envoy-port", 'p', "Port to which outbound traffic is redirected [15001]"),
    text("inbound-capture-port", 'z', "Port to which inbound traffic is redirected [15006]"),
    text("proxy-uid", 'u', "The proxy's user, which must be the one that validates [1337]"),
    long("iptables-probe-port", "Port that the probes are for [15002]"),
    long("probe-timeout", "How long to try [5s]"),
    switch("dual-stack", "Validate IPv6 beside IPv4; also ISTIO_DUAL_STACK [false]"),
    long("log_output_level", "none, fatal, error, warn, info or debug, or scope:level,... [info]"),
    switch("log_as_json", "Log JSON lines"),
    switch("run-validation", "Validate; required of istio-iptables, which does nothing else here"),
    switch("skip-rule-apply", "Make no rules; required of istio-iptables, which makes none here"),
    text("inbound-tunnel-port", 'e', ""),
    text("proxy-gid", 'g', ""),
    text("istio-inbound-interception-mode", 'm', ""),
    text("istio-inbound-ports", 'b', ""),
    text("istio-local-exclude-ports", 'd', ""),
    text("istio-exclude-interfaces", 'c', ""),
    text("istio-service-cidr", 'i', ""),
    text("istio-service-exclude-cidr", 'x', ""),
    text("istio-outbound-ports", 'q', ""),
    text("istio-local-outbound-ports-exclude", 'o', ""),
    text("kube-virt-interfaces", 'k', ""),
    text("istio-inbound-tproxy-mark", 't', ""),
    text("istio-inbound-tproxy-route-table", 'r', ""),
    Flag { name: "dry-run", short: Some('n'), alone: true, help: "" },
    switch("redirect-dns", ""),
    switch("drop-invalid", ""),
    switch("capture-all-dns", ""),
    switch("cni-mode", ""),
    switch("reconcile", ""),
    switch("cleanup-only", ""),
    switch("force-apply", ""),
    switch("native-nftables", ""),
    long("network-namespace", ""),
    long("force-iptables-binary", ""),
    switch("log_caller", ""),
    long("log_stacktrace_level", ""),
    long("log_target", ""),
    long("log_rotate", ""),
    long("vklog", ""),
];

const ABOUT: &str = "Validate, inside a pod, that its traffic is redirected (the init container istio-validation)";

const AFTER_HELP: &str = "Examples:
  istio-cni-otel validate
  istio-cni-otel validate -p 15001 -z 15006 -u 1337 --probe-timeout 2s --log_as_json
  pilot-agent istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020 \\
    --log_output_level=default:info --run-validation --skip-rule-apply

Exit status: 0 the redirection is in place, 126 it is not, 1 the arguments are wrong or the pod has no address.

Must run as the proxy's user, in the pod's network namespace; needs no capability. Every flag can be given in the
environment too, in upper case with underscores (--probe-timeout as PROBE_TIMEOUT), except --envoy-port; a flag wins. The
flags of Istio's istio-iptables that say which rules are to be made are accepted and mean nothing here. Also read:
TERMINATION_MESSAGE_PATH, POD_UID, POD_NAME, POD_NAMESPACE, NODE_NAME and OpenTelemetry's OTEL_* variables.";

impl Flag {
    fn argument(&self) -> Arg {
        let other = if self.name.contains('-') { self.name.replace('-', "_") } else { self.name.replace('_', "-") };
        let mut argument = Arg::new(self.name)
            .long(self.name)
            .help(self.help)
            .hide(self.help.is_empty())
            .allow_hyphen_values(true)
            .value_name(if self.alone { "BOOL" } else { "VALUE" });
        if let Some(short) = self.short {
            argument = argument.short(short);
        }
        if other != self.name {
            argument = argument.alias(other);
        }
        if self.alone { argument.num_args(0..=1).require_equals(true).default_missing_value("true") } else { argument }
    }
}

impl Args for ValidateArgs {
    fn augment_args(command: Command) -> Command {
        // Of a flag that is given twice the last one counts, as in the reference.
        let command = command.args_override_self(true);
        command.about(ABOUT).after_help(AFTER_HELP).args(FLAGS.iter().map(Flag::argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        ValidateArgs::augment_args(command)
    }
}

impl FromArgMatches for ValidateArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |flag: &Flag| Some((flag.name, matches.get_one::<String>(flag.name)?.clone()));
        Ok(ValidateArgs(FLAGS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(ValidateArgs::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl ValidateArgs {
    /// The value of a flag, if it was given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Whether an argument is one of the reference's further flags for its log (`--log_rotate_max_age=1`),
/// which say nothing to us.
pub fn is_other_log_flag(argument: &OsString) -> bool {
    let Some(name) = argument.to_str().and_then(|text| text.strip_prefix("--")) else { return false };
    let name = name.split('=').next().unwrap_or_default().replace('-', "_");
    name.starts_with("log_") && FLAGS.iter().all(|flag| flag.name != name)
}
