//! The file in which a container leaves its last words for the kubelet.

use nix::fcntl::OFlag;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where the kubelet puts the file unless the container says otherwise.
pub const DEFAULT: &str = "/dev/termination-log";

/// Replaces what the file says. It is made by the kubelet; unless `make` is true, one that is not
/// there is not made. It is a mount, so it cannot be replaced as a whole. Whatever is no file is
/// left alone, and says false like a file that is not there.
pub fn write(path: &Path, message: &[u8], make: bool) -> io::Result<bool> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let opened = OpenOptions::new().write(true).create(make).truncate(false).custom_flags(flags).open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !make => return Ok(false),
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    file.set_len(0)?;
    file.write_all(message)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_replaced_and_what_is_not_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(!write(&path, b"a", false).unwrap());
        assert!(!path.exists());
        std::fs::write(&path, "something longer").unwrap();
        assert!(write(&path, b"short", false).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
        let made = directory.path().join("made");
        assert!(write(&made, b"a", true).unwrap());
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!write(Path::new("/dev/null"), b"a", false).unwrap());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert!(write(&link, b"a", true).is_err());
    }
}
