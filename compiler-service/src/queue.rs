//! The queue of compiles: round robin over requesters, however many requests one of them makes.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::error::BusyReason;

/// Identifies a requester: a peer's public key or the hash of one.
pub type Requester = [u8; 32];

/// A queue of `T` with a lane for each requester. [`pop`](Self::pop) visits the lanes in turn, and skips requesters
/// that have reached their limit of running items.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    lanes: HashMap<Requester, VecDeque<T>>,
    /// All requesters with a lane, in the order of their turns.
    turns: VecDeque<Requester>,
    running: HashMap<Requester, usize>,
    waiting: usize,
    bounds: Bounds,
}

/// Limits of a [`FairQueue`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Waiting items of all requesters.
    pub(crate) waiting: usize,
    /// Waiting items of one requester.
    pub(crate) waiting_each: usize,
    /// Running items of one requester.
    pub(crate) running_each: usize,
}

impl<T: PartialEq> FairQueue<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { lanes: HashMap::new(), turns: VecDeque::new(), running: HashMap::new(), waiting: 0, bounds }
    }

    /// Appends `item` to the requester's lane, unless the lane has it already.
    pub(crate) fn push(&mut self, requester: Requester, item: T) -> Result<(), BusyReason> {
        if self.lanes.get(&requester).is_some_and(|lane| lane.contains(&item)) {
            return Ok(());
        }
        if self.waiting >= self.bounds.waiting {
            return Err(BusyReason::Queue(self.waiting));
        }
        let lane = self.lanes.entry(requester).or_insert_with(|| {
            self.turns.push_back(requester);
            VecDeque::new()
        });
        if lane.len() >= self.bounds.waiting_each {
            return Err(BusyReason::Requester(lane.len()));
        }
        lane.push_back(item);
        self.waiting += 1;
        Ok(())
    }

    /// The next item and its requester. The item counts as running until [`done`](Self::done).
    pub(crate) fn pop(&mut self) -> Option<(Requester, T)> {
        let may_run = |requester| self.running.get(requester).is_none_or(|running| *running < self.bounds.running_each);
        let at = self.turns.iter().position(may_run)?;
        let requester = self.turns.remove(at)?;
        let lane = self.lanes.get_mut(&requester)?;
        let item = lane.pop_front()?;
        if lane.is_empty() {
            self.lanes.remove(&requester);
        } else {
            self.turns.push_back(requester);
        }
        self.waiting -= 1;
        *self.running.entry(requester).or_default() += 1;
        Some((requester, item))
    }

    /// An item of this requester is no longer running.
    pub(crate) fn done(&mut self, requester: &Requester) {
        if let Some(running) = self.running.get_mut(requester) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(requester);
            }
        }
    }

    /// Drops the waiting items for which `keep` is false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut lanes: HashSet<Requester> = HashSet::new();
        self.waiting = 0;
        self.lanes.retain(|requester, lane| {
            lane.retain(&mut keep);
            self.waiting += lane.len();
            !lane.is_empty() && lanes.insert(*requester)
        });
        self.turns.retain(|requester| lanes.contains(requester));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { waiting: 10, waiting_each: 6, running_each: 9 };
    const FLOOD: Requester = [1; 32];
    const MODEST: Requester = [2; 32];
    const THIRD: Requester = [3; 32];

    fn popped(queue: &mut FairQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop().map(|(_, item)| item)).collect()
    }

    #[test]
    fn a_requester_waits_for_at_most_one_item_of_a_flood() {
        let mut queue = FairQueue::new(BOUNDS);
        for item in 0..5 {
            queue.push(FLOOD, item).unwrap();
        }
        queue.push(MODEST, 100).unwrap();
        queue.push(THIRD, 200).unwrap();
        queue.push(MODEST, 101).unwrap();
        assert_eq!(popped(&mut queue), [0, 100, 200, 1, 101, 2, 3, 4]);
    }

    #[test]
    fn a_flood_is_refused_and_leaves_room_for_others() {
        let mut queue = FairQueue::new(BOUNDS);
        let refused = (0..50).filter(|item| queue.push(FLOOD, *item) == Err(BusyReason::Requester(6))).count();
        assert_eq!(refused, 44);
        queue.push(MODEST, 100).unwrap();
    }

    #[test]
    fn many_requesters_together_are_bounded_too() {
        let mut queue = FairQueue::new(BOUNDS);
        let accepted = (0..50_u8).filter(|who| queue.push([*who; 32], u32::from(*who)).is_ok()).count();
        assert_eq!(accepted, 10);
        assert_eq!(popped(&mut queue).len(), 10);
        queue.push(MODEST, 1).unwrap();
    }

    #[test]
    fn one_requester_cannot_occupy_all_threads() {
        let mut queue = FairQueue::new(Bounds { running_each: 1, ..BOUNDS });
        queue.push(FLOOD, 0).unwrap();
        queue.push(FLOOD, 1).unwrap();
        queue.push(MODEST, 100).unwrap();
        assert_eq!(popped(&mut queue), [0, 100]);
        queue.done(&MODEST);
        assert_eq!(queue.pop(), None, "the flood's first is still running");
        queue.done(&FLOOD);
        assert_eq!(queue.pop(), Some((FLOOD, 1)));
    }

    #[test]
    fn dropped_items_make_room() {
        let mut queue = FairQueue::new(BOUNDS);
        for item in 0..6 {
            queue.push(FLOOD, item).unwrap();
        }
        queue.push(MODEST, 100).unwrap();
        queue.retain(|item| *item > 3);
        queue.push(FLOOD, 6).unwrap();
        assert_eq!(popped(&mut queue), [4, 100, 5, 6]);
    }
}
