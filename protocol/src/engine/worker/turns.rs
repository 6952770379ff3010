//! How much of this worker's time each owner of jobs has had (rule 8).

use std::collections::BTreeMap;

use crate::id::PeerKey;

/// Whoever had nothing to run saves up so many microseconds of thread time at most: its next job begins at once, and
/// does not keep everyone else waiting for as long as they were served alone.
const SAVED: u64 = 1_000_000;

/// Thread time served to each owner, in microseconds, on a clock of its own: it stands where the owner stands whose
/// turn it was last, and whoever is new, or comes back, begins there (start-time fair queueing: Goyal, Vin and Cheng,
/// 1996).
#[derive(Debug, Default)]
pub(super) struct Turns {
    served: BTreeMap<PeerKey, u64>,
    clock: u64,
}

impl Turns {
    /// Where an owner stands: the least is next.
    pub(super) fn of(&self, owner: &PeerKey) -> u64 {
        self.served.get(owner).map_or(self.clock, |&served| served.max(self.clock.saturating_sub(SAVED)))
    }

    /// It is this owner's turn.
    pub(super) fn comes_to(&mut self, owner: &PeerKey) {
        self.clock = self.clock.max(self.of(owner));
    }

    /// An owner was served for so long.
    pub(super) fn serve(&mut self, owner: PeerKey, micros: u64) {
        let served = self.of(&owner).saturating_add(micros);
        self.served.insert(owner, served);
    }

    /// An owner has no job here any more.
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
        turns.comes_to(&next);
        next
    }

    #[test]
    fn a_newcomer_is_served_like_one_who_was_served_for_an_hour() {
        let mut turns = Turns::default();
        for _ in 0..3_600 {
            turns.comes_to(&OLD);
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
    fn who_had_nothing_to_run_for_an_hour_saved_up_a_second() {
        let mut turns = Turns::default();
        turns.serve(NEW, 1);
        for _ in 0..3_600 {
            turns.comes_to(&OLD);
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
