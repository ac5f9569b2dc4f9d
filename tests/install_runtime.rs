//! What those who read the node's CNI directory make of it: the CNI project's own library and a real
//! containerd, on lists as an installer writes them and as nobody should. What holds here is what an
//! installation, at every moment, is measured by.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

#[path = "support/cni_tools.rs"]
mod cni_tools;
mod support;

use cni_tools::{Containerd, View, cnitool, cnitool_accepts};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use support::other_users_for;
use tempfile::TempDir;

const NETWORK: &str = "k8s-pod-network";

fn list(name: &str, plugins: &[&str]) -> Value {
    let plugins: Vec<Value> = plugins.iter().map(|name| json!({"type": name})).collect();
    json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins})
}

/// A CNI directory with these files.
fn directory(files: &[(&str, String)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

/// A file that comes by rename, as an installer's should.
fn put(directory: &Path, name: &str, content: &Value) {
    let temporary = directory.join(format!(".{name}.istio-cni-abc.tmp"));
    fs::write(&temporary, content.to_string()).unwrap();
    fs::rename(temporary, directory.join(name)).unwrap();
}

fn network(name: &str, plugins: &[&str]) -> (String, Vec<String>) {
    (name.to_owned(), plugins.iter().map(|plugin| (*plugin).to_owned()).collect())
}

fn ready(name: &str, plugins: &[&str]) -> View {
    View { ready: true, message: String::new(), loaded: "OK".to_owned(), networks: vec![network(name, plugins)] }
}

/// Nobody else may run containerd.
fn can_run_containerd() -> bool {
    other_users_for("what a real containerd makes of the directory")
}

#[test]
fn a_list_with_and_without_our_entry_is_run_in_order() {
    let containerd = can_run_containerd();
    for plugins in [&["calico", "portmap"][..], &["calico", "portmap", "istio-cni"]] {
        let directory = directory(&[("10-calico.conflist", list(NETWORK, plugins).to_string())]);
        assert_eq!(cnitool_accepts(directory.path(), NETWORK), Ok(()));
        if containerd {
            assert_eq!(Containerd::sees(directory.path()), ready(NETWORK, plugins));
        }
    }
}

#[test]
fn every_version_is_accepted_and_a_single_configuration_too() {
    let containerd = can_run_containerd();
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut list = list(NETWORK, &["bridge", "istio-cni"]);
        list["cniVersion"] = json!(version);
        let directory = directory(&[("10-a.conflist", list.to_string())]);
        assert_eq!(cnitool_accepts(directory.path(), NETWORK), Ok(()), "{version}");
    }
    let single = json!({"cniVersion": "0.3.1", "name": NETWORK, "type": "bridge"});
    let directory = directory(&[("10-a.conf", single.to_string())]);
    assert_eq!(cnitool_accepts(directory.path(), NETWORK), Ok(()));
    if containerd {
        assert_eq!(Containerd::sees(directory.path()), ready(NETWORK, &["bridge"]));
    }
}

#[test]
fn what_is_no_list_is_refused_and_said() {
    let containerd = can_run_containerd();
    let whole = list(NETWORK, &["calico", "istio-cni"]).to_string();
    let torn = whole[..whole.len() / 2].to_owned();
    let untyped = json!({"cniVersion": "1.0.0", "name": NETWORK, "plugins": [{"kind": "x"}]}).to_string();
    let nameless = json!({"cniVersion": "1.0.0", "plugins": [{"type": "x"}]}).to_string();
    for broken in [String::new(), torn, "\0\u{1}".to_owned(), "[]".to_owned(), untyped, nameless] {
        let directory = directory(&[("10-calico.conflist", broken.clone())]);
        assert!(cnitool_accepts(directory.path(), NETWORK).is_err(), "{broken:?}");
        if containerd {
            let view = Containerd::sees(directory.path());
            assert!(!view.ready && view.networks.is_empty(), "{broken:?}: {view:?}");
            assert!(view.message.contains("cni plugin not initialized"), "{view:?}");
            assert!(view.loaded.starts_with("cni config load failed: "), "{view:?}");
        }
    }
}

#[test]
fn a_broken_file_does_no_harm_only_after_the_one_that_is_used() {
    let containerd = can_run_containerd();
    let good = list(NETWORK, &["calico", "istio-cni"]).to_string();
    let after = directory(&[("10-good.conflist", good.clone()), ("20-broken.conflist", "{".into())]);
    assert_eq!(cnitool_accepts(after.path(), NETWORK), Ok(()));
    let before = directory(&[("05-broken.conflist", "{".into()), ("10-good.conflist", good)]);
    let error = cnitool_accepts(before.path(), NETWORK).unwrap_err();
    assert!(error.contains("error parsing configuration list"), "{error}");
    if containerd {
        assert_eq!(Containerd::sees(after.path()), ready(NETWORK, &["calico", "istio-cni"]));
        let view = Containerd::sees(before.path());
        assert!(!view.ready && view.loaded.contains("05-broken.conflist"), "{view:?}");
    }
}

#[test]
fn a_temporary_file_is_not_taken() {
    let containerd = can_run_containerd();
    let primary = list(NETWORK, &["calico"]).to_string();
    let chained = list("unfinished", &["calico", "istio-cni"]).to_string();
    let temporary = ".10-x.conflist.istio-cni-abc.tmp";
    let both = directory(&[(temporary, chained.clone()), ("10-x.conflist", primary)]);
    assert_eq!(cnitool_accepts(both.path(), NETWORK), Ok(()));
    let alone = directory(&[(temporary, chained)]);
    let error = cnitool_accepts(alone.path(), "unfinished").unwrap_err();
    assert!(error.contains("no net configurations found"), "{error}");
    if containerd {
        assert_eq!(Containerd::sees(both.path()), ready(NETWORK, &["calico"]));
        let view = Containerd::sees(alone.path());
        assert!(!view.ready && view.loaded.contains("no network config found"), "{view:?}");
    }
}

#[test]
fn a_running_containerd_follows_the_directory() {
    if !can_run_containerd() {
        return;
    }
    let directory = directory(&[]);
    let containerd = Containerd::start(directory.path(), directory.path());
    assert!(!containerd.view().ready);
    let (primary, chained) = (list(NETWORK, &["calico"]), list(NETWORK, &["calico", "istio-cni"]));
    for (content, plugins) in
        [(&primary, &["calico"][..]), (&chained, &["calico", "istio-cni"]), (&primary, &["calico"])]
    {
        put(directory.path(), "10-calico.conflist", content);
        assert_eq!(containerd.wait_until(|view| view.networks == [network(NETWORK, plugins)]), ready(NETWORK, plugins));
    }
    // One of higher priority, as an installation beside the primary has it.
    put(directory.path(), "02-istio-cni.conflist", &list("istio", &["calico", "istio-cni"]));
    containerd.wait_until(|view| view.networks == [network("istio", &["calico", "istio-cni"])]);
    fs::remove_file(directory.path().join("02-istio-cni.conflist")).unwrap();
    containerd.wait_until(|view| view.networks == [network(NETWORK, &["calico"])]);
}

#[test]
fn a_plugin_that_is_missing_or_fails_is_said() {
    let directory = directory(&[("10-a.conflist", list(NETWORK, &["calico"]).to_string())]);
    let empty = tempfile::tempdir().unwrap();
    let output = cnitool(directory.path(), empty.path(), &["add", NETWORK]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("failed to find plugin \"calico\""), "{said}");
}
