//! Paths of the node, followed as its first process would: their absolute links lead to the node's root, and not to
//! that of our container.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fstat};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device and inode of what is at this path below the node's root. [`io::ErrorKind::NotFound`] means that the node
/// surely has no such thing; every other error, that it is not known.
pub fn identity_below(root: &Path, path: &Path) -> io::Result<(u64, u64)> {
    let root_fd = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    // Without the root nothing is known of what is below it.
    let root_fd = root_fd.map_err(|error| io::Error::other(error.desc()))?;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    match openat2(&root_fd, path, how) {
        Ok(found) => Ok(fstat(&found).map(|found| (found.st_dev, found.st_ino))?),
        Err(Errno::ENOSYS | Errno::EPERM) => without_openat2(root, path),
        Err(error) => Err(error.into()),
    }
}

/// On kernels before 5.6, and where openat2 is forbidden: a path with an absolute link may be missed.
fn without_openat2(root: &Path, path: &Path) -> io::Result<(u64, u64)> {
    let below = root.join(path.strip_prefix("/").unwrap_or(path));
    let found = std::fs::metadata(below).map_err(|error| io::Error::other(error.to_string()))?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn of(path: &Path) -> (u64, u64) {
        let found = fs::metadata(path).unwrap();
        (found.dev(), found.ino())
    }

    #[test]
    fn absolute_links_lead_to_the_nodes_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("data/cni")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        symlink("/data/cni", root.path().join("etc/cni")).unwrap();
        let found = identity_below(root.path(), Path::new("/etc/cni")).unwrap();
        assert_eq!(found, of(&root.path().join("data/cni")));
        // A link out of the root stays in it.
        symlink("../../../../../..", root.path().join("etc/up")).unwrap();
        assert_eq!(identity_below(root.path(), Path::new("/etc/up")).unwrap(), of(root.path()));
    }

    #[test]
    fn what_the_node_has_not_is_told_from_what_cannot_be_known() {
        let root = tempfile::tempdir().unwrap();
        let kind = |root: &Path, path: &str| identity_below(root, Path::new(path)).unwrap_err().kind();
        assert_eq!(kind(root.path(), "/etc/cni"), io::ErrorKind::NotFound);
        assert_ne!(kind(Path::new("/nowhere"), "/etc/cni"), io::ErrorKind::NotFound);
        symlink("/loop", root.path().join("loop")).unwrap();
        assert_ne!(kind(root.path(), "/loop"), io::ErrorKind::NotFound);
        assert_ne!(without_openat2(root.path(), Path::new("/etc/cni")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
