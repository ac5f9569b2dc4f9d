//! Host tools that hang or fail: the choice of the backend at the agent's start, and what an ADD
//! leaves behind.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::request::{Backend, Command};
use istio_cni_otel::domain::step::{ErrorType, Step};
use serde_json::json;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::agent::{Agent, call_for, make, sandbox};
use support::api::Api;
use support::{Node, UID, pod, prev_result};

/// Tools of every name that wait for a line and fail; they are released by writing lines.
fn hanging_tools(node: &Node) -> (String, File) {
    let directory = node.path("tools");
    fs::create_dir(&directory).unwrap();
    let line = node.path("line");
    nix::unistd::mkfifo(&line, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Open in both directions, so that a reader waits, and that it ends with this test at the latest.
    let writer = OpenOptions::new().read(true).write(true).open(&line).unwrap();
    let script = format!("#!/bin/sh\nread line < {}\necho no tables >&2\nexit 1\n", line.display());
    let families = ["iptables", "ip6tables"].into_iter();
    let tools = families.flat_map(|family| ["legacy-", "nft-", ""].map(|variant| format!("{family}-{variant}")));
    for tool in tools.flat_map(|tool| ["save", "restore"].map(|verb| directory.join(format!("{tool}{verb}")))) {
        fs::write(&tool, &script).unwrap();
        fs::set_permissions(&tool, Permissions::from_mode(0o755)).unwrap();
    }
    (directory.display().to_string(), writer)
}

#[test]
fn calls_do_not_wait_for_a_choice_that_hangs() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    let node = node.conf("api_timeout_ms", json!(5_000)).conf("agent_timeout_ms", json!(20_000));
    api.put(&pod(json!({})));
    node.write_kubeconfig(&format!("http://{}", api.address));
    let (path, mut line) = hanging_tools(&node);
    let mut agent = Agent::start_with(&node, &[("REDIRECT_BACKEND", "iptables"), ("PATH", &path)]);
    agent.wait_for("watch of pods in sync");
    agent.wait_for("trying how the kernel takes rules lasts longer than 3000 ms; plugins go on alone meanwhile");
    let (status, body) = agent.health("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("waiting for: a usable backend (trying how the kernel takes rules "), "{body}");

    let failure = make(&node, &call_for(UID), Some(sandbox.as_fd())).result.unwrap_err();
    assert_eq!((failure.step, failure.error_type), (Step::AgentCall, ErrorType::AgentBusy));
    let mut status = call_for(UID);
    status.request.command = Command::Status;
    assert_eq!(make(&node, &status, None).result.unwrap_err().error_type, ErrorType::AgentBusy);
    assert_eq!(node.call("ADD", &sandbox.path()).result(), prev_result(), "the plugin goes on alone");
    assert!(!sandbox.nft_tables().is_empty());
    let mut nftables = call_for(UID);
    nftables.request.backend = Backend::Nftables;
    assert!(make(&node, &nftables, Some(sandbox.as_fd())).result.is_ok(), "what needs no choice is done");

    // One line for each tool that may be tried.
    line.write_all(&b"\n".repeat(16)).unwrap();
    agent.wait_for("rules are programmed with iptables: the configuration says so");
    agent.wait_for("no meshed pod can start on this node, iptables cannot be used: ");
    let (status, body) = agent.health("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("no tables"), "{body}");
    assert!(agent.stop().success());
}

/// Tools of both families: those that restore take everything, IPv4's save fails once IPv6's has
/// written its process id, and IPv6's does not end.
fn tools_of_which_one_fails(node: &Node) -> String {
    let directory = node.path("tools");
    fs::create_dir(&directory).unwrap();
    let line = node.path("line");
    nix::unistd::mkfifo(&line, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (line, id) = (line.display(), node.path("hanging").display().to_string());
    for (tool, script) in [
        ("iptables-nft-restore", "exit 0".to_owned()),
        ("ip6tables-nft-restore", "exit 0".to_owned()),
        ("iptables-nft-save", format!("read line < {line}\necho no tables >&2\nexit 1")),
        ("ip6tables-nft-save", format!("echo $$ > {id}\necho go > {line}\nexec sleep 600")),
    ] {
        let path = directory.join(tool);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    directory.display().to_string()
}

#[test]
fn a_failing_tool_leaves_no_other_behind() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    api.put(&pod(json!({})));
    node.write_kubeconfig(&format!("http://{}", api.address));
    let path = tools_of_which_one_fails(&node);
    let mut agent = Agent::start_with(&node, &[("REDIRECT_BACKEND", "iptables"), ("PATH", &path)]);
    agent.wait_for("ms after the start");
    // With tables of both families there is something to save in both.
    sandbox.sh("nft add table ip others && nft add table ip6 others");
    let mut call = call_for(UID);
    call.request.backend = Backend::Iptables;
    let failure = make(&node, &call, Some(sandbox.as_fd())).result.unwrap_err();
    assert_eq!(failure.step, Step::RulesApply, "{failure}");
    let hanging = fs::read_to_string(node.path("hanging")).unwrap();
    // A process that ended keeps its place there until it is reaped.
    assert!(!Path::new("/proc").join(hanging.trim()).exists(), "the other tool, process {hanging}, is still there");
    assert!(agent.stop().success());
}
