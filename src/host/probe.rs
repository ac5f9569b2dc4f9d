//! The validator's sockets: listeners that others may share, probes that are connections made by
//! hand, and where the kernel says a connection was meant to go before it was redirected.

use super::routing::Routing;
use crate::domain::validation::AttemptError;
use crate::ops::ports::{Arrived, BoxedError, ProbeSockets, Probed};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, bind, connect, getsockopt,
    listen, setsockopt, socket, sockopt,
};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a connection that was made may take to arrive at a listener: on `lo` it is there at
/// once, so that what does not come has gone to somebody else.
const ARRIVAL: Duration = Duration::from_millis(250);
/// How many connections of others are looked at in one turn.
const MOST_ARRIVALS: usize = 64;

/// Sockets in the namespace of the process.
pub struct Sockets {
    listeners: Vec<(SocketAddr, TcpListener)>,
    made: Instant,
}

impl Sockets {
    /// None yet.
    pub fn new() -> Sockets {
        Sockets { listeners: Vec::new(), made: Instant::now() }
    }

    /// Waits for a listener, or for the probe to be connected or refused.
    fn wait(&self, probe: Option<&OwnedFd>, until: Instant) {
        let mut waited: Vec<PollFd<'_>> =
            self.listeners.iter().map(|(_, listener)| PollFd::new(listener.as_fd(), PollFlags::POLLIN)).collect();
        waited.extend(probe.map(|probe| PollFd::new(probe.as_fd(), PollFlags::POLLOUT)));
        // Rounded up, so that the last moment is not waited for in a circle.
        let left = until.saturating_duration_since(Instant::now()).as_millis() + 1;
        // Interrupted or not, the sockets are looked at next.
        let _ = poll(&mut waited, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    }

    /// Takes what has arrived.
    fn arrivals(&self) -> Probed {
        let mut probed = Probed::default();
        for (at, listener) in &self.listeners {
            while probed.arrived.len() < MOST_ARRIVALS {
                match listener.accept() {
                    Ok((connection, remote)) => probed.arrived.extend(arrived(connection, remote)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        probed.lost.push(format!("accept tcp {at}: accept4: {}", words(&error)));
                        break;
                    }
                }
            }
        }
        probed
    }
}

impl Default for Sockets {
    fn default() -> Sockets {
        Sockets::new()
    }
}

impl ProbeSockets for Sockets {
    fn addresses(&mut self) -> Result<Vec<IpAddr>, BoxedError> {
        Routing::open().and_then(|mut routing| routing.addresses()).map_err(BoxedError::new)
    }

    fn listen(&mut self, at: SocketAddr) -> Result<(), String> {
        let listener =
            listening(at).map_err(|(call, errno)| format!("listen tcp {at}: {call}: {}", words(&errno.into())));
        self.listeners.push((at, listener?));
        Ok(())
    }

    fn probe(&mut self, from: SocketAddr, to: SocketAddr, limit: Duration) -> Probed {
        let mut until = Instant::now() + limit;
        let dial = |what: &str| format!("dial tcp {from}->{to}: {what}");
        let refused = |(call, errno): Failed| {
            let text = dial(&format!("{call}: {}", words(&errno.into())));
            Probed { refused: Some((kind(errno), text)), ..self.arrivals() }
        };
        let probe = match connecting(from, to) {
            Ok(probe) => probe,
            Err(failed) => return refused(failed),
        };
        let mut connected = false;
        loop {
            self.wait((!connected).then_some(&probe), until);
            if !connected {
                match progress(&probe) {
                    Ok(made) => connected = made,
                    Err(errno) => return refused(("connect", errno)),
                }
                if connected {
                    until = until.min(Instant::now() + ARRIVAL);
                }
            }
            let mut probed = self.arrivals();
            let late = Instant::now() >= until;
            if late && !connected {
                probed.refused = Some((AttemptError::TimedOut, dial("i/o timeout")));
            }
            if late || !probed.arrived.is_empty() {
                return probed;
            }
        }
    }

    fn elapsed(&self) -> Duration {
        self.made.elapsed()
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

type Failed = (&'static str, Errno);

fn of_family(address: SocketAddr) -> Result<OwnedFd, Failed> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None).map_err(|errno| ("socket", errno))
}

/// A listener beside others: SO_REUSEADDR for ports of a validator that has just ended,
/// SO_REUSEPORT for a proxy that listens already.
fn listening(at: SocketAddr) -> Result<TcpListener, Failed> {
    let socket = of_family(at)?;
    let option = |errno| ("setsockopt", errno);
    setsockopt(&socket, sockopt::ReuseAddr, &true).map_err(option)?;
    setsockopt(&socket, sockopt::ReusePort, &true).map_err(option)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at)).map_err(|errno| ("bind", errno))?;
    listen(&socket, Backlog::MAXCONN).map_err(|errno| ("listen", errno))?;
    Ok(TcpListener::from(socket))
}

/// A connection that is being made.
fn connecting(from: SocketAddr, to: SocketAddr) -> Result<OwnedFd, Failed> {
    let socket = of_family(to)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(from)).map_err(|errno| ("bind", errno))?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(socket),
        Err(errno) => Err(("connect", errno)),
    }
}

/// Whether it is made (man 2 connect, EINPROGRESS).
fn progress(probe: &OwnedFd) -> Result<bool, Errno> {
    let mut waited = [PollFd::new(probe.as_fd(), PollFlags::POLLOUT)];
    if !matches!(poll(&mut waited, PollTimeout::ZERO), Ok(ready) if ready > 0) {
        return Ok(false);
    }
    match getsockopt(probe, sockopt::SocketError)? {
        0 => Ok(true),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// What is known of a connection; nothing if its client has gone already.
fn arrived(connection: TcpStream, remote: SocketAddr) -> Option<Arrived> {
    let local = connection.local_addr().ok()?;
    let original = original_destination(&connection, remote).map_err(|errno| words(&errno.into()));
    if let Ok(original) = original {
        answer(connection, original.port());
    }
    Some(Arrived { local, remote, original })
}

fn original_destination(connection: &TcpStream, remote: SocketAddr) -> nix::Result<SocketAddr> {
    if remote.is_ipv4() {
        let to = SockaddrIn::from(getsockopt(connection, sockopt::OriginalDst)?);
        Ok(SocketAddr::from((to.ip(), to.port())))
    } else {
        let to = SockaddrIn6::from(getsockopt(connection, sockopt::Ip6tOriginalDst)?);
        Ok(SocketAddr::from((to.ip(), to.port())))
    }
}

/// Tells the client its port, for whoever tries by hand. So little fits into any socket's buffer.
fn answer(mut connection: TcpStream, port: u16) {
    let _ = connection.set_nonblocking(true).and_then(|()| connection.write_all(port.to_string().as_bytes()));
}

/// An error as Go words it: the C library's text, in lower case.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn kind(errno: Errno) -> AttemptError {
    match errno {
        Errno::ECONNREFUSED | Errno::ECONNRESET => AttemptError::Refused,
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT => {
            AttemptError::Unreachable
        }
        Errno::ETIMEDOUT => AttemptError::TimedOut,
        _ => AttemptError::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_worded_as_go_does() {
        for (errno, text) in [
            (Errno::ECONNREFUSED, "connection refused"),
            (Errno::EADDRINUSE, "address already in use"),
            (Errno::EADDRNOTAVAIL, "cannot assign requested address"),
            (Errno::ENETUNREACH, "network is unreachable"),
            (Errno::ENOENT, "no such file or directory"),
        ] {
            assert_eq!(words(&errno.into()), text);
        }
    }

    #[test]
    fn a_connection_that_nothing_redirects_arrives_with_no_other_destination() {
        let mut sockets = Sockets::new();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map(|at| at.port()).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        sockets.listen(at).unwrap();
        let from = SocketAddr::from(([127, 0, 0, 1], 0));
        let Probed { arrived, refused, lost } = sockets.probe(from, at, Duration::from_secs(5));
        assert_eq!((refused, lost), (None, vec![]));
        assert_eq!(arrived.len(), 1);
        // Without connection tracking there is none, with it the listener itself.
        assert!(arrived[0].original.as_ref().map_or(true, |to| *to == at), "{arrived:?}");
    }

    #[test]
    fn a_port_of_somebody_who_does_not_share_cannot_be_had() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let error = Sockets::new().listen(at).unwrap_err();
        assert_eq!(error, format!("listen tcp {at}: bind: address already in use"));
    }
}
