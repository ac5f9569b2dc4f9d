//! Minutes of trouble: somebody who never stops writing the node's configuration, a token that
//! changes every second, an agent that is restarted every second. What is told of the node stays true,
//! and every pod is set up.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its numbers"
)]

#[path = "endurance/account.rs"]
mod account;
#[path = "endurance/asks.rs"]
mod asks;
#[path = "support/otlp.rs"]
mod otlp;
#[path = "endurance/received.rs"]
mod received;
#[path = "endurance/restarts.rs"]
mod restarts;
mod support;

use account::{Account, tls_front, token};
use asks::{Ask, Changes};
use serde_json::{Value, json};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::agent::{Agent, sandbox};
use support::eventually;
use support::layout::PRIMARY;
use support::runtime_node::{LIST, RuntimeNode, pod_number};

/// CPU time that the agent has used so far.
fn cpu(agent: &Agent) -> Duration {
    Duration::from(nix::time::clock_getcpuclockid(agent.pid()).unwrap().now().unwrap())
}

/// Writes the primary's own configuration over ours, whole each time, as careful writers do.
fn write_over_and_over(world: &RuntimeNode, lasting: Duration) -> usize {
    let (start, mut writes) = (Instant::now(), 0);
    let (temporary, list) = (world.layout.net().join(".10-primary.writing"), world.layout.net().join(LIST));
    while start.elapsed() < lasting {
        fs::write(&temporary, PRIMARY).unwrap();
        fs::rename(&temporary, &list).unwrap();
        writes += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    writes
}

/// Reads the list until it is told to stop: it is whole each time, and has its primary.
fn read_over_and_over(world: &RuntimeNode, stop: &AtomicBool) -> usize {
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = fs::read_to_string(world.layout.net().join(LIST)).expect("there is always a list");
        let list: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        let types: Vec<&str> =
            list["plugins"].as_array().unwrap().iter().map(|plugin| plugin["type"].as_str().unwrap()).collect();
        assert!(types == ["bridge", "portmap"] || types == ["bridge", "portmap", "istio-cni"], "{types:?}");
        reads += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    reads
}

#[test]
fn a_writer_that_never_stops_is_met_with_truth_and_restraint() {
    const LASTING: Duration = Duration::from_secs(30);
    /// The one at the start, those that follow at once, those with growing pauses, one each second.
    const PASSES: f64 = 1.0 + 5.0 + 5.0 + 30.0 + 2.0;
    let world = RuntimeNode::new();
    let mut agent = world.start(&[]);
    agent.wait_for("ms after the start");
    let (before, stop) = (cpu(&agent), AtomicBool::new(false));
    let mut asks = Vec::new();
    let (writes, reads) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_over_and_over(&world, LASTING));
        let reader = scope.spawn(|| read_over_and_over(&world, &stop));
        while !writer.is_finished() {
            asks.push(Ask::of(|| agent.health("/readyz").0 == 200));
            asks.push(Ask::of(|| agent.metric("istio_cni_install_ready") == Some(1.0)));
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        (writer.join().unwrap(), reader.join().unwrap())
    });
    let end = Instant::now();
    eventually("readiness", || (agent.health("/readyz").0 == 200).then_some(()));
    let (again, used) = (end.elapsed(), cpu(&agent) - before);
    assert_eq!(agent.metric("istio_cni_install_ready"), Some(1.0));
    let reverts = agent.metric("istio_cni_config_reverts_total").unwrap();
    let passes: f64 = ["SUCCESS", "COPY_BINARIES_FAILURE", "CREATE_KUBECONFIG_FAILURE", "CREATE_CNI_CONFIG_FAILURE"]
        .iter()
        .filter_map(|result| agent.metric(&format!("istio_cni_installs_total{{result=\"{result}\"}}")))
        .sum();
    let event = eventually("an Event", || world.api.events().pop());
    agent.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(agent.ended().success());

    let changes = Changes::of(&agent.log);
    asks.iter().for_each(|ask| changes.assert_agree(ask));
    let said_ready = asks.iter().filter(|ask| ask.ready).count();
    println!(
        "{writes} writes, {reads} reads; {} asks, of which {said_ready} were told that it is ready, {} changes; {reverts} \
         reverts, {passes} passes, {used:?} of CPU; ready {again:?} after the last write",
        asks.len(),
        changes.len()
    );
    assert!(said_ready > 5 && asks.len() - said_ready > 5, "{said_ready} of {}", asks.len());
    assert!(reverts > 5.0 && reverts <= passes, "{reverts} reverts, {passes} passes");
    assert!(passes <= PASSES, "{passes} passes");
    assert!(used < LASTING / 2, "{used:?} of CPU");
    assert_eq!(world.api.events().len(), 1, "a fight is complained about rarely");
    assert_eq!((&event["reason"], &event["count"]), (&json!("CNIConfigReverted"), &json!(1)), "{event}");
    assert_eq!(
        (&event["involvedObject"]["kind"], &event["involvedObject"]["name"]),
        (&json!("Node"), &json!("node-a"))
    );
}

/// Adds pods until it is told to stop, in turn through the agent and, with what is in the kubeconfig
/// at that moment, alone.
fn add_over_and_over(world: &RuntimeNode, stop: &AtomicBool, failures: &AtomicUsize) -> usize {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let (pod, netns) = (pod_number(n), sandbox());
        world.api.put(&pod);
        let answer = world.add(n, &netns.path(), |told| {
            if n % 2 == 1 {
                told["agent_socket"] = json!("/nonexistent/agent.sock");
            }
        });
        if !answer.success || netns.nft_tables().is_empty() {
            println!("ADD {n}: {answer:?}");
            failures.fetch_add(1, Ordering::Relaxed);
        }
        world.api.remove(&pod);
        n += 1;
    }
    n
}

/// The token in the plugin's kubeconfig, which is there and whole.
fn told_token(world: &RuntimeNode) -> usize {
    let text = fs::read_to_string(world.node.path("istio-cni-kubeconfig")).expect("the kubeconfig is always there");
    let newest = text.split("token-").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
    let newest = newest.unwrap_or_else(|| panic!("no token in {text:?}"));
    assert!(text.contains(&token(newest)), "a torn token in {text:?}");
    newest
}

#[test]
fn a_token_that_changes_every_second_reaches_the_plugin_and_disturbs_nobody() {
    const ROTATIONS: usize = 15;
    let world = RuntimeNode::new();
    let mut account = Account::mounted();
    let (port, _front) = tls_front(account.certificates(), world.api.address);
    account.swap(Some(0));
    let port = port.to_string();
    let mut agent = world.start(&[
        ("KUBECONFIG", ""),
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", &port),
    ]);
    agent.wait_for("ms after the start");
    let (stop, failures) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut slowest = Duration::ZERO;
    let adds = std::thread::scope(|scope| {
        let adds = scope.spawn(|| add_over_and_over(&world, &stop, &failures));
        let reads = scope.spawn(|| {
            let mut newest = 0;
            while !stop.load(Ordering::Relaxed) {
                let now = told_token(&world);
                assert!(now >= newest, "an older token came back");
                newest = now;
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for n in 1..=ROTATIONS {
            let start = Instant::now();
            account.swap(Some(n));
            eventually("the new token", || (told_token(&world) == n).then_some(()));
            slowest = slowest.max(start.elapsed());
            std::thread::sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
        reads.join().unwrap();
        adds.join().unwrap()
    });
    println!("{adds} ADDs during {ROTATIONS} rotations; the slowest was in the kubeconfig after {slowest:?}");
    assert!(adds > ROTATIONS, "{adds}");
    assert_eq!(failures.into_inner(), 0, "ADDs that failed");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");

    account.swap(None);
    let unready = agent.wait_for("not ready any more");
    assert!(unready["msg"].as_str().unwrap().contains("the token /var/run/secrets/"), "{unready}");
    let flapped = |line: &&Value| line["msg"].as_str().is_some_and(|text| text.starts_with("not ready any more"));
    assert_eq!(agent.log.iter().filter(flapped).count(), 1, "it was ready all the time before");
    let (status, body) = agent.health("/readyz");
    assert!(status == 503 && body.contains("of the pod's service account does not exist"), "{body}");
    assert_eq!(told_token(&world), ROTATIONS, "the last one is kept");
    account.swap(Some(ROTATIONS + 1));
    agent.wait_for("ready again");
    eventually("the new token", || (told_token(&world) == ROTATIONS + 1).then_some(()));
    assert_eq!(agent.health("/readyz").0, 200);
}
