//! A directory on a file system, and our plugin on its way into it.

use istio_cni_otel::domain::cni_files::{Decision, Placement, Reason, Verdict};
use istio_cni_otel::host::conf_dir::ConfDir;
use istio_cni_otel::host::file_error::FileError;
use istio_cni_otel::wire::conflist::{PluginEntry, decide, remove};
use nix::mount::{MsFlags, mount};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const LIST: &str = r#"{
  "name": "dbnet",
  "cniVersion": "0.4.0",
  "plugins": [
    { "type": "bridge", "x": 1e2 }
  ]
}
"#;
pub const BRIDGE: &str = r#"{"cniVersion":"0.3.1","name":"podnet","type":"bridge"}"#;

pub fn first_found() -> Placement {
    Placement::Chained { file: None }
}

pub fn entry() -> PluginEntry {
    PluginEntry { plugin_log_level: "info".to_owned(), ..PluginEntry::default() }
}

/// A directory that is gone with this value.
pub struct Scene {
    _temporary: tempfile::TempDir,
    pub path: PathBuf,
}

impl Scene {
    pub fn new() -> Scene {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("net.d");
        fs::create_dir(&path).unwrap();
        Scene { _temporary: temporary, path }
    }

    /// On a file system of its own, with these options of tmpfs.
    pub fn on_tmpfs(options: &str) -> Scene {
        let scene = Scene::new();
        mount(Some("tmpfs"), &scene.path, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        scene
    }

    pub fn with(self, name: &str, text: impl AsRef<[u8]>) -> Scene {
        fs::write(self.at(name), text).unwrap();
        self
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    pub fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.at(name)).unwrap().permissions().mode() & 0o7777
    }

    pub fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn decide(&self) -> Decision {
        decided(&self.path, &first_found())
    }

    /// What is said of each file that is left alone.
    pub fn skipped(&self) -> Vec<(String, String)> {
        self.decide().skipped.into_iter().map(|skipped| (skipped.file, skipped.problem)).collect()
    }

    pub fn install(&self) -> Result<Reason, FileError> {
        install(&self.path, &first_found())
    }

    /// Every entry with its content, of whatever kind.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        contents(&self.path)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Where it is a file system of its own, that goes first.
        let _ = nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH);
    }
}

pub fn decided(path: &Path, placement: &Placement) -> Decision {
    decide(&ConfDir::new(path).list(placement).unwrap(), placement, &entry(), None)
}

/// Writes what is decided; it must be something.
pub fn install(path: &Path, placement: &Placement) -> Result<Reason, FileError> {
    let directory = ConfDir::new(path);
    let files = directory.list(placement).unwrap();
    match decide(&files, placement, &entry(), None).verdict {
        Verdict::Write(write) => directory.write(&write, &files, 0o600).map(|()| write.why),
        other => panic!("{other:?}"),
    }
}

pub fn uninstall(path: &Path, placement: &Placement) {
    let directory = ConfDir::new(path);
    let files = directory.list(placement).unwrap();
    for removal in remove(&files, placement) {
        directory.remove(&removal, &files).unwrap();
    }
}

pub fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    let named = entries.map(|entry| {
        let content = if entry.path().is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
        (entry.file_name().to_string_lossy().into_owned(), content)
    });
    named.collect()
}
