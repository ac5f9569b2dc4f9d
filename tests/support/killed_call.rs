//! The real plugin and the real agent, killed at the n-th stop of their system calls.

use super::agent::Agent;
use super::process::{trace, wait_for_any};
use super::{Node, eventually};
use nix::sys::signal::{Signal, kill};
use std::io::{Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// A stop of ptrace's at a system call carries this mark.
const SYSCALL_STOP: libc::c_int = libc::SIGTRAP | 0x80;

/// Calls the plugin and kills it at the n-th stop (before or after a system call of any of its
/// threads). False when it ended before.
#[expect(clippy::zombie_processes, reason = "the tracer's loop waits for it")]
pub fn call_killed_at(node: &Node, command: &str, netns: &str, n: usize) -> bool {
    let mut stdin = tempfile::tempfile().unwrap();
    stdin.write_all(node.configuration.to_string().as_bytes()).unwrap();
    stdin.rewind().unwrap();
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_istio-cni"));
    plugin.env_clear().envs(node.environment.iter().map(|(key, value)| (key, value)));
    plugin.env("CNI_COMMAND", command).env("CNI_NETNS", netns);
    plugin.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: one system call between fork and exec, which takes numbers alone (man 2 ptrace).
    unsafe {
        plugin.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    // This thread is the tracer, for it forks. The child stops at its exec.
    let mut child = plugin.spawn().unwrap();
    let pid = child.id().cast_signed();
    let (mut stops, mut known) = (0, false);
    loop {
        let (tid, status) = wait_for_any();
        if !libc::WIFSTOPPED(status) {
            if tid == pid {
                return stops >= n;
            }
            continue;
        }
        if !known {
            known = true;
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            trace(libc::PTRACE_SETOPTIONS, tid, options);
        } else if libc::WSTOPSIG(status) == SYSCALL_STOP {
            stops += 1;
            if stops == n {
                child.kill().unwrap();
            }
        }
        // Only a signal that is not ptrace's own goes on to the plugin: there is none but SIGCHLD.
        let signal = if libc::WSTOPSIG(status) == libc::SIGCHLD { libc::SIGCHLD } else { 0 };
        trace(libc::PTRACE_SYSCALL, tid, signal);
    }
}

/// Kills the agent at the n-th stop of the threads that serve its next connection, which `go` makes
/// in the background. False when they ended before; it is killed then too.
pub fn kill_agent_at(agent: Agent, n: usize, go: impl FnOnce()) -> bool {
    let socket = thread_of(agent.pid().as_raw(), "socket");
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE;
    trace(libc::PTRACE_SEIZE, socket, options);
    go();
    let (mut stops, mut first, mut hit) = (0, None, false);
    loop {
        let (tid, status) = wait_for_any();
        if !libc::WIFSTOPPED(status) {
            if tid == agent.pid().as_raw() {
                // It is waited for already.
                std::mem::forget(agent);
                return hit;
            }
            if first == Some(tid) && !hit {
                kill(agent.pid(), Signal::SIGKILL).unwrap();
            }
            continue;
        }
        let serves = tid != socket;
        if serves {
            first.get_or_insert(tid);
        }
        if serves && libc::WSTOPSIG(status) == SYSCALL_STOP {
            stops += 1;
            if stops == n {
                hit = true;
                kill(agent.pid(), Signal::SIGKILL).unwrap();
            }
        }
        // No signal is meant for these threads, so every stop is of ptrace's own making.
        trace(if serves { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT }, tid, 0);
    }
}

/// The thread that has, or soon will have, this name.
fn thread_of(pid: libc::pid_t, name: &str) -> libc::pid_t {
    let named =
        |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|it| it.trim() == name);
    let tid = eventually("the thread's name", || {
        let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap());
        tasks.find(named).map(|task| task.file_name().into_string().unwrap())
    });
    tid.parse().unwrap()
}
