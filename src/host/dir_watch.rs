//! Watching directories for changes of what is in them (man 7 inotify). A directory that is not
//! there, or that vanishes, is watched again once it is back and somebody asks.

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use tokio::io::unix::AsyncFd;

/// Whatever may make a file another one. A file that is written in place is told of when its writer
/// closes it; one that is replaced, when it is renamed.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The kernel gives no watches.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kernel lets nobody watch files (fs.inotify.max_user_instances); directories are looked at from time to time instead"
)]
pub struct WatchError {
    source: io::Error,
}

/// Directories under watch. Must be made, and waited for, inside a runtime.
pub struct DirWatch {
    inotify: AsyncFd<Descriptor>,
    directories: Vec<PathBuf>,
    watched: HashMap<WatchDescriptor, usize>,
}

/// The runtime asks for a raw descriptor.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl DirWatch {
    /// Watches these directories, as far as they are there.
    pub fn new(directories: impl IntoIterator<Item = PathBuf>) -> Result<DirWatch, WatchError> {
        let failed = |source| WatchError { source };
        let inotify =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(|error| failed(error.into()))?;
        // SAFETY: the descriptor is the inotify's own and stays the same and open as long as its owner,
        // which the registration owns.
        let inotify = unsafe { AsyncFd::register(Descriptor(inotify)) }.map_err(|error| failed(error.into()))?;
        let mut directories: Vec<PathBuf> = directories.into_iter().collect();
        directories.sort();
        directories.dedup();
        let mut watch = DirWatch { inotify, directories, watched: HashMap::new() };
        watch.renew();
        Ok(watch)
    }

    /// Watches what is there now and was not before. The kernel knows a directory that is watched
    /// already, so asking again costs nothing.
    pub fn renew(&mut self) {
        for (index, directory) in self.directories.iter().enumerate() {
            // Not there, or no directory: then there is nothing to be told of yet.
            if let Ok(descriptor) = self.inotify.get_ref().0.add_watch(directory, CHANGES) {
                self.watched.insert(descriptor, index);
            }
        }
    }

    /// Waits for changes; gives the paths that they are about, at least one, each once.
    pub async fn changed(&mut self) -> io::Result<Vec<PathBuf>> {
        loop {
            let mut ready = self.inotify.readable_mut().await?;
            let read = ready.get_inner().0.read_events();
            match read {
                Ok(events) => {
                    let mut paths: Vec<PathBuf> = Vec::new();
                    for event in &events {
                        let directory = self.watched.get(&event.wd).and_then(|index| self.directories.get(*index));
                        // Too many changes at once are told without a directory: anything may be new.
                        let path = directory.map_or_else(PathBuf::new, |directory| match &event.name {
                            Some(name) => directory.join(name),
                            None => directory.clone(),
                        });
                        if !paths.contains(&path) {
                            paths.push(path);
                        }
                        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                            self.watched.remove(&event.wd);
                        }
                    }
                    return Ok(paths);
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether every directory is watched.
    #[cfg(test)]
    fn is_complete(&self) -> bool {
        let mut indexes: Vec<_> = self.watched.values().collect();
        indexes.sort();
        indexes.dedup();
        indexes.len() == self.directories.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    async fn next(watch: &mut DirWatch) -> Vec<PathBuf> {
        tokio::time::timeout(std::time::Duration::from_secs(10), watch.changed()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_written_or_removed_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("10-net.conflist");
        let mut watch = DirWatch::new([directory.path().to_owned()]).unwrap();
        assert!(watch.is_complete());
        fs::write(&file, "1").unwrap();
        assert_eq!(next(&mut watch).await, std::slice::from_ref(&file));
        let beside = directory.path().join("beside");
        fs::write(&beside, "2").unwrap();
        fs::rename(&beside, &file).unwrap();
        assert!(next(&mut watch).await.contains(&file));
        fs::remove_file(&file).unwrap();
        assert_eq!(next(&mut watch).await, [file]);
    }

    #[tokio::test]
    async fn a_directory_that_comes_back_is_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("net.d");
        let mut watch = DirWatch::new([directory.clone()]).unwrap();
        assert!(!watch.is_complete());
        fs::create_dir(&directory).unwrap();
        watch.renew();
        assert!(watch.is_complete());
        fs::remove_dir(&directory).unwrap();
        assert_eq!(next(&mut watch).await, std::slice::from_ref(&directory));
        assert!(!watch.is_complete());
        fs::create_dir(&directory).unwrap();
        watch.renew();
        fs::write(directory.join("a"), "").unwrap();
        assert_eq!(next(&mut watch).await, [directory.join("a")]);
    }
}
