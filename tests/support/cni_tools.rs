//! What the CNI project's own library, and a container runtime, make of a directory of network
//! configurations.

#![allow(dead_code, unused_imports, reason = "each test file uses another part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helper fails by panicking")]

#[path = "cni_tools/containerd.rs"]
mod containerd;
#[path = "cri.rs"]
pub mod cri;

pub use containerd::{Containerd, View};

use crate::support::{Namespace, crippled};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A plugin that notes its call and answers an ADD with an empty result of the version it is asked in.
const STAND_IN: &str = r#"#!/bin/sh
version=$(sed -n 's/.*"cniVersion":"\([^"]*\)".*/\1/p')
directory=${0%/*}
echo "$CNI_COMMAND ${0##*/}" >>"$directory/called"
case $CNI_COMMAND in
ADD) printf '{"cniVersion":"%s"}' "$version" ;;
VERSION) printf '{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}' ;;
esac
"#;

/// Whether the CNI library finds this network in the directory, takes its list, and runs the list's
/// plugins in order for an ADD and in the opposite order for a DEL; else what it says.
///
/// The library reads the `.conflist` files in the order of their names and gives up at the first that
/// is none, unless the network was found before.
pub fn cnitool_accepts(conf_dir: &Path, network: &str) -> Result<(), String> {
    let bin_dir = tempfile::tempdir().unwrap();
    let listed = listed(conf_dir, network);
    for name in all_types(conf_dir) {
        stand_in(bin_dir.path(), &name);
    }
    for (command, upper) in [("add", "ADD"), ("del", "DEL")] {
        let output = cnitool(conf_dir, bin_dir.path(), &[command, network]);
        if !output.status.success() {
            return Err(format!("cnitool {command} {network}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let called = fs::read_to_string(bin_dir.path().join("called")).unwrap_or_default();
        let called: Vec<&str> = called.lines().filter_map(|line| line.strip_prefix(&format!("{upper} "))).collect();
        let mut expected: Vec<&str> = listed.iter().map(String::as_str).collect();
        if command == "del" {
            expected.reverse();
        }
        if called != expected {
            return Err(format!("cnitool {command} {network} ran {called:?}; the list has {listed:?}"));
        }
    }
    Ok(())
}

/// Runs the CNI project's `cnitool` with these arguments and a network namespace of its own, in which
/// nothing happens unless the plugins in `bin_dir` do something.
pub fn cnitool(conf_dir: &Path, bin_dir: &Path, arguments: &[&str]) -> Output {
    cnitool_for(&Namespace::new(), "", conf_dir, bin_dir, arguments)
}

/// The same for a namespace, and with `CNI_ARGS` unless they are empty.
pub fn cnitool_for(netns: &Namespace, args: &str, conf_dir: &Path, bin_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(tool("cnitool"));
    command.args(arguments).arg(netns.path());
    command.env("NETCONFPATH", conf_dir).env("CNI_PATH", bin_dir).env("CNI_IFNAME", "eth0").env("CNI_ARGS", args);
    crippled(private_results, || command.output().unwrap())
}

/// Makes the calling thread, and all that it starts, see an empty `/var/lib`: the library keeps the
/// results of ADDs below it.
fn private_results() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("tmpfs"), "/var/lib", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
}

/// A tool that `tests/tools.sh` has left. It cannot be fetched from here, where there is no network.
fn tool(name: &str) -> PathBuf {
    let given = std::env::var_os("ISTIO_CNI_TEST_TOOLS").map(PathBuf::from);
    let cached = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/istio-cni-otel/tools"));
    let directory = given.or_else(cached).expect("HOME or ISTIO_CNI_TEST_TOOLS says where the tests' tools are");
    let path = directory.join(name);
    assert!(path.exists(), "{} is missing: run tests/tools.sh {name}", path.display());
    path
}

/// Puts a plugin there that does nothing: it answers an ADD with an empty result.
pub fn stand_in(bin_dir: &Path, name: &str) {
    let path = bin_dir.join(name);
    fs::write(&path, STAND_IN).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The plugins of a network, in their order, as far as the directory can be read.
fn listed(conf_dir: &Path, network: &str) -> Vec<String> {
    let named = |conf: &&Value| conf["name"] == network;
    let (lists, single) = (configurations(conf_dir, "conflist"), configurations(conf_dir, "conf"));
    lists.iter().find(named).or_else(|| single.iter().find(named)).map(types).unwrap_or_default()
}

fn all_types(conf_dir: &Path) -> Vec<String> {
    let all = ["conflist", "conf", "json"].map(|ending| configurations(conf_dir, ending)).concat();
    // A type with a slash is no program's name; the library refuses it.
    all.iter().flat_map(types).filter(|name| !name.is_empty() && !name.contains('/')).collect()
}

fn types(conf: &Value) -> Vec<String> {
    let name = |plugin: &Value| plugin["type"].as_str().unwrap_or_default().to_owned();
    match conf["plugins"].as_array() {
        Some(plugins) => plugins.iter().map(name).collect(),
        None => vec![name(conf)],
    }
}

/// The JSON of the directory's files with this ending, by their names.
fn configurations(conf_dir: &Path, ending: &str) -> Vec<Value> {
    let mut files: Vec<PathBuf> = fs::read_dir(conf_dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == ending));
    files.sort();
    files.iter().filter_map(|file| serde_json::from_slice(&fs::read(file).ok()?).ok()).collect()
}
