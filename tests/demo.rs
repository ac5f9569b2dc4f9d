//! The demo as a user starts it: real binaries, as root and without.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests assert by panicking")]

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DEMO: &str = env!("CARGO_BIN_EXE_istio-cni-otel");
const PLUGIN: &str = env!("CARGO_BIN_EXE_istio-cni");
/// The user that tests take for one without privileges.
const NOBODY: u32 = 65534;

/// The binaries in a directory that every user may read, and a temporary directory of the demo's own.
struct Installed {
    dir: tempfile::TempDir,
}

impl Installed {
    /// With this file as the plugin.
    fn with_plugin(plugin: Option<&Path>) -> Installed {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let installed = Installed { dir };
        installed.put(Path::new(DEMO), "istio-cni-otel");
        if let Some(plugin) = plugin {
            installed.put(plugin, "istio-cni");
        }
        fs::create_dir(installed.tmp()).unwrap();
        fs::set_permissions(installed.tmp(), fs::Permissions::from_mode(0o1777)).unwrap();
        installed
    }

    fn new() -> Installed {
        Installed::with_plugin(Some(Path::new(PLUGIN)))
    }

    fn put(&self, file: &Path, name: &str) {
        let to = self.dir.path().join(name);
        // Another file system has no room for a link.
        if fs::hard_link(file, &to).is_err() {
            fs::copy(file, &to).unwrap();
        }
    }

    fn tmp(&self) -> PathBuf {
        self.dir.path().join("t")
    }

    fn demo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dir.path().join("istio-cni-otel"));
        command.arg("demo").args(args).env("TMPDIR", self.tmp()).env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    /// The same once there are no more than this many: the kernel ends orphans as soon as it has ended their parent,
    /// which is not at the same moment.
    fn leftovers_within(&self, limit: Duration, count: usize) -> Vec<String> {
        let deadline = Instant::now() + limit;
        loop {
            let left = self.leftovers();
            if left.len() <= count || Instant::now() > deadline {
                return left;
            }
            std::thread::yield_now();
        }
    }

    /// What is still there of a run: files, mounts, and processes that were told of the directory.
    fn leftovers(&self) -> Vec<String> {
        let tmp = self.tmp().display().to_string();
        let files = fs::read_dir(self.tmp()).unwrap().map(|entry| entry.unwrap().path().display().to_string());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mounts.lines().filter(|line| line.contains(&tmp)).map(str::to_owned).collect::<Vec<_>>();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let environ = fs::read(path.join("environ")).ok()?;
            let environ = String::from_utf8_lossy(&environ).into_owned();
            environ.contains(&tmp).then(|| path.display().to_string())
        });
        files.chain(mounts).chain(processes).collect()
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Makes the command run as a user without privileges; who runs the tests without root is one already.
fn without_root(mut command: Command) -> Command {
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[track_caller]
fn assert_shown(stdout: &str, lines: &[&str]) {
    // Long lines are wrapped, with a margin where they are quoted.
    let unwrapped = stdout.replace("\n    │ ", " ").replace("\n    ", " ");
    let mut rest = unwrapped.as_str();
    for line in lines {
        let Some((_, after)) = rest.split_once(line) else { panic!("{line:?} is not, or not there, in:\n{stdout}") };
        rest = after;
    }
}

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
    "TRACE ",
    "cni.add",
    "rules.apply",
    "cni.del",
    "METRICS that moved",
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
        assert_shown(&stdout, &["PACKETS of shop/web-0", "web-0:15053", "proxy 1337", "peer:80"]);
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
    assert_shown(&stdout, &["a user namespace", "PACKETS of shop/web-1", "proxy 1337", "peer:80", "web-1:15006"]);
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

/// The running demo; killed where a test fails in the middle.
struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { child, stdout }
    }

    /// Reads up to the line with this text.
    fn line_with(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            let length = self.stdout.read_line(&mut line).unwrap();
            assert!(length > 0, "it ended without {text:?}:\n{seen}");
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
        }
    }

    fn end(&mut self, signal: Signal) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        // Read on, so that it is never held up by a full pipe.
        self.stdout.read_to_string(&mut String::new()).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let installed = Installed::new();
    let mut demo = Running::start(installed.demo(&[]));
    demo.line_with("✓ the agent");
    assert_eq!(demo.end(Signal::SIGINT), Some(130));
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}

#[test]
fn a_killed_demo_leaves_an_empty_directory_and_no_process() {
    let installed = Installed::new();
    let mut demo = Running::start(installed.demo(&[]));
    demo.line_with("✓ the agent");
    assert_eq!(demo.end(Signal::SIGKILL), None);
    let left = installed.leftovers_within(Duration::from_secs(5), 1);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read_dir(&left[0]).unwrap().count(), 0);
}

#[test]
fn the_page_has_the_same_trace_and_is_there_until_the_end() {
    let installed = Installed::new();
    let mut demo = Running::start(installed.demo(&["--serve"]));
    let trace = demo.line_with("TRACE ");
    let id = trace.trim().trim_start_matches("TRACE ").split(':').next().unwrap().to_owned();
    let line = demo.line_with("http://127.0.0.1:");
    assert_eq!(installed.leftovers().len(), 1, "all but the page is gone: {:?}", installed.leftovers());
    let address = line.split_once("http://").unwrap().1.split(' ').next().unwrap();
    let page = get(address);
    for text in [id.as_str(), "shop/web-0", "rules.apply", "istio_cni_requests_total", "web-0:15006", "10.96.0.0/99"] {
        assert!(page.contains(text), "{text:?} is not in the page:\n{page}");
    }
    assert_eq!(demo.end(Signal::SIGTERM), Some(0));
}

fn get(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    page
}

#[test]
fn a_page_whose_address_is_taken_is_refused_before_anything_is_made() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let installed = Installed::new();
    let address = taken.local_addr().unwrap().to_string();
    let output = installed.demo(&["--serve", &address]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with(&format!("istio-cni-otel: cannot serve the page on {address}")), "{stderr}");
}

/// A path, and what was sent to it.
type Taken = (String, Vec<u8>);

/// A collector that takes everything, and remembers what it was sent where.
struct Collector {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Collector {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let remembered = Arc::clone(&taken);
        let take = move |uri: axum::http::Uri, body: axum::body::Bytes| async move {
            remembered.lock().unwrap().push((uri.path().to_owned(), body.to_vec()));
            [(axum::http::header::CONTENT_TYPE, "application/x-protobuf")]
        };
        runtime.spawn(async move { axum::serve(listener, axum::Router::new().fallback(take)).await });
        Collector { address, taken, _runtime: runtime }
    }

    fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let taken = self.taken.lock().unwrap();
        taken.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }
}

#[test]
fn a_collector_gets_the_same_trace() {
    let collector = Collector::start();
    let installed = Installed::new();
    let url = format!("http://{}", collector.address);
    let output = installed.demo(&["--otlp", &url]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_shown(&stdout, &["TRACE ", &format!("SENT ON to {url}"), "✓ the collector took "]);

    let id = stdout.split_once("TRACE ").unwrap().1.split(':').next().unwrap();
    let traces = collector.bodies("/v1/traces").into_iter().flat_map(|body| {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans)
    });
    let of_pod = traces.filter(|span| span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == id);
    let names: BTreeSet<String> = of_pod.map(|span| span.name).collect();
    for name in ["cni.add", "agent.call", "rules.apply", "rules.verify", "cni.check", "cni.del"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    assert!(!collector.bodies("/v1/metrics").is_empty() && !collector.bodies("/v1/logs").is_empty());
}

#[test]
fn a_collector_that_is_not_there_is_an_error_in_the_end() {
    // A port that was free a moment ago, and is nobody's.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let installed = Installed::new();
    let output = installed.demo(&["--otlp", &format!("http://{address}")]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stderr.starts_with(&format!("istio-cni-otel: the collector http://{address}")), "{stderr}");
    assert!(!stdout.contains("SENT ON") && !stdout.contains("All as it should be"), "{stdout}");
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}

#[test]
fn an_address_that_is_no_collectors_is_refused_before_anything_is_made() {
    let installed = Installed::new();
    let output = installed.demo(&["--otlp", "localhost"]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
    let expected =
        "istio-cni-otel: cannot send to the collector: --otlp: localhost must begin with http:// or https://\n";
    assert_eq!(stderr, expected);
}
