//! How much of this worker's time each origin of jobs has had (rule 8).

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::origin::Origin;
use crate::id::PeerKey;
use crate::membership::Network;

/// Most credit that an origin with nothing to run accumulates, in microseconds of thread time: its next job starts at
/// once, but does not make the others wait for as long as they were served alone.
const SAVED: u64 = 1_000_000;

/// Thread time served to each network, within it to each home of jobs, and within that to each owner.
#[derive(Debug, Default)]
pub(super) struct Turns {
    networks: Shares<Option<Network>>,
    homes: BTreeMap<Option<Network>, Shares<PeerKey>>,
    owners: BTreeMap<(Option<Network>, PeerKey), Shares<PeerKey>>,
}

/// An origin's place in the order of turns: the smallest is next. Origins that share a network or a home are compared
/// by what that one has been served first, so they get one share together.
pub(super) type Place = ((u64, Option<Network>), (u64, PeerKey), u64);

/// Thread time served to each of the members of a group, in microseconds of virtual time. The virtual time is that of
/// the member whose turn it was last, and new or returning members start there (start-time fair queueing: Goyal, Vin
/// and Cheng, 1996).
#[derive(Debug)]
struct Shares<K> {
    served: BTreeMap<K, u64>,
    clock: u64,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Self { served: BTreeMap::new(), clock: 0 }
    }
}

impl<K: Ord + Copy> Shares<K> {
    /// A member's virtual time: the smallest is next.
    fn of(&self, member: &K) -> u64 {
        self.served.get(member).map_or(self.clock, |&served| served.max(self.clock.saturating_sub(SAVED)))
    }

    fn start_turn(&mut self, member: &K) {
        self.clock = self.clock.max(self.of(member));
    }

    fn serve(&mut self, member: K, micros: u64) {
        let served = self.of(&member).saturating_add(micros);
        self.served.insert(member, served);
    }
}

impl Turns {
    /// An origin's place in the order of turns, if what is under way for each origin, in microseconds, counts as
    /// served.
    pub(super) fn place_of(&self, origin: &Origin, under_way: &UnderWay) -> Place {
        let Origin { network, home, owner } = *origin;
        let of_network = self.networks.of(&network) + get(&under_way.networks, &network);
        let homes = self.homes.get(&network).map_or(0, |homes| homes.of(&home));
        let of_home = homes + get(&under_way.homes, &(network, home));
        let owners = self.owners.get(&(network, home)).map_or(0, |owners| owners.of(&owner));
        let of_owner = owners + get(&under_way.owners, origin);
        ((of_network, network), (of_home, home), of_owner)
    }

    /// Starts this origin's turn.
    pub(super) fn start_turn(&mut self, origin: &Origin) {
        let Origin { network, home, owner } = *origin;
        self.networks.start_turn(&network);
        self.homes.entry(network).or_default().start_turn(&home);
        self.owners.entry((network, home)).or_default().start_turn(&owner);
    }

    /// Charges an origin for thread time.
    pub(super) fn serve(&mut self, origin: &Origin, micros: u64) {
        let Origin { network, home, owner } = *origin;
        self.networks.serve(network, micros);
        self.homes.entry(network).or_default().serve(home, micros);
        self.owners.entry((network, home)).or_default().serve(owner, micros);
    }

    /// Forgets all origins without jobs here; `origins` are those of all jobs.
    pub(super) fn retain(&mut self, origins: impl Iterator<Item = Origin>) {
        let origins: BTreeSet<Origin> = origins.collect();
        let networks: BTreeSet<_> = origins.iter().map(|o| o.network).collect();
        let homes: BTreeSet<_> = origins.iter().map(|o| (o.network, o.home)).collect();
        self.networks.served.retain(|network, _| networks.contains(network));
        self.homes.retain(|network, shares| {
            shares.served.retain(|&home, _| homes.contains(&(*network, home)));
            networks.contains(network)
        });
        self.owners.retain(|&(network, home), shares| {
            shares.served.retain(|&owner, _| origins.contains(&Origin { network, home, owner }));
            homes.contains(&(network, home))
        });
    }
}

/// Thread time that is being served, in microseconds.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    networks: BTreeMap<Option<Network>, u64>,
    homes: BTreeMap<(Option<Network>, PeerKey), u64>,
    owners: BTreeMap<Origin, u64>,
}

impl UnderWay {
    /// Adds what is under way for an origin.
    pub(super) fn add(&mut self, origin: &Origin, micros: u64) {
        *self.networks.entry(origin.network).or_default() += micros;
        *self.homes.entry((origin.network, origin.home)).or_default() += micros;
        *self.owners.entry(*origin).or_default() += micros;
    }
}

fn get<K: Ord>(map: &BTreeMap<K, u64>, key: &K) -> u64 {
    map.get(key).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(network: u8, home: u8, owner: u8) -> Origin {
        let network = Some(Network([network; 8]));
        Origin { network, home: PeerKey([home; 32]), owner: PeerKey([owner; 32]) }
    }

    fn next(turns: &mut Turns, origins: &[Origin]) -> Origin {
        let next = origins.iter().min_by_key(|origin| turns.place_of(origin, &UnderWay::default()));
        let next = *next.expect("an origin");
        turns.start_turn(&next);
        next
    }

    /// The share of 100 turns of 100 ms that the first of these origins gets.
    fn turns_of_first(turns: &mut Turns, origins: &[Origin]) -> usize {
        let served = (0..100).filter(|_| {
            let origin = next(turns, origins);
            turns.serve(&origin, 100_000);
            origin == origins[0]
        });
        served.count()
    }

    #[test]
    fn a_new_owner_is_served_as_much_as_one_served_for_an_hour() {
        let (new, old) = (origin(1, 1, 2), origin(1, 1, 1));
        let mut turns = Turns::default();
        for _ in 0..3_600 {
            turns.start_turn(&old);
            turns.serve(&old, 1_000_000);
        }
        let of_new = turns_of_first(&mut turns, &[new, old]);
        assert!(of_new > 40 && of_new <= 60, "{of_new}");
    }

    #[test]
    fn an_owner_idle_for_an_hour_accumulates_one_second_of_credit() {
        let (new, old) = (origin(1, 1, 2), origin(1, 1, 1));
        let mut turns = Turns::default();
        turns.serve(&new, 1);
        for _ in 0..3_600 {
            turns.start_turn(&old);
            turns.serve(&old, 1_000_000);
        }
        let of_new = turns_of_first(&mut turns, &[new, old]);
        assert!((50..75).contains(&of_new), "{of_new}");
    }

    #[test]
    fn a_peer_with_a_hundred_owners_is_served_as_much_as_one_with_a_single_owner() {
        let many = (0..100).map(|owner| origin(1, 1, owner));
        let origins: Vec<Origin> = std::iter::once(origin(1, 2, 200)).chain(many).collect();
        let of_one = turns_of_first(&mut Turns::default(), &origins);
        assert!((45..=55).contains(&of_one), "{of_one}");
    }

    #[test]
    fn a_network_with_fifty_peers_is_served_as_much_as_one_with_a_single_peer() {
        let many = (0..50).map(|home| origin(1, home, home));
        let origins: Vec<Origin> = std::iter::once(origin(2, 200, 200)).chain(many).collect();
        let of_one = turns_of_first(&mut Turns::default(), &origins);
        assert!((45..=55).contains(&of_one), "{of_one}");
    }

    #[test]
    fn origins_without_jobs_take_no_memory() {
        let mut turns = Turns::default();
        for n in 0..100 {
            turns.serve(&origin(n, n, n), 1);
        }
        turns.retain([origin(1, 1, 1), origin(1, 2, 2)].into_iter());
        assert_eq!((turns.networks.served.len(), turns.homes.len(), turns.owners.len()), (1, 1, 1));
        turns.retain(std::iter::empty());
        assert_eq!((turns.networks.served.len(), turns.homes.len(), turns.owners.len()), (0, 0, 0));
    }
}
