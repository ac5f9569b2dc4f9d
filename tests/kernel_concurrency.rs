//! Many at once: one writer per namespace over all processes, and namespaces that do not wait for
//! each other.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::failure::Classify;
use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::host::netns::{self, OwnNamespace};
use istio_cni_otel::host::netns_lock::{LockError, acquire};
use serde_json::json;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;
use support::agent::Agent;
use support::api::Api;
use support::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

child_work!(hold_the_lock);

/// Holds a namespace's lock until it is killed.
fn hold_the_lock() {
    let namespace = netns::open(Path::new(&argument("NAMESPACE")), OwnNamespace::Refused).unwrap();
    let _lock = acquire(namespace.as_fd(), LONG).unwrap();
    ready();
}

#[test]
fn the_lock_is_exclusive_between_processes_and_ends_with_its_holder() {
    let pod = Namespace::new();
    let holder = TestProcess::start(&[("NAMESPACE", &pod.path())]);
    let refused = acquire(pod.as_fd(), SHORT).unwrap_err();
    assert!(matches!(refused, LockError::Timeout { waited } if waited >= SHORT), "{refused}");
    assert_eq!((refused.error_type(), refused.retryable()), (ErrorType::LockTimeout, true));
    assert!(acquire(Namespace::new().as_fd(), SHORT).is_ok(), "another namespace's lock is free");
    holder.kill();
    acquire(pod.as_fd(), LONG).unwrap();
}

#[test]
fn the_lock_is_exclusive_within_a_process() {
    let pod = Namespace::new();
    let held = acquire(pod.as_fd(), SHORT).unwrap();
    assert!(acquire(pod.as_fd(), SHORT).is_err());
    drop(held);
    assert!(acquire(pod.as_fd(), SHORT).is_ok());
}

#[test]
fn of_many_adds_at_once_for_one_namespace_one_changes_it() {
    let rules = ruleset(&as_the_proxy(richest_settings()), Addresses::Dual);
    for backend in [Backend::Nftables, Backend::Iptables] {
        let pod = Namespace::new();
        let changed: Vec<bool> = std::thread::scope(|scope| {
            let adds: Vec<_> = (0..8).map(|_| scope.spawn(|| apply(&pod, backend, &rules).unwrap().changed)).collect();
            adds.into_iter().map(|add| add.join().unwrap()).collect()
        });
        assert_eq!(changed.iter().filter(|changed| **changed).count(), 1, "{backend:?}: {changed:?}");
        assert_eq!(differences(&pod, backend, &rules), []);
    }
}

/// Nodes that share an API server, for one with an agent and one where the plugin is alone.
fn node_for_many(backend: &str) -> Node {
    let waits = ("agent_timeout_ms", json!(20_000));
    Node::new().conf("redirect_backend", json!(backend)).conf(waits.0, waits.1).conf("api_timeout_ms", json!(10_000))
}

#[test]
fn of_many_plugins_at_once_for_one_namespace_all_succeed_with_one_set_of_rules() {
    for (backend, name, others) in [(Backend::Nftables, "nftables", "ip "), (Backend::Iptables, "iptables", "inet ")] {
        let (wire, api) = (Wire::new(Addresses::V4), Api::start());
        api.put(&pod(json!({})));
        let (served, alone) = (node_for_many(name), node_for_many(name));
        alone.write_kubeconfig(&format!("http://{}", api.address));
        let agent = Agent::start(&served, &api);
        let (path, start) = (wire.pod.path(), Barrier::new(8));
        let add = |node: &Node| {
            start.wait();
            node.call("ADD", &path)
        };
        std::thread::scope(|scope| {
            let nodes = [&served, &alone].into_iter().cycle().take(8);
            let adds: Vec<_> = nodes.map(|node| scope.spawn(|| add(node))).collect();
            for add in adds {
                assert_eq!(add.join().unwrap().result(), prev_result(), "{name}");
            }
        });
        let by_agent = r#"istio_cni_requests_total{command="add",outcome="enrolled",reason="",path="agent"}"#;
        agent.wait_for_metric(by_agent, 4.0);
        assert_eq!(alone.spooled().len(), 4, "{name}: the others went alone");

        let rules = ruleset(&default_settings(), Addresses::V4);
        assert_eq!(differences(&wire.pod, backend, &rules), [], "{name}");
        let tables = wire.pod.nft_tables();
        assert!(!tables.is_empty() && tables.iter().all(|table| !table.starts_with(others)), "{name}: {tables:?}");
        let _pod = Listeners::start(&wire.pod, "pod", &[15001, 15006], &[]);
        assert_eq!(Probe::tcp(FAR4[0], 80).run(&wire.pod), "pod:15001 to 10.2.0.9:80", "{name}");
        assert_eq!(Probe::tcp(POD4, 8080).run(&wire.peer), "pod:15006 to 10.1.0.5:8080", "{name}");
    }
}

#[test]
fn fifty_namespaces_at_once() {
    let rules = ruleset(&as_the_proxy(richest_settings()), Addresses::Dual);
    for backend in [Backend::Nftables, Backend::Iptables] {
        let pods: Vec<Namespace> = (0..50).map(|_| Namespace::new()).collect();
        std::thread::scope(|scope| {
            for pod in &pods {
                scope.spawn(|| {
                    assert!(apply(pod, backend, &rules).unwrap().changed);
                    assert_eq!(differences(pod, backend, &rules), []);
                });
            }
        });
    }
}
