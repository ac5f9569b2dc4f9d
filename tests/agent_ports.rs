//! The agent's ports, when clients open connections and say nothing.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use support::agent::{Agent, PATIENCE, call_for, make, sandbox};
use support::api::Api;
use support::{Node, UID, pod};

/// More than the agent keeps, on each port.
const MANY: usize = 200;

fn connect(port: u16, says: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(says.as_bytes()).unwrap();
    stream
}

fn descriptors(agent: &Agent) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}

#[test]
fn connections_that_say_nothing_keep_nobody_else_out() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    api.put(&pod(json!({})));
    let agent = Agent::start(&node, &api);
    let before = descriptors(&agent);
    let open = |port, says: &str| -> Vec<TcpStream> { (0..MANY).map(|_| connect(port, says)).collect() };
    let _silent = (open(agent.health, ""), open(agent.metrics, "GET /metrics HTTP/1.1\r\nHost:"));
    assert_eq!(agent.health("/readyz").0, 200);
    assert!(agent.metrics().contains("istio_cni_"));
    let more = descriptors(&agent) - before;
    assert!(more < MANY, "{more} descriptors more for {} silent connections", 2 * MANY);
    assert!(make(&node, &call_for(UID), Some(sandbox.as_fd())).result.is_ok());
}

#[test]
fn connections_that_are_over_leave_nothing_behind() {
    let (node, api) = (Node::new(), Api::start());
    let agent = Agent::start(&node, &api);
    let probes = |count: usize| (0..count).for_each(|_| assert_eq!(agent.health("/healthz").0, 200));
    probes(500);
    let before = agent.resident();
    probes(5000);
    let more = agent.resident().saturating_sub(before);
    assert!(more < 2048, "{more} KiB more after 5000 probes");
}

#[test]
fn a_connection_that_says_nothing_is_ended() {
    let (node, api) = (Node::new(), Api::start());
    let agent = Agent::start(&node, &api);
    let whole = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    for says in ["", "GET /readyz HTTP/1.1\r\nHost:", whole] {
        let mut answer = Vec::new();
        connect(agent.health, says).read_to_end(&mut answer).unwrap();
        let answered = String::from_utf8(answer).unwrap().starts_with("HTTP/1.1 200 OK");
        assert_eq!(answered, says == whole, "{says:?}: idle after its request too");
    }
}
