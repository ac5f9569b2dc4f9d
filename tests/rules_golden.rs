//! What pods get, one behaviour each: `golden/NAME.yaml` is the pod and `golden/NAME.txt` what
//! `istio-cni-otel rules` says of it in both languages. `UPDATE_GOLDEN=1` writes the answers anew.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

use istio_cni_otel::cmd::rules::{BackendArg, FamilyArg, OutboundArgs, RulesArgs, run};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn pods() -> Vec<PathBuf> {
    let files = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut pods: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    pods.sort();
    pods
}

/// The family that the pod's file names in its head.
fn family(pod: &Path) -> FamilyArg {
    match said(pod, "family").as_deref() {
        Some("v4") => FamilyArg::V4,
        Some("v6") => FamilyArg::V6,
        Some("dual") => FamilyArg::Dual,
        other => panic!("{}: family {other:?}", pod.display()),
    }
}

/// What the head of the pod's file says about this.
fn said(pod: &Path, what: &str) -> Option<String> {
    let text = std::fs::read_to_string(pod).unwrap();
    text.lines().find_map(|line| Some(line.strip_prefix(&format!("# {what}: "))?.to_owned()))
}

/// What the command prints, or the error with all its causes.
fn answer(pod: &Path, backend: BackendArg) -> String {
    let outbound = OutboundArgs {
        owner_groups: said(pod, "owner-groups"),
        owner_groups_exclude: said(pod, "owner-groups-exclude"),
        loopback_cidr: said(pod, "loopback-cidr"),
    };
    let args = RulesArgs { pod: pod.to_owned(), config: None, backend: Some(backend), family: family(pod), outbound };
    let mut stdout = Vec::new();
    match run(&args, &mut stdout) {
        Ok(()) => String::from_utf8(stdout).unwrap(),
        Err(error) => {
            assert!(stdout.is_empty(), "half an answer was printed before the error {error:#}");
            format!("error: {error:#}\n")
        }
    }
}

#[test]
fn every_pod_gets_what_is_written_down() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let pods = pods();
    assert!(pods.len() >= 50, "only {} golden pods were found in {}", pods.len(), golden().display());
    let mut wrong = Vec::new();
    for pod in pods {
        let (nftables, iptables) = (answer(&pod, BackendArg::Nftables), answer(&pod, BackendArg::Iptables));
        // A refusal or a skip does not depend on the backend.
        let got = if nftables == iptables { nftables } else { format!("{iptables}\n{nftables}") };
        let expected = pod.with_extension("txt");
        if update {
            std::fs::write(&expected, &got).unwrap();
        }
        if std::fs::read_to_string(&expected).ok().as_deref() != Some(&got) {
            wrong.push(format!("{}:\n{got}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "{} pods get something else:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_answer_is_without_its_pod() {
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.with_extension("yaml").exists(), "{} belongs to no pod", path.display());
    }
}
