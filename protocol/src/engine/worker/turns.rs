//! How much of this worker's time each origin of jobs has had (rule 8).

use crate::engine::origin::{Amounts, Origin, Party};

/// Most credit that a party with nothing to run accumulates, in microseconds of thread time: its next job starts at
/// once, but does not make the others wait for as long as they were served alone.
const SAVED: u64 = 1_000_000;

/// Thread time served to each network, within it to each home of jobs, and within that to each owner, in microseconds
/// of virtual time. Each group has a clock, the virtual time of the member whose turn it was last; new or returning
/// members start there (start-time fair queueing: Goyal, Vin and Cheng, 1996).
#[derive(Debug, Default)]
pub(super) struct Turns {
    served: Amounts,
    /// The clock of all networks.
    clock: u64,
    /// The clocks of the homes of each network, and of the owners of each home.
    clocks: Amounts,
}

/// An origin's place in the order of turns: the smallest is next. Origins that share a network or a home are compared
/// by what that one has been served first, so they get one share together.
pub(super) type Place = [(u64, Party); 3];

impl Turns {
    /// The virtual time of a party, a member of `group`.
    fn of(&self, party: &Party, group: Option<&Party>) -> u64 {
        let clock = group.map_or(self.clock, |group| self.clocks.of(group).unwrap_or(0));
        self.served.of(party).map_or(clock, |served| served.max(clock.saturating_sub(SAVED)))
    }

    /// The parties of an origin, each with its virtual time.
    fn times(&self, origin: &Origin) -> Place {
        let [network, home, owner] = origin.parties();
        [
            (self.of(&network, None), network),
            (self.of(&home, Some(&network)), home),
            (self.of(&owner, Some(&home)), owner),
        ]
    }

    /// An origin's place in the order of turns, if what is under way for each party, in microseconds, counts as served.
    pub(super) fn place_of(&self, origin: &Origin, under_way: &Amounts) -> Place {
        self.times(origin).map(|(time, party)| (time.saturating_add(under_way.of(&party).unwrap_or(0)), party))
    }

    /// Starts this origin's turn.
    pub(super) fn start_turn(&mut self, origin: &Origin) {
        let [(of_network, network), (of_home, home), (of_owner, _)] = self.times(origin);
        self.clock = self.clock.max(of_network);
        for (group, time) in [(network, of_home), (home, of_owner)] {
            self.clocks.set(group, self.clocks.of(&group).unwrap_or(0).max(time));
        }
    }

    /// Charges an origin for thread time.
    pub(super) fn serve(&mut self, origin: &Origin, micros: u64) {
        for (time, party) in self.times(origin) {
            self.served.set(party, time.saturating_add(micros));
        }
    }

    /// Forgets all origins without jobs here; `origins` are those of all jobs.
    pub(super) fn retain(&mut self, origins: impl Iterator<Item = Origin>) {
        let present = Amounts::count(origins);
        self.served.retain(&present);
        self.clocks.retain(&present);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerKey;
    use crate::membership::Network;

    fn origin(network: u8, home: u8, owner: u8) -> Origin {
        let network = Some(Network([network; 8]));
        Origin { network, home: PeerKey([home; 32]), owner: PeerKey([owner; 32]) }
    }

    fn next(turns: &mut Turns, origins: &[Origin]) -> Origin {
        let next = origins.iter().min_by_key(|origin| turns.place_of(origin, &Amounts::default()));
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
        assert!(turns.served.len() <= 5 && turns.clocks.len() <= 3, "{turns:?}");
        turns.retain(std::iter::empty());
        assert_eq!((turns.served.len(), turns.clocks.len()), (0, 0));
    }
}
