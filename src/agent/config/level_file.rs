//! `RUN_DIR/log-level`: the log levels as somebody wants them while the agent runs, in the form of
//! `--log_output_level`. While the file is there it wins over flag and environment.

use super::log::{LogLevels, TAKEN};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file's name in the run directory.
pub const FILE_NAME: &str = "log-level";
/// No list of levels is longer.
const MAX_BYTES: u64 = 1024;
/// How much of an unusable content a message repeats.
const SHOWN: usize = 100;

/// Why the file counts as absent.
#[derive(Debug, thiserror::Error)]
pub enum LevelFileError {
    #[error("it cannot be read ({source}): it takes {TAKEN}; correct or remove it")]
    Unreadable { source: io::Error },
    #[error("it is no plain file: it takes {TAKEN}; remove it")]
    NoFile,
    #[error("it is longer than {MAX_BYTES} bytes: it takes {TAKEN}; correct or remove it")]
    TooLong,
    #[error("{value:?} cannot be used: it takes {TAKEN}; correct or remove it")]
    Unusable {
        /// The beginning of the content.
        value: String,
    },
}

/// Where the file is.
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(FILE_NAME)
}

/// The levels that the file asks for; None when there is no file, or nothing in it yet.
pub fn read(run_dir: &Path) -> Result<Option<LogLevels>, LevelFileError> {
    let text = match text(&path(run_dir)) {
        Err(LevelFileError::Unreadable { source }) if is_absent(&source) => return Ok(None),
        text => text?,
    };
    let value = text.trim();
    if value.is_empty() {
        return Ok(None);
    }
    let unusable = |_| LevelFileError::Unusable { value: value.chars().take(SHOWN).collect() };
    LogLevels::read(value).map(Some).map_err(unusable)
}

fn text(path: &Path) -> Result<String, LevelFileError> {
    let unreadable = |source| LevelFileError::Unreadable { source };
    // Opening a pipe must not wait for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(LevelFileError::NoFile);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(LevelFileError::TooLong);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::event::Level;
    use nix::sys::stat::Mode;

    #[test]
    fn the_files_content_has_the_form_of_the_flag() {
        let run_dir = tempfile::tempdir().unwrap();
        let read = || read(run_dir.path()).unwrap();
        assert_eq!(read(), None);
        for (content, agent, plugin) in [
            ("debug", Level::Debug, Level::Debug),
            (" warn\n", Level::Warn, Level::Warn),
            ("cni-plugin:debug\n", Level::Info, Level::Debug),
            ("default:error,cni-agent:debug", Level::Debug, Level::Error),
        ] {
            std::fs::write(path(run_dir.path()), content).unwrap();
            assert_eq!(read(), Some(LogLevels { agent, plugin }), "{content:?}");
        }
        std::fs::write(path(run_dir.path()), "\n").unwrap();
        assert_eq!(read(), None, "somebody is about to write it");
    }

    #[test]
    fn a_content_of_no_use_is_refused_with_what_it_takes() {
        let run_dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(300);
        for (content, expected) in [
            (&b"loud"[..], "\"loud\" cannot be used: "),
            (b"cni-plugin:", "\"cni-plugin:\" cannot be used: "),
            (b"\xff\0", "\"\u{fffd}\\0\" cannot be used: "),
            (long.as_bytes(), "xxxx\" cannot be used: "),
            (&[b'x'; 2000], "it is longer than 1024 bytes: "),
        ] {
            std::fs::write(path(run_dir.path()), content).unwrap();
            let message = read(run_dir.path()).unwrap_err().to_string();
            assert!(message.contains(expected) && message.len() < 400, "{message}");
            assert!(message.ends_with(&format!("it takes {TAKEN}; correct or remove it")), "{message}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_not_waited_for() {
        let run_dir = tempfile::tempdir().unwrap();
        let file = path(run_dir.path());
        nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap();
        assert!(matches!(read(run_dir.path()), Err(LevelFileError::NoFile)));
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(matches!(read(run_dir.path()), Err(LevelFileError::NoFile)));
        std::fs::remove_dir(&file).unwrap();
        std::os::unix::fs::symlink(FILE_NAME, &file).unwrap();
        assert!(matches!(read(run_dir.path()), Err(LevelFileError::Unreadable { .. })), "a loop");
    }
}
