//! The agent's socket: what strangers, nonsense and a crowd on it get.

mod support;

use istio_cni_otel::domain::step::{ErrorType, Step};
use istio_cni_otel::host::uds::Connection;
use istio_cni_otel::telemetry::batch;
use istio_cni_otel::telemetry::story::{Batch, Lost};
use istio_cni_otel::wire::agent::{Kind, frame};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::agent::{Agent, PATIENCE, call_for, conclusion, make, sandbox};
use support::api::Api;
use support::{Namespace, Node, UID, other_users_for, pod, prev_result};

#[test]
fn nonsense_on_the_socket_is_refused_and_forgotten() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    api.put(&pod(json!({})));
    let mut agent = Agent::start(&node, &api);
    let call = |body: &[u8]| frame(Kind::Call, body).unwrap();
    let nonsense: [Vec<u8>; 6] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [b'C', 255, 255, 255, 255].to_vec(),
        call(b"{"),
        call(b"{\"v\":1}"),
        call(&[0xff; 64]),
        frame(Kind::Conclusion, b"{}").unwrap(),
    ];
    for bytes in &nonsense {
        let mut stream = UnixStream::connect(node.path("agent.sock")).unwrap();
        stream.write_all(bytes).unwrap();
        let failure = conclusion(&mut Connection::new(stream, PATIENCE)).result.unwrap_err();
        assert_eq!((failure.step, failure.error_type), (Step::AgentCall, ErrorType::AgentProtocol), "{bytes:?}");
        agent.wait_for("refused what came through the socket");
    }
    // Half a frame, and nothing at all.
    drop(UnixStream::connect(node.path("agent.sock")).unwrap().write_all(b"C\0\0"));
    drop(UnixStream::connect(node.path("agent.sock")).unwrap());
    agent.wait_for("refused what came through the socket");
    assert!(make(&node, &call_for(UID), Some(sandbox.as_fd())).result.is_ok());
}

#[test]
fn telemetry_alone_is_taken_and_nonsense_in_its_place_counted() {
    let (node, api) = (Node::new(), Api::start());
    let agent = Agent::start(&node, &api);
    let told = Batch { lost: Lost { spans: 7, logs: 0 }, ..Batch::default() };
    for body in [batch::encode(&told), b"no protobuf".to_vec()] {
        let mut stream = UnixStream::connect(node.path("agent.sock")).unwrap();
        stream.write_all(&frame(Kind::Telemetry, &body).unwrap()).unwrap();
    }
    agent.wait_for_metric(r#"istio_cni_telemetry_dropped_total{signal="traces",reason="spool_full"}"#, 7.0);
    agent.wait_for_metric(r#"istio_cni_telemetry_dropped_total{signal="traces",reason="invalid"}"#, 1.0);
}

#[test]
fn beyond_its_limit_it_sends_callers_away_at_once() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    api.put(&pod(json!({})));
    let mut agent = Agent::start(&node, &api);
    let silent: Vec<UnixStream> = (0..256).map(|_| UnixStream::connect(node.path("agent.sock")).unwrap()).collect();
    let started = Instant::now();
    let failure = make(&node, &call_for(UID), Some(sandbox.as_fd())).result.unwrap_err();
    assert_eq!((failure.step, failure.error_type), (Step::AgentCall, ErrorType::AgentBusy));
    assert!(started.elapsed() < Duration::from_secs(4), "before the silent ones are given up");
    drop(silent);
    // The plugin does not depend on it: it goes on alone.
    let node = node.conf("api_timeout_ms", json!(5_000));
    assert_eq!(node.call("ADD", &sandbox.path()).result(), prev_result());
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
}

#[test]
fn only_root_may_call() {
    let (node, api) = (Node::new(), Api::start());
    api.put(&pod(json!({})));
    let mut agent = Agent::start(&node, &api);
    let socket = node.path("agent.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    if !other_users_for("that the socket refuses other users") {
        // Without root there is no other user to be, and the mode alone keeps others out.
        return;
    }
    let path = node.run_dir.path().to_owned();
    let stranger = || UnixStream::connect(&socket).map(|mut stream| stream.read(&mut [0]).unwrap_or(0));
    let namespace = Namespace::new();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let refused = namespace.run_as(1000, stranger).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied, "by the mode");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(namespace.run_as(1000, stranger).unwrap(), 0, "by who it is");
    agent.wait_for("refused a connection of user 1000");
}
