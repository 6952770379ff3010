//! Workers of which no result was accepted yet (rule 5): how long their claims keep others from a block.
//!
//! Anybody can claim blocks and run nothing, and can say that blocks are done. So a claim stands on its own for a short
//! time only. Once that is over, the authority's answer decides: a worker that it does not name as one that has
//! finished anything of the job is *late*. Blocks that it holds may be run beside it when no others are free, and what
//! it says counts for nothing until the authority names it. Without an answer of the authority nobody is late, so that
//! honest workers are not doubted while there is other work to do.

use std::collections::BTreeSet;
use std::time::Duration;

use super::choose::OWN_RUNS;
use super::{Cell, ClaimTable, FREE, ME};
use crate::id::PeerKey;
use crate::limits;
use crate::ranges::{insert_into, remove_from};
use crate::time::Time;

impl ClaimTable {
    /// When the authority's answer could first show that a worker is late which is not known to be; `None` if there is
    /// no such worker.
    pub fn doubtful_at(&self, patience: Duration) -> Option<Time> {
        let doubtful = self.workers.iter().skip(1).filter(|w| w.alive && !w.proven && !w.late);
        doubtful.filter_map(|w| Some(w.since? + patience)).min()
    }

    /// Applies the authority's answer to a request sent at `asked`: which workers have finished something of the job.
    /// All others that claimed something more than `patience` before are late. Call it after
    /// [`set_done`](Self::set_done) with the same answer.
    pub fn judge(&mut self, asked: Time, patience: Duration, is_proven: impl Fn(&PeerKey) -> bool) {
        for worker in self.workers.iter_mut().skip(1) {
            worker.proven |= is_proven(&worker.peer);
            let counted = worker.counts();
            worker.late = !worker.proven && (worker.late || worker.since.is_some_and(|at| at + patience <= asked));
            self.active = self.active + u32::from(worker.counts()) - u32::from(counted);
        }
        self.suspects.retain(|peer| !is_proven(peer));
        for block in 0..self.cells.len() as u32 {
            let cell = self.cells[block as usize];
            if self.done.contains(block) {
                if self.is_late(cell.done_by) && cell.since + patience <= asked {
                    self.disbelieve(block);
                }
            } else if self.is_late(cell.holder) {
                self.cells[block as usize].vain = true;
            }
        }
    }

    /// The late workers, and those that were late elsewhere in this job.
    pub fn late_workers(&self) -> BTreeSet<PeerKey> {
        let late = self.workers.iter().filter(|w| w.late).map(|w| w.peer);
        self.suspects.iter().copied().chain(late).collect()
    }

    /// Workers that were late elsewhere in this job are late here from their first claim.
    pub fn suspect(&mut self, late: &BTreeSet<PeerKey>) {
        for &peer in late {
            if self.suspects.len() < limits::SUSPECTS && self.workers.iter().all(|w| w.peer != peer) {
                self.suspects.insert(peer);
            }
        }
    }

    /// A block that a late worker reported done is not: it is free, and no newcomer's claim on it counts.
    fn disbelieve(&mut self, block: u32) {
        self.done.remove(block);
        self.unproven = self.unproven.saturating_sub(1);
        let cell = &mut self.cells[block as usize];
        (cell.done_by, cell.vain) = (FREE, true);
        self.free += u32::from(cell.holder == FREE);
    }

    /// Whether any worker is late.
    pub fn has_late(&self) -> bool {
        self.workers.iter().any(|w| w.late && w.alive)
    }

    /// Whether the authority has not yet told of some worker whether it has finished anything.
    pub fn has_newcomers(&self) -> bool {
        self.workers.iter().skip(1).any(|w| w.counts() && !w.proven)
    }

    /// The number of blocks that late workers hold.
    pub fn in_vain(&self) -> u32 {
        (0..self.cells.len() as u32).filter(|&b| self.is_in_vain(b)).count() as u32
    }

    fn is_in_vain(&self, block: u32) -> bool {
        let cell = self.cells[block as usize];
        let open = !self.done.contains(block) && !self.speculative.iter().any(|&(b, _)| b == block);
        open && self.is_late(cell.holder)
    }

    /// Whether the holder of a block is a late worker.
    pub(super) fn is_late(&self, holder: u16) -> bool {
        self.workers.get(usize::from(holder)).is_some_and(|w| w.late)
    }

    /// Claims up to `want` `open` blocks that late workers have held for `patience`; gives their numbers in the stage.
    /// Each peer draws others. Blocks that yet another newcomer claims come last, and only after `patience` again.
    pub fn choose_in_vain(&mut self, now: Time, want: u32, patience: Duration, open: impl Fn(u32) -> bool) -> Vec<u32> {
        let first = self.blocks.start;
        let waited = |t: &Self, b: u32| now.since(t.cells[b as usize].since) >= patience;
        let held: Vec<u32> = (0..self.cells.len() as u32)
            .filter(|&b| self.is_in_vain(b) && waited(self, b) && open(b + first))
            .collect();
        let single: Vec<u32> = held.iter().copied().filter(|&b| !self.cells[b as usize].doubled).collect();
        let held = if single.is_empty() { held } else { single };
        if held.is_empty() {
            return Vec::new();
        }
        let from = (self.draw() % held.len() as u64) as usize;
        let mut chosen = Vec::new();
        for &block in held[from..].iter().chain(&held[..from]).take(want as usize) {
            if self.workers[usize::from(ME)].holds.len() >= OWN_RUNS {
                break;
            }
            self.take_over(now, block);
            chosen.push(block + first);
        }
        chosen
    }

    /// This peer claims a block that another worker holds.
    fn take_over(&mut self, now: Time, block: u32) {
        let Cell { holder, legal, .. } = self.cells[block as usize];
        remove_from(&mut self.workers[usize::from(holder)].holds, block);
        self.cells[block as usize] = Cell { holder: ME, term: legal, legal, since: now, vain: true, ..Cell::FREE };
        insert_into(&mut self.workers[usize::from(ME)].holds, block);
    }

    /// Whether a claim of `worker` on a block that it does not hold counts. Late workers get nothing more, and a block that
    /// a newcomer held in vain is left to workers that have finished something. A claim that does not count only makes
    /// others choose the block last.
    pub(super) fn may_claim(&mut self, now: Time, worker: u16, block: u32) -> bool {
        let (late, proven) = {
            let entry = &self.workers[usize::from(worker)];
            (entry.late, entry.proven)
        };
        let holder = self.cells[block as usize].holder;
        let is_open = holder == FREE || self.is_late(holder);
        let cell = &mut self.cells[block as usize];
        let counts = !late && (proven || !cell.vain);
        if !counts && is_open && !cell.doubled {
            // It may be honest and run the block now: others come first.
            (cell.doubled, cell.since) = (true, now);
        }
        counts
    }
}
