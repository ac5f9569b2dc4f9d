//! The agent's socket as the kernel sees it: connecting and reading within deadlines, descriptors
//! beside bytes (SCM_RIGHTS), and who is at the other end (SO_PEERCRED).

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, sendmsg, socket,
};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
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

    /// All bytes until the peer has sent its last, or so many.
    pub fn receive_all(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let (mut all, mut piece) = (Vec::new(), vec![0; 16 << 10]);
        while all.len() < most {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match retry(|| self.stream.read(&mut piece))? {
                0 => break,
                got => all.extend_from_slice(piece.get(..got).unwrap_or_default()),
            }
        }
        all.truncate(most);
        Ok(all)
    }

    /// Takes nothing more: what the peer sends from now on fails there. What it has sent can still
    /// be received.
    pub fn refuse_more(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Read)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// One `recvmsg`: how many bytes, and the first descriptor beside them. Not nix's, which gives
/// nothing back once not every descriptor found room: those that came would stay open for ever.
fn receive_once(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    // A header and four descriptors, in words for their alignment. What does not fit the kernel closes.
    let mut space = [0_u64; 4];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a msghdr is numbers and pointers, and all zeros is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&space) as _;
    // SAFETY: `message` names memory that lives longer than this call (man 2 recvmsg).
    let got = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let first = first_descriptor(&message);
    if first.is_none() && message.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(io::Error::other("the descriptor beside the bytes could not be taken: too many files are open"));
    }
    Ok((got, first))
}

/// The first descriptor that came with a message; the others are closed.
fn first_descriptor(message: &libc::msghdr) -> Option<OwnedFd> {
    let mut first = None;
    // SAFETY: the kernel filled in the control messages and their length (man 3 cmsg).
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: the header is null or points into the control messages.
    while let Some(found) = unsafe { header.as_ref() } {
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: it only computes a length.
            let empty = unsafe { libc::CMSG_LEN(0) } as usize;
            let length: usize = found.cmsg_len as _;
            let count = length.saturating_sub(empty) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: so many descriptors follow the header, and the kernel has just made each
                // of them for us alone (man 7 unix).
                let owned = unsafe {
                    let data = libc::CMSG_DATA(header).cast::<RawFd>();
                    OwnedFd::from_raw_fd(data.add(index).read_unaligned())
                };
                first.get_or_insert(owned);
            }
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    first
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
    fn however_many_descriptors_come_one_is_taken_and_none_is_left_open() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        let opened = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
            links.filter(|link| std::fs::read_link(link).is_ok_and(|target| target == path)).count()
        };
        let before = opened();
        for many in [0, 1, 2, 4, 5, 200, 253] {
            let (a, mut b) = pair();
            let fds = vec![file.as_file().as_raw_fd(); many];
            let (parts, rights) = ([IoSlice::new(b"hello")], [ControlMessage::ScmRights(&fds)]);
            let rights = if many == 0 { &[][..] } else { &rights[..] };
            sendmsg::<()>(a.stream.as_raw_fd(), &parts, rights, MsgFlags::empty(), None).unwrap();
            let received = b.receive_with(&mut [0; 5]).unwrap();
            assert_eq!((received.is_some(), opened()), (many > 0, before + usize::from(many > 0)), "{many}");
            drop(received);
            assert_eq!(opened(), before, "{many}");
        }
    }

    #[test]
    fn descriptors_beside_bytes_that_need_none_are_closed() {
        let (a, mut b) = pair();
        let file = tempfile::NamedTempFile::new().unwrap();
        let fds = [file.as_file().as_raw_fd(); 3];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(a.stream.as_raw_fd(), &[IoSlice::new(b"hello")], &rights, MsgFlags::empty(), None).unwrap();
        b.receive(&mut [0; 5]).unwrap();
        let path = file.path().canonicalize().unwrap();
        let links = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        assert_eq!(links.filter(|link| std::fs::read_link(link).is_ok_and(|target| target == path)).count(), 1);
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
