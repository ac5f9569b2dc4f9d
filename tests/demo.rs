//! The demo as a user starts it: real binaries, as root and without.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "demo/collector.rs"]
mod collector;
#[path = "demo/installed.rs"]
mod installed;
#[path = "demo/running.rs"]
mod running;
#[path = "support/seccomp.rs"]
mod seccomp;

use installed::{Installed, assert_shown, texts, without_root};
use seccomp::forbid_netfilter_netlink;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// What every run shows, in this order.
const SHOWN: &[&str] = &[
    "✓ the agent, process ",
    "ADD shop/web-0: a meshed pod",
    "with the result it was given, unchanged",
    "PACKETS of shop/web-0",
    "web-0:15006",
    "web-0:15001",
    "ADD shop/web-0 again",
    "nothing was changed",
    "ADD shop/nightly-report: a pod without a sidecar",
    "excluded because it does not have istio-proxy container (have [report])",
    "ADD shop/cart-0: a pod with a mistake",
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox",
    "10.96.0.0/99",
    "no rule is in its namespace",
    "CHECK shop/web-0",
    "passed in",
    "CHECK found it",
    "DEL shop/web-0",
    "NO ADD for shop/api-0: it started before the plugin was there",
    "its istio-validation gave up after ",
    "exit code 126",
    "Error connecting to 127.0.0.6:15002: dial tcp 127.0.0.1:0->127.0.0.6:15002: connect: connection refused",
    "validation timeout",
    "repaired it in place in ",
    "pod detected as broken, repaired, trace ",
    "`pilot-agent istio-iptables` passed in ",
    "Validation passed, iptables rules established",
    "PACKETS of shop/api-0",
    "api-0:15006",
    "TRACE ",
    "cni.add",
    "rules.apply",
    "cni.del",
    "shop/api-0, which was repaired",
    "pod.init istio-validation",
    "validate.connect",
    "no probe to 127.0.0.6:15002 came back",
    "repair.pod",
    "repair.netns",
    "rules.apply",
    "rules.verify",
    "pod.init istio-validation",
    "METRICS that moved",
    "istio_cni_repair_pods_repaired_total",
    "istio_cni_requests_total",
    "All as it should be",
];

#[test]
fn the_demo_shows_all_and_leaves_nothing() {
    let installed = Installed::new();
    let output = installed.demo(&[]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_eq!(stderr, "");
    assert_shown(&stdout, SHOWN);
    assert_eq!(installed.leftovers(), Vec::<String>::new());
    if nix::unistd::geteuid().is_root() {
        let validated = ["VALIDATE shop/web-0", "`pilot-agent istio-iptables` passed in "];
        assert_shown(
            &stdout,
            &[validated.as_slice(), &["PACKETS of shop/web-0", "web-0:15053", "proxy 1337", "peer:80"]].concat(),
        );
    }
    assert!(!stdout.contains('\x1b'), "a pipe gets no colours:\n{stdout}");
    let widest = stdout.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 100, "a line of {widest} columns:\n{stdout}");
}

#[test]
fn the_demo_works_without_root_and_still_shows_both_sides_of_the_proxy() {
    let installed = Installed::new();
    let output = without_root(installed.demo(&[])).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_shown(&stdout, SHOWN);
    let validated = ["a user namespace", "VALIDATE shop/web-1", "`pilot-agent istio-iptables` passed in "];
    let packets = ["PACKETS of shop/web-1", "proxy 1337", "peer:80", "web-1:15006"];
    assert_shown(&stdout, &[validated.as_slice(), &packets].concat());
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}

#[test]
fn the_trace_id_is_a_uid_without_its_dashes() {
    let installed = Installed::new();
    let (stdout, _) = texts(&installed.demo(&[]).output().unwrap());
    let id = stdout.split_once("TRACE ").unwrap().1.split(':').next().unwrap();
    assert_eq!(id.len(), 32, "{id}");
    assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(id.as_bytes()[12], b'4', "a version 4 UUID without its dashes: {id}");
}

#[test]
fn a_plugin_that_does_nothing_is_found_out() {
    let installed = Installed::with_plugin(Some(Path::new("/bin/true")));
    let output = installed.demo(&[]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert_eq!(
        stderr,
        "istio-cni-otel: the ADD of shop/web-0 should have given back the result it was given, but the plugin \
         said: success, without a word\n"
    );
    assert!(!stdout.contains("PACKETS"), "{stdout}");
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}

#[test]
fn a_plugin_that_only_pretends_is_found_out_too() {
    let installed = Installed::with_plugin(None);
    let plugin = installed.dir.path().join("istio-cni");
    // Gives the right answer, and redirects nothing.
    fs::write(&plugin, "#!/bin/sh\nsed 's/.*\"prevResult\":\\({.*}\\),\"type\".*/\\1/'\n").unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let output = installed.demo(&[]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stderr.contains("the agent did not export the rules that were applied within"), "{stderr}");
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}

#[test]
fn a_missing_plugin_is_named() {
    let installed = Installed::with_plugin(None);
    let output = installed.demo(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let plugin = installed.dir.path().join("istio-cni");
    let expected = format!(
        "istio-cni-otel: the plugin {} is missing: build or copy it beside this program (make build)\n",
        plugin.display()
    );
    assert_eq!(texts(&output), (String::new(), expected));
}

#[test]
fn a_kernel_that_allows_no_user_namespaces_is_explained() {
    let installed = Installed::new();
    let demo = installed.demo(&[]);
    // In a user namespace that may have no further ones, by somebody who has no privileges even there.
    let script =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --bounding-set=-all \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).arg(demo.get_program()).arg("demo");
    let output = without_root(unshare).env("TMPDIR", installed.tmp()).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stderr.contains("the sysctl user.max_user_namespaces is 0"), "{stderr}");
    assert_eq!(stdout, "");
}

/// Runs a command where the kernel knows no nf_tables.
fn without_nf_tables(mut command: Command) -> Output {
    let run = || {
        forbid_netfilter_netlink();
        command.output().unwrap()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[test]
fn a_kernel_without_nf_tables_gets_iptables_from_root_and_everybody_else_is_told_why_not() {
    let installed = Installed::new();
    let output = without_nf_tables(without_root(installed.demo(&[])));
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.starts_with("istio-cni-otel: nf_tables does not work here (inet tables: "), "{stderr}");
    for text in ["iptables takes no rule about a user", "sudo modprobe -a nf_tables ", "run the demo as root"] {
        assert!(stderr.contains(text), "{stderr}");
    }
    if nix::unistd::geteuid().is_root() {
        let output = without_nf_tables(installed.demo(&[]));
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{stdout}\n{stderr}");
        assert_shown(&stdout, &["ADD shop/web-0: a meshed pod", "web-0:15006", "All as it should be"]);
    }
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}
