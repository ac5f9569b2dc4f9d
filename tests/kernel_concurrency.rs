//! Many at once: one writer per namespace over all processes, and namespaces that do not wait for
//! each other.

mod support;

use istio_cni_otel::domain::failure::Classify;
use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::host::netns::{self, OwnNamespace};
use istio_cni_otel::host::netns_lock::{LockError, acquire};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;
use support::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

/// Holds a namespace's lock in a process of its own.
#[test]
#[ignore = "run by another test, which kills it"]
fn a_holder() {
    let namespace = netns::open(Path::new(&argument("NAMESPACE")), OwnNamespace::Refused).unwrap();
    let _lock = acquire(namespace.as_fd(), LONG).unwrap();
    ready();
}

#[test]
fn the_lock_is_exclusive_between_processes_and_ends_with_its_holder() {
    let pod = Namespace::new();
    let holder = TestProcess::start("a_holder", &[("NAMESPACE", &pod.path())]);
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
