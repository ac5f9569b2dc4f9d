//! The validator as a pod's container: the real program in the pod's namespace, as the proxy's
//! user, without any capability.

use super::{Namespace, other_users};
use istio_cni_otel::domain::validation::Validation;
use istio_cni_otel::wire::termination;
use nix::mount::{MsFlags, mount};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the injection template starts the container with, for a pod without annotations.
pub const TEMPLATE: [&str; 20] = [
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
    "-d",
    "15090,15021,15020",
    "--log_output_level=default:info",
    "--run-validation",
    "--skip-rule-apply",
];

/// The proxy's user: where the test is not root there is no other than its own.
pub fn proxy_uid() -> u32 {
    if other_users() { 1337 } else { 0 }
}

/// A run of the validator.
pub struct Validator {
    pub command: Command,
    uid: u32,
    message: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub struct Validated {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The termination message as it stands.
    pub message: String,
}

impl Validator {
    /// `istio-cni-otel` with these arguments.
    pub fn new(arguments: &[&str]) -> Validator {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let message = PathBuf::from(format!("/run/termination-{}", RUNS.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&message, "").unwrap();
        std::fs::set_permissions(&message, PermissionsExt::from_mode(0o666)).unwrap();
        let mut command = Command::new(program());
        // The name under which it is started decides what it takes.
        command.arg0(if arguments.first() == Some(&"istio-iptables") { "pilot-agent" } else { "istio-cni-otel" });
        command.args(arguments).env_clear().env("TERMINATION_MESSAGE_PATH", &message);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Validator { command, uid: proxy_uid(), message }
    }

    /// The validator of the proxy's user, with further arguments.
    pub fn of_proxy(arguments: &[&str]) -> Validator {
        let uid = proxy_uid().to_string();
        Validator::new(&[&["validate", "-u", &uid], arguments].concat())
    }

    pub fn env(mut self, name: &str, value: &str) -> Validator {
        self.command.env(name, value);
        self
    }

    /// Only where there are other users.
    pub fn run_by(self, uid: u32) -> Validator {
        Validator { uid, ..self }
    }

    /// Starts it.
    pub fn start(mut self, pod: &Namespace) -> Started {
        let uid = self.uid;
        // SAFETY: between fork and exec only system calls on numbers are made.
        unsafe { self.command.pre_exec(move || become_container(uid)) };
        let child = pod.run(|| self.command.spawn().unwrap());
        Started { child, message: self.message, read: String::new() }
    }

    /// Runs it to its end.
    pub fn run(self, pod: &Namespace) -> Validated {
        self.start(pod).end()
    }
}

/// A validator under way.
pub struct Started {
    child: Child,
    message: PathBuf,
    read: String,
}

impl Started {
    /// Waits until it says something.
    pub fn until(mut self, what: &str) -> Started {
        let mut stdout = BufReader::new(self.child.stdout.take().unwrap());
        while !self.read.contains(what) {
            assert!(stdout.read_line(&mut self.read).unwrap() > 0, "no {what} in {}", self.read);
        }
        self.read.push_str(std::str::from_utf8(stdout.buffer()).unwrap());
        self.child.stdout = Some(stdout.into_inner());
        self
    }

    /// Waits for its end.
    pub fn end(mut self) -> Validated {
        self.child.stdout.take().unwrap().read_to_string(&mut self.read).unwrap();
        let output = self.child.wait_with_output().unwrap();
        let message = std::fs::read_to_string(&self.message).unwrap_or_default();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Validated { code: output.status.code(), stdout: self.read, stderr, message }
    }
}

impl Validated {
    /// Its termination message.
    #[track_caller]
    pub fn validation(&self) -> Validation {
        assert!(self.message.len() <= 4096);
        termination::decode(self.message.as_bytes()).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The families and how many probes each took, of a validation that passed.
    #[track_caller]
    pub fn passed(&self) -> Vec<(&'static str, u32)> {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:#?}");
        let validation = self.validation();
        assert!(validation.passed());
        validation.families.iter().map(|of| (of.family.name(), of.attempts)).collect()
    }

    /// The type and the sentence of a validation that failed.
    #[track_caller]
    pub fn failed(&self) -> (&'static str, String) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(126), ""), "{self:#?}");
        let failure = self.validation().failure.unwrap();
        (failure.error_type.as_str(), failure.message)
    }

    /// Its lines as `level message`.
    pub fn lines(&self) -> Vec<String> {
        let of = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields[2], "validation", "{line}");
            format!("{} {}", fields[1], fields[3])
        };
        self.stdout.lines().map(of).collect()
    }

    pub fn says(&self, line: &str) -> bool {
        self.lines().iter().any(|said| said == line)
    }
}

/// The program at a place that every user can reach, wherever it was built.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let place = PathBuf::from("/run/validator");
        std::fs::write(&place, "").unwrap();
        let nothing = None::<&str>;
        mount(Some(env!("CARGO_BIN_EXE_istio-cni-otel")), &place, nothing, MsFlags::MS_BIND, nothing).unwrap();
        place
    })
}

/// What a container is that runs as this user, drops all capabilities and may not get any.
fn become_container(uid: u32) -> std::io::Result<()> {
    const LAST_CAPABILITY: libc::c_ulong = 63;
    let checked = |result: libc::c_long| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: system calls on numbers, and on no groups at all. Capabilities that the kernel does
    // not know are refused, which is fine.
    unsafe {
        for capability in 0..=LAST_CAPABILITY {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        checked(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        if uid != 0 {
            checked(libc::syscall(libc::SYS_setgroups, 0, 0))?;
            checked(libc::syscall(libc::SYS_setresgid, uid, uid, uid))?;
            checked(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
    }
    Ok(())
}
