//! A pod's init container `istio-validation`: this program under the name and with the arguments of the injection
//! template, in the pod's namespaces, as the proxy's user and without any capability.

use super::pods::{NAMESPACE, PROXY_UID, Pod, random_sandbox_id};
use super::process::{Ended, run};
use anyhow::{Context, Result, bail};
use k8s_openapi::jiff::Timestamp;
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the template starts the container with, for a pod without annotations about ports; and a shorter time, because
/// somebody watches.
const ARGUMENTS: [&str; 20] = [
    "istio-iptables",
    "-p",
    "15001",
    "-z",
    "15006",
    "-u",
    "1337",
    "-m",
    "REDIRECT",
    "-i",
    "*",
    "-x",
    "",
    "-b",
    "*",
    "--log_output_level=default:info",
    "--run-validation",
    "--skip-rule-apply",
    "--probe-timeout",
    "300ms",
];
const MESSAGE: &str = "termination-log";

/// One run of the container, ended.
#[derive(Clone, Debug)]
pub struct Run {
    pub exit_code: i32,
    /// Its log, of each line the level and the text.
    pub log: Vec<String>,
    /// The termination message that it left.
    pub message: String,
    /// As the runtime makes them: 64 hex digits.
    pub id: String,
    pub began: Timestamp,
    pub ended: Timestamp,
    pub took: Duration,
}

/// Where the validation containers of pods are run.
pub struct Containers {
    directory: PathBuf,
    ipv6: bool,
}

impl Containers {
    /// They leave their messages in this directory, of which others have no path.
    pub fn new(directory: PathBuf, ipv6: bool) -> Result<Containers> {
        fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
        Ok(Containers { directory, ipv6 })
    }

    /// Runs the validation beside this process of a pod, to its end.
    pub async fn validate(&self, pod: &Pod, pause: u32) -> Result<Run> {
        let path = self.directory.join(MESSAGE);
        let failed = || format!("cannot make {}", path.display());
        fs::write(&path, "").with_context(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(0o666)).with_context(failed)?;
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command.args(["demo", super::args::VALIDATE_IN, &pause.to_string()]).env_clear();
        // A relative path: another user may have no way through the directories above.
        command.current_dir(&self.directory).env("TERMINATION_MESSAGE_PATH", MESSAGE);
        command.env("POD_NAME", pod.name).env("POD_NAMESPACE", NAMESPACE).env("POD_UID", &pod.uid);
        command.env("ISTIO_DUAL_STACK", self.ipv6.to_string());
        let (began, clock) = (Timestamp::now(), Instant::now());
        let what = format!("the validator of {NAMESPACE}/{}", pod.name);
        let Ended { status, stdout, stderr } = run(command, b"", &what).await?;
        let Some(exit_code) = status.code().filter(|_| stderr.is_empty()) else {
            bail!("{what} ended with {status}: {}", stderr.trim());
        };
        let (ended, took) = (Timestamp::now(), clock.elapsed());
        let message = read(&path)?;
        let log = stdout.lines().map(level_and_text).collect();
        Ok(Run { exit_code, log, message, id: random_sandbox_id()?, began, ended, took })
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A line of its log has the time, the level, the scope, the text and attributes.
fn level_and_text(line: &str) -> String {
    let fields: Vec<&str> = line.split('\t').collect();
    match fields.as_slice() {
        [_, level, _, text, ..] => format!("{level} {text}"),
        _ => line.to_owned(),
    }
}

/// The container's side: becomes the validator in the namespaces of the pod's `pause` process.
#[expect(clippy::disallowed_methods, reason = "this process has one thread, and becomes another program in there")]
pub fn become_validator(pause: u32) -> Result<()> {
    let own = fs::read_link("/proc/self/ns/user").context("cannot tell the own user namespace")?;
    let users = PathBuf::from(format!("/proc/{pause}/ns/user"));
    let has_own_users = fs::read_link(&users).with_context(|| format!("cannot read {}", users.display()))? != own;
    let open = |path: &Path| File::open(path).with_context(|| format!("cannot open {}", path.display()));
    let (users, netns) = (open(&users)?, open(Path::new(&format!("/proc/{pause}/ns/net")))?);
    if has_own_users {
        // There, the caller has the proxy's name.
        setns(users, CloneFlags::CLONE_NEWUSER).context("cannot enter the pod's user namespace")?;
    }
    setns(netns, CloneFlags::CLONE_NEWNET).context("cannot enter the pod's network namespace")?;
    if !has_own_users {
        let (user, group) = (Uid::from_raw(PROXY_UID), Gid::from_raw(PROXY_UID));
        setgroups(&[])
            .and_then(|()| setresgid(group, group, group))
            .and_then(|()| setresuid(user, user, user))
            .with_context(|| format!("cannot become user {PROXY_UID}"))?;
    }
    set_no_new_privs()?;
    // Forgotten by the kernel when the user changes.
    set_pdeathsig(Signal::SIGKILL)?;
    let error = std::process::Command::new("/proc/self/exe").arg0("pilot-agent").args(ARGUMENTS).exec();
    Err(error).with_context(|| format!("cannot start this program as user {PROXY_UID}: may every user execute it?"))
}
