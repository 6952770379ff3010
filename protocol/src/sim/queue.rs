//! The event queue, ordered by time, and by insertion where times are equal.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use super::world::SimEvent;

/// Width of a slot in microseconds. The events of a later slot are kept unsorted: a heap of all events would hold
/// millions, and every step through it would be a cache miss.
const SLOT: u64 = 1024;

/// The queue of a simulation.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Events of the current slot and before.
    near: BinaryHeap<Entry>,
    near_until: u64,
    /// Later ones, unsorted, by slot.
    far: BTreeMap<u64, Vec<Entry>>,
    numbers: u64,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    number: u64,
    what: SimEvent,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: the heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, what: SimEvent) {
        self.numbers += 1;
        let entry = Entry { at, number: self.numbers, what };
        if at < self.near_until {
            self.near.push(entry);
        } else {
            self.far.entry(at / SLOT).or_default().push(entry);
        }
    }

    pub(super) fn pop(&mut self) -> Option<(u64, SimEvent)> {
        if self.near.is_empty() {
            let (slot, entries) = self.far.pop_first()?;
            self.near = entries.into();
            self.near_until = (slot + 1) * SLOT;
        }
        self.near.pop().map(|entry| (entry.at, entry.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::Rng;

    #[test]
    fn events_are_ordered_by_time_and_then_by_insertion() {
        let mut queue = Queue::default();
        let mut rng = Rng::new(1);
        let mut now = 0;
        let mut last = (0, 0);
        for round in 0..5_000u32 {
            queue.push(now + rng.below(5_000) as u64, SimEvent::Tick(round));
            if rng.happens(0.7)
                && let Some((at, SimEvent::Tick(number))) = queue.pop()
            {
                assert!(at > last.0 || (at == last.0 && number > last.1), "{at} {number} after {last:?}");
                last = (at, number);
                now = at;
            }
        }
    }
}
