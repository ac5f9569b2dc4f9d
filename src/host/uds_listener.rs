//! The agent's listening socket: put in place of an older one without a moment in which there is
//! none, private from its first instant, and taken away at the end only if it is still ours.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// How many connections may wait to be accepted: more than a node has pods.
const BACKLOG: i32 = 1024;

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("the directory {} cannot be made; mount it writable, or set CNI_AGENT_RUN_DIR to another one", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("the socket path {} is too long: the kernel takes 107 bytes; set CNI_AGENT_RUN_DIR to a shorter one", path.display())]
    TooLong { path: PathBuf },
    #[error("the socket {} cannot be opened", path.display())]
    Socket { path: PathBuf, source: io::Error },
}

/// A listening socket with a name in the file system.
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode of the name that we made.
    identity: (u64, u64),
    stopped: UnixStream,
}

/// Who is found under a socket's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The socket itself.
    Ours,
    /// Another one, behind which somebody listens.
    Taken,
    /// Nobody: the name is gone, or who took it is.
    Lost,
}

/// Ends [`Listener::accept`] when it is dropped.
pub struct Stopper {
    _held: UnixStream,
}

impl Listener {
    /// Opens the socket at `path`, mode 0600. Whatever was there is replaced in one step: a stale
    /// socket, or that of an agent which this one succeeds.
    pub fn bind(path: &Path) -> Result<(Listener, Stopper), BindError> {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(|source| BindError::Directory { path: directory.to_owned(), source })?;
        let beside = directory.join(format!(".a{}", std::process::id()));
        let address = |path: &Path| UnixAddr::new(path).map_err(|_| BindError::TooLong { path: path.to_owned() });
        let (address, _) = (address(&beside)?, address(path)?);
        let opened = open(&beside, &address).and_then(|socket| {
            fs::rename(&beside, path)?;
            let (stopped, held) = UnixStream::pair()?;
            Ok((socket, stopped, held))
        });
        let (socket, stopped, held) = opened.map_err(|source| {
            // Best effort: the name was made by us a moment ago, and the failure is what matters.
            let _ = fs::remove_file(&beside);
            BindError::Socket { path: path.to_owned(), source }
        })?;
        let identity = identity(path).unwrap_or_default();
        Ok((Listener { socket, path: path.to_owned(), identity, stopped }, Stopper { _held: held }))
    }

    /// The next connection. None once the stopper is gone and nobody is left in the queue: who had
    /// connected before is still served.
    pub fn accept(&self) -> io::Result<Option<UnixStream>> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Some(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let mut watched = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut watched, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [connection, stop] = &watched;
            let is_ready = |watched: &PollFd<'_>| watched.any().unwrap_or(true);
            if is_ready(stop) && !is_ready(connection) {
                return Ok(None);
            }
        }
    }

    /// The socket itself, for somebody who waits for connections in another way. It does not block.
    pub fn socket(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }

    /// Where the socket has its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who is found under the name.
    pub fn name(&self) -> Name {
        match identity(&self.path) {
            None => Name::Lost,
            Some(found) if found == self.identity => Name::Ours,
            Some(_) if is_abandoned(&self.path) => Name::Lost,
            Some(_) => Name::Taken,
        }
    }

    /// Takes the name away, unless a successor has it by now.
    pub fn unlink(&self) {
        if identity(&self.path).is_some_and(|found| found == self.identity) {
            // Whoever connects to a name that stayed is refused: the socket behind it is closed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a socket is there at which nobody listens any more, as one that was killed leaves it. Whoever
/// listens sees somebody come and go; never waits for them.
fn is_abandoned(path: &Path) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let Ok(address) = UnixAddr::new(path) else { return false };
    let Ok(socket) = socket(AddressFamily::Unix, SockType::Stream, flags, None) else { return false };
    connect(socket.as_raw_fd(), &address) == Err(Errno::ECONNREFUSED)
}

fn open(path: &Path, address: &UnixAddr) -> io::Result<UnixListener> {
    // A leftover of a process with our number, which died between two lines of this function.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(socket.as_raw_fd(), address)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_stale_socket_is_replaced_and_the_new_one_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/agent.sock");
        let (first, _stop) = Listener::bind(&path).unwrap();
        assert!(!is_abandoned(&path));
        drop(first);
        assert!(is_abandoned(&path));
        let (second, _stop) = Listener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let _client = UnixStream::connect(&path).unwrap();
        assert!(second.accept().unwrap().is_some());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing but the socket is left");
    }

    #[test]
    fn a_predecessor_leaves_its_successors_socket_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let (first, _stop) = Listener::bind(&path).unwrap();
        let (second, _stop) = Listener::bind(&path).unwrap();
        assert_eq!((first.name(), second.name()), (Name::Taken, Name::Ours));
        first.unlink();
        assert!(path.exists() && !is_abandoned(&path));
        second.unlink();
        assert!(!path.exists());
        assert_eq!((first.name(), second.name()), (Name::Lost, Name::Lost));
    }

    #[test]
    fn a_name_that_a_dead_successor_left_is_nobodys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let (first, _stop) = Listener::bind(&path).unwrap();
        let (second, _stop) = Listener::bind(&path).unwrap();
        assert_eq!(first.name(), Name::Taken);
        drop(second);
        assert!(path.exists());
        assert_eq!(first.name(), Name::Lost);
    }

    #[test]
    fn stopping_ends_the_wait_after_those_who_had_connected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let (listener, stop) = Listener::bind(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        drop(stop);
        let served = listener.accept().unwrap().unwrap();
        drop(served);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(listener.accept().unwrap().is_none());
    }

    #[test]
    fn a_path_that_the_kernel_would_not_take_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x".repeat(120)).join("agent.sock");
        let Err(error) = Listener::bind(&path) else { panic!("bound {}", path.display()) };
        assert!(error.to_string().contains("too long"), "{error}");
    }
}
