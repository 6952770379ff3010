//! Permission to dial, one address at a time.
//!
//! Adverts, the DHT and identify name addresses that nobody has checked, so a stranger could make a mesh connect to any
//! port of any host. Every dial of a transport asks here first, whatever part of the program wants it. An address that
//! the user or the local network named is always dialled. Any other takes a token of its port, of its host, and of all
//! dials together. The tokens come back when the peer answers there, so a mesh of honest peers runs out of none, and a
//! port that is no peer's costs its host a few connections a minute.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::address_book::{is_circuit, is_public, peer_of};
use super::limits::{
    DIAL_BACKOFF, DIAL_BACKOFF_MAX, DIAL_SILENCE, DIAL_TABLE, DIALS_IN_ALL, DIALS_OF_HOST, DIALS_OF_LOCAL_HOST,
    DIALS_OF_PORT, DIALS_OF_PROVEN_PORT, DIALS_UNASKED, KNOWN_PEERS, UNASKED_DIAL_BACKOFF, UNASKED_DIAL_BACKOFF_MAX,
};
use crate::platform::Instant;

/// The permits, shared by the transports and the swarm's task. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct DialPermits(Arc<Mutex<Table>>);

impl DialPermits {
    /// Locks them for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        // No panic can leave the values half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Port {
    ip: IpAddr,
    port: u16,
    udp: bool,
}

/// What an address that the user gave means: a host by name may have any IP address, and `/dnsaddr` any port, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Given {
    peer: PeerId,
    ip: Option<IpAddr>,
    port: Option<(u16, bool)>,
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is of a local network, and the peer is not.
    #[error("it is an address of a local network, and the peer is outside")]
    Local,
    /// The peer did not answer there a short while ago.
    #[error("nobody answered there just now")]
    BackingOff,
    /// Too many dials of this port, this host, or in all, reached no peer.
    #[error("too many addresses of unconfirmed peers did not answer")]
    TooMany,
}

/// The state behind [`DialPermits`].
#[derive(Debug, Default)]
pub(crate) struct Table {
    given: HashSet<Given>,
    /// Peers for which requests wait.
    awaited: HashSet<PeerId>,
    /// The hosts of peers that were connected directly.
    met: HashMap<PeerId, (IpAddr, Instant)>,
    /// Whether local addresses of peers whose host is unknown are refused.
    outside: bool,
    /// Whether their loopback addresses are.
    elsewhere: bool,
    /// Ports at which a peer answered.
    proven: HashMap<(PeerId, Port), ((), Instant)>,
    failures: HashMap<(PeerId, Port), Failures>,
    ports: HashMap<(Port, bool), Budget>,
    hosts: HashMap<IpAddr, Budget>,
    unasked: Option<Budget>,
    all: Option<Budget>,
    next: u64,
    dials: HashMap<u64, Dial>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// A dial that took tokens.
#[derive(Debug)]
struct Dial {
    peer: PeerId,
    port: Port,
    /// Whether it took a token of [`DIALS_OF_PROVEN_PORT`].
    lives_there: bool,
    /// Whether it took none of the host's.
    was_proven: bool,
    /// Whether it took one of [`DIALS_UNASKED`].
    unasked: bool,
    begun: Instant,
    /// Whether the peer has answered at this host, so that the tokens are back.
    returned: bool,
}

/// Tokens for a minute: a number that returns steadily.
#[derive(Debug)]
struct Budget {
    most: f64,
    tokens: f64,
    at: Instant,
}

impl Budget {
    fn new(most: u32, now: Instant) -> Self {
        Self { most: f64::from(most), tokens: f64::from(most), at: now }
    }

    fn refill(&mut self, now: Instant) {
        let more = now.saturating_duration_since(self.at).as_secs_f64() * self.most / 60.0;
        self.tokens = (self.tokens + more).min(self.most);
        self.at = now;
    }

    fn has(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= 1.0
    }

    fn take(&mut self) {
        self.tokens -= 1.0;
    }

    fn put_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.most);
    }
}

/// The budget of `key`; `None` if the table is full of budgets that are in use.
fn budget<K: Copy + Eq + Hash>(table: &mut HashMap<K, Budget>, key: K, most: u32, now: Instant) -> Option<&mut Budget> {
    if table.len() >= DIAL_TABLE && !table.contains_key(&key) {
        table.retain(|_, budget| {
            budget.refill(now);
            budget.tokens < budget.most
        });
        if table.len() >= DIAL_TABLE {
            return None;
        }
    }
    Some(table.entry(key).or_insert_with(|| Budget::new(most, now)))
}

impl Table {
    /// Notes an address that the user gave, or that the local network named: it may always be dialled.
    pub(super) fn give(&mut self, peer: PeerId, address: &Multiaddr) {
        if self.given.len() < DIAL_TABLE {
            self.given.insert(Given { peer, ip: ip_of(address), port: port_of(address) });
        }
    }

    /// Notes whether requests wait for a connection to `peer`.
    pub(super) fn set_awaited(&mut self, peer: PeerId, awaited: bool) {
        if awaited {
            self.awaited.insert(peer);
        } else {
            self.awaited.remove(&peer);
        }
    }

    /// Notes a connection with `peer`, whose end is at `address`.
    pub(super) fn connected(&mut self, peer: PeerId, address: &Multiaddr, now: Instant) {
        self.failures.retain(|(failed, _), _| *failed != peer);
        if let Some(ip) = end_of(address) {
            insert_newest(&mut self.met, KNOWN_PEERS, peer, ip, now);
        }
    }

    /// Notes that a dial of `address` reached `peer`. Unlike the address of the connection, it has no name.
    pub(crate) fn reached(&mut self, peer: PeerId, address: &Multiaddr, now: Instant) {
        if let Some(ip) = ip_of(address) {
            insert_newest(&mut self.met, KNOWN_PEERS, peer, ip, now);
        }
    }

    /// Notes how far the mesh reaches: whether one of the `configured` addresses is public, and the ends of all
    /// connections.
    pub(super) fn set_reach<'a>(
        &mut self,
        configured: impl IntoIterator<Item = &'a Multiaddr>,
        ends: impl IntoIterator<Item = (PeerId, &'a Multiaddr)>,
    ) {
        let mut wide = configured.into_iter().filter_map(ip_of).any(is_public_ip);
        let (mut near, mut here) = (false, false);
        for (peer, address) in ends {
            let dialled_by_name = !is_circuit(address) && ip_of(address).is_none();
            let ip = if dialled_by_name { self.host_of(&peer) } else { end_of(address) };
            let Some(ip) = ip else { continue };
            wide |= is_public_ip(ip);
            here |= ip.is_loopback();
            near |= !ip.is_loopback();
        }
        (self.outside, self.elsewhere) = (wide, wide || (near && !here));
    }

    fn host_of(&self, peer: &PeerId) -> Option<IpAddr> {
        self.met.get(peer).map(|(ip, _)| *ip)
    }

    /// Whether `peer` may be at a host of the local network, or, if `loopback`, on this machine.
    fn may_be_local(&self, peer: &PeerId, loopback: bool) -> bool {
        match (self.host_of(peer), loopback) {
            (Some(host), true) => host.is_loopback(),
            (Some(host), false) => !is_public_ip(host),
            (None, true) => !self.elsewhere,
            (None, false) => !self.outside,
        }
    }

    /// Permits a dial of `address`, which ends in the peer's id unless the user gave it without one. The dial's id is to
    /// be passed to [`Table::ended`]; there is none if nothing was taken.
    pub(crate) fn begin(&mut self, address: &Multiaddr, now: Instant) -> Result<Option<u64>, Refused> {
        let (Some(peer), Some(ip), Some((number, udp))) = (peer_of(address), ip_of(address), port_of(address)) else {
            return Ok(None);
        };
        let given = |ip, port| self.given.contains(&Given { peer, ip, port });
        let number_and_kind = Some((number, udp));
        if given(Some(ip), number_and_kind) || given(None, number_and_kind) || given(None, None) {
            return Ok(None);
        }
        let (loopback, public) = (ip.is_loopback(), is_public_ip(ip));
        if !public && !self.may_be_local(&peer, loopback) {
            return Err(Refused::Local);
        }
        let port = Port { ip, port: number, udp };
        let unasked = !self.awaited.contains(&peer);
        let was_proven = self.proven.contains_key(&(peer, port));
        // It may be restarting there.
        let lives_there = was_proven || self.host_of(&peer) == Some(ip);
        let paused = self.failures.get(&(peer, port)).is_some_and(|failures| failures.until(unasked) > now);
        if paused && !lives_there {
            return Err(Refused::BackingOff);
        }
        let of_port = if lives_there { DIALS_OF_PROVEN_PORT } else { DIALS_OF_PORT };
        let of_host = if public { DIALS_OF_HOST } else { DIALS_OF_LOCAL_HOST };
        let of_port = budget(&mut self.ports, (port, lives_there), of_port, now);
        let mut taken: Vec<&mut Budget> = vec![of_port.ok_or(Refused::TooMany)?];
        if !was_proven {
            taken.push(budget(&mut self.hosts, ip, of_host, now).ok_or(Refused::TooMany)?);
            if !loopback {
                taken.push(self.all.get_or_insert_with(|| Budget::new(DIALS_IN_ALL, now)));
            }
            if public && unasked {
                taken.push(self.unasked.get_or_insert_with(|| Budget::new(DIALS_UNASKED, now)));
            }
        }
        if !taken.iter_mut().all(|budget| budget.has(now)) {
            return Err(Refused::TooMany);
        }
        taken.into_iter().for_each(Budget::take);
        self.next += 1;
        let unasked = public && unasked;
        self.dials
            .insert(self.next, Dial { peer, port, lives_there, was_proven, unasked, begun: now, returned: false });
        Ok(Some(self.next))
    }

    /// Notes how a dial ended: with the peer that answered, with an error (`Some(None)`), or given up (`None`).
    pub(crate) fn ended(&mut self, dial: u64, outcome: Option<Option<PeerId>>, now: Instant) {
        let Some(&Dial { peer, port, begun, returned, .. }) = self.dials.get(&dial) else { return };
        match outcome {
            Some(Some(answered)) if answered == peer => {
                self.failures.remove(&(peer, port));
                insert_newest(&mut self.proven, DIAL_TABLE, (peer, port), (), now);
                // The peer is at this host: the dials of its other ports there are no stranger's doing either.
                let same: Vec<u64> = self
                    .dials
                    .iter()
                    .filter(|(_, d)| d.peer == peer && d.port.ip == port.ip)
                    .map(|(id, _)| *id)
                    .collect();
                same.into_iter().for_each(|id| self.put_back(id));
            }
            Some(_) => self.note_failed(peer, port, now),
            // Nobody answered; had another address been reached, this dial would have been given up sooner.
            None if !returned && now.saturating_duration_since(begun) >= DIAL_SILENCE => {
                self.note_failed(peer, port, now);
            }
            None => {}
        }
        self.dials.remove(&dial);
    }

    fn note_failed(&mut self, peer: PeerId, port: Port, now: Instant) {
        if self.failures.len() >= DIAL_TABLE {
            self.failures.retain(|_, failures| failures.until(true) > now);
        }
        if let Some(failures) = self.failures.get_mut(&(peer, port)) {
            (failures.count, failures.last) = (failures.count + 1, now);
        } else if self.failures.len() < DIAL_TABLE {
            self.failures.insert((peer, port), Failures { count: 0, last: now });
        }
    }

    fn put_back(&mut self, dial: u64) {
        let Some(dial) = self.dials.get_mut(&dial).filter(|dial| !dial.returned) else { return };
        dial.returned = true;
        let Dial { port, lives_there, was_proven, unasked, .. } = *dial;
        self.ports.get_mut(&(port, lives_there)).into_iter().for_each(Budget::put_back);
        if !was_proven {
            self.hosts.get_mut(&port.ip).into_iter().for_each(Budget::put_back);
            if !port.ip.is_loopback() {
                self.all.iter_mut().for_each(Budget::put_back);
                self.unasked.iter_mut().filter(|_| unasked).for_each(Budget::put_back);
            }
        }
    }
}

impl Failures {
    fn until(&self, unasked: bool) -> Instant {
        let (first, most) =
            if unasked { (UNASKED_DIAL_BACKOFF, UNASKED_DIAL_BACKOFF_MAX) } else { (DIAL_BACKOFF, DIAL_BACKOFF_MAX) };
        let pause: Duration = first.saturating_mul(1 << self.count.min(10));
        self.last + pause.min(most)
    }
}

/// Inserts an entry; a table of `most` entries loses the one that was inserted first.
fn insert_newest<K: Copy + Eq + Hash, V>(
    table: &mut HashMap<K, (V, Instant)>,
    most: usize,
    key: K,
    value: V,
    now: Instant,
) {
    if table.len() >= most
        && !table.contains_key(&key)
        && let Some(oldest) = table.iter().min_by_key(|(_, (_, at))| *at).map(|(key, _)| *key)
    {
        table.remove(&oldest);
    }
    table.insert(key, (value, now));
}

/// The host at the end of a connection. `None` if the address tells another's: that of a relay, or of a proxy in front of
/// the HTTP server.
fn end_of(address: &Multiaddr) -> Option<IpAddr> {
    let of_proxy = !is_public(address) && address.iter().any(|part| matches!(part, Protocol::Ws(_)));
    if of_proxy || is_circuit(address) { None } else { ip_of(address) }
}

fn is_public_ip(ip: IpAddr) -> bool {
    is_public(&Multiaddr::from(ip))
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

fn port_of(address: &Multiaddr) -> Option<(u16, bool)> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some((port, false)),
        Protocol::Udp(port) => Some((port, true)),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
