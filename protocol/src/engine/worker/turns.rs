//! How much of this worker's time each owner of jobs has had (rule 8).

use std::collections::BTreeMap;

use crate::id::PeerKey;

/// Most credit that an owner with nothing to run accumulates, in microseconds of thread time: its next job starts at
/// once, but does not make the others wait for as long as they were served alone.
const SAVED: u64 = 1_000_000;

/// Thread time served to each owner, in microseconds of virtual time. The virtual time is that of the owner whose turn
/// it was last, and new or returning owners start there (start-time fair queueing: Goyal, Vin and Cheng, 1996).
#[derive(Debug, Default)]
pub(super) struct Turns {
    served: BTreeMap<PeerKey, u64>,
    clock: u64,
}

impl Turns {
    /// An owner's virtual time: the smallest is next.
    pub(super) fn of(&self, owner: &PeerKey) -> u64 {
        self.served.get(owner).map_or(self.clock, |&served| served.max(self.clock.saturating_sub(SAVED)))
    }

    /// Starts this owner's turn.
    pub(super) fn start_turn(&mut self, owner: &PeerKey) {
        self.clock = self.clock.max(self.of(owner));
    }

    /// Charges an owner for thread time.
    pub(super) fn serve(&mut self, owner: PeerKey, micros: u64) {
        let served = self.of(&owner).saturating_add(micros);
        self.served.insert(owner, served);
    }

    /// Forgets an owner without jobs here.
    pub(super) fn forget(&mut self, owner: &PeerKey) {
        self.served.remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: PeerKey = PeerKey([1; 32]);
    const NEW: PeerKey = PeerKey([2; 32]);

    fn next(turns: &mut Turns) -> PeerKey {
        let next = if turns.of(&OLD) <= turns.of(&NEW) { OLD } else { NEW };
        turns.start_turn(&next);
        next
    }

    #[test]
    fn a_new_owner_is_served_as_much_as_one_served_for_an_hour() {
        let mut turns = Turns::default();
        for _ in 0..3_600 {
            turns.start_turn(&OLD);
            turns.serve(OLD, 1_000_000);
        }
        let mut served = [0, 0];
        for _ in 0..100 {
            let owner = next(&mut turns);
            turns.serve(owner, 100_000);
            served[usize::from(owner == NEW)] += 1;
        }
        assert!(served[0] > 40 && served[1] > 40, "{served:?}");
    }

    #[test]
    fn an_owner_idle_for_an_hour_accumulates_one_second_of_credit() {
        let mut turns = Turns::default();
        turns.serve(NEW, 1);
        for _ in 0..3_600 {
            turns.start_turn(&OLD);
            turns.serve(OLD, 1_000_000);
        }
        let new = (0..100).filter(|_| {
            let owner = next(&mut turns);
            turns.serve(owner, 100_000);
            owner == NEW
        });
        let new = new.count();
        assert!((50..75).contains(&new), "{new}");
    }
}
