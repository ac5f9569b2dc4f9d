//! How far it is, for whoever waits at a terminal. Nothing where standard error is none.

use std::io::{IsTerminal, Write};

/// One line that is written over.
pub struct Progress {
    what: &'static str,
    shown: bool,
}

impl Progress {
    /// Of this work.
    pub fn of_stderr(what: &'static str) -> Progress {
        Progress { what, shown: std::io::stderr().is_terminal() }
    }

    /// So much of it is done.
    pub fn tell(&mut self, done: usize, of: usize) {
        if self.shown {
            // Who cannot be told waits without.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}: {done} of {of}", self.what);
        }
    }

    /// All of it; the line is gone.
    pub fn done(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done();
    }
}
