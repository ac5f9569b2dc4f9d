//! `--bundle`: what a bug report needs is in it, and no secret is.

use crate::scene::Scene;
use crate::support::runtime_node::LIST;
use istio_cni_otel::host::atomic_file::{Permissions, replace_no_link};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// What is planted wherever a secret could be.
const PLANTED: &str = "PLANTED-SECRET";

/// A trace that failed.
const TRACE: &str = "0123456789abcdef0123456789abcdef";

/// The bundle's files, as everybody else's tar unpacks them.
pub fn unpacked(bundle: &Path) -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let done = Command::new("tar").arg("-xzf").arg(bundle).arg("-C").arg(directory.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let root = directory.path().join("istio-cni-doctor");
    let (mut files, mut directories) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(directory) = directories.pop() {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                files.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    files
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
    assert!(files["traces.json"].starts_with('{') && files["traces.json"].contains("\"traces\""), "{files:#?}");
}

/// All kinds of secrets in a few lines.
fn planted_lines() -> String {
    [
        format!("password={PLANTED}@!x,{PLANTED} next"),
        format!("https://joe:{PLANTED}@!{PLANTED}@registry/v2 refused"),
        format!("OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer {PLANTED},b={PLANTED}"),
        format!("Authorization: Digest username=x, response=\"{PLANTED}\""),
        format!("  client-key-data: {PLANTED}\n  client-certificate-data: {PLANTED}\n  token: {PLANTED}"),
        format!("- name: DB_PASSWORD\n  value: {PLANTED}"),
        format!("-----BEGIN RSA PRIVATE KEY-----\n{PLANTED}\n-----END RSA PRIVATE KEY-----"),
        format!("eyJhbGciOiJSUzI1NiJ9.{PLANTED}.c2ln"),
    ]
    .join("\n")
}

/// What an agent answers whose texts are full of secrets, as JSON and as lines.
fn planted_answers() -> [(&'static str, String); 5] {
    let annotations = json!({"example.com/api-token": PLANTED, "kubectl.kubernetes.io/last-applied-configuration":
        json!({"env": [{"name": "API_KEY", "value": PLANTED}]}).to_string()});
    let evidence: Vec<String> = planted_lines().lines().map(str::to_owned).chain([annotations.to_string()]).collect();
    let finding = json!({"check": "agent.mood", "status": "problem", "what": format!("it said token={PLANTED}"),
        "evidence": evidence, "next": format!("curl -H 'Authorization: Bearer {PLANTED}'"), "runbook": "x"});
    let report = json!({"node": "node-a", "version": "0.1.0", "findings": [finding]});
    let traces = json!({"traces": [{"traceId": TRACE, "errorType": "x", "message": planted_lines()},
        {"traceId": "../../etc/passwd", "errorType": "x"}, {"traceId": "11".repeat(16)}]});
    let trace = json!({"resourceSpans": [{"traceId": TRACE, "error": planted_lines(), "annotations": annotations,
        "attributes": [{"key": "http.request.header.authorization", "value": {"stringValue": PLANTED}}]}]});
    let metrics = format!("# HELP x {}\nx{{token=\"{PLANTED}\"}} 1\n", planted_lines().replace('\n', " "));
    [
        ("/api/v1/doctor", report.to_string()),
        ("/api/v1/settings", planted_lines()),
        ("/api/v1/metrics", metrics),
        ("/api/v1/traces?most=1000", traces.to_string()),
        ("/api/v1/traces/0123456789abcdef0123456789abcdef", trace.to_string()),
    ]
}

#[test]
fn what_an_agent_repeats_of_others_secrets_is_not_in_the_bundle() {
    let scene = Scene::installed();
    let socket = scene.runtime.node.path("page.sock");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..5 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).unwrap();
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let path = asked.split(' ').nth(1).unwrap().to_owned();
            let answers = planted_answers();
            let (_, answer) = answers.iter().find(|(known, _)| *known == path).unwrap();
            write!(stream, "HTTP/1.0 200 OK\r\n\r\n{answer}").unwrap();
        }
    });
    fs::write(scene.runtime.node.path("istio-cni.log"), format!("first\n{}\nlast\n", planted_lines())).unwrap();
    fs::write(scene.runtime.layout.net().join(format!("token={PLANTED}")), "").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bundle.tar.gz");
    let findings = scene.doctor(&["--bundle", path.to_str().unwrap()]);
    server.join().unwrap();
    assert!(findings.report.to_string().contains(PLANTED), "the secrets were there: {findings:#?}");
    let files = unpacked(&path);
    assert_eq!(files.len(), 10, "{:?}", files.keys());
    for (name, content) in &files {
        assert!(!content.contains(PLANTED), "{name} has a secret: {content}");
        assert!(!content.is_empty(), "{name} is empty");
    }
    let report: Value = serde_json::from_str(&files["report.json"]).unwrap();
    assert!(report.to_string().contains("agent.mood"), "{report}");
    let trace = &files[&format!("traces/{TRACE}.json")];
    assert!(trace.contains(TRACE) && trace.contains("stringValue"), "what is no credential is there: {trace}");
    assert!(files["plugin.log"].starts_with("first\n") && files["plugin.log"].ends_with("last\n"));
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
    assert!(files["missing.txt"].contains("metrics.txt: the agent does not answer"), "{}", files["missing.txt"]);
    assert_eq!(scene.doctor(&["--bundle", "/nowhere/bundle.tar.gz"]).status, 2);
}

#[test]
fn a_bundle_that_cannot_be_written_hides_no_findings() {
    let scene = Scene::installed();
    let findings = scene.doctor(&["--bundle", "/proc/bundle.tar.gz"]);
    assert_eq!(findings.wrong(), ["agent.answers: problem"], "it is one object: {findings:#?}");
    assert_eq!((findings.status, findings.report["exit"]["status"].as_i64()), (2, Some(1)), "{findings:#?}");
    let said = &findings.stderr;
    assert!(said.contains("the bundle /proc/bundle.tar.gz cannot be written") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_bundle_follows_no_link_and_takes_no_device_away() {
    let scene = Scene::installed();
    let directory = tempfile::tempdir().unwrap();
    let (link, victim) = (directory.path().join("bundle.tar.gz"), directory.path().join("victim"));
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    for content in [None, Some("precious")] {
        content.iter().for_each(|content| fs::write(&victim, content).unwrap());
        let findings = scene.doctor(&["--bundle", link.to_str().unwrap()]);
        assert_eq!(findings.status, 2, "{findings:#?}");
        assert!(findings.stderr.contains("it is a link, which may be somebody else's"), "{findings:#?}");
        assert_eq!(fs::read_to_string(&victim).ok().as_deref(), content);
    }
    // Also one that is there only when it is written.
    let late = replace_no_link(&link, b"ours", &Permissions::Mode(0o600)).unwrap_err();
    assert!(late.to_string().contains("it is a link"), "{late}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(scene.doctor(&["--bundle", "/dev/null"]).stderr.contains("it is no regular file"));
}
