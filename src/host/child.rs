//! Children that must not outlive us.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the kernel kill the child when the calling thread ends, also where we are killed ourselves. Call it, and start
/// the child, on a thread that lasts as long as the process.
pub fn killed_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only prctl(2) is called, which is a plain system call (man 2 PR_SET_PDEATHSIG,
    // man 7 signal-safety).
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) }
}
