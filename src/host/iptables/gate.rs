//! Tools that start together or not at all, even when we are killed between the two: each waits
//! right before it becomes the tool, and one write lets all of them go.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{pipe2, read, write};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

const READY: u8 = b'r';
const FAILED: u8 = b'f';
const GO: u8 = b'g';
const STAY: u8 = b's';

/// How often a waiting process looks whether we are still there, in milliseconds.
const LOOK: libc::c_int = 20;

/// What the processes wait at.
pub struct Gate {
    /// Gets one byte from each process that is ready, or that could not be started.
    ready: (OwnedFd, OwnedFd),
    /// Gives one byte to each process.
    word: (OwnedFd, OwnedFd),
}

impl Gate {
    /// A closed gate.
    pub fn new() -> io::Result<Gate> {
        let flags = nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK;
        Ok(Gate { ready: pipe2(flags)?, word: pipe2(flags)? })
    }

    /// Makes the command's process wait here, after all that was wrapped around it before.
    pub fn wrap(&self, command: &mut Command) {
        let (ready, word) = (self.ready.1.as_raw_fd(), self.word.0.as_raw_fd());
        let parent = nix::unistd::getpid().as_raw();
        // SAFETY: between fork and exec only system calls are made, on copied numbers and on the
        // stack; the descriptors are open until exec, in this process' own table.
        unsafe { command.pre_exec(move || stand_ready(ready, word, parent)) };
    }

    /// Says that one of the processes will not come.
    pub fn fail(&self) {
        // Room for a few bytes is always there.
        let _ = write(&self.ready.1, &[FAILED]);
    }

    /// Waits until all `count` processes are ready and lets them go. If one of them fails or is not
    /// ready in time, none goes.
    pub fn open(&self, count: usize, limit: Duration) {
        let word = if self.all_ready(count, limit) { GO } else { STAY };
        // One write: everybody gets a word, or nobody does.
        let _ = write(&self.word.1, &vec![word; count]);
    }

    fn all_ready(&self, count: usize, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut seen = 0;
        while seen < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.ready.0.as_fd(), PollFlags::POLLIN)], left) {
                Ok(0) => return false,
                Err(nix::Error::EINTR) => continue,
                Err(_) => return false,
                Ok(_) => {}
            }
            let mut byte = [0];
            match read(&self.ready.0, &mut byte) {
                Ok(1) if byte == [READY] => seen += 1,
                Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
                _ => return false,
            }
        }
        true
    }
}

/// In the tool's process: says that it is ready and waits for the word. Without us no word comes
/// any more, so the one that is there when we are gone, or none, is the last.
fn stand_ready(ready: RawFd, word: RawFd, parent: libc::pid_t) -> io::Result<()> {
    // SAFETY: plain system calls on descriptors that are open here and on bytes of the stack
    // (man 2 write, read, poll, getppid).
    unsafe {
        let byte = READY;
        if libc::write(ready, (&raw const byte).cast(), 1) != 1 {
            return Err(io::Error::last_os_error());
        }
        loop {
            let alone = libc::getppid() != parent;
            let mut byte = 0_u8;
            match libc::read(word, (&raw mut byte).cast(), 1) {
                1 if byte == GO => return Ok(()),
                1 => return Err(cancelled()),
                _ if alone => return Err(cancelled()),
                _ => {}
            }
            let mut waited = libc::pollfd { fd: word, events: libc::POLLIN, revents: 0 };
            libc::poll(&raw mut waited, 1, LOOK);
        }
    }
}

fn cancelled() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}

/// Whether a process did not become the tool because another one could not.
pub fn was_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Starts `true` behind a gate, on a thread, for starting waits for the gate.
    fn start(gate: &Gate) -> io::Result<std::process::ExitStatus> {
        let mut command = Command::new("/bin/true");
        gate.wrap(&mut command);
        command.spawn().inspect_err(|_| gate.fail())?.wait()
    }

    #[test]
    fn all_go_once_all_are_ready() {
        let gate = Gate::new().unwrap();
        std::thread::scope(|scope| {
            let both = [(); 2].map(|()| scope.spawn(|| start(&gate)));
            gate.open(2, LONG);
            assert!(both.into_iter().all(|each| each.join().unwrap().unwrap().success()));
        });
    }

    #[test]
    fn none_goes_when_one_fails_or_is_late() {
        for fails in [true, false] {
            let gate = Gate::new().unwrap();
            std::thread::scope(|scope| {
                let one = scope.spawn(|| start(&gate));
                if fails {
                    gate.fail();
                }
                gate.open(2, if fails { LONG } else { Duration::from_millis(50) });
                assert!(was_cancelled(&one.join().unwrap().unwrap_err()), "{fails}");
            });
        }
    }
}
