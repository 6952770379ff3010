//! What others say: their claims, their silence, and the authority's word on what is done.

use std::time::Duration;

use super::{Cell, ClaimTable, FREE, Heard, ME, Worker, allowance};
use crate::id::PeerKey;
use crate::limits;
use crate::message::{Claim, Hold};
use crate::ranges::{BitSet, Run, remove_from, runs_of};
use crate::time::Time;

/// After a worker's connection broke, its lease ends so soon, unless it is heard again.
const BROKEN_LEASE: Duration = Duration::from_millis(1_500);
/// What was heard to be done is believed for so long against an older word of the authority: a worker says so
/// once its output is acknowledged, and that has yet to reach the authority.
pub(super) const NEWS: Duration = Duration::from_secs(5);

impl ClaimTable {
    /// Takes another worker's standing.
    pub fn hear(&mut self, now: Time, from: PeerKey, claim: &Claim) -> Heard {
        let mut heard = Heard::default();
        if from == self.workers[usize::from(ME)].peer {
            return heard;
        }
        let worker = self.worker_index(now, from);
        let entry = &self.workers[usize::from(worker)];
        if entry.alive && Some(claim.number) <= entry.number {
            // Gossip brings messages out of order, old ones long after.
            return heard;
        }
        // Its word on how much it finished counts only as far as that much is done at all.
        let finished = claim.finished.min(self.done.count() + claim.done.iter().map(|r| r.len).sum::<u32>());
        let entry = &mut self.workers[usize::from(worker)];
        if finished > entry.finished || entry.holds.is_empty() {
            entry.progressed = now;
        }
        entry.heard = now;
        entry.alive = true;
        entry.number = Some(claim.number);
        entry.finished = finished;
        heard.changed = self.release(worker, 0);
        for run in &claim.done {
            for block in self.within(*run).iter().flat_map(Run::iter) {
                if !self.mark_done(now, block) {
                    continue;
                }
                heard.changed = true;
                if self.cells[block as usize].holder == ME && !self.cells[block as usize].started {
                    heard.lost.push(block + self.blocks.start);
                }
            }
        }
        let total: u32 = claim.holds.iter().map(|h| h.run.len).sum();
        if total <= allowance(finished) {
            self.take_holds(now, worker, &claim.holds, &mut heard);
        }
        // What went to the sender is not this peer's to give up any more.
        for i in 0..heard.lost.len() {
            self.give_up(heard.lost[i]);
        }
        heard
    }

    fn take_holds(&mut self, now: Time, worker: u16, holds: &[Hold], heard: &mut Heard) {
        let mut taken = Vec::new();
        for hold in holds {
            let Some(run) = self.within(hold.run) else { continue };
            for block in run.iter() {
                let cell = self.cells[block as usize];
                if self.done.contains(block) {
                    continue;
                }
                if hold.speculative {
                    self.cells[block as usize].doubled = true;
                    // One second attempt is enough: of two that cross, one gives way.
                    if self.speculative.contains(&(block, false))
                        && self.draw_of(block, worker) > self.draw_of(block, ME)
                    {
                        heard.lost.push(block + self.blocks.start);
                    }
                    continue;
                }
                let stronger = cell.holder == FREE || {
                    let theirs = (hold.term, hold.settled, self.draw_of(block, worker));
                    theirs > (cell.term, self.is_settled(now, block), self.draw_of(block, cell.holder))
                };
                if !stronger || (cell.holder == ME && cell.started) {
                    heard.contested |= cell.holder == ME;
                    continue;
                }
                match cell.holder {
                    ME => heard.lost.push(block + self.blocks.start),
                    FREE => self.free -= 1,
                    other => remove_from(&mut self.workers[usize::from(other)].holds, block),
                }
                let (term, settled) = (hold.term, hold.settled);
                self.cells[block as usize] =
                    Cell { holder: worker, term, started: false, doubled: false, settled, since: now };
                taken.push(block);
            }
        }
        self.workers[usize::from(worker)].holds = runs_of(taken);
    }

    /// Notes that a block is done; says whether that was new.
    pub(super) fn mark_done(&mut self, now: Time, block: u32) -> bool {
        if !self.done.insert(block) {
            return false;
        }
        if self.cells[block as usize].holder == FREE {
            self.free -= 1;
        }
        while self.news.front().is_some_and(|(at, _)| now.since(*at) > NEWS) {
            self.news.pop_front();
        }
        self.news.push_back((now, block));
        true
    }

    /// Finds or makes a worker's place; in a full table the longest silent one makes room.
    fn worker_index(&mut self, now: Time, peer: PeerKey) -> u16 {
        if let Some(i) = self.workers.iter().position(|w| w.peer == peer) {
            return i as u16;
        }
        let worker = Worker::new(peer, now);
        if self.workers.len() < limits::SHARD_WORKERS {
            self.workers.push(worker);
            return (self.workers.len() - 1) as u16;
        }
        let silent = self.workers.iter().enumerate().skip(1).min_by_key(|(_, w)| w.heard).map_or(1, |(i, _)| i);
        self.release(silent as u16, 1);
        self.workers[silent] = worker;
        silent as u16
    }

    /// Frees what a worker holds. `term_step` is 1 after a lapse: who claims it next does so under a higher
    /// term, and wins against the late claim of a holder that was only slow to be heard.
    fn release(&mut self, worker: u16, term_step: u8) -> bool {
        let holds = std::mem::take(&mut self.workers[usize::from(worker)].holds);
        for block in holds.iter().flat_map(Run::iter) {
            let cell = &mut self.cells[block as usize];
            if cell.holder == worker {
                cell.term = cell.term.saturating_add(term_step);
                self.let_go(block);
            }
        }
        !holds.is_empty()
    }

    /// Ends the leases that have run out, each `lease` after its holder was last heard; says whether anything
    /// became free.
    pub fn lapse(&mut self, now: Time, lease: Duration) -> bool {
        let mut freed = false;
        for worker in 1..self.workers.len() {
            let entry = &mut self.workers[worker];
            if entry.alive && now.since(entry.heard) > lease {
                entry.alive = false;
                freed |= self.release(worker as u16, 1);
            }
        }
        freed
    }

    /// A worker's connection broke: its lease ends soon, unless it is heard again.
    pub fn broken(&mut self, now: Time, peer: &PeerKey, lease: Duration) {
        let ends_soon = now - lease.saturating_sub(BROKEN_LEASE);
        if let Some(w) = self.workers.iter_mut().skip(1).find(|w| w.peer == *peer) {
            w.heard = w.heard.min(ends_soon);
        }
    }

    /// A worker said goodbye: what it held is free at once.
    pub fn left_for_good(&mut self, peer: &PeerKey) -> bool {
        let Some(i) = self.workers.iter().skip(1).position(|w| w.peer == *peer) else { return false };
        self.workers[i + 1].alive = false;
        self.release(i as u16 + 1, 1)
    }

    /// What was heard of late is not true any more: tasks were opened again.
    pub fn forget_news(&mut self) {
        self.news.clear();
    }

    /// The authority's word on what is done: `done` replaces what this peer believed, but for the latest news.
    /// Gives the blocks of this peer's that need not be run any more.
    pub fn set_done(&mut self, now: Time, done: impl Iterator<Item = u32>) -> Vec<u32> {
        let size = self.cells.len() as u32;
        let mut set = BitSet::new(size);
        let news = self.news.iter().filter(|(at, _)| now.since(*at) <= NEWS).map(|&(_, block)| block);
        done.chain(news).for_each(|block| {
            set.insert(block);
        });
        self.done = set;
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
}
