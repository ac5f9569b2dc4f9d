//! The agent's socket as the kernel sees it: connecting and reading within deadlines, descriptors
//! beside bytes (SCM_RIGHTS), and who is at the other end (SO_PEERCRED).

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt,
    recvmsg, sendmsg, socket,
};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A connection whose every read and write ends at the latest at its deadline.
pub struct Connection {
    stream: UnixStream,
    deadline: Instant,
}

impl Connection {
    /// Takes over a connected stream.
    pub fn new(stream: UnixStream, limit: Duration) -> Connection {
        Connection { stream, deadline: Instant::now() + limit }
    }

    /// Connects to the socket at `path`. While the listener's queue is full the kernel says
    /// `EAGAIN` at once; that is waited out within the limit.
    pub fn connect(path: &std::path::Path, limit: Duration) -> io::Result<Connection> {
        let deadline = Instant::now() + limit;
        let address = UnixAddr::new(path)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        loop {
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => break,
                Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        Ok(Connection { stream, deadline })
    }

    /// Sets another deadline, from now.
    pub fn limit(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }

    /// The user at the other end.
    pub fn peer_uid(&self) -> io::Result<u32> {
        Ok(getsockopt(&self.stream, PeerCredentials)?.uid())
    }

    /// Sends all bytes, with a descriptor beside the first one.
    pub fn send_with(&mut self, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        let fds = [descriptor.as_raw_fd()];
        let parts = [IoSlice::new(bytes)];
        let rights = [ControlMessage::ScmRights(&fds)];
        let sent =
            retry(|| Ok(sendmsg::<()>(self.stream.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)?))?;
        self.send(bytes.get(sent..).unwrap_or_default())
    }

    /// Sends all bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes)
    }

    /// Fills the buffer and takes a descriptor that comes beside it, if there is one. More than
    /// one descriptor is not expected: the others are closed.
    pub fn receive_with(&mut self, buffer: &mut [u8]) -> io::Result<Option<OwnedFd>> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        let (got, descriptor) = retry(|| receive_once(&self.stream, buffer))?;
        if got == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.receive(buffer.get_mut(got..).unwrap_or_default())?;
        Ok(descriptor)
    }

    /// Fills the buffer.
    pub fn receive(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match retry(|| self.stream.read(buffer))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                got => buffer = buffer.get_mut(got..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// One `recvmsg`: how many bytes, and the first descriptor beside them.
fn receive_once(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; 4]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut first = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for raw in descriptors {
                // SAFETY: the kernel has just made this descriptor for us alone (unix(7)).
                let owned = unsafe { OwnedFd::from_raw_fd(raw) };
                first.get_or_insert(owned);
            }
        }
    }
    Ok((message.bytes, first))
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn pair() -> (Connection, Connection) {
        let (a, b) = UnixStream::pair().unwrap();
        (Connection::new(a, Duration::from_secs(5)), Connection::new(b, Duration::from_secs(5)))
    }

    #[test]
    fn a_descriptor_arrives_beside_its_bytes() {
        let (mut a, mut b) = pair();
        let file = std::fs::File::open("/proc/self/status").unwrap();
        a.send_with(b"hello", file.as_fd()).unwrap();
        let mut buffer = [0; 5];
        let received = b.receive_with(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer, b"hello");
        let mut text = String::new();
        std::fs::File::from(received).read_to_string(&mut text).unwrap();
        assert!(text.contains("Pid:"));
    }

    #[test]
    fn a_silent_peer_costs_no_more_than_the_limit() {
        let (_silent, mut b) = pair();
        b.limit(Duration::from_millis(20));
        let error = b.receive(&mut [0; 1]).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock));
    }

    #[test]
    fn a_peer_that_hangs_up_is_seen() {
        let (a, mut b) = pair();
        drop(a);
        assert_eq!(b.receive(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
