//! The plugin and the agent killed before each single system call with which an ADD sets a pod up,
//! from the first inside its namespace to the answer: there are none of the rules or all, with either
//! backend, and the next ADD makes them all.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::ruleset::{Difference, Ruleset};
use istio_cni_otel::domain::settings::{Mode, RedirectSettings};
use istio_cni_otel::host::uds::Connection;
use istio_cni_otel::wire::agent::{self as wire, Kind};
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::agent::{Agent, PATIENCE, call_for};
use support::api::Api;
use support::*;

/// No ADD makes as many system calls.
const LIMIT: usize = 5_000;
/// How many ADDs are killed at the same time.
const AT_ONCE: usize = 3;

/// A pod whose rules are in every table of both families, with policy routing and an address.
fn rich_pod() -> Value {
    let mut pod = pod(json!({"sidecar.istio.io/interceptionMode": "TPROXY"}));
    let on = |name: &str| json!({"name": name, "value": "true"});
    pod["spec"]["containers"][1]["env"] =
        json!([on("ISTIO_META_DNS_CAPTURE"), on("ISTIO_DUAL_STACK"), on("INVALID_DROP")]);
    pod
}

/// The rules of that pod.
fn rules() -> Ruleset {
    let settings = RedirectSettings {
        mode: Mode::Tproxy,
        dns_capture: true,
        dual_stack: true,
        invalid_drop: true,
        ..default_settings()
    };
    ruleset(&settings, Addresses::Dual)
}

/// A node with an API server that has the pod.
fn node_and_api(backend: Backend) -> (Node, Api) {
    loopback();
    let api = Api::start();
    api.put(&rich_pod());
    let node = Node::new().conf("redirect_backend", json!(backend.name())).conf("agent_timeout_ms", json!(20_000));
    node.write_kubeconfig(&format!("http://{}", api.address));
    (node, api)
}

/// What a killed process left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    None,
    All,
}

/// Whether the namespace has none of the rules or all of them; there is no third way.
fn left(pod: &Namespace, backend: Backend, when: &str) -> Left {
    // Tools that were started go on, and hold the lock until they end.
    let found = differences(pod, backend, &rules());
    if found.is_empty() {
        return Left::All;
    }
    let any = match backend {
        Backend::Iptables => pod.sh("iptables-nft-save; ip6tables-nft-save").contains("ISTIO_"),
        _ => !pod.nft_tables().is_empty(),
    };
    // Routing and the address come before the rules, and do nothing alone.
    let rules = |difference: &&Difference| !["ip ", "lo"].iter().any(|place| difference.place.starts_with(place));
    let found: Vec<&Difference> = found.iter().filter(rules).collect();
    assert!(!any || found.is_empty(), "{when}: {found:?}");
    if any { Left::All } else { Left::None }
}

/// Whether this is one of the kills after which more is looked at.
fn is_one_of_a_few(n: usize) -> bool {
    n.is_multiple_of(8)
}

/// The next ADD, after which all is there; and now and then connections that show it.
fn next_add(node: &Node, wire: &Wire, backend: Backend, n: usize) {
    let when = format!("after call {n}");
    assert_eq!(node.call("ADD", &wire.pod.path()).result(), prev_result(), "{when}");
    assert_eq!(differences(&wire.pod, backend, &rules()), [], "{when}");
    if is_one_of_a_few(n) {
        let _pod = Listeners::start(&wire.pod, "pod", &[15001, 15006, 8080], &[]);
        let _peer = Listeners::start(&wire.peer, "peer", &[80], &[]);
        for (far, own) in [(FAR4[0], POD4), (FAR6[0], POD6)] {
            let to = |address: &str, port: u16| std::net::SocketAddr::new(address.parse().unwrap(), port);
            let outbound = Probe::tcp(far, 80).run(&wire.pod);
            assert_eq!(outbound, format!("pod:15001 to {}", to(far, 80)), "{when}");
            let inbound = Probe::tcp(own, 8080).run(&wire.peer);
            assert_eq!(inbound, format!("pod:15006 to {}", to(own, 8080)), "{when}");
        }
    }
}

/// Takes away what killed calls left: with every file there, leaving the next takes more calls.
fn empty_the_spool(node: &Node) {
    // There is none as long as no call came to its end.
    let _ = std::fs::remove_dir_all(node.path("spool"));
}

/// How often a process was killed, by what it left.
#[derive(Debug)]
struct Killed {
    /// None of the rules.
    empty: usize,
    /// All of them.
    whole: usize,
}

/// Which call is the next to be killed before, and what came of the earlier ones.
#[derive(Default)]
struct Count {
    next: AtomicUsize,
    empty: AtomicUsize,
    whole: AtomicUsize,
}

impl Count {
    fn next(&self) -> usize {
        let n = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(n < LIMIT, "the ADD never came to its end");
        n
    }

    fn killed(&self, left: Left) {
        let counter = if left == Left::None { &self.empty } else { &self.whole };
        counter.fetch_add(1, Ordering::SeqCst);
    }
}

impl From<Count> for Killed {
    fn from(count: Count) -> Killed {
        Killed { empty: count.empty.into_inner(), whole: count.whole.into_inner() }
    }
}

/// Calls the plugin, kills it before its n-th system call for each n there is, and looks at what is
/// left; then the next ADD.
fn kill_the_plugin_everywhere(backend: Backend) -> Killed {
    let count = Count::default();
    let work = || {
        let (node, _api) = node_and_api(backend);
        loop {
            let n = count.next();
            empty_the_spool(&node);
            let wire = Wire::new(Addresses::Dual);
            if !call_killed_at(&node, "ADD", &wire.pod.path(), Counted::SetUp, n) {
                assert_eq!(differences(&wire.pod, backend, &rules()), [], "an ADD that was not killed");
                return;
            }
            let left = left(&wire.pod, backend, &format!("killed before call {n}"));
            count.killed(left);
            // Where all is there, the next ADD is a second one; with iptables that takes its time.
            if left == Left::None || backend == Backend::Nftables || is_one_of_a_few(n) {
                next_add(&node, &wire, backend, n);
            }
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    count.into()
}

#[test]
fn a_plugin_alone_with_nftables() {
    let killed = kill_the_plugin_everywhere(Backend::Nftables);
    assert!(killed.empty > 20 && killed.whole > 20, "{killed:?}");
}

#[test]
fn a_plugin_alone_with_iptables() {
    if other_users_for("iptables, which takes no rule with a user that the user namespace does not have") {
        let killed = kill_the_plugin_everywhere(Backend::Iptables);
        assert!(killed.empty > 50 && killed.whole > 50, "{killed:?}");
    }
}

/// Asks the agent for an ADD, as the plugin does, and waits for its answer or its end.
fn ask(node: &Node, backend: Backend, pod: &Namespace) {
    let mut call = call_for(UID);
    call.request.backend = backend;
    let frame = wire::frame(Kind::Call, &wire::encode_call(&call).unwrap()).unwrap();
    let mut connection = Connection::connect(&node.path("agent.sock"), PATIENCE).unwrap();
    // An agent that is killed hangs up, wherever we are.
    let _ = connection.send_with(&frame, pod.as_fd()).and_then(|()| connection.receive(&mut [0]));
}

/// Kills the agent before the n-th system call of the thread that serves an ADD, for each n there
/// is, and looks at what is left; then the next ADD, which finds no agent.
fn kill_the_agent_everywhere(backend: Backend, stride: usize) -> Killed {
    let count = Count::default();
    let work = || {
        let (node, api) = node_and_api(backend);
        loop {
            let n = (count.next() - 1) * stride + 1;
            empty_the_spool(&node);
            let (wire, agent) = (Wire::new(Addresses::Dual), Agent::start(&node, &api));
            let pod = &wire.pod;
            let hit =
                std::thread::scope(|scope| kill_agent_at(agent, n, || drop(scope.spawn(|| ask(&node, backend, pod)))));
            if !hit {
                assert_eq!(differences(pod, backend, &rules()), [], "an agent that was not killed");
                return;
            }
            count.killed(left(pod, backend, &format!("the agent killed before call {n}")));
            next_add(&node, &wire, backend, n);
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    count.into()
}

#[test]
fn an_agent_with_nftables() {
    let killed = kill_the_agent_everywhere(Backend::Nftables, 1);
    assert!(killed.empty > 20 && killed.whole > 20, "{killed:?}");
}

/// The calls between are those of a plugin alone.
#[test]
fn an_agent_with_iptables() {
    if other_users_for("iptables, which takes no rule with a user that the user namespace does not have") {
        let killed = kill_the_agent_everywhere(Backend::Iptables, 9);
        assert!(killed.empty > 5 && killed.whole > 5, "{killed:?}");
    }
}
