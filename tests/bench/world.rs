//! What the measures need around them: namespaces to set up, and run directories with a way to the
//! API server.

use super::api::Api;
use istio_cni_otel::host::netns::{enter, enter_scratch};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The node whose pods the agents watch.
pub const NODE: &str = "bench-node";

/// Runs `work` on a thread in the namespace at this path.
pub fn inside<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> T {
    let netns = fs::File::open(netns).expect("the namespace");
    enter(netns.as_fd(), work).expect("the namespace can be entered (are you root?)")
}

/// A namespace with one address, which lives as long as this value.
pub struct Netns {
    /// Where other processes find it.
    pub path: String,
    _held: fs::File,
}

impl Netns {
    pub fn new() -> Netns {
        let held = enter_scratch(|| {
            let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip");
            let mut stdin = ip.stdin.take().expect("its input");
            stdin.write_all(b"link set lo up\naddr add 10.1.0.5/32 dev lo\n").expect("ip reads");
            drop(stdin);
            assert!(ip.wait().expect("ip ends").success());
            fs::File::open("/proc/thread-self/ns/net").expect("our namespace")
        });
        let held = held.expect("a network namespace (are you root?)");
        Netns { path: format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd()), _held: held }
    }
}

/// A run directory with a kubeconfig for the API server in it.
pub fn run_dir(parent: &Path, name: &str, api: &Api) -> PathBuf {
    let path = parent.join(name);
    fs::create_dir_all(&path).expect("a directory");
    kubeconfig(&path.join("istio-cni-kubeconfig"), api);
    path
}

/// Writes a kubeconfig for the API server.
pub fn kubeconfig(path: &Path, api: &Api) {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: l, cluster: {{server: \"http://{}\"}}}}]\n\
         users: [{{name: u, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: l, user: u}}}}]\n",
        api.address()
    );
    fs::write(path, text).expect("a kubeconfig");
}
