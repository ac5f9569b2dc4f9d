//! Which packets are sent for which pod, and where each must land.

use super::pods::{APPLICATION_UID, EXCLUDED_PORT, PROXY_UID};
use super::probe::{Landing, Ports, Protocol};
use super::world::Addresses;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Who listens on what. The rules know the proxy's DNS answers by its user, and connection tracking by where they come
/// from: the proxy's name server is on loopback, as in a real pod, because that is where its queries are sent to.
pub const LISTENERS: [(Sender, Ports); 4] = [
    (Sender::Peer, Ports { tcp: &[80, EXCLUDED_PORT], udp: &[53], loopback: false }),
    (Sender::Application, Ports { tcp: &[8080], udp: &[], loopback: false }),
    (Sender::Proxy, Ports { tcp: &[15001, 15006, 15021], udp: &[], loopback: false }),
    (Sender::Proxy, Ports { tcp: &[], udp: &[15053], loopback: true }),
];

/// Who sends, and who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Somebody outside of the pod.
    Peer,
    /// The pod's application.
    Application,
    /// The pod's sidecar proxy.
    Proxy,
}

impl Sender {
    /// The user that it is, for a process of the pod.
    pub fn uid(self) -> Option<u32> {
        match self {
            Sender::Peer => None,
            Sender::Application => Some(APPLICATION_UID),
            Sender::Proxy => Some(PROXY_UID),
        }
    }
}

impl std::fmt::Display for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Sender::Peer => f.write_str("peer"),
            Sender::Application => write!(f, "application {APPLICATION_UID}"),
            Sender::Proxy => write!(f, "proxy {PROXY_UID}"),
        }
    }
}

/// One packet (or connection), and what must become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub from: Sender,
    pub protocol: Protocol,
    pub to: SocketAddr,
    /// Whether it must land in the pod (or else at the peer).
    pub in_pod: bool,
    /// The port at which it must land.
    pub port: u16,
    /// What that shows.
    pub meaning: &'static str,
}

impl Probe {
    /// Who must be there, under the own name, for this to come out: the sender, and for DNS also who answers it.
    fn needs(&self) -> Vec<Sender> {
        let answering = (self.protocol == Protocol::Udp && self.in_pod).then_some(Sender::Proxy);
        [self.from].into_iter().chain(answering).collect()
    }

    /// Whether it landed where it must, with the destination that it was sent to still known.
    pub fn is_met_by(&self, pod: &str, landing: &Landing) -> bool {
        let at = if self.in_pod { pod } else { "peer" };
        let original_known = self.protocol == Protocol::Udp || landing.original == Some(self.to);
        landing.at == at && landing.port == self.port && original_known
    }
}

/// What a pod's traffic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirection {
    /// Through its proxy.
    Meshed,
    /// As it comes.
    None,
}

/// The probes for one pod, of the senders that its namespace can have.
pub fn plan(redirection: Redirection, link: Addresses, senders: &[Sender]) -> Vec<Probe> {
    let mut probes = to_the_pod(link);
    probes.extend(of_the_application(link));
    probes.extend(of_the_proxy(link));
    if redirection == Redirection::None {
        probes.retain(|probe| probe.in_pod || probe.port != EXCLUDED_PORT);
        probes
            .retain(|probe| !(probe.from == Sender::Proxy || probe.to.ip().is_loopback() || probe.to.port() == 15021));
        probes.iter_mut().for_each(untouched);
    }
    probes.retain(|probe| probe.needs().iter().all(|needed| senders.contains(needed)));
    probes
}

/// Without rules a packet lands where it is sent to.
fn untouched(probe: &mut Probe) {
    probe.port = probe.to.port();
    probe.in_pod = probe.from == Sender::Peer;
    probe.meaning = "as it was sent";
}

fn to_the_pod(link: Addresses) -> Vec<Probe> {
    let inbound = |ip, to_port, port, meaning| Probe {
        from: Sender::Peer,
        protocol: Protocol::Tcp,
        to: SocketAddr::new(ip, to_port),
        in_pod: true,
        port,
        meaning,
    };
    let mut probes = vec![inbound(IpAddr::V4(link.pod4), 8080, 15006, "inbound, to the proxy")];
    probes.extend(link.v6.map(|(pod6, _)| inbound(pod6.into(), 8080, 15006, "inbound, to the proxy")));
    probes.push(inbound(link.pod4.into(), 15021, 15021, "a health port, left alone"));
    probes
}

fn of_the_application(link: Addresses) -> Vec<Probe> {
    let outbound = |to, in_pod, port, meaning| Probe {
        from: Sender::Application,
        protocol: Protocol::Tcp,
        to,
        in_pod,
        port,
        meaning,
    };
    let peer = |port| SocketAddr::from((link.peer4, port));
    let mut probes = vec![outbound(peer(80), true, 15001, "outbound, to the proxy")];
    let v6 = link.v6.map(|(_, peer6)| SocketAddr::from((peer6, 80)));
    probes.extend(v6.map(|to| outbound(to, true, 15001, "outbound, to the proxy")));
    probes.push(outbound(peer(EXCLUDED_PORT), false, EXCLUDED_PORT, "excluded by annotation"));
    probes.push(outbound((Ipv4Addr::LOCALHOST, 8080).into(), true, 8080, "loopback, left alone"));
    probes.push(Probe { protocol: Protocol::Udp, ..outbound(peer(53), true, 15053, "DNS, to the proxy") });
    probes
}

fn of_the_proxy(link: Addresses) -> Vec<Probe> {
    let outbound =
        |to, in_pod, port, meaning| Probe { from: Sender::Proxy, protocol: Protocol::Tcp, to, in_pod, port, meaning };
    let mut probes = vec![outbound((link.peer4, 80).into(), false, 80, "of the proxy, passed on")];
    let v6 = link.v6.map(|(_, peer6)| SocketAddr::from((peer6, 80)));
    probes.extend(v6.map(|to| outbound(to, false, 80, "of the proxy, passed on")));
    probes.push(outbound((link.pod4, 8080).into(), true, 15006, "to its own pod, inbound"));
    probes.push(Probe {
        protocol: Protocol::Udp,
        ..outbound((link.peer4, 53).into(), false, 53, "DNS of the proxy, passed on")
    });
    probes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Sender; 3] = [Sender::Peer, Sender::Application, Sender::Proxy];

    #[test]
    fn without_rules_every_packet_lands_where_it_is_sent_to() {
        let probes = plan(Redirection::None, Addresses::of(1, true), &ALL);
        assert!(!probes.is_empty());
        assert!(probes.iter().all(|probe| probe.port == probe.to.port() && probe.from != Sender::Proxy));
    }

    #[test]
    fn a_namespace_with_one_user_is_asked_for_that_user_alone() {
        let probes = plan(Redirection::Meshed, Addresses::of(1, true), &[Sender::Proxy]);
        assert!(probes.iter().all(|probe| probe.from == Sender::Proxy));
        assert!(probes.iter().any(|probe| probe.port == 15006) && probes.iter().any(|probe| !probe.in_pod));
    }

    #[test]
    fn every_probe_reaches_a_port_that_listens() {
        for probe in plan(Redirection::Meshed, Addresses::of(1, true), &ALL) {
            let listens = |(who, ports): &(Sender, Ports)| {
                let ports = if probe.protocol == Protocol::Tcp { ports.tcp } else { ports.udp };
                (*who != Sender::Peer) == probe.in_pod && ports.contains(&probe.port)
            };
            assert!(LISTENERS.iter().any(listens), "{probe:?}");
        }
    }

    #[test]
    fn a_landing_elsewhere_or_with_another_origin_does_not_meet_the_probe() {
        let probe = plan(Redirection::Meshed, Addresses::of(1, false), &[Sender::Peer]).remove(0);
        let landing = Landing { at: "web-0".to_owned(), port: 15006, original: Some(probe.to) };
        assert!(probe.is_met_by("web-0", &landing));
        assert!(!probe.is_met_by("web-0", &Landing { port: 8080, ..landing.clone() }));
        assert!(!probe.is_met_by("web-0", &Landing { original: None, ..landing.clone() }));
        assert!(!probe.is_met_by("web-1", &landing));
    }
}
