//! The demo where every user may start it, and what it leaves there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const DEMO: &str = env!("CARGO_BIN_EXE_istio-cni-otel");
const PLUGIN: &str = env!("CARGO_BIN_EXE_istio-cni");
/// The user that tests take for one without privileges.
const NOBODY: u32 = 65534;

/// The binaries in a directory that every user may read, and a temporary directory of the demo's own.
pub struct Installed {
    pub dir: tempfile::TempDir,
}

impl Installed {
    /// With this file as the plugin.
    pub fn with_plugin(plugin: Option<&Path>) -> Installed {
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

    pub fn new() -> Installed {
        Installed::with_plugin(Some(Path::new(PLUGIN)))
    }

    fn put(&self, file: &Path, name: &str) {
        let to = self.dir.path().join(name);
        // Another file system has no room for a link.
        if fs::hard_link(file, &to).is_err() {
            fs::copy(file, &to).unwrap();
        }
    }

    pub fn tmp(&self) -> PathBuf {
        self.dir.path().join("t")
    }

    pub fn demo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.dir.path().join("istio-cni-otel"));
        command.arg("demo").args(args).env("TMPDIR", self.tmp()).env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    /// The same once there are no more than this many: the kernel ends orphans as soon as it has ended their parent,
    /// which is not at the same moment.
    pub fn leftovers_within(&self, limit: Duration, count: usize) -> Vec<String> {
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
    pub fn leftovers(&self) -> Vec<String> {
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

pub fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Makes the command run as a user without privileges; who runs the tests without root is one already.
pub fn without_root(mut command: Command) -> Command {
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[track_caller]
pub fn assert_shown(stdout: &str, lines: &[&str]) {
    // Long lines are wrapped, with a margin where they are quoted.
    let unwrapped = stdout.replace("\n    │ ", " ").replace("\n    ", " ");
    let mut rest = unwrapped.as_str();
    for line in lines {
        let Some((_, after)) = rest.split_once(line) else { panic!("{line:?} is not, or not there, in:\n{stdout}") };
        rest = after;
    }
}
