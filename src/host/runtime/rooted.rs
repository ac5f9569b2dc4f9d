//! Paths of the node, followed as its first process would: their absolute links lead to the node's root, and not to
//! that of our container.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Device and inode of what is at this path below the node's root. [`io::ErrorKind::NotFound`] means that the node
/// surely has no such thing; every other error, that it is not known.
pub fn identity_below(root: &Path, path: &Path) -> io::Result<(u64, u64)> {
    let root_fd = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    // Without the root nothing is known of what is below it.
    let root_fd = root_fd.map_err(|error| io::Error::other(error.desc()))?;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    match openat2(&root_fd, path, how) {
        Ok(found) => Ok(fstat(&found).map(|found| (found.st_dev, found.st_ino))?),
        Err(Errno::ENOSYS | Errno::EPERM) => without_openat2(root_fd.as_fd(), path),
        Err(error) => Err(error.into()),
    }
}

/// On kernels before 5.6, and where openat2 is forbidden: one name after the other, with links followed here.
fn without_openat2(root: BorrowedFd<'_>, path: &Path) -> io::Result<(u64, u64)> {
    /// As many links as the kernel follows (man 7 path_resolution).
    const MOST_LINKS: usize = 40;
    let mut links = 0;
    let mut left: VecDeque<OsString> = names(path);
    // From the root down to where we are, so that `..` ends at the root.
    let mut way: Vec<OwnedFd> = Vec::new();
    while let Some(name) = left.pop_front() {
        if name == ".." {
            way.pop();
            continue;
        }
        let here = way.last().map_or(root, AsFd::as_fd);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let found = openat(here, name.as_os_str(), flags, Mode::empty())?;
        if SFlag::from_bits_truncate(fstat(&found)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFLNK {
            way.push(found);
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        // An empty name is that of the link which the descriptor is of (man 2 readlink).
        let target = PathBuf::from(readlinkat(&found, "")?);
        if target.is_absolute() {
            way.clear();
        }
        names(&target).into_iter().rev().for_each(|name| left.push_front(name));
    }
    let found = fstat(way.last().map_or(root, AsFd::as_fd))?;
    Ok((found.st_dev, found.st_ino))
}

/// The names on the way, without what leads nowhere else.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn of(path: &Path) -> (u64, u64) {
        let found = fs::metadata(path).unwrap();
        (found.dev(), found.ino())
    }

    /// The same on an old kernel.
    fn walked(root: &Path, path: &Path) -> io::Result<(u64, u64)> {
        without_openat2(fs::File::open(root).unwrap().as_fd(), path)
    }

    type Find = fn(&Path, &Path) -> io::Result<(u64, u64)>;

    const WAYS: [Find; 2] = [identity_below, walked];

    #[test]
    fn links_lead_to_the_nodes_root_and_never_out_of_it() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("data/cni/net.d")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        symlink("/data/cni", root.path().join("etc/cni")).unwrap();
        symlink("../etc/cni/net.d", root.path().join("data/here")).unwrap();
        symlink("../../../../../..", root.path().join("etc/up")).unwrap();
        for find in WAYS {
            let at = |path: &str| find(root.path(), Path::new(path)).unwrap();
            assert_eq!(at("/etc/cni"), of(&root.path().join("data/cni")));
            assert_eq!(at("/etc/cni/net.d/"), of(&root.path().join("data/cni/net.d")));
            assert_eq!(at("/data/./here/../net.d"), of(&root.path().join("data/cni/net.d")));
            assert_eq!(at("/etc/up"), of(root.path()));
            assert_eq!(at("/"), of(root.path()));
        }
    }

    #[test]
    fn what_the_node_has_not_is_told_from_what_cannot_be_known() {
        let root = tempfile::tempdir().unwrap();
        symlink("/loop", root.path().join("loop")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        for find in WAYS {
            let kind = |path: &str| find(root.path(), Path::new(path)).unwrap_err().kind();
            assert_eq!(kind("/etc/cni"), io::ErrorKind::NotFound);
            assert_ne!(kind("/loop"), io::ErrorKind::NotFound);
            assert_ne!(kind("/file/below"), io::ErrorKind::NotFound);
        }
        let nowhere = identity_below(Path::new("/nowhere"), Path::new("/etc/cni")).unwrap_err();
        assert_ne!(nowhere.kind(), io::ErrorKind::NotFound);
    }
}
