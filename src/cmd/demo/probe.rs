//! Real packets: listeners inside the namespaces that say where a packet landed, and clients that send as given users.

use super::world::Netns;
use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, listen, setsockopt,
    socket, sockopt,
};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

/// How long a client waits for its answer: packets between namespaces take microseconds, and a lost one is sent
/// again after a second.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The transport protocol of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// Where a packet came out: the listener that answered, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Who listens: the pod's name, or `peer`.
    pub at: String,
    pub port: u16,
    /// Where the client meant to go, as the kernel tells the listener (`SO_ORIGINAL_DST`); TCP only.
    pub original: Option<SocketAddr>,
}

impl Landing {
    fn to_line(&self) -> String {
        let original = self.original.map(|to| to.to_string()).unwrap_or_default();
        format!("{} {} {original}", self.at, self.port)
    }

    fn from_line(line: &str) -> Option<Landing> {
        let words: Vec<&str> = line.split(' ').collect();
        let [at, port, original] = words.as_slice() else { return None };
        let original = if original.is_empty() { None } else { Some(original.parse().ok()?) };
        Some(Landing { at: (*at).to_owned(), port: port.parse().ok()?, original })
    }
}

/// Listeners; they end when this is dropped.
#[derive(Default)]
pub struct Listeners {
    tasks: Mutex<JoinSet<()>>,
}

/// What somebody listens on.
pub struct Ports {
    pub tcp: &'static [u16],
    pub udp: &'static [u16],
    /// On loopback alone, or on every address.
    pub loopback: bool,
}

impl Listeners {
    /// Listens inside `netns` on these ports, with the sockets of this user (`None`: ours). Each
    /// connection and each datagram is answered with its [`Landing`].
    pub fn add(&self, netns: &Netns, who: &str, ports: &Ports, ipv6: bool, user: Option<u32>) -> Result<()> {
        let (v4, v6) = match ports.loopback {
            true => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            false => (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
        };
        let addresses: Vec<IpAddr> = [v4.into()].into_iter().chain(ipv6.then_some(v6.into())).collect();
        let everywhere = |port: &u16| addresses.iter().map(|ip| SocketAddr::new(*ip, *port)).collect::<Vec<_>>();
        let open = |ports: &[u16], kind| -> Result<Vec<OwnedFd>> {
            ports.iter().flat_map(everywhere).map(|to| bound(to, kind)).collect()
        };
        let sockets = netns.inside(|| -> Result<_> {
            user.map_or(Ok(()), assume)?;
            Ok([open(ports.tcp, SockType::Stream)?, open(ports.udp, SockType::Datagram)?])
        });
        let [tcp, udp] = sockets?.with_context(|| format!("cannot listen as {who}"))?;
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for descriptor in tcp {
            let listener = tokio::net::TcpListener::from_std(descriptor.into())?;
            tasks.spawn(answer_connections(listener, who.to_owned()));
        }
        for descriptor in udp {
            let socket = tokio::net::UdpSocket::from_std(descriptor.into())?;
            tasks.spawn(answer_datagrams(socket, who.to_owned()));
        }
        Ok(())
    }
}

/// A socket for one family alone: `SO_ORIGINAL_DST` is not to be had of an IPv4 connection on an IPv6 socket.
fn bound(to: SocketAddr, kind: SockType) -> Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    // The validator had the port a moment ago.
    setsockopt(&socket, sockopt::ReuseAddr, &(kind == SockType::Stream))?;
    if to.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(to)).with_context(|| format!("cannot listen on {to}"))?;
    if kind == SockType::Stream {
        listen(&socket, Backlog::MAXCONN)?;
    }
    Ok(socket)
}

async fn answer_connections(listener: tokio::net::TcpListener, who: String) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let Ok(here) = stream.local_addr() else { continue };
        let landing = Landing { at: who.clone(), port: here.port(), original: Some(original(&stream).unwrap_or(here)) };
        // A client that hung up has no use for the answer.
        let _sent = stream.write_all(landing.to_line().as_bytes()).await;
    }
}

/// The destination before the redirection; `None` when there was none.
fn original(stream: &tokio::net::TcpStream) -> Option<SocketAddr> {
    use nix::sys::socket::getsockopt;
    match stream.local_addr().ok()? {
        SocketAddr::V4(_) => {
            let to = SockaddrIn::from(getsockopt(stream, sockopt::OriginalDst).ok()?);
            Some(SocketAddr::from((to.ip(), to.port())))
        }
        SocketAddr::V6(_) => {
            let to = SockaddrIn6::from(getsockopt(stream, sockopt::Ip6tOriginalDst).ok()?);
            Some(SocketAddr::from((to.ip(), to.port())))
        }
    }
}

async fn answer_datagrams(socket: tokio::net::UdpSocket, who: String) {
    let mut buffer = [0; 64];
    while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
        let Ok(here) = socket.local_addr() else { continue };
        let landing = Landing { at: who.clone(), port: here.port(), original: None };
        let _sent = socket.send_to(landing.to_line().as_bytes(), from).await;
    }
}

/// Sends from inside `netns` as `user` (and the group of that number; `None`: as we are), and reads where it landed.
pub fn send(netns: &Netns, user: Option<u32>, protocol: Protocol, to: SocketAddr) -> Result<Landing> {
    let line = netns.inside(|| {
        user.map_or(Ok(()), assume)?;
        match protocol {
            Protocol::Tcp => over_tcp(to),
            Protocol::Udp => over_udp(to),
        }
        .with_context(|| format!("no answer from {to}"))
    })??;
    Landing::from_line(&line).with_context(|| format!("an answer from {to} that is not ours: {line:?}"))
}

/// Is this user and group from here on: sockets carry the file system ids of the thread that made them (man 2
/// setfsuid).
fn assume(id: u32) -> Result<()> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    setfsgid(group);
    setfsuid(user);
    // The calls report no error, but the value before them: asked twice, the second one is what we are now.
    if setfsgid(group) != group || setfsuid(user) != user {
        bail!("cannot be user {id}: it does not exist in this user namespace");
    }
    Ok(())
}

fn over_tcp(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn over_udp(to: SocketAddr) -> std::io::Result<String> {
    let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Connected, so that only an answer that seems to come from where we sent to is taken.
    socket.connect(to)?;
    socket.send(b"?")?;
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_landing_survives_the_wire() {
        let to = "[fd77::2]:80".parse().unwrap();
        for original in [Some(to), None] {
            let landing = Landing { at: "web-0".to_owned(), port: 15001, original };
            assert_eq!(Landing::from_line(&landing.to_line()), Some(landing));
        }
        assert_eq!(Landing::from_line("HTTP/1.1 400 Bad Request"), None);
    }
}
