//! The real plugin and the real agent, killed before the n-th of their system calls.

use super::agent::Agent;
use super::process::{NextCall, next_call, trace, wait_for_any};
use super::{Answer, Node, eventually};
use nix::sys::signal::{Signal, kill};
use std::io::{Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

/// Which of the plugin's system calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Every one, of all its threads together.
    All,
    /// From entering the pod's namespace to the answer.
    SetUp,
    /// Those after the answer.
    Afterwards,
}

/// Counts system calls of a process.
struct Counter {
    counted: Counted,
    calls: usize,
    answered: bool,
}

impl Counter {
    /// Counts a call; how many there are with it, if it counts.
    fn count(&mut self, call: &NextCall) -> Option<usize> {
        let inside = self.calls > 0 || call.number == libc::SYS_setns;
        let counts = match self.counted {
            Counted::All => true,
            Counted::SetUp => inside && !self.answered,
            Counted::Afterwards => self.answered,
        };
        self.answered |= call.number == libc::SYS_write && call.first_argument == 1;
        if !counts {
            return None;
        }
        self.calls += 1;
        Some(self.calls)
    }
}

/// Calls the plugin and kills it before the n-th system call that counts. False when it ended
/// before.
#[expect(clippy::zombie_processes, reason = "the tracer's loop waits for it")]
pub fn call_killed_at(node: &Node, command: &str, netns: &str, counted: Counted, n: usize) -> bool {
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
    let (mut counter, mut known) = (Counter { counted, calls: 0, answered: false }, false);
    loop {
        let (tid, status) = wait_for_any();
        if !libc::WIFSTOPPED(status) {
            if tid == pid {
                return counter.calls >= n;
            }
            continue;
        }
        if !known {
            known = true;
            let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            trace(libc::PTRACE_SETOPTIONS, tid, options);
        } else if next_call(tid, status).and_then(|call| counter.count(&call)) == Some(n) {
            child.kill().unwrap();
        }
        // Only a signal that is not ptrace's own goes on to the plugin: there is none but SIGCHLD.
        let signal = if libc::WSTOPSIG(status) == libc::SIGCHLD { libc::SIGCHLD } else { 0 };
        trace(libc::PTRACE_SYSCALL, tid, signal);
    }
}

/// Kills the agent before the n-th system call of the thread that serves its next connection, which
/// `go` makes in the background. False when that thread ended before; the agent is killed then too.
pub fn kill_agent_at(agent: Agent, n: usize, go: impl FnOnce()) -> bool {
    let waiting = thread_that_accepts(agent.pid().as_raw());
    trace(libc::PTRACE_SEIZE, waiting, libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE);
    // It stops, and then before it waits again; from there on its calls are the connection's.
    trace(libc::PTRACE_INTERRUPT, waiting, 0);
    while next_call(waiting, wait_for_any().1).is_none() {
        trace(libc::PTRACE_SYSCALL, waiting, 0);
    }
    trace(libc::PTRACE_SYSCALL, waiting, 0);
    go();
    let (mut calls, mut hit) = (0, false);
    loop {
        let (tid, status) = wait_for_any();
        if !libc::WIFSTOPPED(status) {
            if tid == agent.pid().as_raw() {
                // It is waited for already.
                std::mem::forget(agent);
                return hit;
            }
            if tid == waiting && !hit {
                kill(agent.pid(), Signal::SIGKILL).unwrap();
            }
            continue;
        }
        if next_call(tid, status).is_some() {
            calls += 1;
            if calls == n {
                hit = true;
                kill(agent.pid(), Signal::SIGKILL).unwrap();
            }
        }
        // No signal is meant for these threads, so every stop is of ptrace's own making.
        trace(libc::PTRACE_SYSCALL, tid, 0);
    }
}

/// ADDs a pod while the agent that serves it is killed before the n-th of its system calls for that. Whether it was
/// hit before its end, and the plugin's answer.
pub fn add_with_agent_killed_at(node: &Node, agent: Agent, netns: &str, n: usize) -> (bool, Answer) {
    std::thread::scope(|scope| {
        let (tell, answered) = channel();
        let add = move || tell.send(node.call("ADD", netns)).unwrap();
        let hit = kill_agent_at(agent, n, || drop(scope.spawn(add)));
        (hit, answered.recv().unwrap())
    })
}

/// The one of the agent's threads that waits for a connection; the others that stand by wait for it.
fn thread_that_accepts(pid: libc::pid_t) -> libc::pid_t {
    let read = |task: &std::fs::DirEntry, name: &str| {
        std::fs::read_to_string(task.path().join(name)).unwrap_or_default().trim().to_owned()
    };
    let waits = [libc::SYS_poll, libc::SYS_ppoll, libc::SYS_accept4].map(|call| call.to_string());
    let accepts = |task: &std::fs::DirEntry| {
        let call = read(task, "syscall");
        read(task, "comm") == "cni-request"
            && call.split(' ').next().is_some_and(|call| waits.iter().any(|w| w == call))
    };
    let tid = eventually("a thread that waits for connections", || {
        let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap());
        tasks.find(accepts).map(|task| task.file_name().into_string().unwrap())
    });
    tid.parse().unwrap()
}
