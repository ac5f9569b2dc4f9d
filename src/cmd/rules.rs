//! `istio-cni-otel rules`: what a pod would get, in either backend's language, or why nothing.

use super::outbound::outbound_settings_with;
use crate::domain::decision::{Decision, Skip, decide, skip_by_name, warnings};
use crate::domain::outbound::{LOOPBACK_CIDR, OWNER_GROUPS, OWNER_GROUPS_EXCLUDE, OutboundError, WrongValue};
use crate::domain::pod::PodFacts;
use crate::domain::render;
use crate::domain::request::Backend;
use crate::domain::ruleset::build;
use crate::k8s::pod::Pod;
use crate::wire::conflist::PLUGIN_TYPE;
use crate::wire::netconf::{NetConf, Settings};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// Print the rules that a pod would get, or the reason why it gets none.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  istio-cni-otel rules --pod pod.yaml
  kubectl get pod web-0 -o yaml | istio-cni-otel rules --pod - --backend iptables --family dual
  istio-cni-otel rules --pod pod.yaml --config /etc/cni/net.d/10-calico.conflist

Exit status: 0 the rules, or the reason why there are none, were printed; 1 the pod would not start, or the files or
values given cannot be used; 2 the command line is wrong.")]
pub struct RulesArgs {
    /// The pod, as YAML or JSON; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub pod: PathBuf,
    /// The plugin's network configuration, or the conflist that has it; decides about excluded
    /// namespaces and the backend.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The language; without it the configuration's backend, where auto stands for nftables.
    #[arg(long, value_enum)]
    pub backend: Option<BackendArg>,
    /// The addresses that the pod's namespace has.
    #[arg(long, value_enum, default_value_t = FamilyArg::V4)]
    pub family: FamilyArg,
    #[command(flatten)]
    pub outbound: OutboundArgs,
}

/// What the node says about outbound traffic: the variables of the plugin's process.
#[derive(Args, Clone, Debug, Default)]
pub struct OutboundArgs {
    /// The groups whose outbound traffic is captured, names or ids joined by commas; * is all
    /// [env: ISTIO_OUTBOUND_OWNER_GROUPS=] [default: *]
    #[arg(long, value_name = "GROUPS")]
    pub owner_groups: Option<String>,
    /// The groups whose outbound traffic is not captured, while all others' is
    /// [env: ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE=]
    #[arg(long, value_name = "GROUPS")]
    pub owner_groups_exclude: Option<String>,
    /// The IPv4 range that counts as the application's loopback
    /// [env: ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=] [default: 127.0.0.1/32]
    #[arg(long, value_name = "RANGE")]
    pub loopback_cidr: Option<String>,
}

impl OutboundArgs {
    /// The value that stands for a variable, where one was given.
    fn given(&self, variable: &str) -> Option<String> {
        match variable {
            OWNER_GROUPS => self.owner_groups.clone(),
            OWNER_GROUPS_EXCLUDE => self.owner_groups_exclude.clone(),
            LOOPBACK_CIDR => self.loopback_cidr.clone(),
            _ => None,
        }
    }

    /// A wrong value under the name by which it was given.
    fn refuse(&self, wrong: WrongValue) -> anyhow::Error {
        let flag = match wrong.variable {
            OWNER_GROUPS => "--owner-groups",
            OWNER_GROUPS_EXCLUDE => "--owner-groups-exclude",
            _ => "--loopback-cidr",
        };
        match self.given(wrong.variable) {
            Some(_) => anyhow::anyhow!(wrong.of_flag(flag)),
            None => OutboundError::from(wrong).into(),
        }
    }
}

/// A backend on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    Auto,
    Nftables,
    Iptables,
}

impl BackendArg {
    const fn backend(self) -> Backend {
        match self {
            BackendArg::Auto => Backend::Auto,
            BackendArg::Nftables => Backend::Nftables,
            BackendArg::Iptables => Backend::Iptables,
        }
    }
}

/// The address families of a namespace on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FamilyArg {
    V4,
    V6,
    Dual,
}

impl FamilyArg {
    /// Addresses of documentation ranges, in the kernel's order.
    fn addresses(self) -> Vec<IpAddr> {
        let v4 = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        match self {
            FamilyArg::V4 => vec![v4],
            FamilyArg::V6 => vec![v6],
            FamilyArg::Dual => vec![v4, v6],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            FamilyArg::V4 => "IPv4",
            FamilyArg::V6 => "IPv6",
            FamilyArg::Dual => "IPv4 and IPv6",
        }
    }
}

/// Reads the pod, decides, and prints. A pod that would be refused is an error.
pub fn run(args: &RulesArgs, stdout: &mut dyn Write) -> anyhow::Result<()> {
    let (pod, host_network) = read_pod(&args.pod)?;
    let config = args.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
    // The command line wins over the configuration.
    let backend = args.backend.unwrap_or_else(|| config.backend.into());
    if host_network {
        let why = "it uses the host's network (hostNetwork), and for such a pod the runtime calls no CNI plugin";
        return Ok(writeln!(stdout, "pod {pod} gets no rules: {why}")?);
    }
    if let Some(skip) = skipped_by_config(&pod, &config) {
        return print_skip(stdout, &pod, &skip);
    }
    let mut settings = match decide(&pod).with_context(|| format!("pod {pod} would not start"))? {
        Decision::Skip(skip) => return print_skip(stdout, &pod, &skip),
        Decision::Enroll(settings) => settings,
    };
    let outbound = outbound_settings_with(|variable| args.outbound.given(variable));
    settings.outbound = outbound.map_err(|wrong| args.outbound.refuse(wrong))?;
    let rules = build(&settings, &args.family.addresses())?;
    let language = if backend == BackendArg::Iptables { "iptables" } else { "nftables" };
    writeln!(stdout, "# pod {pod} with {} addresses, {language}", args.family.name())?;
    for warning in warnings(&pod) {
        writeln!(stdout, "# warning: {}", warning.message)?;
    }
    if args.family == FamilyArg::Dual && !settings.dual_stack {
        let why = "the pod's first address is IPv4, and its proxy does not set ISTIO_DUAL_STACK to true";
        writeln!(stdout, "# IPv6 is left alone: {why}")?;
    }
    Ok(write!(stdout, "{}", render::text(&rules, backend.backend()))?)
}

fn print_skip(stdout: &mut dyn Write, pod: &PodFacts, skip: &Skip) -> anyhow::Result<()> {
    Ok(writeln!(stdout, "pod {pod} gets no rules: {} ({})", skip.message, skip.reason.name())?)
}

/// The pod, and whether it uses the host's network.
fn read_pod(path: &Path) -> anyhow::Result<(PodFacts, bool)> {
    let text = read(path)?;
    let shown = shown(path);
    let pod: Pod = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).with_context(|| format!("{shown} is no pod in JSON"))?
    } else {
        let documents = yaml_documents(&text);
        if documents > 1 {
            bail!("{shown} holds {documents} YAML documents; give one pod");
        }
        serde_saphyr::from_str(&text).with_context(|| format!("{shown} is no pod in YAML"))?
    };
    if !matches!(pod.kind.as_str(), "Pod" | "") {
        bail!("{shown} holds a {}, not a Pod: take the pod itself, from kubectl get pod NAME -o yaml", pod.kind);
    }
    let host_network = pod.spec.host_network;
    let mut facts = pod.into_facts();
    if facts.containers.is_empty() {
        bail!("{shown} holds no pod with containers: take one from kubectl get pod NAME -o yaml");
    }
    if facts.namespace.is_empty() {
        facts.namespace = "default".to_owned();
    }
    Ok((facts, host_network))
}

/// How many documents with anything in them a YAML text has.
fn yaml_documents(text: &str) -> usize {
    let mut documents = 0;
    let mut empty = true;
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            empty = true;
        } else if empty && !line.trim().is_empty() && !line.starts_with('#') {
            empty = false;
            documents += 1;
        }
    }
    documents
}

/// A file's name for messages.
fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// The plugin's settings as the plugin itself would read them, from its object or a list that has it.
fn read_config(path: &Path) -> anyhow::Result<Settings> {
    let shown = shown(path);
    let config: Value =
        serde_json::from_str(&read(path)?).with_context(|| format!("{shown} is no network configuration in JSON"))?;
    let ours = match config.get("plugins").and_then(Value::as_array) {
        None => &config,
        Some(plugins) => plugins.iter().find(|plugin| plugin["type"] == PLUGIN_TYPE).with_context(|| {
            format!("{shown} is a conflist without a plugin of type {PLUGIN_TYPE}: name one that has it")
        })?,
    };
    let settings = NetConf::parse(ours.to_string().as_bytes()).and_then(|config| config.settings());
    settings.map_err(|error| anyhow::anyhow!("{shown}: {error}"))
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

impl From<Backend> for BackendArg {
    fn from(backend: Backend) -> BackendArg {
        match backend {
            Backend::Auto => BackendArg::Auto,
            Backend::Nftables => BackendArg::Nftables,
            Backend::Iptables => BackendArg::Iptables,
        }
    }
}

/// The reasons that rest on the configuration, before the pod is looked at. A pod in a file need
/// not have its name yet.
fn skipped_by_config(pod: &PodFacts, config: &Settings) -> Option<Skip> {
    let name = if pod.name.is_empty() { "without a name" } else { &pod.name };
    skip_by_name(&pod.namespace, name, &config.pod_namespace, &config.exclude_namespaces)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
