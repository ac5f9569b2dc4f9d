//! The command line of `doctor`.

use crate::cmd::reach::ReachArgs;
use crate::cmd::reach::args::AGENTS;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Find out why pods do not start, or start without redirection: on a node, in the agent's pod, or for a whole cluster.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  istio-cni-otel doctor                                  on a node: its files, its runtime, its agent
  kubectl -n istio-system exec ds/istio-cni-node -- istio-cni-otel doctor
  istio-cni-otel doctor --cluster                        from a laptop, with its kubeconfig
  istio-cni-otel doctor --cluster --pod shop/web-0
  istio-cni-otel doctor --output json | jq '.findings[] | select(.status == \"problem\")'
  istio-cni-otel doctor --bundle /tmp/report.tar.gz

It looks at the whole cluster where there is no agent's directory and no node to look at, else at this node.

Exit status: 0 nothing was found; 1 there are findings; 2 it could not look (nobody to ask, no permission, nothing could
be found out, or no time for all agents), or could not write the bundle, or the command line is wrong.")]
pub struct DoctorArgs {
    /// Say what is known of this pod only
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub pod: Option<String>,
    /// How the findings are printed
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
    /// Also write what a bug report needs, without secrets, to this file (.tar.gz)
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Show all checks, and what was seen, also where nothing is wrong
    #[arg(long, short)]
    pub verbose: bool,
    /// Look at all nodes of the cluster, through the API server
    #[arg(long, conflicts_with_all = ["cni_agent_run_dir", "cni_net_dir", "cni_bin_dir", "runtime_endpoint"])]
    pub cluster: bool,
    /// How many seconds all agents of a cluster together may take [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: Option<u64>,
    /// Where your copy of grafana/runbooks is, to have links to its pages instead of the command that prints them
    #[arg(long, value_name = "URL")]
    pub runbooks: Option<String>,
    #[command(flatten)]
    pub reach: ReachArgs,
    /// The directory of network configuration [default: MOUNTED_CNI_NET_DIR, else /etc/cni/net.d]
    #[arg(long, value_name = "DIR", help_heading = "This node")]
    pub cni_net_dir: Option<PathBuf>,
    /// The directory of plugins [default: CNI_BIN_TARGET_DIRS, else /opt/cni/bin]
    #[arg(long, value_name = "DIR", help_heading = "This node")]
    pub cni_bin_dir: Option<PathBuf>,
    /// The container runtime's socket [default: CONTAINER_RUNTIME_ENDPOINT, else the known ones]
    #[arg(long, value_name = "SOCKET", help_heading = "This node")]
    pub runtime_endpoint: Option<String>,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// How long all agents may take where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(60);

impl DoctorArgs {
    /// How long all agents may take.
    pub fn limit(&self) -> Duration {
        self.timeout.map_or(TIMEOUT, Duration::from_secs)
    }

    /// What cannot be done as it was asked for, before anything is looked at; `at_node` if it is this node that is.
    pub fn check(&self, at_node: bool) -> Result<(), String> {
        if at_node && let Some(flag) = self.of_clusters() {
            return Err(format!(
                "{flag} is for looking at a cluster, and this looks at this node: give --cluster too, or leave {flag} out"
            ));
        }
        match &self.bundle {
            Some(path) => writable(path),
            None => Ok(()),
        }
    }

    /// A flag that says nothing to a node.
    fn of_clusters(&self) -> Option<&'static str> {
        let reach = &self.reach;
        [
            (reach.kubeconfig.is_some(), "--kubeconfig"),
            (reach.context.is_some(), "--context"),
            (reach.agent_namespace.is_some(), "--agent-namespace"),
            (reach.agent_selector != AGENTS, "--agent-selector"),
            (reach.agent_port.is_some(), "--agent-port"),
            (self.timeout.is_some(), "--timeout"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// Namespace and name of the pod that is asked for.
    pub fn pod(&self) -> Result<Option<(&str, &str)>, String> {
        let Some(pod) = self.pod.as_deref() else { return Ok(None) };
        match pod.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => Ok(Some((namespace, name))),
            _ => Err(format!("--pod takes NAMESPACE/NAME, such as shop/web-0, not {pod:?}")),
        }
    }
}

/// Whether a bundle can be put there, as far as that is known without doing it.
fn writable(path: &Path) -> Result<(), String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let why = if path == Path::new("-") {
        "it is not written to standard output, which has the findings"
    } else if path.is_symlink() {
        "it is a link, which may be somebody else's and is not followed"
    } else if path.is_dir() {
        "it is a directory"
    } else if path.exists() && !path.is_file() {
        "it is no regular file"
    } else if !directory.is_dir() {
        "there is no such directory"
    } else {
        return Ok(());
    };
    Err(format!("--bundle={}: {why}; it takes the path of a file, such as report.tar.gz", path.display()))
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(plain)
}
