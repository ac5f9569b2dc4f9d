//! The agent's life: starting without an API server, losing it, being stopped and killed at work,
//! being succeeded.

mod support;

use istio_cni_otel::domain::request::Answer;
use istio_cni_otel::domain::step::{ErrorType, Step};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use support::agent::{Agent, call_for, command, get, make, sandbox};
use support::api::Api;
use support::{Namespace, Node, UID, pod, prev_result};

fn named(name: &str) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["name"] = json!(name);
    pod
}

#[test]
fn an_agent_without_an_api_server_serves_and_is_ready_once_there_is_one() {
    let (node, sandbox) = (Node::new(), sandbox());
    let address = Api::start().address;
    node.write_kubeconfig(&format!("http://{address}"));
    let mut agent = Agent::start_with(&node, &[]);
    agent.wait_for("rules are programmed with ");
    agent.wait_for(&format!(
        "cannot watch pods yet, trying again: the API server at http://{address} cannot be reached ("
    ));
    let (status, body) = agent.health("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("waiting for: this node's pods (api_unreachable: "), "{body}");
    assert!(body.contains("Connection refused") && !body.contains("client error"), "{body}");
    assert_eq!(agent.health("/healthz").0, 200, "a restart would not help");
    let failure = make(&node, &call_for(UID), Some(sandbox.as_fd())).result.unwrap_err();
    assert_eq!((failure.step, failure.error_type), (Step::PodLookup, ErrorType::ApiUnreachable));

    let api = Api::start_at(address);
    api.put(&pod(json!({})));
    agent.wait_for("ms after the start");
    assert_eq!(agent.health("/readyz").0, 200);
    assert!(make(&node, &call_for(UID), Some(sandbox.as_fd())).result.is_ok());
    assert_eq!(api.count("get"), 0);
}

#[test]
fn a_way_to_the_api_server_that_cannot_work_is_refused_at_the_start() {
    let node = Node::new();
    let refused = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let missing = refused(&mut command(&node));
    assert!(missing.contains("there is no kubeconfig at ") && missing.contains("set KUBECONFIG to one"), "{missing}");
    let nowhere = refused(command(&node).env_remove("KUBECONFIG"));
    assert!(nowhere.contains("KUBECONFIG is not set: it takes the path of a kubeconfig"), "{nowhere}");
    for text in ["clusters: 1", "current-context: a", "{"] {
        std::fs::write(node.path("istio-cni-kubeconfig"), text).unwrap();
        let unusable = refused(&mut command(&node));
        assert!(unusable.contains("istio-cni-kubeconfig cannot be used: "), "{unusable}");
        assert_eq!(unusable.lines().count(), 1, "{unusable}");
    }
    let flag = refused(command(&node).args(["--health-port", "many"]));
    assert!(flag.starts_with("istio-cni-otel: --health-port=\"many\" cannot be used: it takes a port"), "{flag}");
}

#[test]
fn values_that_cannot_be_used_together_or_only_later_are_named_at_the_start() {
    let (node, api) = (Node::new(), Api::start());
    node.write_kubeconfig(&format!("http://{}", api.address));
    let output = command(&node).env("MONITORING_PORT", "19014").env("HEALTH_PORT", "19014").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("HEALTH_PORT=\"19014\"") && said.contains("MONITORING_PORT"), "{said}");
    // What only pods without a record of their ADD need does not keep an agent from starting.
    let mut agent = Agent::start_with(&node, &[("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "10.0.0.0/8")]);
    let warned = agent.wait_for("pods of which no ADD is recorded cannot be compared or repaired: ");
    assert_eq!(warned["level"], "warn");
    assert!(
        warned["msg"].as_str().unwrap().contains("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR is \"10.0.0.0/8\""),
        "{warned}"
    );
    agent.wait_for("ms after the start");
}

#[test]
fn when_the_api_server_goes_cached_pods_are_served_and_its_return_is_noticed() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    api.put(&pod(json!({})));
    let mut agent = Agent::start(&node, &api);
    let address = api.address;
    drop(api);
    agent.wait_for("watch of pods lost");
    assert!(make(&node, &call_for(UID), Some(sandbox.as_fd())).result.is_ok());
    assert_eq!(agent.health("/readyz").0, 200, "what it knows still stands");

    let api = Api::start_at(address);
    api.put(&named("web-1"));
    let mut call = call_for(UID);
    call.request.pod.name = "web-1".into();
    call.request.bounds.pod_attempts = 30;
    call.request.bounds.pod_interval = Duration::from_millis(100);
    assert!(make(&node, &call, Some(sandbox.as_fd())).result.is_ok());
    agent.wait_for("watch of pods in sync with 1 objects");
}

#[test]
fn the_ports_serve_metrics_in_both_formats_and_health() {
    let (node, api) = (Node::new(), Api::start());
    let agent = Agent::start(&node, &api);
    let (_, plain) = get(agent.metrics, "/metrics", "");
    assert!(plain.contains("content-type: text/plain; version=0.0.4"), "{plain}");
    assert!(plain.contains("istio_cni_build_info{"), "{plain}");
    assert!(plain.contains(r#"istio_cni_api_requests_total{verb="watch",resource="pods",code="200"} 1"#), "{plain}");
    assert!(plain.contains(r#"istio_cni_watch_last_sync_age_seconds{resource="pods"} "#), "{plain}");
    let (_, open) = get(agent.metrics, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(open.contains("content-type: application/openmetrics-text"), "{open}");
    assert!(open.trim_end().ends_with("# EOF"), "{open}");
    assert_eq!((agent.health("/healthz").0, agent.health("/elsewhere").0), (200, 404));

    fs::remove_file(node.path("agent.sock")).unwrap();
    let (status, body) = agent.health("/healthz");
    assert_eq!(status, 503);
    assert!(body.contains("agent.sock is gone"), "{body}");
}

#[test]
fn a_signal_ends_it_in_order_and_with_success() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (node, api) = (Node::new(), Api::start());
        let mut agent = Agent::start(&node, &api);
        agent.signal(signal);
        assert!(agent.ended().success());
        assert!(!node.path("agent.sock").exists());
        let last: Vec<&str> = agent.log.iter().rev().take(2).map(|line| line["msg"].as_str().unwrap()).collect();
        assert!(last[1].contains("Exit signal received: "), "{last:?}");
        assert_eq!(last[0], "not ready any more: the agent is stopping");
    }
}

#[test]
fn stopping_under_load_loses_no_pod_and_no_telemetry() {
    const PODS: usize = 24;
    let (node, api) = (Node::new(), Api::start());
    let node = node.conf("agent_timeout_ms", json!(20_000)).conf("api_timeout_ms", json!(5_000));
    api.put(&pod(json!({})));
    let mut agent = Agent::start(&node, &api);
    let sandboxes: Vec<Namespace> = (0..PODS).map(|_| sandbox()).collect();
    std::thread::scope(|scope| {
        let calls: Vec<_> = sandboxes.iter().map(|sandbox| scope.spawn(|| node.call("ADD", &sandbox.path()))).collect();
        agent.wait_for("End nftables configuration");
        agent.signal(Signal::SIGTERM);
        for call in calls {
            assert_eq!(call.join().unwrap().result(), prev_result());
        }
    });
    assert!(agent.ended().success());
    assert!(sandboxes.iter().all(|sandbox| !sandbox.nft_tables().is_empty()));
    // Who found no agent any more did the work alone, and left its telemetry for the next one.
    let alone = node.spooled().len();
    let agent = Agent::start(&node, &api);
    let done = r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="standalone"}"#;
    if alone > 0 {
        agent.wait_for_metric(done, alone as f64);
    }
    // Told after the files are gone.
    agent.wait_for_metric("istio_cni_telemetry_spool_bytes", 0.0);
    assert!(node.spooled().is_empty());
}

#[test]
fn a_pod_that_is_waited_for_when_the_agent_stops_is_set_up_by_the_plugin_alone() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    let node = node
        .conf("pod_lookup_attempts", json!(30))
        .conf("pod_lookup_interval_ms", json!(10_000))
        .conf("agent_timeout_ms", json!(60_000));
    let mut agent = Agent::start(&node, &api);
    api.hold_watches(true);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| node.call("ADD", &sandbox.path()));
        api.wait_for("get", 1);
        api.put(&pod(json!({})));
        agent.signal(Signal::SIGTERM);
        assert_eq!(call.join().unwrap().result(), prev_result());
    });
    assert!(agent.ended().success());
    assert!(!sandbox.nft_tables().is_empty());
}

#[test]
fn after_a_kill_the_next_agent_takes_over_the_socket_and_the_spool() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    let node = node.conf("api_timeout_ms", json!(5_000));
    api.put(&pod(json!({})));
    let mut first = Agent::start(&node, &api);
    first.signal(Signal::SIGKILL);
    assert!(!first.ended().success());
    assert!(node.path("agent.sock").exists(), "a stale socket is left");
    assert_eq!(node.call("ADD", &sandbox.path()).result(), prev_result());
    assert_eq!(node.spooled().len(), 1);

    let mut second = Agent::start(&node, &api);
    second.wait_for_metric(
        r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="standalone"}"#,
        1.0,
    );
    let line = second.wait_for("took over ");
    assert!(node.spooled().is_empty());
    assert!(line["istio_cni.telemetry.items"].as_u64().unwrap() > 5, "{line}");
    assert!(make(&node, &call_for(UID), Some(sandbox.as_fd())).result.is_ok());
    second.wait_for_metric("istio_cni_telemetry_spool_bytes", 0.0);
}

#[test]
fn what_is_torn_or_foreign_in_the_spool_stops_nothing() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    let node = node.conf("api_timeout_ms", json!(5_000));
    api.put(&pod(json!({})));
    node.write_kubeconfig(&format!("http://{}", api.address));
    support::loopback();
    assert_eq!(node.call("ADD", &sandbox.path()).result(), prev_result());
    let whole = fs::read_dir(node.path("spool")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&whole).unwrap();
    fs::write(node.path("spool/0-torn.spool"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(node.path("spool/1-foreign.spool"), "not ours").unwrap();
    fs::write(node.path("spool/2-empty.spool"), "").unwrap();
    fs::create_dir(node.path("spool/3-directory.spool")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", node.path("spool/4-link.spool")).unwrap();
    fs::write(node.path("spool/lost"), "00000000000000000003 00000000000000000002\n").unwrap();

    let mut agent = Agent::start(&node, &api);
    agent.wait_for("are no record");
    agent.wait_for("are no record");
    agent.wait_for_metric(
        r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="standalone"}"#,
        1.0,
    );
    agent.wait_for_metric(r#"istio_cni_telemetry_dropped_total{signal="traces",reason="spool_full"}"#, 3.0);
    agent.wait_for_metric("istio_cni_telemetry_spool_bytes", 0.0);
    let mut left: Vec<String> = fs::read_dir(node.path("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["3-directory.spool", "4-link.spool", "lost"]);
}

#[test]
fn a_second_agent_succeeds_the_first_without_a_gap() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    api.put(&pod(json!({})));
    let first = Agent::start(&node, &api);
    let mut connected = UnixStream::connect(node.path("agent.sock")).unwrap();
    let second = Agent::start(&node, &api);
    assert!(first.stop().success());
    assert_eq!(connected.read(&mut [0]).unwrap(), 0, "a silent caller is let go in time");
    assert!(make(&node, &call_for(UID), Some(sandbox.as_fd())).result.is_ok());
    assert!(second.stop().success());
    assert!(!node.path("agent.sock").exists());
}

#[test]
fn what_cannot_be_is_said_in_one_sentence() {
    let node = Node::new();
    node.write_kubeconfig("http://127.0.0.1:1");
    let taken = TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let long = node.path(&"x".repeat(120));
    let cases: [(&str, &str, i32, &str); 5] = [
        ("MONITORING_PORT", "many", 2, "MONITORING_PORT=\"many\" cannot be used: it takes a port"),
        (
            "REDIRECT_BACKEND",
            "ipvs",
            2,
            "REDIRECT_BACKEND=\"ipvs\" cannot be used: it takes auto, nftables or iptables",
        ),
        ("KUBECONFIG", "", 2, "KUBECONFIG is not set: it takes the path of a kubeconfig"),
        ("HEALTH_PORT", &port, 1, "unable to listen on port"),
        ("CNI_AGENT_RUN_DIR", long.to_str().unwrap(), 1, "is too long"),
    ];
    for (key, value, status, words) in cases {
        let output = command(&node).env(key, value).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{key}: {text}");
        assert!(text.starts_with("istio-cni-otel: ") && text.contains(words), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn status_fails_strictly_while_no_pod_is_known() {
    let (node, api) = (Node::new(), Api::start());
    let address = api.address;
    drop(api);
    node.write_kubeconfig(&format!("http://{address}"));
    let mut agent = Agent::start_with(&node, &[]);
    agent.wait_for("cannot watch pods yet");
    let node = node.conf("cniVersion", json!("1.1.0"));
    assert!(node.call("STATUS", "").success, "a runtime takes the network down when it fails");
    let mut call = call_for(UID);
    call.request.command = istio_cni_otel::domain::request::Command::Status;
    let failure = make(&node, &call, None).result.unwrap_err();
    assert_eq!((failure.code, failure.error_type), (50, ErrorType::ApiUnreachable));
    let api = Api::start_at(address);
    api.put(&pod(json!({})));
    agent.wait_for("ms after the start");
    assert_eq!(make(&node, &call, None).result, Ok(Answer::Done));
}

#[test]
fn its_log_level_is_changed_by_signals_without_a_restart() {
    let (node, api, sandbox) = (Node::new(), Api::start(), sandbox());
    node.write_kubeconfig(&format!("http://{}", api.address));
    api.put(&pod(json!({})));
    let mut agent = Agent::start_with(&node, &[("LOG_OUTPUT_LEVEL", "info")]);
    agent.wait_for("ms after the start");
    let mut call = call_for(UID);
    call.level = "debug".into();
    let make = || assert!(make(&node, &call, Some(sandbox.as_fd())).result.is_ok());
    make();
    // What is told of a call comes after its answer.
    agent.wait_for("============= End ");
    agent.signal(Signal::SIGUSR1);
    agent.wait_for("the level of this log is debug now");
    make();
    agent.wait_for("rules.verify done in ");
    agent.signal(Signal::SIGUSR2);
    agent.wait_for("the level of this log is info now");
    make();
    agent.signal(Signal::SIGTERM);
    assert!(agent.ended().success());
    let said = |words: &str| {
        let of = |line: &Value| line["msg"].as_str().is_some_and(|message| message.starts_with(words));
        agent.log.iter().filter(|line| of(line)).count()
    };
    assert_eq!((said("rules.verify done in "), said("============= End ")), (1, 3));
}
