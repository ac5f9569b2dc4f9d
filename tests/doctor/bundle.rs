//! `--bundle`: what a bug report needs is in it, and no secret is.

use crate::scene::Scene;
use crate::support::runtime_node::LIST;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What is planted wherever a secret could be.
const PLANTED: &str = "PLANTED-SECRET";

/// The bundle's files, as everybody else's tar unpacks them.
fn unpacked(bundle: &Path) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let done = Command::new("tar").arg("-xzf").arg(bundle).arg("-C").arg(directory.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let root = directory.path().join("istio-cni-doctor");
    let files = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    files.map(read).collect()
}

#[test]
fn a_bundle_has_what_a_report_needs_and_no_secret() {
    let mut scene = Scene::installed();
    let headers = format!("authorization={PLANTED}");
    let settings = [("SKIP_INSTALL", "true"), ("OTEL_EXPORTER_OTLP_HEADERS", headers.as_str())];
    scene.agent = Some(scene.start(&settings));
    let whole = fs::read_to_string(scene.kubeconfig()).unwrap();
    fs::write(scene.kubeconfig(), whole.replace("token:", &format!("token: {PLANTED}#"))).unwrap();
    assert!(fs::read_to_string(scene.kubeconfig()).unwrap().contains(PLANTED));
    let mut list = scene.runtime.layout.read(LIST).unwrap();
    list["plugins"][0]["password"] = json!(PLANTED);
    scene.runtime.layout.write(LIST, &list.to_string());
    let log = format!(
        "first line\nthe server said: Authorization: Bearer {PLANTED}\n{{\"token\":\"{PLANTED}\"}}\nlast line\n"
    );
    fs::write(scene.runtime.node.path("istio-cni.log"), log).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundle.tar.gz");
    let findings =
        scene.doctor_with(&["--bundle", path.to_str().unwrap()], &[("OTEL_EXPORTER_OTLP_HEADERS", &headers)]);
    assert!(!findings.report.to_string().contains(PLANTED), "{findings:#?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let files = unpacked(&path);
    for name in [
        "report.json",
        "report.txt",
        "versions.txt",
        "network.txt",
        "run.txt",
        "plugin.log",
        "settings.txt",
        "metrics.txt",
    ] {
        assert!(files.contains_key(name), "{name} is missing: {:?}", files.keys());
    }
    for (name, content) in &files {
        assert!(!content.contains(PLANTED), "{name} has the secret: {content}");
    }
    assert!(files["plugin.log"].contains("first line") && files["plugin.log"].contains("last line"));
    assert!(files["network.txt"].contains(LIST));
    assert!(files["settings.txt"].contains("CNI_AGENT_RUN_DIR="));
    assert!(files["metrics.txt"].contains("istio_cni_build_info"));
    assert!(files["report.txt"].contains("network.place"));
}

#[test]
fn a_bundle_of_a_node_with_a_dead_agent_has_what_there_is() {
    let scene = Scene::installed();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundle.tar.gz");
    scene.doctor(&["--bundle", path.to_str().unwrap()]).only("agent.answers", "problem", "nobody answers at");
    let files = unpacked(&path);
    assert!(
        files["report.txt"].contains("no agent answers") && !files.contains_key("metrics.txt"),
        "{:?}",
        files.keys()
    );
    assert_eq!(scene.doctor(&["--bundle", "/nowhere/bundle.tar.gz"]).status, 2);
}
