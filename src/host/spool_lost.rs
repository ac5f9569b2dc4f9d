//! How much telemetry found no place in the spool: two numbers in a file of their own, which whoever
//! loses something raises and the agent takes.

use crate::telemetry::story::Lost;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How often the lock on the numbers is tried for; it is held for microseconds.
const LOCK_TRIES: u32 = 20;

/// Raises the numbers in this file, which is made where there is none.
pub fn add(file: &Path, more: Lost) -> io::Result<()> {
    let raised =
        |lost: Lost| Lost { spans: lost.spans.saturating_add(more.spans), logs: lost.logs.saturating_add(more.logs) };
    change(file, raised).map(|_| ())
}

/// Takes the numbers; they begin again at nothing.
pub fn take(file: &Path) -> io::Result<Lost> {
    if file.exists() { change(file, |_| Lost::default()) } else { Ok(Lost::default()) }
}

/// Changes the numbers under their lock, and gives the old ones.
fn change(path: &Path, change: impl Fn(Lost) -> Lost) -> io::Result<Lost> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = lock(options.open(path)?)?;
    let mut text = String::new();
    (&mut *file).take(64).read_to_string(&mut text)?;
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().unwrap_or(0));
    let old = Lost { spans: numbers.next().unwrap_or(0), logs: numbers.next().unwrap_or(0) };
    let new = change(old);
    file.rewind()?;
    // Always the same length, so that one write replaces the old numbers as a whole.
    file.write_all(format!("{:020} {:020}\n", new.spans, new.logs).as_bytes())?;
    Ok(old)
}

/// Locks without ever waiting for long: nobody keeps this lock, so a busy one is tried again.
fn lock(mut file: File) -> io::Result<Flock<File>> {
    for _ in 0..LOCK_TRIES {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((file, _)) => file,
        };
        std::thread::sleep(Duration::from_micros(200));
    }
    Err(io::ErrorKind::WouldBlock.into())
}
