//! A pod with users of its own (`hostUsers: false`): another user namespace than ours owns its
//! network namespace, and the kernel takes owner rules of iptables only from there.

mod support;

use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::host::netns::{OwnNamespace, open};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::*;

/// A process that keeps a user and a network namespace, until dropped.
struct PodProcess(Child);

impl PodProcess {
    #[expect(clippy::unwrap_used, reason = "tests assert by panicking")]
    fn start() -> PodProcess {
        let mut child = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "sh", "-c", "ip link set lo up && echo ready && read forever"])
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        PodProcess(child)
    }
}

impl Drop for PodProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn rules_with_owners_are_programmed_from_within_the_pods_user_namespace() {
    let rules = ruleset(&as_the_proxy(richest_settings()), Addresses::Dual);
    for backend in [Backend::Nftables, Backend::Iptables] {
        let pod = PodProcess::start();
        let netns = open(Path::new(&format!("/proc/{}/ns/net", pod.0.id())), OwnNamespace::Refused).unwrap();
        assert!(apply(&netns, backend, &rules).unwrap().changed);
        assert_eq!(differences(&netns, backend, &rules), [], "{backend:?}");
        assert!(!apply(&netns, backend, &rules).unwrap().changed);
    }
}
