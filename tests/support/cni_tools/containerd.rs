//! A real containerd that reads a directory of network configurations. It has no images and no
//! containers, everything it keeps is in a directory that goes with it, and it is asked as the kubelet
//! asks it.

use super::super::support::agent::PATIENCE;
use super::super::support::loopback;
use super::cri::{StatusRequest, StatusResponse};
use istio_cni_otel::host::child::killed_with_us;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

/// A running containerd; killed when it is dropped.
pub struct Containerd {
    child: Child,
    directory: tempfile::TempDir,
}

/// What containerd says of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Whether it would start pods.
    pub ready: bool,
    /// Why not.
    pub message: String,
    /// What came of the last time that it read the directory: `OK`, or an error.
    pub loaded: String,
    /// The networks that it would set pods up with, besides its own for the loopback: name and plugins.
    pub networks: Vec<(String, Vec<String>)>,
}

impl Containerd {
    /// Starts one, which has read the directory once when this returns and watches it from then on.
    pub fn start(conf_dir: &Path, bin_dir: &Path) -> Containerd {
        loopback();
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config.toml");
        std::fs::write(&config, configuration(directory.path(), conf_dir, bin_dir)).unwrap();
        let mut command = Command::new("containerd");
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.arg("--config").arg(config).env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(directory.path().join("log")).unwrap());
        let child = killed_with_us(&mut command).spawn().expect("containerd is missing: run tests/prerequisites.sh");
        let mut containerd = Containerd { child, directory };
        containerd.until_it_answers();
        containerd
    }

    /// What one that starts now makes of the directory.
    pub fn sees(conf_dir: &Path) -> View {
        Containerd::start(conf_dir, conf_dir).view()
    }

    /// What it makes of the directory as it was when it last looked.
    pub fn view(&self) -> View {
        self.status().unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }

    /// Waits until it sees what the test wants; it looks when something changes in the directory.
    pub fn wait_until(&self, wanted: impl Fn(&View) -> bool) -> View {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let view = self.view();
            if wanted(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "containerd still sees {view:?}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it is asked.
    pub fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("containerd.sock")
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn until_it_answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.status() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "containerd, {ended:?}: {error}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn status(&self) -> Result<View, tonic::Status> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = self.socket();
            let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().timeout(PATIENCE);
            let away = |error: tonic::transport::Error| tonic::Status::unavailable(format!("{error:?}"));
            let mut client = Grpc::new(endpoint.connect().await.map_err(away)?);
            client.ready().await.map_err(away)?;
            let request = tonic::Request::new(StatusRequest { verbose: true });
            let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/Status");
            let codec = ProstCodec::<StatusRequest, StatusResponse>::default();
            Ok(view(&client.unary(request, path, codec).await?.into_inner()))
        })
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Fails for one that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn view(response: &StatusResponse) -> View {
    let mut conditions = response.status.iter().flat_map(|status| &status.conditions);
    let network = conditions.find(|condition| condition.kind == "NetworkReady");
    let network = network.expect("containerd says something of the network");
    View {
        ready: network.status,
        message: network.message.clone(),
        loaded: response.info.get("lastCNILoadStatus").cloned().unwrap_or_default(),
        networks: networks(response.info.get("cniconfig").map_or("null", String::as_str)),
    }
}

fn networks(cniconfig: &str) -> Vec<(String, Vec<String>)> {
    let config: Value = serde_json::from_str(cniconfig).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut networks = Vec::new();
    for network in config["Networks"].as_array().into_iter().flatten() {
        let config = &network["Config"];
        let plugins = config["Plugins"].as_array().into_iter().flatten();
        networks.push((text(&config["Name"]), plugins.map(|plugin| text(&plugin["Network"]["type"])).collect()));
    }
    networks.retain(|(name, _)| name != "cni-loopback");
    networks
}

/// Nothing outside of `directory`, and no more than the part that the kubelet speaks to needs.
fn configuration(directory: &Path, conf_dir: &Path, bin_dir: &Path) -> String {
    let (at, conf_dir, bin_dir) = (directory.display(), conf_dir.display(), bin_dir.display());
    format!(
        r#"
version = 2
root = "{at}/root"
state = "{at}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.overlayfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = "{at}/containerd.sock"
[ttrpc]
address = "{at}/containerd.ttrpc.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{at}/opt"
[plugins."io.containerd.grpc.v1.cri"]
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{conf_dir}"
bin_dir = "{bin_dir}"
"#
    )
}
