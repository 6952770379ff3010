//! The order in which modules are compiled.
//!
//! Every compilation begins in the *quick* lane, which serves the owners in turn. One that has used up its quantum of
//! processor time there makes room, if others wait: it goes on in the *slow* lane, or, if that is full, is abandoned
//! and begun again there when its owner's turn comes. So an ordinary module waits for quanta only, however expensive
//! the others are, and an expensive one is delayed but compiled.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::CancelToken;
use super::error::ModuleError;
use super::limits::{COMPILE_POLL, MAX_WAITING_COMPILES};

/// The owner of the job whose module is compiled. Owners get equal shares of turns.
pub(super) type Owner = [u8; 32];

/// A lane of compilations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// For those that have not used up their quantum.
    Quick,
    /// For the others.
    Slow,
}

/// The turns of both lanes.
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    quick: Queue,
    slow: Queue,
    tickets: u64,
}

/// The turns of one lane.
struct Queue {
    free: usize,
    /// Owners with waiting tickets, in the order of their next turns.
    owners: VecDeque<Owner>,
    waiting: HashMap<Owner, VecDeque<u64>>,
    /// Tickets whose turn it is, and that have not noticed yet.
    called: HashSet<u64>,
    /// Tickets that had to make room, and that have not noticed yet.
    expelled: HashSet<u64>,
}

impl Turns {
    /// For `quick` and `slow` compilations at the same time.
    pub(super) fn new(quick: usize, slow: usize) -> Self {
        let state = State { quick: Queue::new(quick), slow: Queue::new(slow), tickets: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits for a turn of `owner` in `lane`.
    ///
    /// # Errors
    /// Fails once `cancel` is cancelled, and if too many wait.
    pub(super) fn wait(&self, owner: Owner, lane: Lane, cancel: &CancelToken) -> Result<Turn<'_>, ModuleError> {
        let mut state = self.lock();
        state.tickets += 1;
        let ticket = state.tickets;
        let queue = state.queue(lane);
        if !queue.enter(owner, ticket) {
            return Err(ModuleError::Busy);
        }
        queue.call();
        // The ticket that was called or expelled may be that of another thread.
        self.changed.notify_all();
        loop {
            let queue = state.queue(lane);
            if queue.called.remove(&ticket) {
                return Ok(Turn { turns: self, lane });
            }
            if queue.expelled.remove(&ticket) {
                return Err(ModuleError::Busy);
            }
            if cancel.is_cancelled() {
                queue.leave(&owner, ticket);
                return Err(ModuleError::Cancelled);
            }
            state = self.changed.wait_timeout(state, COMPILE_POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The state is always consistent, so a panic elsewhere does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to compile, until it is dropped.
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    lane: Lane,
}

impl Turn<'_> {
    /// The lane that it is in now.
    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    /// Makes room in the quick lane if others wait for it. Returns `false` if the compilation must be abandoned.
    /// To be called by one that has used up its quantum.
    pub(super) fn make_room(&mut self) -> bool {
        if self.lane == Lane::Slow {
            return true;
        }
        let mut state = self.turns.lock();
        if state.quick.owners.is_empty() {
            return true;
        }
        // Those that wait for the slow lane go first.
        if state.slow.free == 0 || !state.slow.owners.is_empty() {
            return false;
        }
        state.slow.free -= 1;
        self.lane = Lane::Slow;
        state.quick.release();
        self.turns.changed.notify_all();
        true
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.lock().queue(self.lane).release();
        self.turns.changed.notify_all();
    }
}

impl State {
    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Quick => &mut self.quick,
            Lane::Slow => &mut self.slow,
        }
    }
}

impl Queue {
    fn new(free: usize) -> Self {
        Self {
            free,
            owners: VecDeque::new(),
            waiting: HashMap::new(),
            called: HashSet::new(),
            expelled: HashSet::new(),
        }
    }

    /// Lets a ticket wait. If the queue is full, the last of the owner with the most must go, unless that is this one.
    fn enter(&mut self, owner: Owner, ticket: u64) -> bool {
        let total: usize = self.waiting.values().map(VecDeque::len).sum();
        if total >= MAX_WAITING_COMPILES {
            let own = self.waiting.get(&owner).map_or(0, VecDeque::len);
            let most = self.waiting.iter().max_by_key(|(owner, tickets)| (tickets.len(), **owner));
            let Some(most) = most.filter(|(_, tickets)| tickets.len() > own + 1).map(|(owner, _)| *owner) else {
                return false;
            };
            if let Some(last) = self.waiting.get(&most).and_then(|tickets| tickets.back().copied()) {
                self.leave(&most, last);
                self.expelled.insert(last);
            }
        }
        let tickets = self.waiting.entry(owner).or_default();
        if tickets.is_empty() {
            self.owners.push_back(owner);
        }
        tickets.push_back(ticket);
        true
    }

    /// Removes a ticket that waits, or gives its turn back.
    fn leave(&mut self, owner: &Owner, ticket: u64) {
        if self.called.remove(&ticket) {
            self.release();
            return;
        }
        if let Some(tickets) = self.waiting.get_mut(owner) {
            tickets.retain(|waiting| *waiting != ticket);
            if tickets.is_empty() {
                self.waiting.remove(owner);
                self.owners.retain(|waiting| waiting != owner);
            }
        }
    }

    fn release(&mut self) {
        self.free += 1;
        self.call();
    }

    /// Gives free places to those that wait, one owner after the other.
    fn call(&mut self) {
        while self.free > 0
            && let Some(owner) = self.owners.pop_front()
        {
            let Some(tickets) = self.waiting.get_mut(&owner) else { continue };
            if let Some(ticket) = tickets.pop_front() {
                self.called.insert(ticket);
                self.free -= 1;
            }
            if tickets.is_empty() {
                self.waiting.remove(&owner);
            } else {
                self.owners.push_back(owner);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: Owner = [1; 32];
    const B: Owner = [2; 32];
    const C: Owner = [3; 32];

    fn queue_of(free: usize, tickets: &[(Owner, u64)]) -> Queue {
        let mut queue = Queue::new(free);
        tickets.iter().for_each(|(owner, ticket)| assert!(queue.enter(*owner, *ticket)));
        queue
    }

    /// The tickets in the order in which they are called.
    fn order(mut queue: Queue) -> Vec<u64> {
        let mut order = Vec::new();
        queue.call();
        while let Some(ticket) = queue.called.iter().next().copied() {
            queue.called.remove(&ticket);
            order.push(ticket);
            queue.release();
        }
        order
    }

    #[test]
    fn owners_take_turns() {
        let queue = queue_of(1, &[(A, 1), (A, 2), (A, 3), (B, 4), (C, 5), (B, 6)]);
        assert_eq!(order(queue), [1, 4, 5, 2, 6, 3]);
    }

    #[test]
    fn a_full_queue_takes_from_the_owner_with_the_most() {
        let mut queue = Queue::new(0);
        let many = MAX_WAITING_COMPILES as u64;
        (0..many).for_each(|ticket| assert!(queue.enter(A, ticket)));
        assert!(!queue.enter(A, many), "its own are not exchanged");
        assert!(queue.enter(B, many + 1));
        assert!(queue.expelled.contains(&(many - 1)), "the last one goes");
        assert_eq!(queue.waiting.values().map(VecDeque::len).sum::<usize>(), MAX_WAITING_COMPILES);
    }

    #[test]
    fn who_leaves_gives_its_turn_to_the_next() {
        let mut queue = queue_of(1, &[(A, 1), (B, 2)]);
        queue.call();
        queue.leave(&A, 1);
        assert!(queue.called.contains(&2));
        queue.leave(&B, 2);
        assert!(queue.free == 1 && queue.owners.is_empty() && queue.waiting.is_empty());
    }

    #[test]
    fn an_expensive_compilation_makes_room_only_for_those_that_wait() {
        let turns = Turns::new(1, 1);
        let never = CancelToken::new();
        let mut first = turns.wait(A, Lane::Quick, &never).unwrap();
        assert!(first.make_room() && first.lane == Lane::Quick, "nobody waits");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.wait(B, Lane::Quick, &never).unwrap());
            while turns.lock().quick.owners.is_empty() {
                std::thread::yield_now();
            }
            assert!(first.make_room() && first.lane == Lane::Slow);
            let mut second = second.join().unwrap();
            let third = scope.spawn(|| turns.wait(C, Lane::Quick, &never).unwrap());
            while turns.lock().quick.owners.is_empty() {
                std::thread::yield_now();
            }
            assert!(!second.make_room(), "the slow lane is full, so it is abandoned");
            drop(second);
            drop(third.join().unwrap());
        });
        drop(first);
        let state = turns.lock();
        assert_eq!((state.quick.free, state.slow.free), (1, 1));
    }

    #[test]
    fn a_cancelled_compilation_stops_waiting() {
        let turns = Turns::new(1, 1);
        let held = turns.wait(A, Lane::Quick, &CancelToken::new()).unwrap();
        let cancelled = CancelToken::new();
        cancelled.cancel();
        assert_eq!(turns.wait(B, Lane::Quick, &cancelled).err(), Some(ModuleError::Cancelled));
        drop(held);
        assert_eq!(turns.lock().quick.free, 1);
    }
}
