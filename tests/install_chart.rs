//! The agent as the reference's Helm chart starts it: the command and its argument, the keys of the
//! ConfigMap and of the container's environment, the mounts, the five capabilities, the fixed ports.
//! Only the way to the API server is another one: a kubeconfig.

#![expect(clippy::unwrap_used, reason = "tests assert by panicking")]

mod support;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::agent::get;
use support::api::Api;
use support::layout::PRIMARY;
use support::{Node, eventually, loopback};

/// What the chart's ConfigMap has with its default values, and with a name for the primary.
const CONFIG_MAP: [(&str, &str); 14] = [
    ("CURRENT_AGENT_VERSION", "1.30.0"),
    ("AMBIENT_ENABLED", "false"),
    ("AMBIENT_DNS_CAPTURE", "true"),
    ("AMBIENT_IPV6", "true"),
    ("AMBIENT_RECONCILE_POD_RULES_ON_STARTUP", "true"),
    ("ENABLE_AMBIENT_DETECTION_RETRY", "false"),
    ("CNI_CONF_NAME", "10-primary.conflist"),
    ("ISTIO_OWNED_CNI_CONFIG", "false"),
    ("CHAINED_CNI_PLUGIN", "true"),
    ("EXCLUDE_NAMESPACES", "kube-system"),
    ("REPAIR_ENABLED", "true"),
    ("REPAIR_LABEL_PODS", "false"),
    ("REPAIR_INIT_CONTAINER_NAME", "istio-validation"),
    ("NATIVE_NFTABLES", "false"),
];

/// What stands in the DaemonSet itself.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("REPAIR_NODE_NAME", "node-a"),
    ("REPAIR_RUN_AS_DAEMON", "true"),
    ("REPAIR_SIDECAR_ANNOTATION", "sidecar.istio.io/status"),
    ("ALLOW_SWITCH_TO_HOST_NS", "true"),
    ("NODE_NAME", "node-a"),
    ("GOMEMLIMIT", "8589934592"),
    ("GOMAXPROCS", "2"),
    ("POD_NAME", "istio-cni-node-x7k2p"),
    ("POD_NAMESPACE", "istio-system"),
];

const CAPABILITIES: &str = "-all,+net_admin,+net_raw,+sys_ptrace,+sys_admin,+dac_override";

/// The container: the image's files, this machine's in place of the rest of it, and the node's
/// directories mounted where the chart mounts them. Gone with the test's mount namespace.
struct Container {
    root: PathBuf,
    child: Option<Child>,
}

impl Container {
    fn new() -> Container {
        let root = PathBuf::from("/run/container");
        fs::create_dir_all(&root).unwrap();
        for entry in fs::read_dir("/").unwrap().map(|entry| entry.unwrap()) {
            let (from, to) = (entry.path(), root.join(entry.file_name()));
            let kind = entry.file_type().unwrap();
            let others = !["opt", "host", "run", "proc"].iter().any(|name| entry.file_name() == *name);
            match () {
                () if kind.is_symlink() => symlink(fs::read_link(&from).unwrap(), &to).unwrap(),
                () if kind.is_dir() && others => bind(&from, &to),
                () => {}
            }
        }
        bind(Path::new("/proc"), &root.join("proc"));
        for directory in ["opt/cni/bin", "usr-local-bin", "host/opt/cni/bin", "host/etc/cni/net.d", "run/istio-cni"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let install = |binary: &str, place: &str| {
            fs::copy(binary, root.join(place)).unwrap();
            fs::set_permissions(root.join(place), fs::Permissions::from_mode(0o755)).unwrap();
        };
        install(env!("CARGO_BIN_EXE_istio-cni"), "opt/cni/bin/istio-cni");
        install(env!("CARGO_BIN_EXE_istio-cni-otel"), "usr-local-bin/install-cni");
        fs::write(root.join("host/etc/cni/net.d/10-primary.conflist"), PRIMARY).unwrap();
        Container { root, child: None }
    }

    fn start(&mut self, kubeconfig: &str) {
        fs::write(self.root.join("run/own-kubeconfig"), kubeconfig).unwrap();
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(["setpriv", "--bounding-set", CAPABILITIES, "--inh-caps", "-all"]);
        command.args(["install-cni", "--log_output_level=info"]);
        command.env_clear().env("PATH", "/usr-local-bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(CONFIG_MAP).envs(ENVIRONMENT).env("KUBECONFIG", "/run/own-kubeconfig");
        command.stdin(Stdio::null()).stdout(fs::File::create(self.root.join("run/log")).unwrap());
        self.child = Some(istio_cni_otel::host::child::killed_with_us(&mut command).spawn().unwrap());
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.root.join(path)).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn bind(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).unwrap();
}

#[test]
fn the_references_chart_starts_it_unchanged() {
    loopback();
    let (node, api) = (Node::new(), Api::start());
    node.write_kubeconfig(&format!("http://{}", api.address));
    let mut container = Container::new();
    container.start(&fs::read_to_string(node.path("istio-cni-kubeconfig")).unwrap());
    // The probe and the scrape annotations of the chart.
    let listening = || std::net::TcpStream::connect(("127.0.0.1", 8000)).is_ok();
    eventually("readiness", || (listening() && get(8000, "/readyz", "").0 == 200).then_some(()));
    let (status, metrics) = get(15014, "/metrics", "");
    assert_eq!(status, 200);
    assert!(metrics.contains("\nistio_cni_install_ready 1\n"), "{metrics}");
    // A look may find all in place before the pass has come to its own end.
    let counted = || get(15014, "/metrics", "").1.contains("\nistio_cni_installs_total{result=\"SUCCESS\"} 1\n");
    eventually("the pass", || counted().then_some(()));

    assert_eq!(container.read("host/opt/cni/bin/istio-cni"), container.read("opt/cni/bin/istio-cni"));
    let list: Value = serde_json::from_slice(&container.read("host/etc/cni/net.d/10-primary.conflist")).unwrap();
    let entry = &list["plugins"][2];
    assert_eq!(entry["type"], json!("istio-cni"));
    assert_eq!(entry["cni_agent_run_dir"], json!("/var/run/istio-cni"));
    assert_eq!(entry["exclude_namespaces"], json!(["kube-system"]));
    assert_eq!(entry["pod_namespace"], json!("istio-system"));
    let kubeconfig = String::from_utf8(container.read("run/istio-cni/istio-cni-kubeconfig")).unwrap();
    assert!(kubeconfig.contains(&format!("server: http://{}", api.address)), "{kubeconfig}");
    let mode = fs::metadata(container.root.join("run/istio-cni/istio-cni-kubeconfig")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let done = "Istio CNI configuration and binaries validated/reinstalled (start)";
    let log = || String::from_utf8(container.read("run/log")).unwrap();
    let log = eventually("the end of the pass in the log", || Some(log()).filter(|log| log.contains(done)));
    assert!(!log.contains("is ignored"), "every key of the chart is known: {log}");
    assert!(log.contains("wrote kubeconfig file /var/run/istio-cni/istio-cni-kubeconfig with: "), "{log}");
}
