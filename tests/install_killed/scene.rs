//! A node's directories with the installation that the agent makes there, on disk and in pieces.

use crate::support::Screen;
use istio_cni_otel::agent::config::Settings;
use istio_cni_otel::agent::install::Node;
use istio_cni_otel::agent::log_control::LogControl;
use istio_cni_otel::domain::failure::Failure;
use istio_cni_otel::domain::identity::TraceId;
use istio_cni_otel::domain::install::{Finding, Part, Reason};
use istio_cni_otel::domain::pod::PodRef;
use istio_cni_otel::ops::install::{self, InstallTarget};
use istio_cni_otel::telemetry::event::Level;
use istio_cni_otel::telemetry::story::{Clock, Story};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The image's plugin: more than one piece of a comparison, so that half of it is not the whole.
pub fn plugin() -> Vec<u8> {
    b"the plugin of this image ".repeat(6_000)
}

/// The plugin that an earlier image brought.
pub fn old_plugin() -> Vec<u8> {
    b"the plugin of another image ".repeat(4_000)
}

/// The mode that the kubeconfig is asked to have, which is not that of a temporary file.
pub const KUBECONFIG_MODE: u32 = 0o640;
const DIRECTORIES: [&str; 5] = ["image", "bin", "net", "run", "own"];

/// Where everything is, gone when this is dropped.
pub struct Scene {
    root: tempfile::TempDir,
}

impl Scene {
    /// The image has the plugin and the agent its kubeconfig; the node has this network.
    pub fn new(file: &str, text: &str) -> Scene {
        let scene = Scene { root: tempfile::tempdir().unwrap() };
        DIRECTORIES.iter().for_each(|directory| fs::create_dir(scene.at(directory)).unwrap());
        scene.executable("image/istio-cni", &plugin());
        scene.executable("image/another-tool", b"a tool");
        scene.agent_token("token-1");
        fs::write(scene.at("net").join(file), text).unwrap();
        scene
    }

    /// A path below the root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Puts an executable somewhere.
    pub fn executable(&self, path: &str, content: &[u8]) {
        fs::write(self.at(path), content).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The agent's own way to the API server, of which the plugin's is made.
    pub fn agent_token(&self, token: &str) {
        let text = format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: l, user: u}}}}]\n\
             clusters: [{{name: l, cluster: {{server: 'http://127.0.0.1:1'}}}}]\n\
             users: [{{name: u, user: {{token: {token}}}}}]\n"
        );
        fs::write(self.at("own/kubeconfig"), text).unwrap();
    }

    /// Content and mode of a file, if it is there.
    pub fn file(&self, path: &str) -> Option<(Vec<u8>, u32)> {
        let content = fs::read(self.at(path)).ok()?;
        let mode = fs::metadata(self.at(path)).unwrap().permissions().mode() & 0o7777;
        Some((content, mode))
    }

    /// The files of a directory by name.
    pub fn files(&self, directory: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.at(directory)).unwrap().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default()))
            .collect()
    }

    /// What a writer that was killed has left.
    pub fn temporaries(&self) -> Vec<String> {
        let files = DIRECTORIES.iter().flat_map(|directory| self.files(directory).into_keys());
        files.filter(|name| name.starts_with('.')).collect()
    }

    /// What a runtime may see of the network configuration: the same for two scenes that differ in
    /// where they are and in random names alone.
    pub fn state(&self) -> Vec<(String, String)> {
        let root = self.root().display().to_string();
        let place = |content: Vec<u8>| String::from_utf8_lossy(&content).replace(&root, "");
        let name = |name: String| if name.starts_with('.') { "a temporary file".to_owned() } else { name };
        self.files("net").into_iter().map(|(file, content)| (name(file), place(content))).collect()
    }
}

/// An agent's installation, without the agent around it.
pub struct Installer {
    node: Node,
    _runtime: Runtime,
}

impl Installer {
    /// The one below `root` with this in its environment.
    pub fn new(root: &Path, environment: &[(&str, &str)]) -> Installer {
        let at = |path: &str| root.join(path).display().to_string();
        let mut given: HashMap<&str, String> = HashMap::from([
            ("CNI_BIN_SOURCE_DIR", at("image")),
            ("CNI_BIN_TARGET_DIRS", at("bin")),
            ("MOUNTED_CNI_NET_DIR", at("net")),
            ("CNI_AGENT_RUN_DIR", at("run")),
            ("KUBECONFIG", at("own/kubeconfig")),
            ("KUBECONFIG_MODE", format!("{KUBECONFIG_MODE:04o}")),
            ("POD_NAMESPACE", "istio-system".to_owned()),
        ]);
        given.extend(environment.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let settings = Settings::read(&|key| given.get(key).cloned(), "node-a").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let telemetry = Screen::default().telemetry(runtime.handle());
        let log = Arc::new(LogControl::new(settings.run_dir.clone(), settings.levels, telemetry.clone()));
        let undecided = tokio::sync::watch::channel(None).1;
        let node = Node::new(&settings, settings.install.as_ref().unwrap(), undecided, log, telemetry);
        Installer { node, _runtime: runtime }
    }

    /// One whole pass.
    pub fn install(&self) -> Result<Vec<String>, Failure> {
        install::install(&story(), &self.node, Reason::Start)
    }

    /// One whole removal.
    pub fn uninstall(&self) -> Result<Vec<String>, Failure> {
        self.uninstall_with(|| {})
    }

    /// One whole removal, with something in the moment in which the runtime sees that it begins.
    pub fn uninstall_with(&self, between: impl FnOnce()) -> Result<Vec<String>, Failure> {
        install::uninstall(&story(), &self.node, || {
            between();
            true
        })
    }

    /// Everything is as it should be.
    pub fn is_right(&self) -> bool {
        Part::ALL.into_iter().all(|part| self.node.look(part) == Finding::Right)
    }
}

fn story() -> Story {
    Story::begin(Clock::start(), TraceId([7; 16]), None, PodRef::default(), Level::Info, None)
}
