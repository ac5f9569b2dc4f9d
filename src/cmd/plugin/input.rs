//! Standard input: the whole network configuration, within bounds of size and time.

use crate::domain::step::ErrorType;
use crate::wire::cni::{CODE_IO, CniError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// No configuration is larger: a conflist entry with its `prevResult` has a few kilobytes.
pub const MAX_BYTES: usize = 4 << 20;
/// A runtime writes the configuration at once.
pub const MAX_TIME: Duration = Duration::from_secs(10);

/// Reads until the end.
pub fn read() -> Result<Vec<u8>, CniError> {
    read_from(&io::stdin(), MAX_BYTES, MAX_TIME)
}

fn read_from(input: &impl AsFd, limit: usize, time: Duration) -> Result<Vec<u8>, CniError> {
    let deadline = Instant::now() + time;
    let mut bytes = vec![0; 8192];
    let mut filled = 0;
    loop {
        wait(input, deadline, time)?;
        match nix::unistd::read(input, bytes.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(unreadable(&errno.desc())),
        }
        if filled > limit {
            return Err(unreadable(&format_args!(
                "the network configuration is larger than {limit} bytes; a plugin's entry with its prevResult has a few kilobytes"
            )));
        }
        if filled == bytes.len() {
            bytes.resize(filled * 2, 0);
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn wait(input: &impl AsFd, deadline: Instant, time: Duration) -> Result<(), CniError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => {
                let what = format_args!(
                    "the caller did not finish writing the network configuration within {} s",
                    time.as_secs_f32()
                );
                return Err(unreadable(&what));
            }
            Err(Errno::EINTR) => {}
            // Data, the end, or an error that reading will tell.
            _ => return Ok(()),
        }
    }
}

fn unreadable(what: &dyn std::fmt::Display) -> CniError {
    CniError::new(CODE_IO, ErrorType::Io, format!("error reading from stdin: {what}")).with_details(
        "the container runtime must write the plugin's whole configuration to standard input and close it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn message(result: Result<Vec<u8>, CniError>) -> String {
        let error = result.unwrap_err();
        assert_eq!((error.code, error.error_type), (5, ErrorType::Io));
        error.msg
    }

    #[test]
    fn everything_up_to_the_end_is_read() {
        let (reader, mut writer) = io::pipe().unwrap();
        let text = "x".repeat(20_000);
        let written = std::thread::spawn({
            let text = text.clone();
            move || writer.write_all(text.as_bytes())
        });
        assert_eq!(read_from(&reader, 1 << 20, MAX_TIME).unwrap(), text.as_bytes());
        written.join().unwrap().unwrap();
    }

    #[test]
    fn an_endless_input_is_refused_at_its_limit() {
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        let text = message(read_from(&zeros, 10_000, MAX_TIME));
        assert!(
            text.starts_with("error reading from stdin: the network configuration is larger than 10000 bytes"),
            "{text}"
        );
    }

    #[test]
    fn a_caller_that_never_ends_is_not_waited_for() {
        let (reader, _writer) = io::pipe().unwrap();
        let text = message(read_from(&reader, 10, Duration::from_millis(20)));
        assert!(text.contains("did not finish writing the network configuration within 0.02 s"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let directory = std::fs::File::open("/").unwrap();
        assert_eq!(message(read_from(&directory, 10, MAX_TIME)), "error reading from stdin: Is a directory");
    }
}
