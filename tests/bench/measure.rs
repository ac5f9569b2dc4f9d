//! One child process, measured: wall time and CPU time from `wait4`, or its peak memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// What one run of a program cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
    /// Kibibytes; 0 unless it was what is measured.
    pub peak_kib: i64,
    pub ok: bool,
}

/// What to measure of a run: each disturbs the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Time,
    Peak,
}

/// Runs the command with `stdin` as its standard input and waits for it.
pub fn run(command: &mut Command, stdin: &[u8], measure: Measure) -> Cost {
    match measure {
        Measure::Time => timed(command, stdin),
        Measure::Peak => peak(command, stdin),
    }
}

fn timed(command: &mut Command, stdin: &[u8]) -> Cost {
    let mut said = filled(b"");
    command.stdin(filled(stdin)).stdout(said.try_clone().expect("a descriptor")).stderr(Stdio::null());
    let start = Instant::now();
    #[expect(clippy::zombie_processes, reason = "wait4 below waits, because it also tells what was used")]
    let child = command.spawn().expect("the program starts");
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeros is a value.
    let mut usage = unsafe { std::mem::zeroed::<libc::rusage>() };
    let pid = libc::pid_t::try_from(child.id()).expect("a process id");
    // SAFETY: both pointers are to live locals; the child is ours and nobody else waits for it.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let wall = start.elapsed();
    assert_eq!(waited, pid, "wait4: {}", std::io::Error::last_os_error());
    if status != 0 {
        let mut text = String::new();
        let _ = said.seek(SeekFrom::Start(0)).and_then(|_| said.read_to_string(&mut text));
        println!("{command:?} ended with status {status}: {text}");
    }
    Cost { wall, cpu: time(usage.ru_utime) + time(usage.ru_stime), peak_kib: 0, ok: status == 0 }
}

/// Stops the program on its way out to read its peak: what `wait4` tells counts the memory of
/// whoever started it too.
fn peak(command: &mut Command, stdin: &[u8]) -> Cost {
    command.stdin(filled(stdin)).stdout(Stdio::null()).stderr(Stdio::null());
    let traced = || {
        // SAFETY: asks to be traced by the parent; the pointers are ignored (ptrace(2)).
        let asked = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, null_mut::<u8>(), null_mut::<u8>()) };
        if asked == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: ptrace is a plain system call, which may be made between fork and exec.
    unsafe { command.pre_exec(traced) };
    #[expect(clippy::zombie_processes, reason = "waitpid below waits")]
    let child = command.spawn().expect("the program starts");
    let pid = libc::pid_t::try_from(child.id()).expect("a process id");
    // The first stop is that of exec, the second that of exit; other signals it gets as they are.
    stopped(pid);
    // SAFETY: the child is stopped and traced by this thread.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, null_mut::<u8>(), libc::PTRACE_O_TRACEEXIT) };
    let (mut signal, mut peak_kib) = (0, 0);
    let status = loop {
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_CONT, pid, null_mut::<u8>(), signal) };
        let status = stopped(pid);
        if !libc::WIFSTOPPED(status) {
            break status;
        }
        let exits = status >> 16 == libc::PTRACE_EVENT_EXIT;
        if exits {
            peak_kib = i64::try_from(memory_kib(child.id(), "VmHWM:")).unwrap_or_default();
        }
        signal = if exits { 0 } else { libc::WSTOPSIG(status) };
    };
    Cost { peak_kib, ok: status == 0, ..Cost::default() }
}

/// Waits for the next stop or the end of a traced child.
fn stopped(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: the pointer is to a live local; the child is ours.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid, "waitpid: {}", std::io::Error::last_os_error());
    status
}

/// CPU time that another process has used so far, that of threads that have ended included.
pub fn cpu_of(pid: u32) -> Duration {
    let pid = libc::pid_t::try_from(pid).expect("a process id");
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both pointers are to live locals.
    let read = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
    };
    assert!(read, "the CPU time of process {pid} cannot be read");
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// Resident memory of another process, in kibibytes.
pub fn resident_kib(pid: u32) -> u64 {
    memory_kib(pid, "VmRSS:")
}

fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is alive");
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or_default()
}

fn time(value: libc::timeval) -> Duration {
    let seconds = u64::try_from(value.tv_sec).unwrap_or_default();
    let micros = u64::try_from(value.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

/// A memory file with these bytes, so that writing them is not part of the measure.
fn filled(bytes: &[u8]) -> File {
    // SAFETY: the name is a C string; the descriptor returned is ours alone.
    let fd = unsafe { libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: just made, owned by nobody else.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.write_all(bytes).and_then(|()| file.seek(SeekFrom::Start(0))).expect("memory");
    file
}

/// The median of the values; zero of none.
pub fn median(values: &[Duration]) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
