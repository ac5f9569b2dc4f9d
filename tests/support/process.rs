//! Work in a process of its own, which a test may kill: after it said that it is ready, or before the
//! n-th system call of the thread that it starts.

use super::CHILD;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Makes a function the work of the processes that this test file starts: they are the same program,
/// which does it in place of the harness.
#[macro_export]
macro_rules! child_work {
    ($work:path) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static BEFORE_MAIN: extern "C" fn() = {
                extern "C" fn before_main() {
                    support::work_if_child($work);
                }
                before_main
            };
        };
    };
}

/// Does the work and ends, in a process that a test started.
pub fn work_if_child(work: fn()) {
    if std::env::var_os(CHILD).is_some() {
        work();
        std::process::exit(0);
    }
}

/// The program of this test file as a child, which does the file's [`child_work`].
pub fn child() -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.env(CHILD, "1");
    child
}

/// A process that does the work of this file's children.
pub struct TestProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Kept open, so that the child can go on writing.
    stdout: BufReader<ChildStdout>,
    /// The thread that runs the test there.
    thread: libc::pid_t,
}

const READY: &str = "ready in thread";

/// In the child: says that it is ready, and waits until it is told to go on. Returns false when it
/// never is.
pub fn ready() -> bool {
    // SAFETY: a system call without arguments.
    println!("\n{READY} {}", unsafe { libc::gettid() });
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap() > 0
}

/// In the child: what the parent passed on.
pub fn argument(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("the test that started this process did not set {name}"))
}

impl TestProcess {
    /// Starts the work with these variables and waits until it is ready.
    pub fn start(arguments: &[(&str, &str)]) -> TestProcess {
        let mut child =
            child().envs(arguments.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let thread = loop {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the child ended before it was ready");
            if let Some(thread) = line.strip_prefix(READY) {
                break thread.trim().parse().unwrap();
            }
        };
        TestProcess { stdin: child.stdin.take(), stdout, child, thread }
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it go on to its end, and returns the line that it prints.
    pub fn answer(mut self) -> String {
        writeln!(self.stdin.take().unwrap(), "go").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert!(self.child.wait().unwrap().success());
        line.trim_end().to_owned()
    }

    /// Lets it go on, and kills it before the n-th system call of the first thread that it starts.
    /// False when that thread ended before.
    pub fn kill_at(mut self, n: usize) -> bool {
        let pid = self.child.id().cast_signed();
        let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        trace(libc::PTRACE_SEIZE, self.thread, options);
        writeln!(self.stdin.take().unwrap(), "go").unwrap();
        let (mut followed, mut stops, mut killed) = (None, 0, false);
        loop {
            let (tid, status) = wait_for_any();
            if !libc::WIFSTOPPED(status) {
                if tid == pid {
                    return killed;
                }
                continue;
            }
            if tid != self.thread {
                followed.get_or_insert(tid);
            }
            let is_followed = followed == Some(tid);
            if is_followed && next_call(tid, status).is_some() {
                stops += 1;
                if stops == n {
                    killed = true;
                    self.child.kill().unwrap();
                    continue;
                }
            }
            // A stop of ptrace's own carries an event or its marked SIGTRAP; any other is a signal.
            let own = status >> 16 != 0 || libc::WSTOPSIG(status) & !0x80 == libc::SIGTRAP;
            let signal = if own { 0 } else { libc::WSTOPSIG(status) };
            trace(if is_followed { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT }, tid, signal);
        }
    }
}

/// One ptrace request about a thread that this thread traces (man 2 ptrace).
pub(super) fn trace(request: libc::c_uint, tid: libc::pid_t, data: libc::c_int) {
    // SAFETY: these requests take numbers in the place of pointers, and touch no memory of ours.
    let result = unsafe { libc::ptrace(request, tid, 0, libc::c_long::from(data)) };
    // A thread that was killed meanwhile is gone.
    let gone = std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    assert!(result == 0 || gone, "ptrace {request}: {}", std::io::Error::last_os_error());
}

/// A system call that is about to be made.
pub(super) struct NextCall {
    pub number: libc::c_long,
    pub first_argument: u64,
}

/// The call that a stopped thread has yet to make, if that is why it stopped (man 2 ptrace). To be
/// killed after a call is the same as before the next one, so one stop of the two is enough.
pub(super) fn next_call(tid: libc::pid_t, status: libc::c_int) -> Option<NextCall> {
    if libc::WSTOPSIG(status) != libc::SIGTRAP | 0x80 {
        return None;
    }
    // SAFETY: the structure is of plain numbers, for which zeros are allowed.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&info);
    // SAFETY: the kernel writes at most the size that is given into the structure.
    let read = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, size, &raw mut info) };
    if read <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: that is the part of the union that the kernel filled, as it says.
    let entry = unsafe { info.u.entry };
    Some(NextCall { number: libc::c_long::try_from(entry.nr).unwrap(), first_argument: entry.args[0] })
}

/// The next thing that happens to a child or tracee of this very thread.
pub(super) fn wait_for_any() -> (libc::pid_t, libc::c_int) {
    let mut status = 0;
    // SAFETY: the status lives during the call (man 2 waitpid).
    let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    assert!(tid > 0, "waitpid: {}", std::io::Error::last_os_error());
    (tid, status)
}
