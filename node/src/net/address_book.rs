//! Addresses at which peers were reached, or were reported to be.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::limits::{ADDRESSES_OF_PEER, KNOWN_PEERS, REDIAL_MAX_DELAY};
use crate::platform::{self, Instant};

/// Initial pause before a peer that could not be reached is dialled again unasked; doubles with each failure.
const INITIAL_BACKOFF: Duration = Duration::from_secs(5);

/// Addresses by peer, at most [`KNOWN_PEERS`] of them.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    peers: HashMap<PeerId, Entry>,
    /// Whether there is anything new for [`AddressBook::changed_proven`].
    changed: bool,
}

#[derive(Debug)]
struct Entry {
    /// Best first: one that worked, then the newest.
    addresses: Vec<Multiaddr>,
    touched: Instant,
    /// Whether it was ever connected: only then is it remembered over a restart.
    proven: bool,
    failures: u32,
    backoff_until: Option<Instant>,
}

impl AddressBook {
    /// Notes a report that `peer` is at `address`.
    pub(super) fn add(&mut self, peer: PeerId, address: Multiaddr) {
        let Some(address) = bare(address) else { return };
        let entry = self.entry(peer);
        if !entry.addresses.contains(&address) {
            if entry.addresses.len() >= ADDRESSES_OF_PEER {
                entry.addresses.pop();
            }
            let after_best = usize::from(entry.proven && !entry.addresses.is_empty());
            entry.addresses.insert(after_best, address);
            entry.backoff_until = None;
            let proven = entry.proven;
            self.changed |= proven;
        }
    }

    /// Notes a connection to `peer`; `dialled` is the address at which it was reached.
    pub(super) fn connected(&mut self, peer: PeerId, dialled: Option<Multiaddr>) {
        self.changed = true;
        let entry = self.entry(peer);
        entry.proven = true;
        entry.failures = 0;
        entry.backoff_until = None;
        if let Some(address) = dialled.and_then(bare) {
            entry.addresses.retain(|a| *a != address);
            entry.addresses.truncate(ADDRESSES_OF_PEER - 1);
            entry.addresses.insert(0, address);
        }
    }

    /// Notes that `peer` could not be reached at any of its addresses.
    pub(super) fn failed(&mut self, peer: &PeerId) {
        if let Some(entry) = self.peers.get_mut(peer) {
            let backoff = INITIAL_BACKOFF.saturating_mul(1 << entry.failures.min(10)).min(REDIAL_MAX_DELAY);
            entry.failures += 1;
            entry.backoff_until = Some(Instant::now() + backoff);
        }
    }

    /// Forgets a peer that does not belong to this mesh.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// The addresses of `peer`.
    pub(super) fn of(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.peers.get(peer).map(|e| e.addresses.clone()).unwrap_or_default()
    }

    /// The addresses of `peer` that use no relay; none during its pause after a failed dial.
    pub(super) fn direct(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let may_be_dialled = self.peers.get(peer).filter(|e| e.may_dial());
        may_be_dialled.map(|e| e.addresses.iter().filter(|a| !is_circuit(a)).cloned().collect()).unwrap_or_default()
    }

    /// Up to `n` peers, drawn at random, that have an address, are not pausing after a failure, and are not `excluded`.
    pub(super) fn draw(&self, n: usize, excluded: impl Fn(&PeerId) -> bool) -> Vec<PeerId> {
        let may_be_dialled = |e: &Entry| !e.addresses.is_empty() && e.may_dial();
        let mut candidates: Vec<_> =
            self.peers.iter().filter(|(p, e)| may_be_dialled(e) && !excluded(p)).map(|(p, _)| *p).collect();
        let mut drawn = Vec::new();
        while drawn.len() < n && !candidates.is_empty() {
            drawn.push(candidates.swap_remove(platform::random_below(candidates.len())));
        }
        drawn
    }

    /// The result of [`AddressBook::proven`]; `None` if nothing has changed since the last call.
    pub(super) fn changed_proven(&mut self, n: usize) -> Option<Vec<(PeerId, Vec<Multiaddr>)>> {
        std::mem::take(&mut self.changed).then(|| self.proven(n))
    }

    /// Up to `n` peers that were ever connected, most recently used first, with their addresses.
    pub(super) fn proven(&self, n: usize) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut proven: Vec<_> = self.peers.iter().filter(|(_, e)| e.proven && !e.addresses.is_empty()).collect();
        proven.sort_by_key(|(_, e)| std::cmp::Reverse(e.touched));
        proven.into_iter().take(n).map(|(p, e)| (*p, e.addresses.clone())).collect()
    }

    /// The entry of `peer`. When the book is full, the unproven peer that was untouched for longest is evicted.
    fn entry(&mut self, peer: PeerId) -> &mut Entry {
        let now = Instant::now();
        if !self.peers.contains_key(&peer) && self.peers.len() >= KNOWN_PEERS {
            let oldest = self.peers.iter().min_by_key(|(_, e)| (e.proven, e.touched)).map(|(p, _)| *p);
            oldest.and_then(|p| self.peers.remove(&p));
        }
        let entry = self.peers.entry(peer).or_insert_with(|| Entry {
            addresses: Vec::new(),
            touched: now,
            proven: false,
            failures: 0,
            backoff_until: None,
        });
        entry.touched = now;
        entry
    }
}

impl Entry {
    /// Whether it may be dialled unasked: its pause is over.
    fn may_dial(&self) -> bool {
        self.backoff_until.is_none_or(|until| until <= Instant::now())
    }
}

/// The address without the peer id at its end; `None` if it cannot be dialled.
fn bare(mut address: Multiaddr) -> Option<Multiaddr> {
    if !is_circuit(&address) && matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
    let nowhere = match address.iter().next()? {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        _ => false,
    };
    let too_long = address.len() > webmesh_protocol::limits::ADDRESS_BYTES;
    (!nowhere && !too_long).then_some(address)
}

/// Whether `address` uses a relay.
pub(super) fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|p| p == Protocol::P2pCircuit)
}

/// The relay of a circuit: the peer in front of `/p2p-circuit`.
pub(super) fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let before = address.iter().take_while(|p| *p != Protocol::P2pCircuit).last()?;
    match before {
        Protocol::P2p(relay) if is_circuit(address) => Some(relay),
        _ => None,
    }
}

/// Whether `address` means the same everywhere: it is not of a local network or of one machine. Names count as public:
/// they are not resolved here, and a peer that has one means to be found.
pub fn is_public(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => is_public_ip4(ip),
        Some(Protocol::Ip6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public_ip4(ip),
            None => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()),
        },
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => true,
        _ => false,
    }
}

fn is_public_ip4(ip: Ipv4Addr) -> bool {
    let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64; // carrier-grade NAT
    !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || shared)
}

/// A hint for when none of `addresses` answers: some networks drop all UDP, others all TCP except web traffic. `None`
/// if `addresses` has both transports.
pub fn other_transport(addresses: &[Multiaddr]) -> Option<String> {
    let is_udp = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Udp(_)));
    let first = addresses.first()?;
    let (blocked, other, way) = if addresses.iter().all(is_udp) {
        ("UDP", "TCP", "tcp/PORT")
    } else if !addresses.iter().any(is_udp) {
        ("TCP", "QUIC", "udp/PORT/quic-v1")
    } else {
        return None;
    };
    let host = first.iter().next()?;
    let port = first.iter().find_map(|part| match part {
        Protocol::Udp(port) | Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let way = way.replace("PORT", &port?.to_string());
    Some(format!(
        "if a firewall on the way blocks {blocked}, give an address of the peer over {other}, which is usually {host}/{way}"
    ))
}

/// Whether `address` is a loopback address.
pub(super) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// The peer id at the end of an address.
pub(super) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: usize) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn an_address_that_worked_is_tried_first() {
        let (mut book, peer) = (AddressBook::default(), PeerId::random());
        (1..=ADDRESSES_OF_PEER + 5).for_each(|port| book.add(peer, at(port)));
        book.connected(peer, Some(at(3)));
        book.add(peer, at(9999));
        assert_eq!(book.of(&peer)[..2], [at(3), at(9999)]);
        assert_eq!(book.of(&peer).len(), ADDRESSES_OF_PEER);
    }

    #[test]
    fn a_flood_of_strangers_does_not_push_out_a_peer_that_was_connected() {
        let (mut book, friend) = (AddressBook::default(), PeerId::random());
        book.connected(friend, Some(at(1)));
        (0..KNOWN_PEERS + 10).for_each(|_| book.add(PeerId::random(), at(2)));
        assert_eq!(book.peers.len(), KNOWN_PEERS);
        assert_eq!(book.of(&friend), [at(1)]);
    }

    #[test]
    fn a_peer_that_could_not_be_reached_is_not_dialled_at_once() {
        let (mut book, peer) = (AddressBook::default(), PeerId::random());
        book.add(peer, at(1));
        assert_eq!(book.draw(5, |_| false), [peer]);
        book.failed(&peer);
        assert!(book.draw(5, |_| false).is_empty());
    }

    #[test]
    fn local_addresses_are_not_public() {
        let public = |text: &str| is_public(&text.parse().unwrap());
        for home in [
            "/ip4/127.0.0.1",
            "/ip4/192.168.1.2",
            "/ip4/10.1.2.3",
            "/ip4/100.64.0.1",
            "/ip6/::1",
            "/ip6/fd00::1",
            "/ip6/::ffff:10.0.0.1",
        ] {
            assert!(!public(&format!("{home}/tcp/1")), "{home}");
        }
        for wide in ["/ip4/203.0.113.7", "/ip4/100.128.0.1", "/ip6/2001:db8::1", "/dns4/mesh.example"] {
            assert!(public(&format!("{wide}/tcp/1")), "{wide}");
        }
        let relay = PeerId::random();
        assert!(!public(&format!("/ip4/10.0.0.1/tcp/1/p2p/{relay}/p2p-circuit")), "a circuit is where its relay is");
    }

    #[test]
    fn the_hint_names_the_transport_that_is_missing() {
        let hint =
            |texts: &[&str]| other_transport(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>());
        let quic = "/ip4/192.0.2.1/udp/4001/quic-v1";
        let tcp = "/dns4/mesh.example/tcp/4001";
        assert!(hint(&[quic]).is_some_and(|text| text.contains("UDP") && text.ends_with("/ip4/192.0.2.1/tcp/4001")));
        assert!(hint(&[tcp]).is_some_and(|text| text.ends_with("/dns4/mesh.example/udp/4001/quic-v1")));
        assert_eq!(hint(&[quic, tcp]), None);
        assert_eq!(hint(&[]), None);
    }

    #[test]
    fn an_unspecified_address_is_not_added() {
        let (mut book, peer) = (AddressBook::default(), PeerId::random());
        book.add(peer, "/ip4/0.0.0.0/tcp/1".parse().unwrap());
        assert!(book.of(&peer).is_empty());
    }
}
