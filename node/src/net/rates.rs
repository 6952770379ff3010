//! Rate limits for gossip messages.
//!
//! Keys cost nothing, so both signers and neighbours are counted. A peer that enforces these limits never forwards more
//! than its neighbours accept from it.

use std::collections::HashMap;

use libp2p::PeerId;

use super::limits::{
    GOSSIP_BURST_SECONDS, GOSSIP_FLOOD_FACTOR, GOSSIP_RATE_OF_NEIGHBOUR, GOSSIP_RATE_TOTAL, GOSSIP_RATED_PEERS,
};
use crate::platform::Instant;

/// The rate limiter's verdict on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the limits.
    Take,
    /// Over a limit, which need not be the fault of the neighbour that passed it on.
    Drop,
    /// Far more than an honest peer would send.
    Blame,
}

/// The rates of all peers.
#[derive(Debug)]
pub(super) struct Rates {
    all: Bucket,
    sources: Table,
    neighbours: Table,
}

/// Token buckets of a bounded number of peers.
#[derive(Debug)]
struct Table {
    rate: f64,
    peers: HashMap<PeerId, Rate>,
}

#[derive(Debug)]
struct Rate {
    taken: Bucket,
    flood: Bucket,
}

/// A token bucket: tokens return at a steady rate; a message takes one.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// Accepts `of_source` messages a second from each signer.
    pub(super) fn new(of_source: f64, now: Instant) -> Self {
        Self {
            all: Bucket::new(GOSSIP_RATE_TOTAL, now),
            sources: Table { rate: of_source, peers: HashMap::new() },
            neighbours: Table { rate: GOSSIP_RATE_OF_NEIGHBOUR, peers: HashMap::new() },
        }
    }

    /// Judges a message signed by `source` that the neighbour `via` passed on.
    pub(super) fn check(&mut self, source: PeerId, via: PeerId, now: Instant) -> Verdict {
        let of_neighbour = self.neighbours.check(via, now);
        let own = source == via;
        if of_neighbour == Verdict::Blame || (of_neighbour == Verdict::Drop && !own) {
            return of_neighbour;
        }
        match (of_neighbour, self.sources.check(source, now)) {
            (_, Verdict::Blame) if own => Verdict::Blame,
            (Verdict::Take, Verdict::Take) if self.all.take(now) => Verdict::Take,
            _ => Verdict::Drop,
        }
    }
}

impl Table {
    fn check(&mut self, peer: PeerId, now: Instant) -> Verdict {
        if self.peers.len() >= GOSSIP_RATED_PEERS && !self.peers.contains_key(&peer) {
            self.make_room(now);
        }
        let rate = self.rate;
        let fresh = || Rate { taken: Bucket::new(rate, now), flood: Bucket::new(rate * GOSSIP_FLOOD_FACTOR, now) };
        let of_peer = self.peers.entry(peer).or_insert_with(fresh);
        match (of_peer.flood.take(now), of_peer.taken.take(now)) {
            (false, _) => Verdict::Blame,
            (true, false) => Verdict::Drop,
            (true, true) => Verdict::Take,
        }
    }

    /// Evicts peers whose buckets are full, which is how a new peer begins; if there are none, the one that was silent
    /// the longest.
    fn make_room(&mut self, now: Instant) {
        self.peers.retain(|_, rate| !rate.taken.is_full(now));
        if self.peers.len() >= GOSSIP_RATED_PEERS {
            let silent = self.peers.iter().min_by_key(|(_, rate)| rate.taken.at).map(|(peer, _)| *peer);
            silent.and_then(|peer| self.peers.remove(&peer));
        }
    }
}

impl Bucket {
    /// A full bucket; `rate` is in tokens a second.
    pub(crate) fn new(rate: f64, now: Instant) -> Self {
        Self { rate, tokens: rate * GOSSIP_BURST_SECONDS, at: now }
    }

    fn after(&self, now: Instant) -> f64 {
        let more = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        (self.tokens + more).min(self.rate * GOSSIP_BURST_SECONDS)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.after(now) >= self.rate * GOSSIP_BURST_SECONDS
    }

    /// Takes a token; `false` if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.tokens = self.after(now);
        self.at = now;
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::limits::GOSSIP_RATE_OF_SIGNER;

    /// Sends `n` messages, evenly spread over the given number of milliseconds, and counts the verdicts.
    fn send(rates: &mut Rates, source: PeerId, via: PeerId, n: u32, start: Instant, millis: u64) -> (u32, u32, u32) {
        let (mut take, mut drop, mut blame) = (0, 0, 0);
        for i in 0..n {
            let now = start + Duration::from_millis(millis) * i / n;
            match rates.check(source, via, now) {
                Verdict::Take => take += 1,
                Verdict::Drop => drop += 1,
                Verdict::Blame => blame += 1,
            }
        }
        (take, drop, blame)
    }

    #[test]
    fn a_flooder_is_blamed_and_others_are_accepted() {
        let start = Instant::now();
        let (mut rates, flooder, honest) =
            (Rates::new(GOSSIP_RATE_OF_SIGNER, start), PeerId::random(), PeerId::random());
        let (taken, _, blamed) = send(&mut rates, flooder, flooder, 10_000, start, 1000);
        assert!(f64::from(taken) <= GOSSIP_RATE_OF_SIGNER * (GOSSIP_BURST_SECONDS + 1.0) + 1.0, "{taken} are taken");
        assert!(blamed > 3, "{blamed} tell against it");
        // The whole budget of control messages, spent by one peer.
        let usual = webmesh_protocol::limits::CONTROL_PER_SECOND;
        let later = start + Duration::from_secs(1);
        assert_eq!(send(&mut rates, honest, honest, 10 * usual, later, 10_000), (10 * usual, 0, 0));
    }

    #[test]
    fn a_neighbour_that_passes_on_a_flood_is_not_blamed() {
        let start = Instant::now();
        let (mut rates, flooder) = (Rates::new(GOSSIP_RATE_OF_SIGNER, start), PeerId::random());
        let neighbours: Vec<_> = (0..8).map(|_| PeerId::random()).collect();
        for via in &neighbours {
            let (_, dropped, blamed) = send(&mut rates, flooder, *via, GOSSIP_RATE_OF_NEIGHBOUR as u32, start, 1000);
            assert_eq!(blamed, 0);
            assert!(dropped > 0 || *via == neighbours[0]);
        }
    }

    #[test]
    fn a_neighbour_that_passes_on_all_it_accepts_is_never_blamed() {
        let start = Instant::now();
        let (mut rates, via) = (Rates::new(GOSSIP_RATE_OF_SIGNER, start), PeerId::random());
        let sources: Vec<_> = (0..10).map(|_| PeerId::random()).collect();
        let per_second = (GOSSIP_RATE_TOTAL + GOSSIP_RATE_OF_SIGNER) as u32;
        for i in 0..60 * per_second {
            let now = start + Duration::from_secs(1) * i / per_second;
            let source = sources[i as usize % sources.len()];
            assert_ne!(rates.check(source, via, now), Verdict::Blame);
        }
    }

    #[test]
    fn a_star_of_twenty_busy_peers_is_heard_through_its_hub() {
        let start = Instant::now();
        let (mut rates, hub) = (Rates::new(GOSSIP_RATE_OF_SIGNER, start), PeerId::random());
        let sources: Vec<_> = (0..20).map(|_| PeerId::random()).collect();
        let usual = webmesh_protocol::limits::CONTROL_PER_SECOND * sources.len() as u32;
        for i in 0..10 * usual {
            let now = start + Duration::from_secs(1) * i / usual;
            assert_eq!(rates.check(sources[i as usize % sources.len()], hub, now), Verdict::Take);
        }
    }

    #[test]
    fn a_flood_under_ever_new_keys_is_blamed_on_the_neighbour() {
        let start = Instant::now();
        let (mut rates, via, honest) = (Rates::new(GOSSIP_RATE_OF_SIGNER, start), PeerId::random(), PeerId::random());
        let mut blamed = 0;
        for i in 0..40_000_u32 {
            let now = start + Duration::from_micros(25) * i;
            blamed += u32::from(rates.check(PeerId::random(), via, now) == Verdict::Blame);
        }
        assert!(blamed > 1000, "{blamed}");
        assert!(rates.sources.peers.len() <= GOSSIP_RATED_PEERS);
        assert_eq!(rates.check(honest, honest, start + Duration::from_secs(1)), Verdict::Take);
    }
}
