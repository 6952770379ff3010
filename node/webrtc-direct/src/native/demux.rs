//! Demultiplexing of one listener's datagrams, and admission of new connections, without IO.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::stun;
use crate::credentials::Pair;
use crate::limits::{ADDRESSES_PER_CONNECTION, TOMBSTONE_LIFETIME, TOMBSTONES};

/// The destination of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<Id> {
    /// It belongs to a connection.
    To(Id),
    /// It is a valid request that opens a connection.
    New(Box<Pair>),
    /// It is discarded.
    Drop,
}

/// Limits on concurrent handshakes: in total, and per host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) pending: usize,
    pub(crate) pending_per_host: usize,
}

/// The connections of one listener.
#[derive(Debug)]
pub(crate) struct Demux<Id> {
    limits: Limits,
    connections: HashMap<Id, Connection>,
    by_address: HashMap<SocketAddr, Id>,
    by_username: HashMap<String, Id>,
    pending: usize,
    pending_by_host: HashMap<IpAddr, usize>,
    tombstones: HashSet<String>,
    tombstone_ends: VecDeque<(Instant, String)>,
}

#[derive(Debug)]
struct Connection {
    username: String,
    addresses: Vec<SocketAddr>,
    /// The client's host, during the handshake.
    pending: Option<IpAddr>,
}

impl<Id: Copy + Eq + Hash> Demux<Id> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            connections: HashMap::new(),
            by_address: HashMap::new(),
            by_username: HashMap::new(),
            pending: 0,
            pending_by_host: HashMap::new(),
            tombstones: HashSet::new(),
            tombstone_ends: VecDeque::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The connection that a source address belongs to.
    pub(crate) fn known(&self, from: SocketAddr) -> Option<Id> {
        self.by_address.get(&from).copied()
    }

    /// Finds the connection of a datagram. Allocates state only for a request with valid credentials and
    /// MESSAGE-INTEGRITY, within the limits.
    pub(crate) fn route(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) -> Route<Id> {
        let known = self.known(from);
        if !stun::is_stun(datagram) {
            return known.map_or(Route::Drop, Route::To);
        }
        let Some(message) = stun::Message::parse(datagram) else { return Route::Drop };
        if let Some(id) = known {
            let same = self.connections.get(&id).map(|connection| connection.username.as_str()) == message.username();
            if same || !message.is_request() {
                return Route::To(id);
            }
            // A new client with the address and port of an old connection that is dead but not timed out yet.
        }
        let pair = match message.open() {
            Ok(pair) => pair,
            Err(error) => {
                tracing::trace!(%from, %error, "STUN request refused");
                return Route::Drop;
            }
        };
        let username = pair.username_to_server();
        if let Some(&id) = self.by_username.get(&username) {
            return if self.add_address(id, from) { Route::To(id) } else { Route::Drop };
        }
        self.expire(now);
        if self.tombstones.contains(&username) {
            return Route::Drop;
        }
        let of_host = self.pending_by_host.get(&host(from)).copied().unwrap_or(0);
        if self.pending >= self.limits.pending || of_host >= self.limits.pending_per_host {
            tracing::debug!(%from, pending = self.pending, of_host, "refusing a connection: too many handshakes");
            return Route::Drop;
        }
        Route::New(Box::new(pair))
    }

    /// A connection was started for [`Route::New`].
    pub(crate) fn opened(&mut self, id: Id, from: SocketAddr, pair: &Pair) {
        let username = pair.username_to_server();
        self.by_username.insert(username.clone(), id);
        self.connections.insert(id, Connection { username, addresses: Vec::new(), pending: Some(host(from)) });
        self.pending += 1;
        *self.pending_by_host.entry(host(from)).or_default() += 1;
        self.add_address(id, from);
    }

    /// A connection's handshake has finished.
    pub(crate) fn established(&mut self, id: Id) {
        let Some(host) = self.connections.get_mut(&id).and_then(|connection| connection.pending.take()) else { return };
        self.pending -= 1;
        if let MapEntry::Occupied(mut count) = self.pending_by_host.entry(host) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// A connection has ended.
    pub(crate) fn closed(&mut self, id: Id, now: Instant) {
        self.established(id);
        let Some(connection) = self.connections.remove(&id) else { return };
        for address in connection.addresses {
            if self.by_address.get(&address) == Some(&id) {
                self.by_address.remove(&address);
            }
        }
        self.by_username.remove(&connection.username);
        self.expire(now);
        if self.tombstone_ends.len() < TOMBSTONES && self.tombstones.insert(connection.username.clone()) {
            self.tombstone_ends.push_back((now + TOMBSTONE_LIFETIME, connection.username));
        }
    }

    fn add_address(&mut self, id: Id, from: SocketAddr) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        if !connection.addresses.contains(&from) {
            if connection.addresses.len() >= ADDRESSES_PER_CONNECTION {
                return false;
            }
            connection.addresses.push(from);
        }
        self.by_address.insert(from, id);
        true
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, username)) = self.tombstone_ends.pop_front_if(|(end, _)| *end <= now) {
            self.tombstones.remove(&username);
        }
    }
}

/// An IPv4 address, or the IPv6 /64, which usually belongs to one customer.
fn host(from: SocketAddr) -> IpAddr {
    match from.ip().to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Version;
    use is::stun::TransId;

    const DTLS: &[u8] = &[22, 0, 0, 0];

    struct World {
        demux: Demux<u32>,
        now: Instant,
        next: u32,
    }

    impl World {
        fn new(pending: usize, pending_per_host: usize) -> Self {
            let demux = Demux::new(Limits { pending, pending_per_host });
            Self { demux, now: Instant::now(), next: 0 }
        }

        fn ask(&mut self, from: &str, pair: &Pair) -> Route<u32> {
            let request = stun::request(&pair.username_to_server(), &pair.server, true, TransId::new()).unwrap();
            let route = self.demux.route(from.parse().unwrap(), &request, self.now);
            if let Route::New(pair) = &route {
                self.demux.opened(self.next, from.parse().unwrap(), pair);
                self.next += 1;
            }
            route
        }

        fn is_clean(&self) -> bool {
            self.demux.is_empty()
                && self.demux.by_address.is_empty()
                && self.demux.by_username.is_empty()
                && self.demux.pending == 0
                && self.demux.pending_by_host.is_empty()
        }
    }

    fn pair() -> Pair {
        Pair::generate(Version::V2)
    }

    #[test]
    fn invalid_datagrams_leave_no_state() {
        let mut world = World::new(10, 10);
        let good = pair();
        let mut forged = stun::request(&good.username_to_server(), &good.client, true, TransId::new()).unwrap();
        let unknown = "libp2p+webrtc+v9/0123456789012345678901:abcdef";
        let unknown = stun::request(unknown, &good.server, true, TransId::new()).unwrap();
        for i in 0..1000u32 {
            let from = SocketAddr::from((i.to_be_bytes(), 7));
            assert_eq!(world.demux.route(from, &forged, world.now), Route::Drop);
            assert_eq!(world.demux.route(from, &unknown, world.now), Route::Drop);
            assert_eq!(world.demux.route(from, DTLS, world.now), Route::Drop);
            assert_eq!(world.demux.route(from, &[], world.now), Route::Drop);
            forged[10] = i as u8;
        }
        assert!(world.is_clean());
    }

    #[test]
    fn a_clients_source_addresses_are_limited() {
        let mut world = World::new(10, 10);
        let client = pair();
        assert!(matches!(world.ask("192.0.2.1:1", &client), Route::New(_)));
        assert_eq!(world.ask("192.0.2.1:1", &client), Route::To(0));
        for port in 2..=ADDRESSES_PER_CONNECTION {
            assert_eq!(world.ask(&format!("192.0.2.1:{port}"), &client), Route::To(0));
        }
        assert_eq!(world.ask("192.0.2.1:99", &client), Route::Drop);
        assert_eq!(world.demux.route("192.0.2.1:2".parse().unwrap(), DTLS, world.now), Route::To(0));
        world.demux.closed(0, world.now);
        assert!(world.is_clean());
    }

    #[test]
    fn pending_handshakes_are_limited_in_total_and_per_host() {
        let mut world = World::new(3, 2);
        for port in [1, 2] {
            assert!(matches!(world.ask(&format!("192.0.2.1:{port}"), &pair()), Route::New(_)));
        }
        assert_eq!(world.ask("192.0.2.1:3", &pair()), Route::Drop);
        assert!(matches!(world.ask("[2001:db8::1]:1", &pair()), Route::New(_)));
        assert_eq!(world.ask("192.0.2.2:1", &pair()), Route::Drop);
        world.demux.established(0);
        assert!(matches!(world.ask("192.0.2.1:3", &pair()), Route::New(_)));
        world.demux.closed(1, world.now);
        assert!(matches!(world.ask("192.0.2.2:1", &pair()), Route::New(_)));
    }

    #[test]
    fn an_ipv6_64_counts_as_one_host() {
        let mut world = World::new(10, 1);
        assert!(matches!(world.ask("[2001:db8::1]:1", &pair()), Route::New(_)));
        assert_eq!(world.ask("[2001:db8::2]:1", &pair()), Route::Drop);
        assert!(matches!(world.ask("[2001:db8:0:1::2]:1", &pair()), Route::New(_)));
    }

    #[test]
    fn late_requests_do_not_reopen_an_ended_connection() {
        let mut world = World::new(10, 10);
        let client = pair();
        world.ask("192.0.2.1:1", &client);
        world.demux.closed(0, world.now);
        assert_eq!(world.ask("192.0.2.1:1", &client), Route::Drop);
        assert!(matches!(world.ask("192.0.2.1:1", &pair()), Route::New(_)), "another client is admitted");
        world.now += TOMBSTONE_LIFETIME;
        assert!(matches!(world.ask("192.0.2.1:2", &client), Route::New(_)));
        assert!(world.demux.tombstones.is_empty());
    }

    #[test]
    fn a_new_client_takes_over_the_address_of_an_old_one() {
        let mut world = World::new(10, 10);
        world.ask("192.0.2.1:1", &pair());
        let second = pair();
        assert!(matches!(world.ask("192.0.2.1:1", &second), Route::New(_)));
        assert_eq!(world.demux.route("192.0.2.1:1".parse().unwrap(), DTLS, world.now), Route::To(1));
        world.demux.closed(0, world.now);
        assert_eq!(world.demux.route("192.0.2.1:1".parse().unwrap(), DTLS, world.now), Route::To(1));
    }
}
