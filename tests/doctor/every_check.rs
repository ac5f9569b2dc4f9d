//! Each check has a scene that breaks exactly that thing and sees exactly that finding, and all of them are fine where
//! nothing is broken. The list is that of the program's own checks: one without a scene does not compile.

use crate::cluster::{Cluster, fine, report};
use crate::scene::{Findings, Scene, Seen, text};
use crate::support::agent::PATIENCE;
use crate::support::api::Fault;
use crate::{agent, files, node, runtime};
use istio_cni_otel::domain::finding::Check;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What a scene came to.
enum Proof {
    /// Exactly this finding.
    Found(Seen),
    /// It could not be looked at all, which is an exit status of its own and no finding.
    CouldNot(Findings),
}

impl From<Seen> for Proof {
    fn from(seen: Seen) -> Proof {
        Proof::Found(seen)
    }
}

macro_rules! scenes {
    ($($check:ident: $scene:expr;)*) => {
        /// Makes the scene that breaks this check's thing.
        fn broken(check: Check) -> Proof {
            match check { $(Check::$check => ($scene)().into(),)* }
        }

        /// Each check by its name.
        mod breaking {
            $(#[test]
            #[expect(non_snake_case, reason = "it is the check's name")]
            fn $check() { super::is_found(super::Check::$check) })*
        }
    };
}

scenes! {
    ClusterApi: an_api_server_that_does_not_answer;
    ClusterAgents: a_node_without_an_agent;
    ClusterVersions: agents_of_two_versions;
    Settings: files::a_setting_that_the_agent_cannot_start_with_is_found;
    AgentAnswers: agent::an_agent_that_does_not_answer_keeps_nobody_waiting;
    AgentReady: agent::an_agent_that_waits_for_its_pods_says_so;
    AgentSocket: agent::a_socket_that_others_may_use_is_found;
    AgentCapabilities: agent::what_the_agents_process_may_not_do_is_named;
    Versions: agent::an_agent_of_another_version_is_named;
    PluginBinary: files::a_missing_an_unrunnable_and_another_plugin_are_told_apart;
    NetworkValid: files::an_entry_that_the_plugin_refuses_is_found;
    NetworkPlace: files::an_entry_that_is_gone_is_found_with_what_stands_there_instead;
    NetworkWriters: agent::whoever_undoes_the_entry_of_a_living_agent_is_found;
    RuntimeReady: runtime::a_runtime_that_hangs_refuses_or_is_broken_is_heard_of;
    RuntimeDirectory: runtime::a_runtime_that_reads_another_directory_is_found;
    Kubeconfig: files::a_kubeconfig_that_is_missing_or_broken_is_found;
    KubeconfigMode: files::a_kubeconfig_that_others_may_read_is_found;
    KubeconfigToken: files::a_token_that_has_expired_or_soon_will_is_found;
    KubeconfigAccepted: files::a_token_that_is_refused_and_an_account_that_may_not_are_told_apart;
    WatchFresh: agent::a_watch_that_hears_nothing_any_more_is_found;
    Backend: agent::a_kernel_without_what_the_rules_need_is_found;
    PodsValidation: agent::pods_whose_validation_fails_are_named;
    PodsRedirected: agent::a_pod_without_its_rules_is_found_and_one_that_cannot_be_looked_into_is_not_sure;
    PodsRepair: agent::pods_that_are_deleted_over_and_over_are_found;
    Telemetry: agent::telemetry_that_is_lost_is_counted_and_named;
    PodKnown: || Scene::new().doctor(&["--pod", "shop/nobody"]).only("pod.known", "warning", "no pod shop/nobody");
    PodRedirected: a_pod_without_its_rules;
    PodValidation: a_pod_whose_validation_fails;
    PodEvents: a_pod_with_a_warning_among_its_events;
}

fn is_found(check: Check) {
    match broken(check) {
        Proof::Found(seen) => assert_eq!(text(&seen["check"]), check.name()),
        Proof::CouldNot(findings) => {
            assert_eq!((check, findings.status), (Check::ClusterApi, 2), "{findings:#?}");
        }
    }
}

fn an_api_server_that_does_not_answer() -> Proof {
    let cluster = Cluster::new();
    cluster.scene.runtime.api.fail("list", Some(Fault::Status(503)));
    Proof::CouldNot(cluster.doctor(&[]))
}

fn a_node_without_an_agent() -> Seen {
    let cluster = Cluster::new();
    cluster.put_bare_node("node-d");
    cluster.doctor(&[]).only("cluster.agents", "problem", "node-d")
}

fn agents_of_two_versions() -> Seen {
    let mut cluster = Cluster::new();
    let old = report("0.0.9", &cluster.plugin, &fine());
    cluster.add(["node-b".to_owned()].into_iter(), &old);
    cluster.doctor(&[]).only("cluster.versions", "warning", "agent 0.0.9: node-b")
}

fn a_pod_without_its_rules() -> Seen {
    let mut scene = Scene::installed();
    let _sandbox = node::Sandbox::new(940);
    scene.runtime.api.put(&node::pod(940));
    let agent = scene.start(&[("SKIP_INSTALL", "true"), ("AUDIT_INTERVAL", "1s"), ("HOST_PROC", "/proc")]);
    agent.wait_for_metric(r#"istio_cni_pods{state="broken"}"#, 1.0);
    scene.agent = Some(agent);
    scene.doctor(&["--pod", "shop/web-940"]).only("pod.redirected", "problem", "does not have the rules")
}

fn a_pod_whose_validation_fails() -> Seen {
    let mut scene = Scene::installed();
    scene.runtime.api.put(&node::broken(941));
    scene.agent = Some(scene.start(&[("SKIP_INSTALL", "true"), ("AUDIT_INTERVAL", "0")]));
    scene.doctor(&["--pod", "shop/web-941"]).only("pod.validation", "problem", "exit code 126")
}

fn a_pod_with_a_warning_among_its_events() -> Seen {
    let (cluster, web) = with_a_pod(942);
    cluster.scene.runtime.api.put(&json!({"apiVersion": "v1", "kind": "Event", "type": "Warning", "count": 7,
        "metadata": {"namespace": "shop", "name": "web.1"}, "reason": "FailedCreatePodSandBox", "message": "no",
        "involvedObject": {"kind": "Pod", "uid": web["metadata"]["uid"]}, "source": {"component": "kubelet"}}));
    cluster.doctor(&["--pod", "shop/web-942"]).only("pod.events", "warning", "FailedCreatePodSandBox")
}

/// A cluster whose agent knows a pod that is to have no rules.
fn with_a_pod(number: node::Number) -> (Cluster, serde_json::Value) {
    let cluster = Cluster::new();
    let mut web = node::passed(node::pod(number));
    web["metadata"]["annotations"] = json!({});
    web["spec"]["nodeName"] = json!("node-a");
    cluster.scene.runtime.api.put(&web);
    let (deadline, pod) = (Instant::now() + PATIENCE, format!("shop/{}", node::name(number)));
    while cluster.doctor(&["--pod", &pod]).of("pod.known")["status"] != "ok" {
        assert!(Instant::now() < deadline, "its agent does not hear of {pod}");
        std::thread::sleep(Duration::from_millis(50));
    }
    (cluster, web)
}

#[test]
fn every_check_is_fine_where_nothing_is_broken() {
    let mut well = BTreeSet::new();
    let mut note = |findings: &Findings| {
        findings.fine();
        let fine = findings.all().into_iter().filter(|finding| finding["status"] == "ok");
        well.extend(fine.map(|finding| text(&finding["check"]).to_owned()));
    };
    let mut scene = Scene::bare();
    let mut outside = node::passed(node::pod(951));
    outside["metadata"]["annotations"] = json!({});
    scene.runtime.api.put(&outside);
    scene.agent = Some(scene.start(&[("AUDIT_INTERVAL", "1s"), ("REPAIR_LABEL_PODS", "true")]));
    let deadline = Instant::now() + PATIENCE;
    while scene.doctor(&[]).of("pods.redirected")["status"] != "ok" {
        assert!(Instant::now() < deadline, "{:#?}", scene.doctor(&[]));
        std::thread::sleep(Duration::from_millis(100));
    }
    note(&scene.doctor(&[]));
    note(&scene.doctor(&["--pod", "shop/web-951"]));
    note(&files::with_a_token_that_lasts());
    let (cluster, _) = with_a_pod(952);
    note(&cluster.doctor(&[]));
    note(&cluster.doctor(&["--pod", "shop/web-952"]));
    let lacking: Vec<_> = Check::ALL.iter().map(|check| check.name()).filter(|name| !well.contains(*name)).collect();
    assert!(lacking.is_empty(), "never seen to be fine: {lacking:?}");
}
