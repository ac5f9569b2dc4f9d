//! Every combination of flags works, or is refused with a sentence that says what is allowed; and the exit status says
//! what it came to.

use crate::bundle::unpacked;
use crate::cluster::{Cluster, StandIn, agent_on, node_of};
use crate::scene::Scene;
use serde_json::json;
use std::process::Command;

/// Status and standard error of the command with these arguments alone.
fn used(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_istio-cni-otel"));
    let output = command.arg("doctor").args(arguments).env_clear().output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_makes_no_sense_is_refused_with_what_does() {
    let scene = Scene::bare();
    let run_dir = scene.runtime.node.run_dir.path().to_str().unwrap();
    let node = |more: &[&'static str]| [&["--cni-agent-run-dir", run_dir], more].concat();
    for (arguments, words) in [
        (node(&["--kubeconfig", "x"]), "--kubeconfig is for looking at a cluster"),
        (node(&["--context", "x"]), "give --cluster too, or leave --context out"),
        (node(&["--agent-namespace", "x"]), "--agent-namespace is for looking at a cluster"),
        (node(&["--agent-selector", "x=y"]), "--agent-selector is for looking at a cluster"),
        (node(&["--agent-port", "7"]), "--agent-port is for looking at a cluster"),
        (node(&["--timeout", "7"]), "--timeout is for looking at a cluster"),
        (node(&["--cluster"]), "cannot be used with"),
        (vec!["--cluster", "--cni-net-dir", "/x"], "cannot be used with"),
        (vec!["--cluster", "--runtime-endpoint", "/x"], "cannot be used with"),
        (vec!["--cluster", "--timeout", "0"], "1..=3600"),
        (vec!["--cluster", "--pod", "web-0"], "--pod takes NAMESPACE/NAME"),
        (vec!["--cluster", "--bundle", "-"], "it is not written to standard output"),
        (vec!["--cluster", "--bundle", "/tmp"], "it is a directory; it takes the path of a file"),
        (node(&["--bundle", "/nowhere/x.tar.gz"]), "there is no such directory"),
    ] {
        let (status, said) = used(&arguments);
        assert_eq!(status, 2, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn one_pod_of_a_cluster_has_a_bundle_too() {
    let mut cluster = Cluster::simulated();
    cluster.add_fine("node-a");
    let mut web = crate::node::pod(1);
    web["spec"]["nodeName"] = json!("node-a");
    cluster.scene.runtime.api.put(&web);
    let path = cluster.kubeconfig.path().join("bundle.tar.gz");
    for form in ["text", "json"] {
        let mut command = cluster.command(&["--pod", "shop/web-1", "--output", form, "--bundle"]);
        let output = command.arg(&path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(said, format!("istio-cni-otel: the bundle is {}\n", path.display()));
        let files = unpacked(&path);
        for name in ["report.json", "report.txt", "versions.txt", "missing.txt"] {
            assert!(files.contains_key(name), "{name} is missing: {:?}", files.keys());
        }
        for name in ["settings.txt", "metrics.txt", "traces.json", "explain.json"] {
            assert!(files["missing.txt"].contains(&format!("nodes/node-a/{name}: ")), "{}", files["missing.txt"]);
        }
        std::fs::remove_file(&path).unwrap();
    }
    // Without anybody to ask there is no bundle, which is said.
    let refused =
        cluster.command(&["--kubeconfig", "/nowhere/config", "--pod", "shop/web-1", "--bundle"]).arg(&path).output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("(no bundle was written)"));
    assert!(!path.exists());
}

#[test]
fn what_agents_say_is_in_a_clusters_bundle_under_their_nodes_whole_names_and_without_secrets() {
    let mut cluster = Cluster::simulated();
    let long = format!("{}.example", "n".repeat(230));
    let problem = json!([{"check": "network.place", "status": "problem", "what": "token=PLANTED@!PLANTED", "next": "look",
        "evidence": ["https://joe:PLANTED@!PLANTED@registry/"], "runbook": "x"}]);
    let report = crate::cluster::report("0.1.0", &cluster.plugin, &problem).to_string();
    let answer = |text: String| axum::routing::get(move || async move { text.clone() });
    let id = "0123456789abcdef0123456789abcdef";
    let traces = json!({"traces": [{"traceId": id, "errorType": "x", "attributes": [{"key": "api-token", "value": "PLANTED"}]}]}).to_string();
    let routes = axum::Router::new()
        .route("/api/v1/doctor", answer(report))
        .route("/api/v1/metrics", answer("metric{token=\"PLANTED\"} 7\n".to_owned()))
        .route("/api/v1/traces", answer(traces))
        .route("/api/v1/traces/{id}", answer(json!({"resourceSpans": [{"token": "PLANTED"}]}).to_string()));
    let stand_in = StandIn::with(routes);
    for node in [long.as_str(), "node-b"] {
        cluster.put(node, stand_in.address);
    }
    cluster.stand_ins.push(stand_in);
    let path = cluster.kubeconfig.path().join("bundle.tar.gz");
    let findings = cluster.doctor(&["--bundle", path.to_str().unwrap()]);
    assert_eq!((findings.status, findings.report["exit"]["status"].as_i64()), (1, Some(1)), "{findings:#?}");
    let files = unpacked(&path);
    for node in [long.as_str(), "node-b"] {
        assert!(files[&format!("nodes/{node}/metrics.txt")].contains("metric{token="), "{files:#?}");
        assert!(files.contains_key(&format!("nodes/{node}/traces.json")), "{:?}", files.keys());
        assert!(files[&format!("nodes/{node}/traces/{id}.json")].contains("resourceSpans"), "{:?}", files.keys());
        let said = format!("nodes/{node}/settings.txt: it is of a version that cannot be asked");
        assert!(files["missing.txt"].contains(&said), "{}", files["missing.txt"]);
    }
    for (name, content) in &files {
        assert!(!content.contains("PLANTED"), "{name} has a secret: {content}");
    }
}

#[test]
fn where_all_is_unknown_nothing_is_said_to_be_well() {
    let cluster = Cluster::simulated();
    let mut off = agent_on("node-a");
    off["spec"]["containers"][0]["env"] = json!([{"name": "PAGE_ADDRESS", "value": "off"}]);
    cluster.scene.runtime.api.put(&node_of("node-a"));
    cluster.scene.runtime.api.put(&off);
    let findings = cluster.doctor(&[]);
    assert_eq!((findings.wrong(), findings.status), (Vec::new(), 2), "{findings:#?}");
    assert!(findings.stderr.contains("no agent told anything of its node"), "{findings:#?}");
    assert_eq!(findings.report["exit"]["meaning"], "it could not be looked");
    assert_eq!(findings.report["nodes"][0]["findings"][0]["status"], "unknown", "what is known is printed");
    let mut web = crate::node::pod(1);
    web["spec"]["nodeName"] = json!("node-a");
    cluster.scene.runtime.api.put(&web);
    let findings = cluster.doctor(&["--pod", "shop/web-1"]);
    assert_eq!((findings.wrong(), findings.status), (Vec::new(), 2), "{findings:#?}");
    assert!(findings.stderr.contains("does not say what it knows of the pod"), "{findings:#?}");
}
