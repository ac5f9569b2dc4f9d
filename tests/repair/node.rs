//! A node with broken pods: their objects as the kubelet reports them, and their sandboxes, each held
//! by a process as a container's is.

#![allow(dead_code, reason = "each test file uses another part of this")]

use crate::support::{Listeners, Namespace, Probe};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};

/// The number of a pod, of which its name, UID and address follow.
pub type Number = u32;

/// Its UID.
pub fn uid(number: Number) -> String {
    format!("11111111-2222-4333-8444-{number:012}")
}

/// Its name.
pub fn name(number: Number) -> String {
    format!("web-{number}")
}

/// Its trace.
pub fn trace(number: Number) -> String {
    uid(number).replace('-', "")
}

/// Its address: another one than in the same test that runs at the same time, whose processes are in
/// the same /proc.
pub fn address(number: Number) -> String {
    format!("10.{}.{}.{}", 32 + std::process::id() % 224, number / 250, number % 250 + 1)
}

/// A meshed pod whose validation has not run yet.
pub fn pod(number: Number) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name(number), "namespace": "shop", "uid": uid(number), "labels": {"app": "web"},
            "annotations": {"sidecar.istio.io/status": "{}"}},
        "spec": {"restartPolicy": "Always", "containers": [{"name": "web"},
            {"name": "istio-proxy", "args": ["proxy", "sidecar"]}], "initContainers": [{"name": "istio-validation"}]},
        "status": {"phase": "Pending", "podIP": address(number), "podIPs": [{"ip": address(number)}],
            "initContainerStatuses": [{"name": "istio-validation", "restartCount": 0, "state": {"running": {}}}]}})
}

/// How a run of the validation ended.
fn ended(run: u32, exit_code: i32) -> Value {
    let time = |second: u32| format!("2026-01-01T00:{run:02}:{second:02}Z");
    json!({"exitCode": exit_code, "reason": if exit_code == 0 { "Completed" } else { "Error" },
        "containerID": format!("containerd://{run}"), "startedAt": time(0), "finishedAt": time(5)})
}

/// The same with the life of its validation.
fn with_validation(mut pod: Value, restarts: u32, state: Value, last: Value) -> Value {
    pod["status"]["initContainerStatuses"] = json!([
        {"name": "istio-validation", "restartCount": restarts, "state": state, "lastState": last}]);
    pod
}

/// A pod whose validation failed and waits for its next run.
pub fn broken(number: Number) -> Value {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    with_validation(pod(number), 1, waiting, json!({"terminated": ended(1, 126)}))
}

/// The same pod once its validation has passed.
pub fn passed(pod: Value) -> Value {
    with_validation(pod, 2, json!({"terminated": ended(3, 0)}), json!({"terminated": ended(1, 126)}))
}

/// The same pod after a run of its validation that began at this time (RFC 3339) and failed.
pub fn failed_again(pod: Value, restarts: u32, at: &str) -> Value {
    let mut last = ended(restarts, 126);
    last["startedAt"] = json!(at);
    last["finishedAt"] = json!(at);
    with_validation(pod, restarts, json!({"waiting": {"reason": "CrashLoopBackOff"}}), json!({"terminated": last}))
}

/// A pod whose validation failed and is never run again.
pub fn broken_for_good(number: Number) -> Value {
    let mut pod = with_validation(pod(number), 0, json!({"terminated": ended(1, 126)}), json!({}));
    pod["spec"]["restartPolicy"] = json!("Never");
    pod["status"]["phase"] = json!("Failed");
    pod
}

/// A pod's network namespace without any rules, and a process in it.
pub struct Sandbox {
    pub namespace: Namespace,
    process: Child,
}

impl Sandbox {
    /// The namespace of this pod, with its address.
    pub fn new(number: Number) -> Sandbox {
        Sandbox::with_address(&address(number))
    }

    /// A namespace with this address.
    pub fn with_address(address: &str) -> Sandbox {
        let namespace = Namespace::new();
        namespace.ip(&format!(
            "link add eth0 type veth peer name gateway\nlink set eth0 up\naddr add {address}/32 dev eth0\n\
             route add default dev eth0"
        ));
        let process = namespace.run(|| {
            let mut command = Command::new("sleep");
            command.arg("600").stdin(Stdio::null()).env("PATH", "/usr/bin:/bin");
            command.spawn().unwrap()
        });
        Sandbox { namespace, process }
    }
}

impl Sandbox {
    /// The path by which it is found.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.process.id())
    }

    /// Whether there are rules.
    pub fn has_rules(&self) -> bool {
        !self.namespace.nft_tables().is_empty()
    }

    /// All rules.
    pub fn rules(&self) -> String {
        self.namespace.sh("nft -s list ruleset")
    }

    /// Takes all rules away, whoever made them.
    pub fn without_rules(&self) {
        self.namespace.sh("nft flush ruleset");
    }

    /// Listens as the pod's proxy does.
    pub fn proxy(&self) -> Listeners {
        Listeners::start(&self.namespace, "proxy", &[15001], &[])
    }

    /// Who takes a connection from the pod to somewhere else: nobody, unless it is redirected.
    pub fn outbound(&self) -> String {
        Probe::tcp("192.0.2.9", 80).run(&self.namespace)
    }
}

/// What [`Sandbox::outbound`] says of a pod that is redirected.
pub const REDIRECTED: &str = "proxy:15001 to 192.0.2.9:80";

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
