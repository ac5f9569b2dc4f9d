//! Who may not ask, or gets no answer, is told so in a sentence that says what to do; and the exit status is 2.

use crate::cluster::Cluster;
use crate::support::api::Fault;
use serde_json::json;

#[test]
fn a_list_of_agents_that_cannot_be_had_ends_it_with_the_right_that_is_missing() {
    let mut cluster = Cluster::simulated();
    cluster.add_fine("node-a");
    for (fault, words) in [
        (Fault::Status(401), "does not accept these credentials (401)"),
        (Fault::Status(403), "kubectl auth can-i list pods -A says whether one may"),
        (Fault::Status(500), "answered with status 500"),
        (Fault::Garbage, "answered something that is no pod"),
        (Fault::Silence, "did not answer within"),
    ] {
        cluster.scene.runtime.api.fail("list", Some(fault));
        let findings = cluster.doctor(&["--timeout", "2"]);
        assert_eq!(findings.status, 2, "{findings:#?}");
        assert!(findings.stderr.contains("the agents' pods cannot be listed: "), "{findings:#?}");
        assert!(findings.stderr.contains("; see istio-cni-otel runbook api-server"), "{findings:#?}");
        assert!(findings.stderr.contains(words) && findings.stderr.lines().count() == 1, "{findings:#?}");
        assert_eq!(findings.report["exit"]["status"], 2);
        assert!(findings.report["exit"]["reason"].as_str().unwrap().contains(words), "{findings:#?}");
        assert_eq!((&findings.report["status"], &findings.report["findings"]), (&json!("unknown"), &json!([])));
    }
    cluster.scene.runtime.api.fail("list", Some(Fault::Status(403)));
    let named = cluster.doctor(&["--agent-namespace", "mesh"]);
    assert!(named.stderr.contains("kubectl auth can-i list pods -n mesh"), "{named:#?}");
}

#[test]
fn without_the_right_to_list_nodes_the_agents_are_asked_regardless() {
    let mut cluster = Cluster::simulated();
    cluster.add_fine("node-a");
    for fault in [Fault::Status(403), Fault::Status(401), Fault::Garbage, Fault::Silence] {
        cluster.scene.runtime.api.fail("nodes.list", Some(fault));
        let findings = cluster.doctor(&["--timeout", "20"]);
        findings.fine();
        let agents = findings.of("cluster.agents");
        assert_eq!(agents["status"], "unknown", "{findings:#?}");
        assert!(agents["next"].as_str().unwrap().contains("kubectl auth can-i list nodes says"), "{agents:#}");
    }
}

#[test]
fn connections_to_agents_that_are_refused_are_told_from_those_that_fail() {
    let mut cluster = Cluster::simulated();
    cluster.add_fine("node-a");
    let create = "kubectl auth can-i create pods --subresource=portforward -n istio-system says";
    for (fault, words) in [(Fault::Status(403), create), (Fault::Status(401), "kubectl auth whoami")] {
        cluster.scene.runtime.api.fail("portforward.get", Some(fault));
        let findings = cluster.doctor(&[]);
        assert_eq!(findings.status, 2, "{findings:#?}");
        assert!(
            findings.stderr.contains("no agent may be asked: ") && findings.stderr.contains(words),
            "{findings:#?}"
        );
    }
    for (fault, words) in [
        (Fault::Status(500), "answered with status 500"),
        (Fault::Garbage, "does not forward to pod"),
        (Fault::Silence, "did not answer within 500ms"),
    ] {
        cluster.scene.runtime.api.fail("portforward.get", Some(fault));
        let findings = cluster.doctor(&["--timeout", "2"]);
        assert_eq!(findings.status, 1, "{findings:#?}");
        assert!(findings.report["nodes"].to_string().contains(words), "{findings:#?}");
    }
}

#[test]
fn of_a_pod_each_missing_right_is_named() {
    let mut cluster = Cluster::simulated();
    let known = json!([{"check": "pod.known", "status": "ok", "what": "the agent knows the pod"}]);
    let report = crate::cluster::report(env!("CARGO_PKG_VERSION"), "", &known);
    cluster.add(["node-a".to_owned()].into_iter(), &report);
    let mut web = crate::node::pod(1);
    web["spec"]["nodeName"] = json!("node-a");
    let api = &cluster.scene.runtime.api;
    api.put(&web);
    let pod =
        format!("{}/{}", web["metadata"]["namespace"].as_str().unwrap(), web["metadata"]["name"].as_str().unwrap());
    let doctor = || cluster.doctor(&["--pod", &pod]);
    doctor().fine();
    api.fail("events.list", Some(Fault::Status(403)));
    let findings = doctor();
    findings.fine();
    assert!(findings.of("pod.events")["next"].as_str().unwrap().contains("kubectl auth can-i list events -n shop"));
    api.fail("portforward.get", Some(Fault::Status(403)));
    let findings = doctor();
    assert_eq!(findings.status, 2, "{findings:#?}");
    assert!(findings.stderr.contains("the agent may not be asked: "), "{findings:#?}");
    api.fail("get", Some(Fault::Status(403)));
    let findings = doctor();
    assert_eq!(findings.status, 2, "{findings:#?}");
    assert!(findings.stderr.contains("kubectl auth can-i get pods -n shop"), "{findings:#?}");
}
