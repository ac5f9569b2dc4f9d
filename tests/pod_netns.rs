//! A pod's namespace is found where the runtime said that it is, else among those of real processes;
//! never the host's, never another pod's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use istio_cni_otel::domain::failure::Classify;
use istio_cni_otel::domain::outbound::{Outbound, OwnerGroups};
use istio_cni_otel::domain::pod::PodFacts;
use istio_cni_otel::domain::step::ErrorType;
use istio_cni_otel::host::pod_netns::{NetnsId, PodNetns, Record, Records};
use istio_cni_otel::ops::ports::{BoxedError, FoundNamespace, PodNamespaces};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use support::*;

const OTHER_UID: &str = "22222222-2fa1-11d2-883f-b9a761bde3fb";

/// A namespace with this address.
fn with_address(address: &str) -> Namespace {
    let namespace = Namespace::new();
    namespace.ip(&format!("addr add {address} dev lo"));
    namespace
}

/// A process in another namespace with the same address that was started later than `other`.
fn later_than(other: &Sandboxed, namespace: &Namespace) -> Sandboxed {
    eventually("a later start", || {
        let process = Sandboxed::start(namespace);
        (process.started() > other.started()).then_some(process)
    })
}

fn found(proc: &Proc, pod: &PodFacts) -> FoundNamespace {
    pod_netns(proc).find(pod).unwrap()
}

#[track_caller]
fn not_found(proc: &Proc, pod: &PodFacts, error_type: ErrorType, words: &str) {
    let error = pod_netns(proc).find(pod).unwrap_err();
    assert_eq!(error.error_type(), error_type, "{error}");
    let text = error.to_string();
    assert!(text.contains(words), "{text}");
    let reference = text.starts_with("failed to find network namespace of pod shop/web-0");
    assert!(reference || error_type == ErrorType::NetnsHost, "{text}");
}

fn id(netns: &impl AsFd) -> NetnsId {
    NetnsId::of(netns.as_fd()).unwrap()
}

#[test]
fn the_oldest_process_with_the_address_decides() {
    let (one, two, bystander) = (with_address("10.1.0.5"), with_address("10.1.0.5"), with_address("10.1.0.6"));
    let _before = Sandboxed::start(&bystander);
    let first = Sandboxed::start(&one);
    let second = later_than(&first, &two);
    let third = later_than(&second, &one);
    let proc = Proc::showing([&third, &second, &_before, &first]);
    let found = found(&proc, &meshed(&["fd00::9", "10.1.0.5"]));
    assert_eq!(id(&found.netns), id(&one));
    assert_eq!((found.source, found.path.as_str()), ("proc", proc.entry(first.pid()).join("ns/net").to_str().unwrap()));
}

#[test]
fn a_process_whose_start_cannot_be_read_is_the_last_resort() {
    let (one, two) = (with_address("10.1.0.5"), with_address("10.1.0.5"));
    let (first, second) = (Sandboxed::start(&one), Sandboxed::start(&two));
    let proc = Proc::new();
    proc.show_in_part(first.pid(), &[], None);
    assert_eq!(id(&found(&proc, &meshed(&["10.1.0.5"])).netns), id(&one));
    proc.show(second.pid());
    assert_eq!(id(&found(&proc, &meshed(&["10.1.0.5"])).netns), id(&two));
    let proc = Proc::new();
    proc.show_in_part(first.pid(), &[], None);
    proc.show_in_part(second.pid(), &[], None);
    not_found(&proc, &meshed(&["10.1.0.5"]), ErrorType::NetnsInvalid, "nothing tells which is the pod's");
}

#[test]
fn a_pod_that_has_the_address_by_now_is_left_alone() {
    let (one, two) = (with_address("10.1.0.5"), with_address("10.1.0.5"));
    let (first, second) = (Sandboxed::start(&one), Sandboxed::start(&two));
    let (pod, proc) = (meshed(&["10.1.0.5"]), Proc::new());
    let cgroup = |uid: &str| format!("0::/kubepods.slice/kubepods-pod{}.slice/cri-x.scope\n", uid.replace('-', "_"));
    proc.show_in_part(first.pid(), &["stat"], Some(&cgroup(OTHER_UID)));
    not_found(&proc, &pod, ErrorType::NetnsMissing, "22222222");
    proc.show_in_part(second.pid(), &["stat"], Some(&cgroup(&pod.uid)));
    assert_eq!(id(&found(&proc, &pod).netns), id(&two), "a cgroup says that it is the pod's");
}

#[test]
fn what_a_cgroup_says_counts_more_than_age() {
    let (one, two) = (with_address("10.1.0.5"), with_address("10.1.0.5"));
    let first = Sandboxed::start(&one);
    let second = later_than(&first, &two);
    let mut pod = meshed(&["10.1.0.5"]);
    pod.annotations.insert(PodFacts::CONFIG_HASH.into(), "0123456789abcdef0123456789abcdef".into());
    let proc = Proc::showing([&first]);
    proc.show_in_part(second.pid(), &["stat"], Some("0::/kubepods/pod0123456789abcdef0123456789abcdef/x\n"));
    assert_eq!(id(&found(&proc, &pod).netns), id(&two), "a static pod is known by its hash");
}

#[test]
fn processes_that_have_ended_and_files_that_are_none_are_no_error() {
    let namespace = with_address("10.1.0.5");
    let (ended, process) = (Sandboxed::start(&namespace), Sandboxed::start(&namespace));
    let proc = Proc::showing([&ended, &process]);
    drop(ended);
    fs::create_dir_all(proc.path().join("77777/ns")).unwrap();
    fs::write(proc.path().join("88888"), "").unwrap();
    fs::write(proc.path().join("cpuinfo"), "").unwrap();
    assert_eq!(id(&found(&proc, &meshed(&["10.1.0.5"])).netns), id(&namespace));
    not_found(&proc, &meshed(&["10.1.0.7"]), ErrorType::NetnsMissing, "has the address 10.1.0.7");
}

#[test]
fn a_namespace_that_comes_or_changes_after_a_look_is_seen() {
    let (one, proc) = (with_address("10.1.0.5"), Proc::new());
    let (pods, pod) = (pod_netns(&proc), meshed(&["10.1.0.5"]));
    pods.find(&pod).unwrap_err();
    let first = Sandboxed::start(&one);
    proc.show(first.pid());
    assert_eq!(id(&pods.find(&pod).unwrap().netns), id(&one), "an older look had not seen it");
    let (two, former) = (with_address("10.1.0.5"), id(&one));
    let second = Sandboxed::start(&two);
    proc.show(second.pid());
    drop((first, one));
    let netns = pods.find(&pod).unwrap().netns;
    assert_eq!(id(&netns), id(&two));
    assert_ne!(id(&netns), former);
}

#[test]
fn the_hosts_own_namespace_is_never_given() {
    let own = std::process::Command::new("ip").args(["addr", "add", "10.1.0.9/32", "dev", "lo"]).status().unwrap();
    assert!(own.success());
    let proc = Proc::new();
    proc.show(std::process::id());
    not_found(&proc, &meshed(&["10.1.0.9"]), ErrorType::NetnsMissing, "10.1.0.9");
    // The first process' namespace is the host's, whatever other processes are in it, too.
    let host = with_address("10.1.0.5");
    let (first, daemon) = (Sandboxed::start(&host), Sandboxed::start(&host));
    let proc = Proc::showing([&daemon]);
    symlink(format!("/proc/{}", first.pid()), proc.path().join("1")).unwrap();
    not_found(&proc, &meshed(&["10.1.0.5"]), ErrorType::NetnsMissing, "10.1.0.5");
}

#[test]
fn where_the_hosts_namespace_cannot_be_told_nothing_is_given() {
    let (recorded, namespace, pod) = (Recorded::new(), with_address("10.1.0.5"), meshed(&["10.1.0.5"]));
    let process = Sandboxed::start(&namespace);
    let first = recorded.proc.entry(1);
    fs::create_dir_all(first.join("ns")).unwrap();
    // There, and not to be looked at.
    symlink("net", first.join("ns/net")).unwrap();
    recorded.proc.show(process.pid());
    recorded.keep(&pod, &format!("/proc/{}/ns/net", process.pid()), id(&namespace));
    let error = recorded.find(&pod).unwrap_err();
    assert_eq!(error.error_type(), ErrorType::PermissionDenied, "{error}");
    assert!(error.to_string().contains("/1; give the agent the capability SYS_PTRACE"), "{error}");
    // Anybody may see what the first process' network is.
    let host = with_address("10.1.0.5");
    let (init, daemon) = (Sandboxed::start(&host), Sandboxed::start(&host));
    symlink(format!("/proc/{}/net", init.pid()), first.join("net")).unwrap();
    recorded.proc.show(daemon.pid());
    let found = recorded.find(&pod).unwrap();
    assert_eq!((id(&found.netns), found.source), (id(&namespace), "recorded"));
    recorded.keep(&pod, &format!("/proc/{}/ns/net", daemon.pid()), id(&host));
    let found = recorded.find(&pod).unwrap();
    assert_eq!((id(&found.netns), found.source), (id(&namespace), "proc"), "the host's is not believed");
}

#[test]
fn a_pod_with_host_network_or_without_address_is_refused_at_once() {
    let proc = Proc::new();
    let mut pod = meshed(&["10.1.0.5"]);
    pod.status.host_network = true;
    not_found(&proc, &pod, ErrorType::NetnsHost, "shop/web-0 has hostNetwork");
    not_found(&proc, &meshed(&[]), ErrorType::AddressMissing, "no address yet");
    // Every namespace has these.
    let process = Sandboxed::start(&with_address("10.1.0.5"));
    proc.show(process.pid());
    not_found(&proc, &meshed(&["127.0.0.1", "::1", "0.0.0.0"]), ErrorType::AddressMissing, "no address yet");
}

#[test]
fn a_proc_that_is_not_there_is_named() {
    let pods = PodNetns::new("/nowhere/proc".into(), Records::new(Path::new("/nowhere")), |error| panic!("{error}"));
    let error = pods.find(&meshed(&["10.1.0.5"])).unwrap_err();
    assert!(error.to_string().contains("/nowhere/proc cannot be listed"), "{error}");
    assert_eq!(error.error_type(), ErrorType::Io);
}

#[test]
fn without_permission_it_is_not_known() {
    if !other_users_for("a look at processes without permission") {
        return;
    }
    let namespace = with_address("10.1.0.5");
    let process = Sandboxed::start(&namespace);
    let proc = Proc::showing([&process]);
    fs::set_permissions(proc.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = Namespace::new().run_as(4711, || {
        let Err(error) = pod_netns(&proc).find(&meshed(&["10.1.0.5"])) else { panic!("it was entered") };
        (error.error_type(), error.to_string())
    });
    assert_eq!(error.0, ErrorType::PermissionDenied);
    assert!(error.1.contains("could not be entered") && error.1.contains("SYS_PTRACE"), "{}", error.1);
}

#[test]
fn no_descriptor_is_left() {
    let namespaces: Vec<Namespace> = (0..20).map(|number| with_address(&format!("10.1.1.{number}"))).collect();
    let processes: Vec<Sandboxed> = namespaces.iter().map(Sandboxed::start).collect();
    let proc = Proc::showing(&processes);
    let open = || {
        // Other tests of this process open and close theirs meanwhile.
        let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = links.filter_map(|entry| fs::read_link(entry.path()).ok());
        let ours: Vec<NetnsId> = namespaces.iter().map(id).collect();
        let inodes: Vec<String> = ours.iter().map(|id| format!("net:[{}]", id.inode)).collect();
        links.filter(|link| inodes.iter().any(|inode| Path::new(inode) == link)).count()
    };
    let before = open();
    for number in 0..20 {
        let found = found(&proc, &meshed(&[&format!("10.1.1.{number}")]));
        assert_eq!(open(), before + 1);
        drop(found);
        not_found(&proc, &meshed(&["10.1.2.1"]), ErrorType::NetnsMissing, "");
    }
    assert_eq!(open(), before);
}

#[test]
fn many_pods_at_once_each_get_their_own() {
    let namespaces: Vec<Namespace> = (0..40).map(|number| with_address(&format!("10.1.3.{number}"))).collect();
    let processes: Vec<Sandboxed> = namespaces.iter().map(Sandboxed::start).collect();
    let proc = Proc::showing(&processes);
    let pods = pod_netns(&proc);
    std::thread::scope(|scope| {
        for (number, namespace) in namespaces.iter().enumerate() {
            let pods = &pods;
            scope.spawn(move || {
                let found = pods.find(&meshed(&[&format!("10.1.3.{number}")])).unwrap();
                assert_eq!(id(&found.netns), id(namespace));
            });
        }
    });
}

/// A run directory, and what is found with its records where no process is to be seen.
struct Recorded {
    directory: tempfile::TempDir,
    proc: Proc,
    told: Arc<Mutex<Vec<String>>>,
}

impl Recorded {
    fn new() -> Recorded {
        Recorded { directory: tempfile::tempdir().unwrap(), proc: Proc::new(), told: Arc::default() }
    }

    fn records(&self) -> Records {
        Records::new(self.directory.path())
    }

    fn keep(&self, pod: &PodFacts, netns: &str, id: NetnsId) {
        let outbound = Outbound { groups: OwnerGroups::Only(vec![7]), ..Outbound::default() };
        let record = Record { pod: pod.uid.clone(), container: "cafe".into(), netns: netns.into(), id, outbound };
        self.records().keep(&record).unwrap();
    }

    fn find(&self, pod: &PodFacts) -> Result<FoundNamespace, BoxedError> {
        let told = self.told.clone();
        let tell = move |error: &_| told.lock().unwrap().push(format!("{error}"));
        PodNetns::new(self.proc.path().to_owned(), self.records(), tell).find(pod)
    }
}

/// Mounts a namespace at a path, as a runtime does.
fn mount_at(namespace: &Namespace, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
    mount(Some(namespace.path().as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

#[test]
fn a_recorded_namespace_is_found_by_its_path_alone() {
    let (recorded, namespace, pod) = (Recorded::new(), Namespace::new(), meshed(&[]));
    let path = recorded.directory.path().join("cni-1");
    mount_at(&namespace, &path);
    recorded.keep(&pod, path.to_str().unwrap(), id(&namespace));
    let found = recorded.find(&pod).unwrap();
    assert_eq!(
        (id(&found.netns), found.source, found.path.as_str()),
        (id(&namespace), "recorded", path.to_str().unwrap())
    );
    assert_eq!(found.outbound.unwrap().groups, OwnerGroups::Only(vec![7]));
}

#[test]
fn another_namespace_at_the_recorded_path_is_not_taken_for_the_pods() {
    let (recorded, pod) = (Recorded::new(), meshed(&["10.1.0.5"]));
    let (was, is) = (with_address("10.1.0.5"), with_address("10.1.0.5"));
    let path = recorded.directory.path().join("cni-1");
    mount_at(&is, &path);
    recorded.keep(&pod, path.to_str().unwrap(), id(&was));
    assert_eq!(recorded.find(&pod).unwrap_err().error_type(), ErrorType::NetnsMissing);
    let process = Sandboxed::start(&was);
    recorded.proc.show(process.pid());
    let found = recorded.find(&pod).unwrap();
    assert_eq!((id(&found.netns), found.source), (id(&was), "proc"));
    assert!(found.outbound.is_some(), "the rest of the record still holds");
}

#[test]
fn a_path_that_only_the_host_has_is_found_as_its_first_process_sees_it() {
    let (recorded, namespace, pod) = (Recorded::new(), Namespace::new(), meshed(&[]));
    let root = recorded.directory.path().join("root");
    mount_at(&namespace, &root.join("run/netns/cni-1"));
    fs::create_dir(root.join("var")).unwrap();
    symlink("/run", root.join("var/run")).unwrap();
    fs::create_dir(recorded.proc.path().join("1")).unwrap();
    symlink(&root, recorded.proc.path().join("1/root")).unwrap();
    recorded.keep(&pod, "/var/run/netns/cni-1", id(&namespace));
    assert_eq!(id(&recorded.find(&pod).unwrap().netns), id(&namespace));
}

#[test]
fn a_recorded_path_of_a_process_is_believed_only_where_the_address_is() {
    let (recorded, namespace) = (Recorded::new(), with_address("10.1.0.5"));
    let process = Sandboxed::start(&namespace);
    recorded.proc.show(process.pid());
    let pod = meshed(&["10.1.0.5"]);
    recorded.keep(&pod, &format!("/proc/{}/ns/net", process.pid()), id(&namespace));
    assert_eq!(recorded.find(&pod).unwrap().source, "recorded");
    namespace.ip("addr del 10.1.0.5/32 dev lo");
    assert_eq!(recorded.find(&pod).unwrap_err().error_type(), ErrorType::NetnsMissing);
}

#[test]
fn a_recorded_path_is_believed_only_where_a_known_address_is() {
    let (recorded, namespace) = (Recorded::new(), with_address("10.1.0.5"));
    let path = recorded.directory.path().join("cni-1");
    mount_at(&namespace, &path);
    let pod = meshed(&["10.1.0.5"]);
    recorded.keep(&pod, path.to_str().unwrap(), id(&namespace));
    assert_eq!(recorded.find(&pod).unwrap().source, "recorded");
    let other = meshed(&["10.1.0.6"]);
    assert_eq!(recorded.find(&other).unwrap_err().error_type(), ErrorType::NetnsMissing);
}

#[test]
fn a_record_that_is_none_is_told_once_and_taken_away() {
    let (recorded, namespace, pod) = (Recorded::new(), with_address("10.1.0.5"), meshed(&["10.1.0.5"]));
    let process = Sandboxed::start(&namespace);
    recorded.proc.show(process.pid());
    fs::create_dir(recorded.directory.path().join("netns")).unwrap();
    fs::write(recorded.directory.path().join("netns").join(&pod.uid), "garbage").unwrap();
    for _ in 0..2 {
        assert_eq!(recorded.find(&pod).unwrap().source, "proc");
    }
    let told = recorded.told.lock().unwrap().clone();
    assert!(told.len() == 1 && told[0].contains("is no record"), "{told:?}");
}

#[test]
fn a_record_of_the_hosts_namespace_is_not_believed() {
    let (recorded, pod) = (Recorded::new(), meshed(&[]));
    let own = NetnsId::at(Path::new("/proc/self/ns/net")).unwrap();
    recorded.keep(&pod, "/proc/self/ns/net", own);
    assert_eq!(recorded.find(&pod).unwrap_err().error_type(), ErrorType::AddressMissing);
}
