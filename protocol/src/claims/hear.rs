//! What others say: their claims, their silence, and the authority's word on what is done.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Cell, ClaimTable, FREE, Heard, ME, Worker, allowance};
use crate::id::PeerKey;
use crate::limits;
use crate::message::{Claim, Hold};
use crate::ranges::{BitSet, Run, insert_into, remove_from, runs_of};
use crate::time::Time;

/// After a worker's connection broke, its lease ends so soon, unless it is heard again.
const BROKEN_LEASE: Duration = Duration::from_millis(1_500);
/// What its holder said to be done is believed for so long against an older word of the authority: a worker says so
/// once its output is acknowledged, and that has yet to reach the authority.
pub(super) const NEWS: Duration = Duration::from_secs(5);
/// Whoever said what is not true is not listened to for so long: one whose output was delayed on its way to the
/// authority is back by then, and a liar has a few seconds in a minute.
const DISTRUST: Duration = Duration::from_secs(60);

impl ClaimTable {
    /// Takes another worker's standing, from itself.
    pub fn hear(&mut self, now: Time, from: PeerKey, claim: &Claim) -> Heard {
        let mut heard = Heard::default();
        if from == self.workers[usize::from(ME)].peer {
            return heard;
        }
        let worker = self.worker_index(now, from);
        let entry = &mut self.workers[usize::from(worker)];
        // Gossip brings messages out of order, old ones long after.
        if now < entry.ignored_until || (entry.alive && Some(claim.number) <= entry.number) {
            return heard;
        }
        (entry.heard, entry.ends) = (now, Time::NEVER);
        entry.number = Some(claim.number);
        if entry.holds.is_empty() {
            entry.progressed = now;
        }
        self.set_alive(worker, true);
        self.take_done(now, worker, &claim.done, &mut heard);
        let holds = if self.is_allowed(worker, claim) { &claim.holds[..] } else { &[] };
        self.take_holds(now, worker, holds, &mut heard);
        // What went to the sender is not this peer's to give up any more.
        for i in 0..heard.lost.len() {
            self.give_up(heard.lost[i]);
        }
        heard
    }

    /// Takes a worker's standing from another's mouth: until it speaks itself, what nobody else holds is left to it,
    /// but no longer than for `left`. Nothing else is believed, and no worker that was heard makes room for one that
    /// may be invented.
    pub fn hear_of(&mut self, now: Time, peer: PeerKey, claim: &Claim, left: Duration) {
        if self.workers.len() == limits::SHARD_WORKERS || self.workers.iter().any(|w| w.peer == peer) {
            return;
        }
        let worker = self.worker_index(now, peer);
        self.workers[usize::from(worker)].ends = now + left;
        if !self.is_allowed(worker, claim) {
            return;
        }
        for hold in claim.holds.iter().filter(|h| !h.speculative) {
            for block in self.within(hold.run).iter().flat_map(Run::iter) {
                let free = self.cells[block as usize].holder == FREE && !self.done.contains(block);
                if free && self.take_hold(now, worker, block, hold, &mut Heard::default()) {
                    insert_into(&mut self.workers[usize::from(worker)].holds, block);
                }
            }
        }
    }

    /// Whether a claim keeps within what its sender has earned (rule 5). Its word on how much it finished counts as
    /// far as that is believed, or it may have done its share of what was done before this peer listened.
    fn is_allowed(&self, worker: u16, claim: &Claim) -> bool {
        let seen: u32 = self.workers.iter().map(|w| w.finished + w.unheard).sum();
        let share = self.done.count().saturating_sub(seen) / self.active_workers().max(1);
        let entry = &self.workers[usize::from(worker)];
        let finished = claim.finished.min(entry.finished + entry.unheard + share);
        claim.holds.iter().map(|h| h.run.len).sum::<u32>() <= allowance(finished)
    }

    /// A worker says what it finished: believed of blocks that it held here, and of as many that nobody holds as it
    /// might have claimed in messages that were lost, so that nobody ends a job by a word.
    fn take_done(&mut self, now: Time, worker: u16, done: &[Run], heard: &mut Heard) {
        for block in done.iter().filter_map(|run| self.within(*run)).flat_map(|run| run.iter()).collect::<Vec<_>>() {
            let cell = self.cells[block as usize];
            let entry = &mut self.workers[usize::from(worker)];
            let held = cell.holder == worker || entry.seconds.contains(&block);
            let may = held || (cell.holder == FREE && entry.unheard < allowance(entry.finished));
            if !may || self.done.contains(block) {
                continue;
            }
            if held {
                entry.progress(now);
            } else {
                entry.unheard += 1;
            }
            self.mark_done(now, block, worker);
            heard.changed = true;
            if cell.holder == ME && !cell.started {
                heard.lost.push(block + self.blocks.start);
            }
        }
    }

    /// Takes all that a worker holds; what it held before and does not name any more is free.
    fn take_holds(&mut self, now: Time, worker: u16, holds: &[Hold], heard: &mut Heard) {
        let (mut taken, mut seconds) = (Vec::new(), Vec::new());
        for hold in holds {
            for block in self.within(hold.run).iter().flat_map(Run::iter) {
                if self.done.contains(block) {
                    continue;
                }
                if hold.speculative {
                    seconds.push(block);
                    self.hear_second(block, worker, heard);
                } else if self.take_hold(now, worker, block, hold, heard) {
                    taken.push(block);
                }
            }
        }
        self.workers[usize::from(worker)].seconds = seconds;
        let before = std::mem::replace(&mut self.workers[usize::from(worker)].holds, runs_of(taken.iter().copied()));
        for block in before.iter().flat_map(Run::iter) {
            if self.cells[block as usize].holder == worker && taken.binary_search(&block).is_err() {
                self.let_go(block);
                heard.changed = true;
            }
        }
    }

    /// One second attempt at a block is enough: of two that cross, one gives way.
    fn hear_second(&mut self, block: u32, worker: u16, heard: &mut Heard) {
        self.cells[block as usize].doubled = true;
        if self.speculative.contains(&(block, false)) && self.draw_of(block, worker) > self.draw_of(block, ME) {
            heard.lost.push(block + self.blocks.start);
        }
    }

    /// Gives a block to a worker that claims it, unless another's claim is stronger.
    fn take_hold(&mut self, now: Time, worker: u16, block: u32, hold: &Hold, heard: &mut Heard) -> bool {
        let cell = self.cells[block as usize];
        if cell.holder == worker {
            // It stands since it was heard first: repeating it does not make it last.
            self.cells[block as usize].settled |= hold.settled;
            self.cells[block as usize].doubled = false;
            return true;
        }
        let term = self.legal_term(now, block, hold.term);
        let stronger = cell.holder == FREE || {
            let theirs = (term, hold.settled, self.draw_of(block, worker));
            theirs > (cell.term, self.is_settled(now, block), self.draw_of(block, cell.holder))
        };
        if !stronger || (cell.holder == ME && cell.started) {
            heard.contested |= cell.holder == ME;
            return false;
        }
        match cell.holder {
            ME => heard.lost.push(block + self.blocks.start),
            FREE => self.free -= 1,
            other => remove_from(&mut self.workers[usize::from(other)].holds, block),
        }
        let legal = cell.legal.max(term);
        let settled = hold.settled;
        self.cells[block as usize] = Cell { holder: worker, term, legal, settled, since: now, ..Cell::FREE };
        true
    }

    /// A claim's term, as far as it is legal: a higher one only after the holder before was silent for so long that
    /// somebody may have seen it lapse.
    fn legal_term(&self, now: Time, block: u32, term: u8) -> u8 {
        let cell = self.cells[block as usize];
        let lapsed = cell.holder == FREE || {
            let holder = &self.workers[usize::from(cell.holder)];
            !holder.alive || holder.ends < Time::NEVER || now.since(holder.heard) >= BROKEN_LEASE
        };
        term.min(cell.legal.saturating_add(u8::from(lapsed)))
    }

    /// Notes that a block is done, by the word of `by`.
    pub(super) fn mark_done(&mut self, now: Time, block: u32, by: u16) {
        if !self.done.insert(block) {
            return;
        }
        let cell = &mut self.cells[block as usize];
        if cell.holder == FREE {
            self.free -= 1;
        }
        cell.done_by = by;
        cell.since = now;
        self.unproven += u32::from(by != ME);
    }

    /// Finds or makes a worker's place; in a full table the next to lapse makes room.
    fn worker_index(&mut self, now: Time, peer: PeerKey) -> u16 {
        if let Some(i) = self.workers.iter().position(|w| w.peer == peer) {
            return i as u16;
        }
        let worker = Worker::new(peer, now);
        self.active += 1;
        if self.workers.len() < limits::SHARD_WORKERS {
            self.workers.push(worker);
            return (self.workers.len() - 1) as u16;
        }
        let silent =
            self.workers.iter().enumerate().skip(1).min_by_key(|(_, w)| (w.ends, w.heard)).map_or(1, |(i, _)| i);
        self.release(silent as u16);
        self.set_alive(silent as u16, false);
        // Nor is the newcomer to blame for what that one said.
        self.cells.iter_mut().filter(|c| usize::from(c.done_by) == silent).for_each(|c| c.done_by = FREE);
        self.workers[silent] = worker;
        silent as u16
    }

    fn set_alive(&mut self, worker: u16, alive: bool) {
        let was = std::mem::replace(&mut self.workers[usize::from(worker)].alive, alive);
        self.active = self.active + u32::from(alive) - u32::from(was);
    }

    /// Frees what a worker holds after a lapse: who claims it next does so under a higher term, and wins against
    /// the late claim of a holder that was only slow to be heard.
    fn release(&mut self, worker: u16) -> bool {
        let holds = std::mem::take(&mut self.workers[usize::from(worker)].holds);
        for block in holds.iter().flat_map(Run::iter) {
            let cell = &mut self.cells[block as usize];
            if cell.holder == worker {
                cell.legal = cell.legal.max(cell.term.saturating_add(1));
                self.let_go(block);
            }
        }
        !holds.is_empty()
    }

    /// A worker said what is not true, or holds on to what it does not do: it is not listened to for a while, nor
    /// does what it said before count.
    fn distrust(&mut self, now: Time, worker: u16) {
        let entry = &mut self.workers[usize::from(worker)];
        entry.ignored_until = now + DISTRUST;
        entry.finished = 0;
        self.set_alive(worker, false);
        self.release(worker);
    }

    /// Ends the leases that have run out, each `lease` after its holder was last heard, and claims that have stood
    /// for `longest`, whatever is heard of their holders; says whether anything became free.
    pub fn lapse(&mut self, now: Time, lease: Duration, longest: Duration) -> bool {
        let mut freed = false;
        for worker in 1..self.workers.len() as u16 {
            let entry = &self.workers[usize::from(worker)];
            if !entry.alive {
                continue;
            }
            if now > entry.lapses_at(lease) {
                self.set_alive(worker, false);
                freed |= self.release(worker);
            } else if entry.holds.iter().flat_map(Run::iter).any(|b| self.is_overdue(now, worker, b, longest)) {
                self.distrust(now, worker);
                freed = true;
            }
        }
        freed
    }

    fn is_overdue(&self, now: Time, worker: u16, block: u32, longest: Duration) -> bool {
        let cell = &self.cells[block as usize];
        cell.holder == worker && !self.done.contains(block) && now.since(cell.since) > longest
    }

    /// A worker's connection broke: its lease ends soon, unless it is heard again.
    pub fn broken(&mut self, now: Time, peer: &PeerKey) {
        if let Some(w) = self.workers.iter_mut().skip(1).find(|w| w.peer == *peer) {
            w.ends = w.ends.min(now + BROKEN_LEASE);
        }
    }

    /// A worker said goodbye: what it held is free at once.
    pub fn left_for_good(&mut self, peer: &PeerKey) -> bool {
        let Some(i) = self.workers.iter().skip(1).position(|w| w.peer == *peer) else { return false };
        self.set_alive(i as u16 + 1, false);
        self.release(i as u16 + 1)
    }

    /// What was heard of late is not true any more: tasks were opened again.
    pub fn forget_news(&mut self) {
        self.cells.iter_mut().for_each(|cell| cell.done_by = FREE);
    }

    /// The authority's word on what is done: `done` replaces what this peer believed, but for the latest news.
    /// Gives the blocks of this peer's that need not be run any more.
    pub fn set_done(&mut self, now: Time, done: impl Iterator<Item = u32>) -> Vec<u32> {
        let size = self.cells.len() as u32;
        let before = std::mem::replace(&mut self.done, BitSet::new(size));
        for block in done {
            if self.done.insert(block) {
                self.prove(now, block, !before.contains(block));
            }
        }
        self.keep_news(now, &before);
        self.recent.retain(|r| r.iter().all(|b| self.done.contains(b)));
        self.free =
            (0..size).filter(|&b| self.cells[b as usize].holder == FREE && !self.done.contains(b)).count() as u32;
        let needless = |b: &u32| {
            let cell = self.cells[*b as usize];
            cell.holder == ME && !cell.started && self.done.contains(*b)
        };
        let needless: Vec<u32> = (0..size).filter(needless).map(|b| b + self.blocks.start).collect();
        for &block in &needless {
            self.give_up(block);
        }
        needless
    }

    /// The authority says that a block is done, which is news where its holder was not heard to say so.
    fn prove(&mut self, now: Time, block: u32, news: bool) {
        let cell = &mut self.cells[block as usize];
        cell.done_by = FREE;
        if news && cell.holder != FREE && cell.holder != ME {
            self.workers[usize::from(cell.holder)].progress(now);
        }
    }

    /// Of what was believed to be done and the authority does not know of, the latest stays; whoever told the rest
    /// is not believed for a while.
    fn keep_news(&mut self, now: Time, before: &BitSet) {
        self.unproven = 0;
        self.workers.iter_mut().for_each(|w| w.unheard = 0);
        let mut liars = BTreeSet::new();
        for block in before.iter().filter(|b| !self.done.contains(*b)).collect::<Vec<_>>() {
            let Cell { done_by, since, .. } = self.cells[block as usize];
            if done_by == FREE {
                // The authority took it back.
            } else if now.since(since) <= NEWS {
                self.done.insert(block);
                self.unproven += u32::from(done_by != ME);
            } else if done_by != ME {
                liars.insert(done_by);
            }
        }
        liars.into_iter().for_each(|worker| self.distrust(now, worker));
    }
}
