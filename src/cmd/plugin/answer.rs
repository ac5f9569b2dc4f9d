//! The one answer on standard output: a result or an error, written whole, at most once.

use crate::wire::cni::CniError;
use nix::errno::Errno;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the answer has begun to be written: from then on nothing may follow it.
static GIVEN: AtomicBool = AtomicBool::new(false);

/// Whether that answer was a result and went out whole.
static SUCCEEDED: AtomicBool = AtomicBool::new(false);

/// The exit status that agrees with what was answered. A defect that shows only afterwards, while
/// the telemetry is handed on, must not fail a pod that is set up.
pub fn status() -> i32 {
    i32::from(!SUCCEEDED.load(Ordering::SeqCst))
}

/// Writes a result. A runtime that has gone away gets a failing exit status at least.
pub fn give(result: &[u8]) -> ExitCode {
    match write_once(result) {
        Ok(()) => {
            SUCCEEDED.store(true, Ordering::SeqCst);
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes an error.
pub fn refuse(error: &CniError) -> ExitCode {
    // Whether or not it could be written, the exit status says that it failed.
    let _ = write_once(&error.to_json());
    ExitCode::FAILURE
}

/// Writes the bytes unless there was an answer already. Unbuffered: a killed process has written
/// either nothing or everything, for a pipe takes an answer in one piece.
fn write_once(mut bytes: &[u8]) -> Result<(), Errno> {
    if GIVEN.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let stdout = std::io::stdout();
    while !bytes.is_empty() {
        match nix::unistd::write(&stdout, bytes) {
            Ok(0) => return Err(Errno::EIO),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
