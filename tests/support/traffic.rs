//! Real connections: listeners that say who they are and where a connection was meant to go, and
//! clients that say which of them answered.

use super::{Namespace, other_users};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage, accept, bind, connect, getsockname,
    getsockopt, listen, recv, recvfrom, send, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

/// The proxy's inbound port, whose listener takes packets for any address.
const TRANSPARENT: u16 = 15006;
/// The proxy's DNS port.
const DNS: u16 = 15053;
/// Nobody answers later than this; only a verdict of `timeout` ever takes as long.
const PATIENCE: TimeVal = TimeVal::new(3, 0);

/// Listeners of one namespace, until dropped.
pub struct Listeners {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Listens on these ports, on every address of both families. They are there on return.
    pub fn start(namespace: &Namespace, who: &'static str, tcp: &[u16], udp: &[u16]) -> Listeners {
        Listeners::serve(who, namespace.run(|| sockets(tcp, udp)))
    }

    /// The proxy's DNS server: on loopback only, so that its answers come from the address to which
    /// the queries were redirected, and with a socket of the proxy's user where there is one.
    pub fn start_dns(namespace: &Namespace, proxy: u32) -> Listeners {
        let socket = || vec![listener(SockType::Datagram, IpAddr::V4(Ipv4Addr::LOCALHOST), DNS)];
        let sockets = if other_users() { namespace.run_as(proxy, socket) } else { namespace.run(socket) };
        Listeners::serve("pod", sockets)
    }

    fn serve(who: &'static str, sockets: Vec<Listener>) -> Listeners {
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || serve(who, &sockets, &stopped));
        Listeners { stop, thread: Some(thread) }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.stop.shutdown(std::net::Shutdown::Both).unwrap();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "a listener panicked");
    }
}

struct Listener {
    socket: OwnedFd,
    kind: SockType,
    port: u16,
}

fn sockets(tcp: &[u16], udp: &[u16]) -> Vec<Listener> {
    let tcp = tcp.iter().map(|port| (SockType::Stream, *port));
    let udp = udp.iter().map(|port| (SockType::Datagram, *port));
    tcp.chain(udp).flat_map(|(kind, port)| both_families(kind, port)).collect()
}

fn both_families(kind: SockType, port: u16) -> Vec<Listener> {
    let addresses = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    addresses.into_iter().map(|address| listener(kind, address, port)).collect()
}

fn listener(kind: SockType, address: IpAddr, port: u16) -> Listener {
    Listener { socket: bound(kind, SocketAddr::new(address, port)), kind, port }
}

fn bound(kind: SockType, address: SocketAddr) -> OwnedFd {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None).unwrap();
    setsockopt(&socket, sockopt::ReuseAddr, &true).unwrap();
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true).unwrap();
    }
    if address.port() == TRANSPARENT {
        transparent(&socket, family);
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address)).unwrap();
    if kind == SockType::Stream {
        listen(&socket, Backlog::new(64).unwrap()).unwrap();
    }
    socket
}

/// Lets the socket take connections that are for other addresses.
fn transparent(socket: &OwnedFd, family: AddressFamily) {
    if family == AddressFamily::Inet {
        return setsockopt(socket, sockopt::IpTransparent, &true).unwrap();
    }
    let on: libc::c_int = 1;
    let length = std::mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option takes an int, which lives during the call (man 7 ipv6).
    let result = unsafe {
        let value = std::ptr::from_ref(&on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_IPV6, libc::IPV6_TRANSPARENT, value, length)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn serve(who: &str, listeners: &[Listener], stopped: &UnixStream) {
    loop {
        let mut waited: Vec<PollFd<'_>> =
            listeners.iter().map(|listener| PollFd::new(listener.socket.as_fd(), PollFlags::POLLIN)).collect();
        waited.push(PollFd::new(stopped.as_fd(), PollFlags::POLLIN));
        poll(&mut waited, PollTimeout::NONE).unwrap();
        let ready = |at: usize| waited.get(at).and_then(PollFd::any).unwrap_or(false);
        if ready(listeners.len()) {
            return;
        }
        for (_, listener) in listeners.iter().enumerate().filter(|(at, _)| ready(*at)) {
            answer(who, listener);
        }
    }
}

/// Answers one connection or datagram. A client that went away meanwhile is its own loss.
fn answer(who: &str, listener: &Listener) {
    if listener.kind == SockType::Datagram {
        let mut query = [0; 16];
        if let Ok((_, Some(client))) = recvfrom::<SockaddrStorage>(listener.socket.as_raw_fd(), &mut query) {
            let text = format!("{who}:{}/udp", listener.port);
            let _ = sendto(listener.socket.as_raw_fd(), text.as_bytes(), &client, MsgFlags::empty());
        }
        return;
    }
    let Ok(accepted) = accept(listener.socket.as_raw_fd()) else { return };
    // SAFETY: accept has just made this descriptor, and nothing else has it.
    let connection = unsafe { OwnedFd::from_raw_fd(accepted) };
    let text = format!("{who}:{} to {}", listener.port, original_destination(&connection));
    let _ = std::net::TcpStream::from(connection).write_all(text.as_bytes());
}

/// Where the client wanted to go, as a proxy finds out.
fn original_destination(connection: &OwnedFd) -> SocketAddr {
    if let Ok(v4) = getsockopt(connection, sockopt::OriginalDst) {
        return SocketAddr::from((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port)));
    }
    if let Ok(v6) = getsockopt(connection, sockopt::Ip6tOriginalDst) {
        return SocketAddr::from((Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port)));
    }
    local_address(connection)
}

fn local_address(socket: &OwnedFd) -> SocketAddr {
    let own: SockaddrStorage = getsockname(socket.as_raw_fd()).unwrap();
    match (own.as_sockaddr_in(), own.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::from((v4.ip(), v4.port())),
        (_, Some(v6)) => SocketAddr::from((v6.ip(), v6.port())),
        _ => unreachable!("neither IPv4 nor IPv6"),
    }
}

/// One attempt to reach somebody.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    kind: SockType,
    to: SocketAddr,
    from: Option<IpAddr>,
}

impl Probe {
    pub fn tcp(address: &str, port: u16) -> Probe {
        Probe { kind: SockType::Stream, to: SocketAddr::new(address.parse().unwrap(), port), from: None }
    }

    pub fn udp(address: &str, port: u16) -> Probe {
        Probe { kind: SockType::Datagram, ..Probe::tcp(address, port) }
    }

    pub fn from(self, address: &str) -> Probe {
        Probe { from: Some(address.parse().unwrap()), ..self }
    }

    /// Who answered: `pod:15001 to 10.2.0.9:80`, `peer:53/udp`, `refused` or `timeout`.
    pub fn run(self, namespace: &Namespace) -> String {
        namespace.run(|| self.verdict())
    }

    /// The same as a user and group with this id; only where [`other_users`] exist.
    pub fn run_as(self, id: u32, namespace: &Namespace) -> String {
        namespace.run_as(id, || self.verdict())
    }

    fn verdict(self) -> String {
        self.attempt().unwrap_or_else(|errno| match errno {
            nix::Error::ECONNREFUSED => "refused".to_owned(),
            nix::Error::EAGAIN | nix::Error::EINPROGRESS | nix::Error::ETIMEDOUT => "timeout".to_owned(),
            errno => format!("{errno:?}"),
        })
    }

    fn attempt(self) -> nix::Result<String> {
        let family = if self.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, self.kind, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)?;
        setsockopt(&socket, sockopt::SendTimeout, &PATIENCE)?;
        if let Some(from) = self.from {
            bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
        }
        connect(socket.as_raw_fd(), &SockaddrStorage::from(self.to))?;
        if self.kind == SockType::Datagram {
            send(socket.as_raw_fd(), b"?", MsgFlags::empty())?;
            let mut answer = [0; 128];
            let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            return Ok(String::from_utf8_lossy(&answer[..length]).into_owned());
        }
        let mut text = String::new();
        std::net::TcpStream::from(socket)
            .read_to_string(&mut text)
            .map_err(|error| nix::Error::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        Ok(if text.is_empty() { "closed".to_owned() } else { text })
    }
}
