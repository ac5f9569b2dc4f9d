//! What is wrong with the node, seen by the real agent that installs there: it says so with the file's
//! name, in its log and to the probe, does not wear itself out, loses nothing of others, and is ready
//! again by itself as soon as that is mended.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "another test needs the server's certificate")]
#[path = "support/certificates.rs"]
mod certificates;
mod support;

use certificates::Certificates;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::agent::Agent;
use support::api::Api;
use support::layout::{Layout, PRIMARY};
use support::{Node, eventually, other_users_for};

const LIST: &str = "10-primary.conflist";
const CHAIN: [&str; 3] = ["bridge", "portmap", "istio-cni"];

/// A node, its API server and its directories.
struct World {
    node: Node,
    api: Api,
    layout: Layout,
}

impl World {
    fn new() -> World {
        World { node: Node::new(), api: Api::start(), layout: Layout::with_primary() }
    }

    fn start(&self) -> Agent {
        self.layout.start(&self.node, &self.api, &[])
    }

    fn start_ready(&self) -> Agent {
        let mut agent = self.start();
        agent.wait_for("ms after the start");
        agent
    }
}

/// The probe's answer, once it is unready with all of these words.
fn unready_for(agent: &Agent, words: &[&str]) -> String {
    eventually(&format!("unready for {words:?}"), || {
        let (status, body) = agent.health("/readyz");
        (status == 503 && words.iter().all(|word| body.contains(word))).then_some(body)
    })
}

fn becomes_ready(agent: &Agent) {
    eventually("readiness", || (agent.health("/readyz").0 == 200).then_some(()));
}

/// Passes that came to something so far, whatever it was.
fn passes(agent: &Agent) -> f64 {
    let page = agent.metrics();
    let series = page.lines().filter(|line| line.starts_with("istio_cni_installs_total{"));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// While the fault lasts, the agent tries again now and then, and no more: for this long.
fn stays_calm(agent: &Agent) {
    let (start, before) = (Instant::now(), passes(agent));
    let cpu = |agent: &Agent| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
        let fields: Vec<u64> =
            stat.rsplit_once(')').unwrap().1.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // Behind the state, a letter: utime and stime are the 11th and 12th (man 5 proc).
        fields[10] + fields[11]
    };
    let ticks = cpu(agent);
    while start.elapsed() < Duration::from_secs(6) {
        assert_eq!(agent.health("/readyz").0, 503);
        std::thread::sleep(Duration::from_millis(500));
    }
    let tried = passes(agent) - before;
    assert!(tried <= 8.0, "{tried} passes in {:?}", start.elapsed());
    // Hundredths of a second; a loop would take all of them.
    let used = cpu(agent) - ticks;
    assert!(used < 300, "{used} hundredths of a second of processor time in {:?}", start.elapsed());
}

fn healthy(agent: &Agent) {
    assert_eq!(agent.health("/healthz").0, 200, "a restart would not help");
}

/// The list is there with our entry, and nothing of the primary is lost.
fn chained(layout: &Layout) {
    assert_eq!(layout.chain(LIST), CHAIN);
    let text = fs::read_to_string(layout.net().join(LIST)).unwrap();
    assert!(text.contains("12345678901234567890123") && text.contains("portMappings"), "{text}");
}

fn remount(path: &Path, flags: MsFlags, options: &str) {
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_REMOUNT | flags, Some(options)).unwrap();
}

/// A file system of its own in the place of a directory, with what is in it.
fn own_file_system(path: &Path, options: &str) {
    let files: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    let files: Vec<_> = files.into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect();
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
    files.into_iter().for_each(|(file, content)| fs::write(file, content).unwrap());
}

#[test]
fn files_that_are_no_configuration_are_named_and_the_next_is_taken() {
    for (problem, make) in [
        ("1048576 allowed", (|path| fs::File::create(path).unwrap().set_len(64 << 20).unwrap()) as fn(&Path)),
        ("not JSON", |path| fs::write(path, "cniVersion: 1.0.0\n").unwrap()),
        ("it is empty", |path| fs::write(path, "").unwrap()),
        ("it is a directory", |path| fs::create_dir(path).unwrap()),
        ("leads in a circle", |path| symlink(path, path).unwrap()),
    ] {
        let world = World::new();
        make(&world.layout.net().join("00-first.conflist"));
        let mut agent = world.start_ready();
        let skipped = agent.wait_for("00-first.conflist");
        assert!(skipped["msg"].as_str().unwrap().contains(problem), "{skipped}");
        chained(&world.layout);
    }
}

#[test]
fn a_node_whose_only_configuration_is_unusable_waits_and_goes_on_once_it_is_mended() {
    let world = World::new();
    let path = world.layout.net().join(LIST);
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let mut agent = world.start();
    agent.wait_for("67108864 bytes are more than the 1048576 allowed");
    unready_for(&agent, &["the installation", LIST]);
    stays_calm(&agent);
    healthy(&agent);
    assert_eq!(fs::metadata(&path).unwrap().len(), 64 << 20);
    assert!(agent.resident() < 60_000, "{} kB", agent.resident());
    world.layout.write(LIST, PRIMARY);
    becomes_ready(&agent);
    chained(&world.layout);
}

#[test]
fn a_read_only_configuration_directory() {
    let world = World::new();
    let net = world.layout.net();
    own_file_system(&net, "size=1m");
    remount(&net, MsFlags::MS_RDONLY, "size=1m");
    let mut agent = world.start();
    agent.wait_for("its file system is read-only; mount the node's directory writable");
    unready_for(&agent, &["the installation", LIST]);
    stays_calm(&agent);
    healthy(&agent);
    assert_eq!(fs::read_to_string(net.join(LIST)).unwrap(), PRIMARY);
    remount(&net, MsFlags::empty(), "size=1m");
    becomes_ready(&agent);
    chained(&world.layout);
}

#[test]
fn a_full_disk_where_the_plugin_belongs() {
    let world = World::new();
    let bin = world.layout.bin();
    fs::write(bin.join("bridge"), "somebody else's plugin").unwrap();
    own_file_system(&bin, "size=64k");
    let mut agent = world.start();
    agent.wait_for("its file system has no room left");
    unready_for(&agent, &["the installation", "bin/istio-cni"]);
    stays_calm(&agent);
    healthy(&agent);
    assert_eq!(world.layout.chain(LIST), ["bridge", "portmap"], "nothing refers to what is not there");
    let names: Vec<_> = fs::read_dir(&bin).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["bridge"], "what did not fit is left over");
    remount(&bin, MsFlags::empty(), "size=1g");
    becomes_ready(&agent);
    assert_eq!(fs::read_to_string(bin.join("bridge")).unwrap(), "somebody else's plugin");
    chained(&world.layout);
}

#[test]
fn directories_that_come_later() {
    let world = World::new();
    for (directory, words) in [(world.layout.net(), "does not exist"), (world.layout.bin(), "CNI_BIN_TARGET_DIRS")] {
        let away = directory.with_extension("away");
        fs::rename(&directory, &away).unwrap();
        let agent = world.start();
        unready_for(&agent, &["the installation", words, directory.to_str().unwrap()]);
        stays_calm(&agent);
        healthy(&agent);
        assert!(!directory.exists(), "a directory that is not mounted is not made");
        fs::rename(&away, &directory).unwrap();
        becomes_ready(&agent);
        chained(&world.layout);
        world.layout.write(LIST, PRIMARY);
    }
}

#[test]
fn a_directory_in_the_plugins_place() {
    let world = World::new();
    let plugin = world.layout.bin().join("istio-cni");
    fs::create_dir_all(plugin.join("precious")).unwrap();
    let mut agent = world.start();
    agent.wait_for("it is a directory, and no file");
    unready_for(&agent, &["the installation", "bin/istio-cni"]);
    stays_calm(&agent);
    healthy(&agent);
    assert!(plugin.join("precious").exists());
    assert_eq!(world.layout.chain(LIST), ["bridge", "portmap"]);
    fs::rename(&plugin, world.layout.bin().join("moved")).unwrap();
    becomes_ready(&agent);
    chained(&world.layout);
}

#[test]
fn an_immutable_plugin_of_an_earlier_image() {
    let world = World::new();
    let plugin = world.layout.bin().join("istio-cni");
    fs::write(&plugin, "an earlier one").unwrap();
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(&plugin).output().unwrap().status.success();
    // Only root of the machine may set the mark, and only some file systems have it.
    if !chattr("+i") {
        assert!(
            !other_users_for("a plugin that is immutable"),
            "the temporary directory's file system has no chattr +i"
        );
        return;
    }
    let mut agent = world.start();
    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        agent.wait_for("is immutable; see it with lsattr, and let it be changed with chattr -i");
        unready_for(&agent, &["the installation", "bin/istio-cni"]);
        stays_calm(&agent);
        healthy(&agent);
    }));
    assert!(chattr("-i"));
    looked.unwrap();
    becomes_ready(&agent);
    chained(&world.layout);
}

/// Where the service account of the agent's pod is mounted; the test has a `/run` of its own.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[test]
fn a_token_that_vanishes_for_a_while() {
    let (world, certificates) = (World::new(), Certificates::new());
    let token = Path::new(ACCOUNT).join("token");
    fs::create_dir_all(ACCOUNT).unwrap();
    fs::write(&token, "token-1").unwrap();
    let ca = certificates.path("ca.pem");
    // Nobody answers there: what the installation lacks is told beside that.
    let more = [
        ("KUBECONFIG", ""),
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", "1"),
        ("KUBE_CA_FILE", ca.to_str().unwrap()),
    ];
    let mut agent = world.layout.start(&world.node, &world.api, &more);
    agent.wait_for("Istio CNI configuration and binaries validated/reinstalled (start)");
    let kubeconfig = world.node.path("istio-cni-kubeconfig");
    let installed = fs::read_to_string(&kubeconfig).unwrap();
    assert!(installed.contains("token-1"));

    fs::remove_file(&token).unwrap();
    unready_for(&agent, &["the installation", token.to_str().unwrap(), "does not exist"]);
    stays_calm(&agent);
    healthy(&agent);
    assert_eq!(fs::read_to_string(&kubeconfig).unwrap(), installed, "the last one is better than none");
    chained(&world.layout);

    fs::write(&token, "token-2").unwrap();
    eventually("the new token", || fs::read_to_string(&kubeconfig).unwrap().contains("token-2").then_some(()));
    eventually("the installation", || (!agent.health("/readyz").1.contains("the installation")).then_some(()));
}

#[test]
fn a_successor_that_is_killed_makes_the_first_end_for_a_restart() {
    let world = World::new();
    let mut first = world.start_ready();
    let second = world.start_ready();
    first.wait_for("this one installs and removes nothing any more");
    healthy(&first);
    second.kill();
    // Nobody finds the first one any more, so it ends, and the kubelet starts another.
    first.wait_for("agent.sock is gone; a restart makes a new one");
    assert_eq!(first.ended().code(), Some(1));
    let next = world.start_ready();
    healthy(&next);
    chained(&world.layout);
}

#[test]
fn another_directory_in_the_configuration_directorys_place() {
    let world = World::new();
    let agent = world.start_ready();
    let (net, next) = (world.layout.net(), world.layout.net().with_extension("next"));
    fs::create_dir(&next).unwrap();
    fs::write(next.join(LIST), PRIMARY).unwrap();
    fs::rename(&net, net.with_extension("before")).unwrap();
    fs::rename(&next, &net).unwrap();
    eventually("the entry in the new directory", || (world.layout.chain(LIST) == CHAIN).then_some(()));
    becomes_ready(&agent);
    // The new one is looked after too.
    world.layout.write(LIST, PRIMARY);
    eventually("the entry again", || (world.layout.chain(LIST) == CHAIN).then_some(()));
    chained(&world.layout);
}

#[test]
fn a_link_in_the_configurations_place_stays_a_link() {
    let world = World::new();
    let agent = world.start_ready();
    let (path, elsewhere) = (world.layout.net().join(LIST), world.layout.net().with_file_name("real.conflist"));
    fs::write(&elsewhere, PRIMARY).unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    eventually("the entry behind the link", || (world.layout.chain(LIST) == CHAIN).then_some(()));
    becomes_ready(&agent);
    assert!(path.is_symlink());
    chained(&world.layout);
    // The link's target goes: there is no network any more, and nothing is invented.
    fs::remove_file(&elsewhere).unwrap();
    unready_for(&agent, &["the installation", LIST]);
    assert!(path.is_symlink() && !elsewhere.exists());
    fs::write(&elsewhere, PRIMARY).unwrap();
    becomes_ready(&agent);
    chained(&world.layout);
}
