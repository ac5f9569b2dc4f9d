//! A process in a pod's network namespace, as the pause container is, and what the API server knows
//! of a meshed pod.

use super::Namespace;
use istio_cni_otel::domain::identity::TraceId;
use istio_cni_otel::domain::pod::{Container, PodFacts};
use istio_cni_otel::host::child::killed_with_us;
use istio_cni_otel::host::pod_netns::{PodNetns, Records};
use istio_cni_otel::telemetry::event::Level;
use istio_cni_otel::telemetry::story::{Clock, Story};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Says that it is there, and does nothing.
const STAYS: &str = "echo in; exec sleep 600";

/// A process that does nothing in a namespace, until it is dropped.
pub struct Sandboxed(Child);

impl Sandboxed {
    pub fn start(namespace: &Namespace) -> Sandboxed {
        // Not on a thread that ends: the process would end with it.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace.path())).args(["--", "sh", "-c", STAYS]);
        Sandboxed::run(command)
    }

    /// A process in a network namespace of its own that belongs to a user namespace of its own
    /// (`hostUsers: false`), after this command line.
    pub fn start_with_own_users(line: &str) -> Sandboxed {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", &format!("{line} && {STAYS}")]);
        Sandboxed::run(command)
    }

    fn run(mut command: Command) -> Sandboxed {
        command.env("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = killed_with_us(&mut command).spawn().unwrap();
        // Its word says that it has entered.
        let mut word = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
        Sandboxed(child)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// When it was started, in clock ticks.
    pub fn started(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap()
    }
}

impl Drop for Sandboxed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A `/proc` that shows only some processes, for others of this machine have the same addresses.
pub struct Proc(TempDir);

impl Proc {
    /// One without any process.
    pub fn new() -> Proc {
        Proc(TempDir::new().unwrap())
    }

    /// One that shows these.
    pub fn showing<'a>(processes: impl IntoIterator<Item = &'a Sandboxed>) -> Proc {
        let proc = Proc::new();
        processes.into_iter().for_each(|process| proc.show(process.pid()));
        proc
    }

    /// Shows another process.
    pub fn show(&self, pid: u32) {
        symlink(format!("/proc/{pid}"), self.entry(pid)).unwrap();
    }

    /// Shows a process' namespaces, these of its files, and this as its cgroup.
    pub fn show_in_part(&self, pid: u32, files: &[&str], cgroup: Option<&str>) {
        std::fs::create_dir(self.entry(pid)).unwrap();
        for file in files.iter().chain(&["ns"]) {
            symlink(format!("/proc/{pid}/{file}"), self.entry(pid).join(file)).unwrap();
        }
        if let Some(cgroup) = cgroup {
            std::fs::write(self.entry(pid).join("cgroup"), cgroup).unwrap();
        }
    }

    /// Where a process is shown.
    pub fn entry(&self, pid: u32) -> PathBuf {
        self.path().join(pid.to_string())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What finds namespaces through a `/proc`, without any record.
pub fn pod_netns(proc: &Proc) -> PodNetns {
    PodNetns::new(proc.path().to_owned(), Records::new(proc.path()), |error| panic!("{error}"))
}

/// A pod with a sidecar and these addresses.
pub fn meshed(addresses: &[&str]) -> PodFacts {
    let mut pod = PodFacts {
        namespace: "shop".into(),
        name: "web-0".into(),
        uid: "1b4e28ba-2fa1-11d2-883f-b9a761bde3fb".into(),
        annotations: [("sidecar.istio.io/status".to_owned(), "{}".to_owned())].into(),
        containers: vec![Container { name: "istio-proxy".into(), ..Container::default() }],
        ..PodFacts::default()
    };
    pod.status.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    pod
}

/// A story in the pod's trace that nobody hears.
pub fn story_of(pod: &PodFacts) -> Story {
    Story::begin(Clock::start(), TraceId::of_pod(&pod.uid), None, pod.reference(), Level::Info, None)
}
