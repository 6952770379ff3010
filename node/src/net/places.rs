//! Places for incoming connections, shared by the networks that they come from.
//!
//! Identities cost nothing, addresses do. When all places are taken, the network with the most loses one to a newcomer:
//! that of its oldest peer which has not yet done anything useful. Peers that have, and bootstrap peers, keep their
//! places, and some are reserved for them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use libp2p::PeerId;

use super::limits::{KNOWN_PEERS, RESERVED_PLACES};
use super::prefix::Prefix;
use crate::platform::Instant;

/// The peers that did something useful.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<HashMap<PeerId, Instant>>);

impl Standing {
    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Instant>> {
        // No panic can leave the values half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `peer` did something useful. At most [`KNOWN_PEERS`] are kept, those that did it last.
    pub(super) fn note(&self, peer: PeerId, now: Instant) {
        let mut peers = self.lock();
        if peers.len() >= KNOWN_PEERS
            && !peers.contains_key(&peer)
            && let Some(oldest) = peers.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer)
        {
            peers.remove(&oldest);
        }
        peers.insert(peer, now);
    }

    /// Whether `peer` did.
    pub(super) fn has(&self, peer: &PeerId) -> bool {
        self.lock().contains_key(peer)
    }
}

/// The places; `K` identifies a connection.
#[derive(Debug)]
pub(super) struct Places<K> {
    most: usize,
    next: u64,
    taken: HashMap<K, Taken>,
}

#[derive(Clone, Copy, Debug)]
struct Taken {
    peer: PeerId,
    from: Option<Prefix>,
    order: u64,
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// `most` places.
    pub(super) fn new(most: usize) -> Self {
        Self { most, next: 0, taken: HashMap::new() }
    }

    /// Takes a place for a new connection. Returns the one that has to be closed, which is the new one if no other has
    /// to make room for it. `from` is `None` for all whose address tells no network.
    pub(super) fn take(
        &mut self,
        id: K,
        peer: PeerId,
        from: Option<Prefix>,
        is_known: impl Fn(&PeerId) -> bool,
    ) -> Option<K> {
        let (order, known) = (self.next, is_known(&peer));
        self.next += 1;
        self.taken.insert(id, Taken { peer, from, order });
        let mut places: HashMap<Option<Prefix>, usize> = HashMap::new();
        for taken in self.taken.values() {
            *places.entry(taken.from).or_default() += 1;
        }
        let unknown: Vec<(K, Taken)> =
            self.taken.iter().filter(|(_, t)| !is_known(&t.peer)).map(|(id, taken)| (*id, *taken)).collect();
        let reserved = RESERVED_PLACES.min(self.most / 4);
        let crowded = !known && unknown.len() > self.most - reserved;
        if self.taken.len() <= self.most && !crowded {
            return None;
        }
        let own = places[&from];
        let others = unknown.iter().filter(|(other, taken)| *other != id && (known || places[&taken.from] >= own));
        let victim = others.max_by_key(|(_, taken)| (places[&taken.from], std::cmp::Reverse(taken.order)));
        let victim = victim.map_or(id, |(victim, _)| *victim);
        self.taken.remove(&victim);
        Some(victim)
    }

    /// Gives the place of a connection back.
    pub(super) fn leave(&mut self, id: &K) {
        self.taken.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 832;
    const UNKNOWN: usize = MOST - RESERVED_PLACES;

    fn network(n: u8) -> Option<Prefix> {
        Some(Prefix::of([203, 0, n, 1].into()))
    }

    /// A table filled with strangers from network 1: connections 0 to 919.
    fn full(is_known: impl Fn(&PeerId) -> bool) -> Places<usize> {
        let mut places = Places::new(MOST);
        for id in 0..920 {
            places.take(id, PeerId::random(), network(1), &is_known);
        }
        assert_eq!(places.taken.len(), UNKNOWN);
        places
    }

    #[test]
    fn a_thousand_identities_of_one_network_keep_no_newcomer_out() {
        let mut places = full(|_| false);
        let oldest = 920 - UNKNOWN;
        assert_eq!(places.take(1000, PeerId::random(), network(2), |_| false), Some(oldest), "of another network");
        assert_eq!(places.take(1001, PeerId::random(), network(1), |_| false), Some(oldest + 1), "of the same one");
    }

    #[test]
    fn a_flood_of_one_network_takes_no_place_of_another() {
        let mut places = full(|_| false);
        places.take(1000, PeerId::random(), network(2), |_| false);
        (2000..4000).for_each(|id| assert_ne!(places.take(id, PeerId::random(), network(1), |_| false), Some(1000)));
    }

    #[test]
    fn peers_that_did_something_useful_keep_their_places_and_find_one() {
        let (friend, standing) = (PeerId::random(), Standing::default());
        standing.note(friend, Instant::now());
        let known = |peer: &PeerId| standing.has(peer);
        let mut places = Places::new(MOST);
        places.take(5000, friend, network(1), known);
        (0..2000).for_each(|id| assert_ne!(places.take(id, PeerId::random(), network(1), known), Some(5000)));
        places.leave(&5000);
        assert_eq!(places.take(5001, friend, network(1), known), None, "a place is reserved");
    }

    #[test]
    fn places_that_all_belong_to_useful_peers_are_not_taken_from_them() {
        let friends: Vec<PeerId> = (0..8).map(|_| PeerId::random()).collect();
        let known = |peer: &PeerId| friends.contains(peer);
        let mut places = Places::new(8);
        (0..).zip(&friends).for_each(|(id, friend)| assert_eq!(places.take(id, *friend, network(1), known), None));
        assert_eq!(places.take(8, PeerId::random(), network(2), known), Some(8));
        places.leave(&0);
        assert_eq!(places.take(9, PeerId::random(), network(2), known), None);
    }

    #[test]
    fn the_peers_that_did_something_useful_are_bounded() {
        let standing = Standing::default();
        (0..KNOWN_PEERS + 10).for_each(|_| standing.note(PeerId::random(), Instant::now()));
        assert_eq!(standing.lock().len(), KNOWN_PEERS);
    }
}
