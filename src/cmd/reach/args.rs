//! The flags that say where agents are, the same for every tool that asks them.

use crate::k8s::client::ApiSource;
use clap::Args;
use std::path::{Path, PathBuf};

/// Where a pod's service account is mounted.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const RUN_DIR: &str = "/var/run/istio-cni";
/// Which pods are agents where nothing else is said.
pub const AGENTS: &str = "k8s-app=istio-cni-node";

/// Where the node agents are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reaching the agents")]
pub struct ReachArgs {
    /// Directory of the agent's sockets, where this runs on its node or in its pod
    /// [env: CNI_AGENT_RUN_DIR=] [default: /var/run/istio-cni]
    #[arg(long, alias = "run-dir", value_name = "DIR")]
    pub cni_agent_run_dir: Option<PathBuf>,
    /// Path of a kubeconfig [env: KUBECONFIG=] [default: ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace of the agents' pods [default: wherever they are]
    #[arg(long, value_name = "NAME")]
    pub agent_namespace: Option<String>,
    /// Label selector of the agents' pods
    #[arg(long, value_name = "SELECTOR", default_value = AGENTS)]
    pub agent_selector: String,
    /// Loopback port of the agents' page [default: what their PAGE_ADDRESS says, else 15015]
    #[arg(long, value_name = "PORT")]
    pub agent_port: Option<u16>,
}

impl ReachArgs {
    pub(super) fn directory(&self, lookup: &dyn Fn(&str) -> Option<String>) -> PathBuf {
        let given = || lookup("CNI_AGENT_RUN_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.cni_agent_run_dir.clone().or_else(given).unwrap_or_else(|| PathBuf::from(RUN_DIR))
    }

    /// The API server as kubectl would find it, or what is missing.
    pub(super) fn source(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<ApiSource, String> {
        let given = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let context = self.context.clone();
        if let Some(path) = &self.kubeconfig {
            return Ok(ApiSource::Merged { paths: vec![path.clone()], context });
        }
        if let Some(list) = given("KUBECONFIG") {
            let paths = list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
            return Ok(ApiSource::Merged { paths, context });
        }
        let home = given("HOME").map(|home| Path::new(&home).join(".kube/config")).filter(|path| path.exists());
        if let Some(path) = home {
            return Ok(ApiSource::Merged { paths: vec![path], context });
        }
        let port = given("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok());
        if let (Some(host), Some(port)) = (given("KUBERNETES_SERVICE_HOST"), port) {
            let account = PathBuf::from(SERVICE_ACCOUNT);
            let ca = account.join("ca.crt");
            return Ok(ApiSource::InCluster { host, port, account, ca });
        }
        Err("there is no kubeconfig: set KUBECONFIG, or give --kubeconfig".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        reach: ReachArgs,
    }

    fn source(line: &[&str], environment: &[(&str, &str)]) -> Result<ApiSource, String> {
        let line = Line::try_parse_from([&["x"], line].concat()).unwrap();
        let lookup =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        line.reach.source(&lookup)
    }

    fn merged(paths: &[&str], context: Option<&str>) -> Result<ApiSource, String> {
        let paths = paths.iter().map(PathBuf::from).collect();
        Ok(ApiSource::Merged { paths, context: context.map(str::to_owned) })
    }

    #[test]
    fn the_api_server_is_found_as_kubectl_finds_it() {
        let environment =
            [("KUBECONFIG", "/a:/b:"), ("KUBERNETES_SERVICE_HOST", "h"), ("KUBERNETES_SERVICE_PORT", "1")];
        assert_eq!(source(&[], &environment), merged(&["/a", "/b"], None));
        assert_eq!(source(&["--kubeconfig", "/c", "--context", "east"], &environment), merged(&["/c"], Some("east")));
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        let in_cluster = [("HOME", path), environment[1], environment[2]];
        assert!(matches!(source(&[], &in_cluster), Ok(ApiSource::InCluster { port: 1, .. })));
        std::fs::create_dir(home.path().join(".kube")).unwrap();
        std::fs::write(home.path().join(".kube/config"), "").unwrap();
        assert_eq!(source(&[], &in_cluster), merged(&[&format!("{path}/.kube/config")], None));
        assert!(source(&[], &[("KUBECONFIG", "")]).unwrap_err().contains("give --kubeconfig"));
    }
}
