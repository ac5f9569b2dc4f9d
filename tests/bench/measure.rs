//! One child process, measured: wall time, its CPU time and its peak memory, from `wait4`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run of a program cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
    /// Kibibytes; 0 where nobody measured it.
    pub peak_kib: i64,
    pub ok: bool,
}

/// Runs the command with `stdin` as its standard input and waits for it.
pub fn run(command: &mut Command, stdin: &[u8]) -> Cost {
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
    Cost { wall, cpu: time(usage.ru_utime) + time(usage.ru_stime), peak_kib: usage.ru_maxrss, ok: status == 0 }
}

/// CPU time that another process has used so far.
pub fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is alive");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
    // SAFETY: sysconf has no preconditions.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100);
    Duration::from_millis(ticks * 1000 / per_second)
}

/// Resident memory of another process, in kibibytes.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is alive");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
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
