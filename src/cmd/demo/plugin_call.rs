//! A container runtime's call of the plugin: environment, configuration on stdin, result on stdout.

use super::pods::{NAMESPACE, Pod};
use super::process::{Ended, run};
use super::world::{Addresses, Sandbox};
use anyhow::Result;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The version of the specification that the demo's runtime speaks.
const CNI_VERSION: &str = "1.1.0";

/// The runtime's side: the plugin's binary and the node's run directory.
pub struct Runtime {
    plugin: PathBuf,
    run_dir: PathBuf,
    calls: AtomicUsize,
}

/// One pod's sandbox, as the runtime knows it.
pub struct Container<'a> {
    pub id: &'a str,
    pub pod: &'a Pod,
    pub sandbox: &'a Sandbox,
}

/// How the plugin answered.
#[derive(Debug)]
pub struct Reply {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
    /// From starting the process to its end.
    pub took: Duration,
}

impl Runtime {
    /// A runtime that has made no call yet.
    pub fn new(plugin: PathBuf, run_dir: PathBuf) -> Runtime {
        Runtime { plugin, run_dir, calls: AtomicUsize::new(0) }
    }

    /// How many calls it made.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Runs the plugin for `command` (ADD, CHECK or DEL).
    pub async fn call(&self, command: &str, container: &Container<'_>) -> Result<Reply> {
        let sandbox = container.sandbox.netns.path();
        let plugin_dir = self.plugin.parent().unwrap_or(Path::new("/"));
        self.calls.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let mut plugin = Command::new(&self.plugin);
        plugin
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container.id)
            .env("CNI_NETNS", sandbox)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", plugin_dir)
            .env("CNI_ARGS", arguments(container));
        let config = self.config(container.sandbox).to_string();
        let what = format!("the plugin {}", self.plugin.display());
        let Ended { status, stdout, stderr } = run(plugin, config.as_bytes(), &what).await?;
        Ok(Reply { success: status.success(), stdout, stderr, took: begun.elapsed() })
    }

    fn config(&self, sandbox: &Sandbox) -> Value {
        json!({
            "cniVersion": CNI_VERSION,
            "name": "k8s-pod-network",
            "type": "istio-cni",
            "plugin_log_level": "debug",
            "cni_agent_run_dir": self.run_dir,
            "exclude_namespaces": ["kube-system"],
            "pod_namespace": "istio-system",
            "prevResult": previous_result(sandbox),
        })
    }
}

fn arguments(container: &Container<'_>) -> String {
    let Pod { name, uid, .. } = container.pod;
    let id = container.id;
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID={uid}"
    )
}

/// The result of the plugin before ours, which made the veth: what the demo itself did.
pub fn previous_result(sandbox: &Sandbox) -> Value {
    let Addresses { pod4, peer4, v6 } = sandbox.link;
    let (length4, length6) = Addresses::PREFIXES;
    let mut ips = vec![json!({ "address": format!("{pod4}/{length4}"), "gateway": peer4, "interface": 0 })];
    ips.extend(
        v6.map(|(pod6, peer6)| json!({ "address": format!("{pod6}/{length6}"), "gateway": peer6, "interface": 0 })),
    );
    json!({
        "cniVersion": CNI_VERSION,
        "interfaces": [{ "name": "eth0", "sandbox": sandbox.netns.path() }],
        "ips": ips,
    })
}

impl Reply {
    /// The error's message, the way libcni writes it: `msg`, and `details` where there are some.
    pub fn error(&self) -> Option<String> {
        let error: Value = serde_json::from_str(&self.stdout).ok()?;
        error.get("code")?.as_u64().filter(|code| *code != 0)?;
        let message = error.get("msg")?.as_str()?;
        Some(match error.get("details").and_then(Value::as_str).filter(|details| !details.is_empty()) {
            Some(details) => format!("{message}; {details}"),
            None => message.to_owned(),
        })
    }

    /// What the plugin said, for a sentence about an answer that should not be.
    pub fn said(&self) -> String {
        let stdout = self.error().unwrap_or_else(|| self.stdout.trim().to_owned());
        let stderr = self.stderr.trim().lines().next_back().unwrap_or_default();
        let how = if self.success { "success" } else { "failure" };
        match (stdout.as_str(), stderr) {
            ("", "") => format!("{how}, without a word"),
            ("", last) => format!("{how}, and on stderr: {last}"),
            (answer, _) => format!("{how}: {answer}"),
        }
    }
}

/// The event that the kubelet makes of a failed ADD, as `kubectl describe pod` shows its message.
pub fn kubelet_message(sandbox_id: &str, error: &str) -> String {
    format!(
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \
         {sandbox_id:?}: plugin type=\"istio-cni\" failed (add): {error}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(success: bool, stdout: &str, stderr: &str) -> Reply {
        Reply { success, stdout: stdout.to_owned(), stderr: stderr.to_owned(), took: Duration::ZERO }
    }

    #[test]
    fn an_error_reads_as_libcni_writes_it() {
        let error = |stdout| reply(false, stdout, "").error();
        assert_eq!(error(r#"{"code": 999, "msg": "no pod"}"#).as_deref(), Some("no pod"));
        assert_eq!(error(r#"{"code": 1, "msg": "a", "details": "b"}"#).as_deref(), Some("a; b"));
        assert_eq!(error(r#"{"cniVersion": "1.0.0"}"#), None);
        assert_eq!(error("not JSON"), None);
    }

    #[test]
    fn an_unexpected_answer_is_quoted() {
        assert_eq!(reply(true, "", "").said(), "success, without a word");
        assert_eq!(reply(false, "", "one\ntwo\n").said(), "failure, and on stderr: two");
        assert_eq!(reply(false, r#"{"code": 999, "msg": "no pod"}"#, "x").said(), "failure: no pod");
    }

    #[test]
    fn the_event_names_the_sandbox_and_the_plugin() {
        let text = kubelet_message("cafe", "no pod");
        assert!(text.ends_with(r#"for sandbox "cafe": plugin type="istio-cni" failed (add): no pod"#), "{text}");
    }
}
