//! The real agent puts the real plugin on a node, stays at it against everybody else who writes
//! there, and says truthfully whether it is ready.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::Node;
use support::agent::Agent;
use support::api::{Api, Fault};
use support::eventually;
use support::layout::{Layout, PRIMARY};

const LIST: &str = "10-primary.conflist";

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn ready(agent: &mut Agent) {
    agent.wait_for("ms after the start");
}

#[test]
fn the_plugin_is_chained_and_the_node_is_ready() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    fs::set_permissions(layout.net().join(LIST), fs::Permissions::from_mode(0o644)).unwrap();
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);

    let list = layout.read(LIST).unwrap();
    assert_eq!(layout.chain(LIST), ["bridge", "portmap", "istio-cni"]);
    let entry = &list["plugins"][2];
    assert_eq!(entry["cni_agent_run_dir"], json!(node.run_dir.path().to_str().unwrap()));
    assert_eq!(entry["exclude_namespaces"], json!(["kube-system"]));
    assert_eq!(entry["pod_namespace"], json!("istio-system"));
    assert!(["nftables", "iptables"].contains(&entry["redirect_backend"].as_str().unwrap()));
    let text = fs::read_to_string(layout.net().join(LIST)).unwrap();
    assert!(text.contains("12345678901234567890123"), "a number was changed: {text}");
    assert_eq!(mode(&layout.net().join(LIST)), 0o644, "the mode is its owner's");

    let installed = layout.bin().join("istio-cni");
    assert_eq!(fs::read(&installed).unwrap(), fs::read(layout.source().join("istio-cni")).unwrap());
    assert_eq!(mode(&installed), 0o755);
    assert_eq!(agent.health("/readyz").0, 200);
    assert_eq!(agent.metric("istio_cni_install_ready"), Some(1.0));
    agent.wait_for_metric(r#"istio_cni_installs_total{result="SUCCESS"}"#, 1.0);
    agent.wait_for("Istio CNI configuration and binaries validated/reinstalled (start)");
}

#[test]
fn without_a_primary_the_node_waits_unready_until_there_is_one() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::new());
    let mut agent = layout.start(&node, &api, &[]);
    agent.wait_for("Waiting for CNI network config file to be written in");
    let (status, body) = agent.health("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("no usable network configuration"), "{body}");
    assert_eq!(agent.metric("istio_cni_install_ready"), Some(0.0));
    assert_eq!(agent.health("/healthz").0, 200, "a restart would not help");
    assert!(fs::read_dir(layout.net()).unwrap().next().is_none(), "there is never a list without its primary");
    assert!(layout.bin().join("istio-cni").exists());
    layout.write(LIST, PRIMARY);
    ready(&mut agent);
    assert_eq!(layout.chain(LIST), ["bridge", "portmap", "istio-cni"]);
    agent.wait_for_metric(r#"istio_cni_installs_total{result="SUCCESS"}"#, 1.0);
}

#[test]
fn an_entry_that_somebody_removed_is_put_back_and_counted() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    assert_eq!(agent.metric("istio_cni_config_reverts_total"), Some(0.0));
    for reverts in 1..=3 {
        layout.write(LIST, PRIMARY);
        agent.wait_for("not ready any more");
        agent.wait_for("ready again");
        assert_eq!(layout.chain(LIST), ["bridge", "portmap", "istio-cni"]);
        assert_eq!(agent.metric("istio_cni_config_reverts_total"), Some(f64::from(reverts)));
    }
    let fought = agent.wait_for("Configuration has been reconciled multiple times");
    assert!(fought["msg"].as_str().unwrap().contains("istioOwnedCNIConfig"), "{fought}");
    assert_eq!(agent.health("/readyz").0, 200);
}

#[test]
fn a_plugin_that_was_changed_or_removed_is_put_back() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    let (plugin, wanted) = (layout.bin().join("istio-cni"), fs::read(layout.source().join("istio-cni")).unwrap());
    fs::remove_file(&plugin).unwrap();
    let unready = agent.wait_for("not ready any more");
    assert!(unready["msg"].as_str().unwrap().contains("istio-cni cannot be run"), "{unready}");
    agent.wait_for("ready again");
    fs::write(&plugin, "#!/bin/sh\n").unwrap();
    agent.wait_for("ready again");
    assert_eq!(fs::read(&plugin).unwrap(), wanted);
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o644)).unwrap();
    agent.wait_for("ready again");
    assert_eq!(mode(&plugin), 0o755);
    assert_eq!(agent.metric("istio_cni_config_reverts_total"), Some(0.0), "it is not the configuration");
}

#[test]
fn probe_and_gauge_look_for_themselves() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    // A directory in the file's place is neither taken for one nor got out of the way.
    fs::remove_file(layout.net().join(LIST)).unwrap();
    fs::create_dir(layout.net().join(LIST)).unwrap();
    assert_eq!(agent.health("/readyz").0, 503);
    assert_eq!(agent.metric("istio_cni_install_ready"), Some(0.0));
    fs::remove_dir(layout.net().join(LIST)).unwrap();
    layout.write(LIST, PRIMARY);
    eventually("readiness", || (agent.health("/readyz").0 == 200).then_some(()));
    assert_eq!(agent.metric("istio_cni_install_ready"), Some(1.0));
}

/// The agent's own DaemonSet.
fn daemonset() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"template": {"spec": {}}},
        "metadata": {"namespace": "istio-system", "name": "istio-cni-node", "uid": "d1"}})
}

#[test]
fn a_stop_that_is_no_uninstall_leaves_everything_in_place() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    api.put(&daemonset());
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    let installed = fs::read(layout.net().join(LIST)).unwrap();
    agent.signal(Signal::SIGTERM);
    agent.wait_for("is still present, this is an upgrade or a node reboot, leaving plugin in place");
    assert!(agent.ended().success());
    assert_eq!(fs::read(layout.net().join(LIST)).unwrap(), installed);
    assert!(layout.bin().join("istio-cni").exists());
    // The next one finds everything as it should be, and writes nothing.
    let mut next = layout.start(&node, &api, &[]);
    ready(&mut next);
    next.wait_for("nothing had to be changed");
}

#[test]
fn a_proven_uninstall_removes_everything_and_leaves_the_others_as_they_were() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    api.put(&daemonset());
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    agent.wait_for("watching DaemonSet istio-system/istio-cni-node: it is present");
    api.remove(&daemonset());
    agent.wait_for("it is gone");
    // With the DaemonSet the rights go, so that the API server answers nobody any more.
    api.fail("daemonsets.get", Some(Fault::Status(403)));
    api.fail("daemonsets.watch", Some(Fault::Status(403)));
    agent.signal(Signal::SIGTERM);
    agent.wait_for("was seen to be deleted, this is not an upgrade, removing the plugin");
    let removed = agent.wait_for("cleaning up CNI installation: removed ");
    assert!(agent.ended().success());
    let message = removed["msg"].as_str().unwrap();
    let at = |name: &str| message.find(name).unwrap();
    assert!(at(LIST) < at("/bin/istio-cni"), "{message}");
    let primary: Value = serde_json::from_str(PRIMARY).unwrap();
    assert_eq!(layout.read(LIST).unwrap(), primary);
    assert!(!layout.bin().join("istio-cni").exists());
}

#[test]
fn a_stop_of_which_nobody_knows_the_reason_leaves_everything_in_place_and_says_so() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    for request in ["daemonsets.get", "daemonsets.list", "daemonsets.watch"] {
        api.fail(request, Some(Fault::Status(403)));
    }
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    agent.signal(Signal::SIGTERM);
    let kept = agent.wait_for("is not known, leaving plugin in place");
    assert_eq!(kept["level"], json!("warn"), "{kept}");
    assert!(agent.ended().success());
    assert_eq!(layout.chain(LIST), ["bridge", "portmap", "istio-cni"]);
    assert!(layout.bin().join("istio-cni").exists());
}

#[test]
fn an_agent_that_no_daemonset_started_leaves_everything_in_place_and_says_so() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    // A Deployment's pod, and a static one.
    for pod in ["agent-7d9c5b8f4-x2b5k", "istio-cni-node-node-a"] {
        let mut agent = layout.start(&node, &api, &[("POD_NAME", pod)]);
        ready(&mut agent);
        agent.signal(Signal::SIGTERM);
        let kept = agent.wait_for("but this agent never saw it");
        assert_eq!(kept["level"], json!("warn"), "{kept}");
        assert!(agent.ended().success());
        assert_eq!(layout.chain(LIST), ["bridge", "portmap", "istio-cni"]);
        assert!(layout.bin().join("istio-cni").exists());
    }
}

#[test]
fn the_agent_that_came_last_installs_and_the_other_keeps_still() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    let mut first = layout.start(&node, &api, &[]);
    ready(&mut first);
    let mut second = layout.start(&node, &api, &[("EXCLUDE_NAMESPACES", "kube-system,other")]);
    ready(&mut second);
    let (status, body) = first.health("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("another agent has taken over the socket"), "{body}");
    layout.write(LIST, PRIMARY);
    second.wait_for("ready again");
    assert_eq!(layout.read(LIST).unwrap()["plugins"][2]["exclude_namespaces"], json!(["kube-system", "other"]));
    first.wait_for("this one installs and removes nothing any more");
    assert!(first.stop().success());
    assert_eq!(second.health("/readyz").0, 200);
}

#[test]
fn an_image_without_the_plugin_is_said_and_counted() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    fs::remove_file(layout.source().join("istio-cni")).unwrap();
    let mut agent = layout.start(&node, &api, &[]);
    let failed = agent.wait_for("install.binaries failed");
    assert!(failed["msg"].as_str().unwrap().contains("set CNI_BIN_SOURCE_DIR"), "{failed}");
    agent.wait_for_metric(r#"istio_cni_installs_total{result="COPY_BINARIES_FAILURE"}"#, 1.0);
    assert_eq!(layout.chain(LIST), ["bridge", "portmap"], "nothing refers to what is not there");
    assert_eq!(agent.health("/readyz").0, 503);
}

#[test]
fn a_wrong_setting_ends_the_start_with_its_name() {
    let node = Node::new();
    let mut command = support::agent::command(&node);
    command.envs([("SKIP_INSTALL", "false"), ("CNI_CONF_NAME", "../10.conf")]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("CNI_CONF_NAME=\"../10.conf\" cannot be used"), "{error}");
}

#[test]
fn an_agent_that_no_plugin_can_find_ends() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    api.put(&daemonset());
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    fs::remove_file(node.path("agent.sock")).unwrap();
    let (status, body) = agent.health("/readyz");
    assert!(status == 503 && body.contains("agent.sock is gone"), "{status} {body}");
    agent.wait_for("task socket's name ended unasked");
    assert_eq!(agent.ended().code(), Some(1));
    assert_eq!(layout.chain(LIST), ["bridge", "portmap", "istio-cni"], "it is no uninstall");
}

#[test]
fn a_kubeconfig_that_cannot_be_written_does_not_keep_the_entry_out() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    let own = node.path("own-kubeconfig");
    node.write_kubeconfig(&format!("http://{}", api.address));
    fs::rename(node.path("istio-cni-kubeconfig"), &own).unwrap();
    // Something that cannot be replaced by a file.
    fs::create_dir(node.path("istio-cni-kubeconfig")).unwrap();
    let directories = layout.environment();
    let mut environment: Vec<(&str, &str)> = directories.iter().map(|(key, value)| (*key, value.as_str())).collect();
    environment.push(("KUBECONFIG", own.to_str().unwrap()));
    let mut agent = Agent::start_with(&node, &environment);
    agent.wait_for("install.kubeconfig failed");
    agent.wait_for_metric(r#"istio_cni_installs_total{result="CREATE_KUBECONFIG_FAILURE"}"#, 1.0);
    assert_eq!(layout.chain(LIST), ["bridge", "portmap", "istio-cni"]);
    let (status, body) = agent.health("/readyz");
    assert!(status == 503 && body.contains("istio-cni-kubeconfig"), "{status} {body}");
    layout.write(LIST, PRIMARY);
    eventually("the entry", || (layout.chain(LIST).len() == 3).then_some(()));
    fs::remove_dir(node.path("istio-cni-kubeconfig")).unwrap();
    ready(&mut agent);
    let written = fs::read_to_string(node.path("istio-cni-kubeconfig")).unwrap();
    assert!(written.contains("current-context: istio-cni-context"), "{written}");
    assert_eq!(mode(&node.path("istio-cni-kubeconfig")), 0o600);
}

#[test]
fn a_copy_of_our_own_comes_first_and_follows_the_primary() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    let mut agent = layout.start(&node, &api, &[("ISTIO_OWNED_CNI_CONFIG", "true")]);
    ready(&mut agent);
    let own = "02-istio-cni.conflist";
    assert_eq!(layout.chain(own), ["bridge", "portmap", "istio-cni"]);
    assert_eq!(layout.chain(LIST), ["bridge", "portmap"], "the primary's own file stays as it is");
    assert_eq!(mode(&layout.net().join(own)), 0o600);
    layout.write(LIST, &PRIMARY.replace("cni0", "cni1"));
    eventually("the copy", || (layout.read(own)?["plugins"][0]["bridge"] == json!("cni1")).then_some(()));
    // A file that a runtime takes before it lets pods start without the plugin.
    layout.write("00-early.conflist", PRIMARY);
    let unready = agent.wait_for("not ready any more");
    assert!(unready["msg"].as_str().unwrap().contains("comes after 00-early.conflist"), "{unready}");
    fs::remove_file(layout.net().join("00-early.conflist")).unwrap();
    agent.wait_for("ready again");
}

#[test]
fn alone_the_plugin_has_a_file_that_somebody_else_refers_to() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::new());
    layout.write("00-multus.conf", r#"{"cniVersion": "0.3.1", "name": "multus", "type": "multus"}"#);
    let mut agent = layout.start(&node, &api, &[("CHAINED_CNI_PLUGIN", "false"), ("CNI_CONF_NAME", "istio-cni.conf")]);
    ready(&mut agent);
    assert_eq!(layout.read("istio-cni.conf").unwrap()["type"], json!("istio-cni"));
    assert_eq!(layout.read("00-multus.conf").unwrap()["type"], json!("multus"));
    layout.write("istio-cni.conf", r#"{"cniVersion": "0.3.1", "name": "x", "type": "bridge"}"#);
    assert_eq!(agent.health("/readyz").0, 503);
}

#[test]
fn multus_as_the_primary_is_chained_to_like_any_other() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::new());
    layout.write("00-multus.conf", r#"{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus"}"#);
    layout.write(LIST, PRIMARY);
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    assert_eq!(layout.chain("00-multus.conflist"), ["multus", "istio-cni"]);
    assert!(layout.read("00-multus.conf").is_none());
    assert_eq!(layout.chain(LIST), ["bridge", "portmap"]);
}

#[test]
fn a_copy_that_is_wanted_no_more_goes_once_the_plugin_is_in_the_primary() {
    let (node, api, layout) = (Node::new(), Api::start(), Layout::with_primary());
    api.put(&daemonset());
    let mut agent = layout.start(&node, &api, &[("ISTIO_OWNED_CNI_CONFIG", "true")]);
    ready(&mut agent);
    assert!(agent.stop().success());
    assert!(layout.read("02-istio-cni.conflist").is_some());
    let mut agent = layout.start(&node, &api, &[]);
    ready(&mut agent);
    assert_eq!(layout.chain(LIST), ["bridge", "portmap", "istio-cni"]);
    assert!(layout.read("02-istio-cni.conflist").is_none());
}
