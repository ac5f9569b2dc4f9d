//! A netlink socket for short synchronous conversations on the calling thread, in whose network
//! namespace it is made. The kernel answers within `send`, so no runtime and no waiting is needed;
//! a receive limit guards against a kernel that does not.

use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use std::io;

/// Header length of every netlink message (`struct nlmsghdr`).
pub const HEADER: usize = 16;
/// Flags of a request (linux/netlink.h).
pub const NLM_F_REQUEST: u16 = 0x01;
pub const NLM_F_ACK: u16 = 0x04;
pub const NLM_F_EXCL: u16 = 0x200;
pub const NLM_F_CREATE: u16 = 0x400;
pub const NLM_F_APPEND: u16 = 0x800;
pub const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The kernel fills a dump's parts up to the size of the reader's buffer, at most 32 KiB.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// No answer after this long is a broken kernel, not a slow one.
const ANSWER_LIMIT: i64 = 5;
/// A dump that changes under the reader is asked for again this many times.
const DUMP_ATTEMPTS: u32 = 8;

/// One message of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    pub payload: &'a [u8],
}

/// The kernel's answer to one request: its sequence number, its error and its explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub seq: u32,
    /// 0 when it went well, else a positive errno.
    pub errno: i32,
    /// The extended acknowledgement's text, where the kernel gives one.
    pub hint: Option<String>,
}

/// A netlink socket of one protocol.
pub struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
    seq: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    pub fn open(protocol: isize) -> io::Result<Netlink> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Explanations are welcome, but old kernels have none.
        let _ = socket.set_ext_ack(true);
        // An error's copy of the whole failed message would only fill the receive buffer.
        let _ = socket.set_cap_ack(true);
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_LIMIT, 0))?;
        Ok(Netlink { socket, buffer: Vec::with_capacity(RECEIVE_BUFFER), seq: 0 })
    }

    /// A sequence number that no earlier request on this socket had.
    pub fn next_seq(&mut self) -> u32 {
        self.seq += 1;
        self.seq
    }

    /// Sends one datagram, which may hold many messages.
    pub fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let room = datagram.len().saturating_mul(2).saturating_add(4096);
        if room > 200 * 1024 {
            // Beyond the usual limit only CAP_NET_ADMIN in the first user namespace may go; without
            // it the system's maximum has to do, and the kernel says EMSGSIZE if it does not.
            if setsockopt(&self.socket, sockopt::SndBufForce, &room).is_err() {
                let _ = setsockopt(&self.socket, sockopt::SndBuf, &room);
            }
        }
        self.socket.send(datagram, 0).map(|_| ())
    }

    /// Receives the acknowledgements that are there after `send`, without waiting.
    pub fn replies(&mut self) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(replies),
                // More errors than the buffer holds: the first ones are there, and they are enough.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => continue,
                Err(error) => return Err(error),
            }
            replies.extend(messages(&self.buffer).filter(|m| m.kind == NLMSG_ERROR).filter_map(reply));
        }
    }

    /// Sends one request and waits for its acknowledgement.
    pub fn request(&mut self, datagram: &[u8], seq: u32) -> io::Result<Reply> {
        self.send(datagram)?;
        loop {
            self.receive(0)?;
            let answer = messages(&self.buffer).filter(|m| m.kind == NLMSG_ERROR && m.seq == seq).find_map(reply);
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
    }

    /// Asks for a dump and hands every message of it to `each`, again from the start when the
    /// state changed meanwhile: `begin` then forgets what came before.
    pub fn dump<S>(
        &mut self,
        mut request: impl FnMut(u32) -> Vec<u8>,
        begin: impl Fn() -> S,
        mut each: impl FnMut(&mut S, Message<'_>),
    ) -> io::Result<S> {
        for _ in 0..DUMP_ATTEMPTS {
            let seq = self.next_seq();
            self.send(&request(seq))?;
            let mut state = begin();
            if self.dump_parts(seq, |message| each(&mut state, message))? {
                return Ok(state);
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "the kernel's state keeps changing while it is read"))
    }

    /// Reads a dump to its end; false when it is not consistent.
    fn dump_parts(&mut self, seq: u32, mut each: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let mut consistent = true;
        loop {
            self.receive(0)?;
            for message in messages(&self.buffer).filter(|message| message.seq == seq) {
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => return done(message).map(|()| consistent),
                    NLMSG_ERROR => match reply(message).map_or(0, |reply| reply.errno) {
                        0 => return Ok(consistent),
                        libc::EINTR => return Ok(false),
                        errno => return Err(io::Error::from_raw_os_error(errno)),
                    },
                    _ => each(message),
                }
            }
        }
    }

    fn receive(&mut self, flags: libc::c_int) -> io::Result<()> {
        self.buffer.clear();
        loop {
            match self.socket.recv(&mut self.buffer, flags) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if flags == 0 && error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel did not answer"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The messages of one datagram; a malformed rest is left out.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let payload = datagram.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            seq: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            payload,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The end of a dump may carry the error that ended it.
fn done(message: Message<'_>) -> io::Result<()> {
    match message.payload.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code)) {
        code @ ..0 => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        _ => Ok(()),
    }
}

/// Reads an acknowledgement (`struct nlmsgerr`, and attributes behind the copied request).
fn reply(message: Message<'_>) -> Option<Reply> {
    let code = i32::from_ne_bytes(*message.payload.first_chunk::<4>()?);
    let copied = message.payload.get(4..4 + HEADER)?;
    let copied_length = if message.flags & NLM_F_CAPPED != 0 {
        HEADER
    } else {
        u32::from_ne_bytes(*copied.first_chunk::<4>()?) as usize
    };
    let hint = (message.flags & NLM_F_ACK_TLVS != 0)
        .then(|| message.payload.get(4 + copied_length.next_multiple_of(4)..))
        .flatten()
        .and_then(|attributes| super::nlattr::find(attributes, NLMSGERR_ATTR_MSG))
        .map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    Some(Reply { seq: message.seq, errno: code.wrapping_neg(), hint })
}
