//! One run of an iptables tool: its whole input is there before it starts and its output goes to
//! memory, so that it comes to its end even when we do not.

use super::error::IptablesError;
use super::gate::Gate;
use super::sandbox::Sandbox;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// More output than this is not a pod's rules.
const OUTPUT_LIMIT: u64 = 64 * 1024 * 1024;

/// A tool that was started; one that is not waited for is ended.
pub struct Running {
    path: PathBuf,
    child: Child,
    started: Instant,
    limit: Duration,
    stdout: File,
    stderr: File,
}

/// A tool that ended.
#[derive(Debug)]
pub struct Ended {
    pub path: PathBuf,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Starts a tool inside the calling thread's namespace.
pub fn start(
    path: &Path,
    arguments: &[String],
    input: &str,
    limit: Duration,
    sandbox: &Sandbox<'_>,
) -> Result<Running, IptablesError> {
    start_behind(None, path, arguments, input, limit, sandbox)
}

/// The same, but with a gate it waits for it, and so does this call.
pub fn start_behind(
    gate: Option<&Gate>,
    path: &Path,
    arguments: &[String],
    input: &str,
    limit: Duration,
    sandbox: &Sandbox<'_>,
) -> Result<Running, IptablesError> {
    let prepare = |doing: &'static str| {
        let path = path.to_owned();
        move |source| IptablesError::Io { doing, path, source }
    };
    let stdin = sealed_input(input).map_err(prepare("hand over the rules"))?;
    let stdout = memory_file("iptables-stdout", MFdFlags::MFD_CLOEXEC).map_err(prepare("take the output"))?;
    let stderr = memory_file("iptables-stderr", MFdFlags::MFD_CLOEXEC).map_err(prepare("take the output"))?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", super::tool::SYSTEM_PATH)
        // Since 1.8.6. We hold the namespace's lock already; the host-wide one is of no use to us,
        // and whoever holds it must not hold us up. Each child locks its own input.
        .env("XTABLES_LOCKFILE", "/proc/self/fd/0")
        .current_dir("/")
        .stdin(stdin)
        .stdout(stdout.try_clone().map_err(prepare("take the output"))?)
        .stderr(stderr.try_clone().map_err(prepare("take the output"))?);
    sandbox.wrap(&mut command);
    if let Some(gate) = gate {
        gate.wrap(&mut command);
    }
    let child = command.spawn().map_err(|source| IptablesError::Start {
        path: path.to_owned(),
        foreign: sandbox.is_foreign(),
        source,
    })?;
    Ok(Running { path: path.to_owned(), child, started: Instant::now(), limit, stdout, stderr })
}

impl Running {
    /// Waits for the tool's end, and kills it at its deadline.
    pub fn wait(mut self) -> Result<Ended, IptablesError> {
        let left = self.limit.saturating_sub(self.started.elapsed());
        let in_time = self.ends_within(left).map_err(|source| self.io("wait", source))?;
        if !in_time {
            let _ = self.child.kill();
        }
        let status = self.child.wait().map_err(|source| self.io("wait", source))?;
        if !in_time {
            return Err(IptablesError::Timeout { path: std::mem::take(&mut self.path), limit: self.limit });
        }
        let stdout = contents(&mut self.stdout).map_err(|source| self.io("read the output", source))?;
        let stderr = contents(&mut self.stderr).map_err(|source| self.io("read the output", source))?;
        Ok(Ended { path: std::mem::take(&mut self.path), status, stdout, stderr: stderr.trim_end().to_owned() })
    }

    /// Whether the child ends before `left` is over. It stays unreaped, so its id stays its own.
    fn ends_within(&mut self, left: Duration) -> io::Result<bool> {
        let id = Id::Pid(Pid::from_raw(self.child.id().cast_signed()));
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("tool-wait".to_owned()).stack_size(64 * 1024).spawn(move || {
            let ended = waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            // Nobody listens any more when the deadline came first.
            let _ = sender.send(ended.map(|_| ()));
        })?;
        match receiver.recv_timeout(left) {
            Ok(ended) => ended.map(|()| true).map_err(io::Error::from),
            Err(_) => Ok(false),
        }
    }

    fn io(&self, doing: &'static str, source: io::Error) -> IptablesError {
        IptablesError::Io { doing, path: self.path.clone(), source }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both do nothing for a tool that was waited for. Nobody else would reap the others, and
        // one that hangs would keep the namespace's lock.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tool's whole input, which nothing can change any more.
fn sealed_input(input: &str) -> io::Result<File> {
    let mut file = memory_file("iptables-stdin", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

fn memory_file(name: &str, flags: MFdFlags) -> io::Result<File> {
    Ok(File::from(memfd_create(name, flags)?))
}

fn contents(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Classify;
    use crate::domain::step::ErrorType;
    use std::os::fd::AsFd;

    const LONG: Duration = Duration::from_secs(20);

    /// Runs a shell line as if it were the tool.
    fn run(line: &str, input: &str, limit: Duration) -> Result<Ended, IptablesError> {
        let lock = File::open("/dev/null").unwrap();
        let sandbox = Sandbox::of_current_namespace(lock.as_fd());
        start(Path::new("/bin/sh"), &["-c".to_owned(), line.to_owned()], input, limit, &sandbox)?.wait()
    }

    #[test]
    fn a_tool_gets_its_input_whole_and_its_output_is_kept_apart() {
        let input = "rule\n".repeat(200_000);
        let ended = run("cat; echo complaint >&2; exit 3", &input, LONG).unwrap();
        assert_eq!(ended.stdout, input);
        assert_eq!((ended.stderr.as_str(), ended.status.code()), ("complaint", Some(3)));
    }

    #[test]
    fn a_tool_cannot_change_its_input() {
        let ended = run("echo more >> /proc/self/fd/0; cat", "rule\n", LONG).unwrap();
        assert_eq!(ended.stdout, "rule\n");
    }

    #[test]
    fn a_tool_sees_nothing_of_our_environment() {
        let ended = run("env", "", LONG).unwrap();
        let mut names: Vec<&str> = ended.stdout.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        // The shell sets the last two itself.
        names.retain(|name| !["PWD", "_"].contains(name));
        assert_eq!(names, ["PATH", "XTABLES_LOCKFILE"]);
    }

    #[test]
    fn a_tool_that_does_not_end_is_killed_at_its_deadline() {
        let error = run("exec sleep 600", "", Duration::from_millis(50)).unwrap_err();
        assert_eq!((error.error_type(), error.retryable()), (ErrorType::ToolTimeout, true));
        assert!(error.to_string().contains("/bin/sh did not end within 0.05 s"), "{error}");
    }

    #[test]
    fn a_tool_that_nobody_waits_for_is_ended_and_reaped() {
        let lock = File::open("/dev/null").unwrap();
        let sandbox = Sandbox::of_current_namespace(lock.as_fd());
        let arguments = ["-c".to_owned(), "exec sleep 600".to_owned()];
        let running = start(Path::new("/bin/sh"), &arguments, "", LONG, &sandbox).unwrap();
        let process = PathBuf::from(format!("/proc/{}", running.child.id()));
        assert!(process.exists());
        drop(running);
        // A child that is not reaped keeps its place there.
        assert!(!process.exists());
    }

    #[test]
    fn a_tool_that_does_not_start_is_named() {
        let lock = File::open("/dev/null").unwrap();
        let sandbox = Sandbox::of_current_namespace(lock.as_fd());
        let started = start(Path::new("/nonexistent/iptables-restore"), &[], "", LONG, &sandbox);
        let error = started.err().unwrap();
        assert_eq!(error.error_type(), ErrorType::ToolFailed);
        assert!(error.to_string().contains("/nonexistent/iptables-restore"), "{error}");
    }
}
