//! A whole installation and a whole removal killed before each of their system calls: whatever is
//! left, the CNI library and containerd find the primary's network in it, no list names a plugin that
//! is not there, no credential is half, and the next pass, of either kind, comes to its end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

#[path = "support/cni_tools.rs"]
mod cni_tools;
#[path = "install_killed/scene.rs"]
mod scene;
mod support;

use cni_tools::{Containerd, cnitool_accepts};
use scene::{Installer, KUBECONFIG_MODE, Scene, old_plugin, plugin};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use support::layout::PRIMARY;
use support::{TestProcess, argument, other_users_for, ready};

child_work!(one_pass);

/// No pass makes as many system calls.
const LIMIT: usize = 2_000;
/// Fewer than this are none of an installation or removal.
const FEWEST: usize = 30;
const SINGLE: &str = r#"{"cniVersion":"0.3.1","name":"pod-network","type":"bridge","mtu":1460}"#;
const NETWORK: &str = "pod-network";
const KUBECONFIG: &str = "run/istio-cni-kubeconfig";

/// What the processes that these tests start do: all of it in one thread, whose calls are counted.
fn one_pass() {
    let (root, environment) = (argument("ROOT"), argument("ENVIRONMENT"));
    let environment: Vec<(&str, &str)> = environment.split(' ').filter_map(|pair| pair.split_once('=')).collect();
    let installer = Installer::new(Path::new(&root), &environment);
    if ready() {
        let pass = || match argument("WORK").as_str() {
            "install" => installer.install().map(drop).unwrap(),
            _ => installer.uninstall().map(drop).unwrap(),
        };
        std::thread::scope(|scope| scope.spawn(pass).join().unwrap());
    }
}

/// A way to install, and the network that is there before.
struct Way {
    environment: &'static [(&'static str, &'static str)],
    file: &'static str,
    text: &'static str,
}

const CHAINED: Way = Way { environment: &[], file: "10-primary.conflist", text: PRIMARY };
const SINGLE_TO_LIST: Way = Way { environment: &[], file: "10-primary.conf", text: SINGLE };
const OWNED: Way = Way { environment: &[("ISTIO_OWNED_CNI_CONFIG", "true")], ..CHAINED };
const STANDALONE: Way = Way { environment: &[("CHAINED_CNI_PLUGIN", "false")], ..CHAINED };

/// A network's configuration without our entry: what is the primary's own.
fn primary_of(text: &[u8]) -> Value {
    let mut list: Value = serde_json::from_slice(text).unwrap();
    if list.get("plugins").is_none() {
        let keys = list.as_object_mut().unwrap();
        let (version, name) = (keys.remove("cniVersion").unwrap(), keys.remove("name").unwrap());
        list = serde_json::json!({"cniVersion": version, "name": name, "plugins": [keys]});
    }
    let name = list["name"].clone();
    let plugins = list["plugins"].as_array_mut().unwrap();
    plugins.retain(|plugin| plugin["type"] != "istio-cni");
    // What runs a list gives each of its plugins the list's name.
    plugins.iter_mut().for_each(|plugin| plugin["name"] = name.clone());
    list
}

fn names_our_plugin(text: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(text).unwrap();
    let plugins = value["plugins"].as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    plugins.iter().any(|plugin| plugin["type"] == "istio-cni")
}

/// What is asked of everything that a killed pass leaves.
struct Judge {
    way: &'static Way,
    containerd: bool,
    /// The states of the directory about which the runtimes were asked already.
    asked: HashSet<Vec<(String, String)>>,
    /// What may stand in the plugin's place and in the kubeconfig's, besides nothing.
    plugins: Vec<Vec<u8>>,
    kubeconfigs: Vec<Vec<u8>>,
}

impl Judge {
    /// The wanted ends of this way are found out by going it once undisturbed.
    fn new(way: &'static Way) -> Judge {
        let scene = Scene::new(way.file, way.text);
        let mut kubeconfigs = Vec::new();
        for token in ["token-1", "token-2"] {
            scene.agent_token(token);
            Installer::new(scene.root(), way.environment).install().unwrap();
            kubeconfigs.push(scene.file(KUBECONFIG).unwrap().0);
        }
        assert_ne!(kubeconfigs[0], kubeconfigs[1]);
        Judge {
            way,
            containerd: other_users_for("what a real containerd makes of what a killed pass leaves"),
            asked: HashSet::new(),
            plugins: vec![plugin(), old_plugin()],
            kubeconfigs,
        }
    }

    fn judge(&mut self, scene: &Scene, when: &str) {
        let configurations = scene.files("net").into_iter().filter(|(name, _)| !name.starts_with('.'));
        let configurations: Vec<(String, Vec<u8>)> = configurations.collect();
        let (first, list) = configurations.first().unwrap_or_else(|| panic!("{when}: there is no network"));
        assert_eq!(primary_of(list), primary_of(self.way.text.as_bytes()), "{when}: {first}");

        let in_place = scene.file("bin/istio-cni");
        let whole = in_place.as_ref().is_some_and(|(found, mode)| self.plugins.contains(found) && *mode == 0o755);
        assert!(whole || in_place.is_none(), "{when}: half a plugin is in place");
        for (name, text) in &configurations {
            assert!(whole || !names_our_plugin(text), "{when}: {name} has our entry, and there is no plugin");
        }
        if let Some((text, mode)) = scene.file(KUBECONFIG) {
            let mine = self.kubeconfigs.contains(&text);
            assert!(mine && mode == KUBECONFIG_MODE, "{when}: mode {mode:o}: {}", String::from_utf8_lossy(&text));
        }
        if self.asked.insert(scene.state()) {
            self.ask(scene, &configurations, when);
        }
    }

    /// Asks those who read the directory.
    fn ask(&self, scene: &Scene, configurations: &[(String, Vec<u8>)], when: &str) {
        let net = scene.at("net");
        assert_eq!(cnitool_accepts(&net, NETWORK), Ok(()), "{when}");
        if self.containerd {
            let view = Containerd::sees(&net);
            let first: Value = serde_json::from_slice(&configurations[0].1).unwrap();
            let kinds = first["plugins"].as_array().cloned().unwrap_or_else(|| vec![first.clone()]);
            let kinds = kinds.iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect();
            assert!(view.ready && view.networks == [(NETWORK.to_owned(), kinds)], "{when}: {view:?}");
        }
    }
}

/// What is done after a kill.
#[derive(Clone, Copy, Debug)]
enum Then {
    Install,
    Uninstall,
}

impl Then {
    fn mend(self, scene: &Scene, way: &Way, when: &str) {
        let installer = Installer::new(scene.root(), way.environment);
        match self {
            Then::Install => {
                installer.install().unwrap_or_else(|failure| panic!("{when}: {failure}"));
                assert!(installer.is_right(), "{when}");
                assert_eq!(scene.file("bin/istio-cni"), Some((plugin(), 0o755)), "{when}");
            }
            Then::Uninstall => {
                installer.uninstall().unwrap_or_else(|failure| panic!("{when}: {failure}"));
                let (net, bin) = (scene.files("net"), scene.files("bin"));
                assert!(net.len() == 1 && !bin.contains_key("istio-cni"), "{when}: {:?}, {:?}", net.keys(), bin.keys());
                let (name, text) = net.first_key_value().unwrap();
                assert!(name.starts_with("10-primary.conf") && !names_our_plugin(text), "{when}: {name}");
                assert_eq!(primary_of(text), primary_of(way.text.as_bytes()), "{when}");
                assert_eq!(scene.file(KUBECONFIG), None, "{when}");
            }
        }
        assert!(scene.temporaries().is_empty(), "{when}: {:?}", scene.temporaries());
    }
}

/// Kills `work` before its n-th system call, for each n there is, and goes on with `then`.
fn kill_everywhere(work: &str, way: &'static Way, start: impl Fn() -> Scene, then: Then) {
    let mut judge = Judge::new(way);
    let environment: Vec<String> = way.environment.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let environment = environment.join(" ");
    for n in 1..LIMIT {
        let scene = start();
        let root = scene.root().to_str().unwrap().to_owned();
        let child = TestProcess::start(&[("WORK", work), ("ENVIRONMENT", &environment), ("ROOT", &root)]);
        let killed = child.kill_at(n);
        let when = format!("{work} killed before call {n}, then {then:?}");
        judge.judge(&scene, &when);
        then.mend(&scene, way, &when);
        if !killed {
            assert!(n > FEWEST, "it ended after {n} calls");
            assert!(judge.asked.len() > 1, "no two kills left something different");
            return;
        }
    }
    panic!("it never came to its end");
}

fn empty_node(way: &'static Way) -> impl Fn() -> Scene {
    || Scene::new(way.file, way.text)
}

fn installed_node(way: &'static Way) -> impl Fn() -> Scene {
    || {
        let scene = Scene::new(way.file, way.text);
        Installer::new(scene.root(), way.environment).install().unwrap();
        scene
    }
}

/// Everything on the node is an earlier image's, with an earlier token.
fn outdated_node(way: &'static Way) -> impl Fn() -> Scene {
    || {
        let scene = Scene::new(way.file, way.text);
        scene.executable("image/istio-cni", &old_plugin());
        let earlier = [way.environment, &[("EXCLUDE_NAMESPACES", "other")]].concat();
        Installer::new(scene.root(), &earlier).install().unwrap();
        scene.executable("image/istio-cni", &plugin());
        scene.agent_token("token-2");
        scene
    }
}

#[test]
fn a_first_installation_into_a_list() {
    kill_everywhere("install", &CHAINED, empty_node(&CHAINED), Then::Install);
}

#[test]
fn a_first_installation_that_makes_a_list_of_a_single_configuration() {
    kill_everywhere("install", &SINGLE_TO_LIST, empty_node(&SINGLE_TO_LIST), Then::Install);
}

#[test]
fn a_first_installation_into_a_copy_of_our_own() {
    kill_everywhere("install", &OWNED, empty_node(&OWNED), Then::Install);
}

#[test]
fn a_first_installation_beside_the_primary() {
    kill_everywhere("install", &STANDALONE, empty_node(&STANDALONE), Then::Install);
}

#[test]
fn an_upgrade_with_another_token_and_other_settings() {
    kill_everywhere("install", &CHAINED, outdated_node(&CHAINED), Then::Install);
}

#[test]
fn a_first_installation_that_is_taken_back() {
    kill_everywhere("install", &SINGLE_TO_LIST, empty_node(&SINGLE_TO_LIST), Then::Uninstall);
}

#[test]
fn a_removal_from_a_list() {
    kill_everywhere("uninstall", &CHAINED, installed_node(&CHAINED), Then::Uninstall);
}

#[test]
fn a_removal_from_a_list_that_was_a_single_configuration() {
    kill_everywhere("uninstall", &SINGLE_TO_LIST, installed_node(&SINGLE_TO_LIST), Then::Uninstall);
}

#[test]
fn a_removal_of_our_own_copy() {
    kill_everywhere("uninstall", &OWNED, installed_node(&OWNED), Then::Uninstall);
}

#[test]
fn a_removal_of_what_stands_beside_the_primary() {
    kill_everywhere("uninstall", &STANDALONE, installed_node(&STANDALONE), Then::Uninstall);
}

#[test]
fn a_removal_that_is_thought_better_of() {
    kill_everywhere("uninstall", &OWNED, installed_node(&OWNED), Then::Install);
}

/// Makes a file one that nobody can replace, as long as this is there.
struct Busy(std::path::PathBuf);

impl Busy {
    fn new(path: std::path::PathBuf) -> Busy {
        let nothing = None::<&str>;
        nix::mount::mount(Some(&path), &path, nothing, nix::mount::MsFlags::MS_BIND, nothing).unwrap();
        Busy(path)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        nix::mount::umount(&self.0).unwrap();
    }
}

#[test]
fn a_file_that_resists_a_removal_keeps_our_entry_in_no_other() {
    let scene = installed_node(&CHAINED)();
    let lists = ["10-primary.conflist", "20-second.conflist", "30-third.conflist"];
    for other in &lists[1..] {
        std::fs::copy(scene.at("net").join(lists[0]), scene.at("net").join(other)).unwrap();
    }
    let busy = [lists[0], lists[2]].map(|list| Busy::new(scene.at("net").join(list)));
    let installer = Installer::new(scene.root(), CHAINED.environment);
    let failure = installer.uninstall().unwrap_err();
    assert_eq!(failure.step.name(), "uninstall.conflist");
    assert!(failure.message.contains(lists[0]) && failure.message.contains(lists[2]), "{failure}");
    assert!(!failure.message.contains(lists[1]) && failure.message.contains("it is busy"), "{failure}");
    let ours = || scene.files("net").values().map(|text| names_our_plugin(text)).collect::<Vec<_>>();
    assert_eq!(ours(), [true, false, true]);
    assert!(scene.at("bin/istio-cni").exists(), "what is still referred to stays");
    assert!(scene.temporaries().is_empty(), "{:?}", scene.temporaries());
    drop(busy);
    installer.uninstall().unwrap();
    assert_eq!(ours(), [false; 3]);
    assert!(!scene.at("bin/istio-cni").exists());
}

#[test]
fn a_pod_that_ends_during_a_removal_finds_the_plugin_there() {
    let scene = Scene::new("10-a.conflist", PRIMARY);
    scene.executable("image/istio-cni", &fs::read(env!("CARGO_BIN_EXE_istio-cni")).unwrap());
    let installer = Installer::new(scene.root(), &[]);
    installer.install().unwrap();
    let list: Value = serde_json::from_slice(&scene.file("net/10-a.conflist").unwrap().0).unwrap();
    let mut entry = list["plugins"].as_array().unwrap().last().unwrap().clone();
    (entry["cniVersion"], entry["name"]) = (json!("1.0.0"), json!("pod-network"));
    let removed = installer.uninstall_with(|| {
        assert!(!names_our_plugin(&scene.file("net/10-a.conflist").unwrap().0), "the configuration goes first");
        // The runtime has read the configuration before.
        let environment = [
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "cafe"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0"),
        ];
        let mut plugin = Command::new(scene.at("bin/istio-cni"));
        plugin.env_clear().envs(environment).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut plugin = plugin.spawn().unwrap();
        plugin.stdin.take().unwrap().write_all(entry.to_string().as_bytes()).unwrap();
        let output = plugin.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    });
    removed.unwrap();
    assert!(scene.file("bin/istio-cni").is_none());
}
