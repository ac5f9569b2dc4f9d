//! A process that is killed at any moment of an ADD leaves all of its rules or none, and the next
//! ADD brings all of them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

mod support;

use istio_cni_otel::domain::render_iptables;
use istio_cni_otel::domain::request::Backend;
use istio_cni_otel::domain::ruleset::{Family, Ruleset};
use istio_cni_otel::host::netns::{self, OwnNamespace};
use std::path::Path;
use support::*;

/// No ADD needs as many system calls.
const LIMIT: usize = 5_000;

fn rules() -> Ruleset {
    ruleset(&as_the_proxy(richest_settings()), Addresses::Dual)
}

child_work!(add);

/// The victim: an ADD in a process of its own.
fn add() {
    let path = argument("NAMESPACE");
    let namespace = netns::open(Path::new(&path), OwnNamespace::Refused).unwrap();
    let backend = if argument("BACKEND") == "iptables" { Backend::Iptables } else { Backend::Nftables };
    if ready() {
        apply(&namespace, backend, &rules()).unwrap();
    }
}

/// Kills an ADD before its first system call, and so on, until one comes to its end; `check`
/// looks at what each left.
fn kill_everywhere(backend: Backend, stride: usize, check: impl Fn(&Namespace, usize)) {
    for n in (1..LIMIT).step_by(stride) {
        let pod = Namespace::new();
        let path = pod.path();
        let victim = TestProcess::start(&[("NAMESPACE", &path), ("BACKEND", backend.name())]);
        if !victim.kill_at(n) {
            assert!(n > 20, "the ADD ended before it could be killed often");
            assert_eq!(differences(&pod, backend, &rules()), [], "an ADD that was not killed");
            return;
        }
        check(&pod, n);
        apply(&pod, backend, &rules()).unwrap();
        assert_eq!(differences(&pod, backend, &rules()), [], "the next ADD, after one killed before call {n}");
    }
    panic!("the ADD never came to its end");
}

#[test]
fn nftables_has_all_rules_or_none() {
    kill_everywhere(Backend::Nftables, 1, |pod, n| {
        let tables = pod.nft_tables();
        let found = differences(pod, Backend::Nftables, &rules());
        assert!(tables.is_empty() || found.is_empty(), "killed before call {n}: {tables:?}, but {found:?}");
    });
}

#[test]
fn iptables_has_all_rules_of_both_families_or_none_once_its_tools_have_ended() {
    kill_everywhere(Backend::Iptables, 2, |pod, n| {
        // The tools that were started go on, and hold the lock until they end.
        let saved = with_kernel(pod, Backend::Iptables, |_| {
            Ok([Family::V4, Family::V6].map(|family| {
                let tool = render_iptables::tool_name(family);
                (family, pod.sh(&format!("{tool}-nft-save")))
            }))
        });
        let saved = saved.unwrap();
        let none = saved.iter().all(|(_, saved)| !saved.contains("ISTIO_"));
        for (family, saved) in saved {
            let found = render_iptables::differences(&rules(), family, &saved);
            assert!(none || found.is_empty(), "killed before call {n}: {family:?}: {found:?}");
        }
    });
}
