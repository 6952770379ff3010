//! This peer's own claims: it chooses blocks, starts them, and finishes them or gives them up.

use std::time::Duration;

use super::{Cell, ClaimTable, FREE, ME};
use crate::id::Hash;
use crate::limits;
use crate::part::ShardRef;
use crate::ranges::{Run, insert_into, remove_from};
use crate::time::Time;

/// Limit on the runs that this worker's holds may form; the rest of a message is room for splits.
pub(super) const OWN_RUNS: usize = limits::CLAIM_RUNS - 8;

impl ClaimTable {
    /// Claims up to `want` free blocks that are `open`, preferring those for which `rather` is true; gives their
    /// numbers in the stage.
    pub fn choose(
        &mut self,
        now: Time,
        want: u32,
        open: impl Fn(u32) -> bool,
        rather: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let room = OWN_RUNS.saturating_sub(self.workers[usize::from(ME)].holds.len());
        let mut chosen = self.pick(now, want, room, false, |b| open(b) && rather(b));
        // Blocks that late workers claim come last: they may be honest.
        for claimed in [false, true] {
            let rest = want - chosen.len() as u32;
            chosen.extend(self.pick(now, rest, room, claimed, &open));
        }
        chosen
    }

    /// Claims free blocks, including those that late workers claim if `claimed`.
    fn pick(&mut self, now: Time, want: u32, room: usize, claimed: bool, open: impl Fn(u32) -> bool) -> Vec<u32> {
        let size = self.cells.len() as u32;
        let first = self.blocks.start;
        let mut chosen = Vec::new();
        for _ in 0..room {
            if self.free == 0 || chosen.len() as u32 >= want {
                break;
            }
            let is_free = |t: &Self, b: u32| {
                let free = t.cells[b as usize].holder == FREE && !t.done.contains(b);
                free && (claimed || !t.cells[b as usize].doubled)
                    && open(b + first)
                    && !t.speculative.iter().any(|s| s.0 == b)
            };
            if self.cursor >= size || !is_free(self, self.cursor) {
                // Continue at a random free block, which each peer draws differently.
                let free: Vec<u32> = (0..size).filter(|&b| is_free(self, b)).collect();
                let nth = self.draw() % (free.len() as u64).max(1);
                let Some(&at) = free.get(nth as usize) else { break };
                self.cursor = at;
            }
            while (chosen.len() as u32) < want && self.cursor < size && is_free(self, self.cursor) {
                let cell = &mut self.cells[self.cursor as usize];
                *cell =
                    Cell { holder: ME, term: cell.legal, legal: cell.legal, since: now, vain: cell.vain, ..Cell::FREE };
                self.free -= 1;
                insert_into(&mut self.workers[usize::from(ME)].holds, self.cursor);
                chosen.push(self.cursor + first);
                self.cursor += 1;
            }
        }
        chosen
    }

    /// The next pseudo-random number, different for each peer.
    pub fn draw(&mut self) -> u64 {
        self.draws += 1;
        let me = self.workers[usize::from(ME)].peer;
        let ShardRef { job, stage, shard } = self.shard;
        let [low, high] = shard.0.to_le_bytes();
        let place = [stage.0, low, high];
        Hash::of_parts("webmesh 1 claim draw", &[&job.0, &place, &me.0, &self.draws.to_le_bytes()]).draw()
    }

    /// Chooses a block whose holder has made no progress for `patience`, for a second attempt here. Prefers the holder
    /// that has been stuck longest; a block gets at most one second attempt.
    pub fn choose_straggler(&mut self, now: Time, patience: Duration, open: impl Fn(u32) -> bool) -> Option<u32> {
        let first = self.blocks.start;
        let stuck = self.workers.iter().skip(1).filter(|w| now.since(w.progressed) > patience && w.alive);
        let block = stuck
            .filter_map(|w| {
                let mut held = w.holds.iter().flat_map(Run::iter);
                let block =
                    held.find(|&b| !self.cells[b as usize].doubled && !self.done.contains(b) && open(b + first));
                block.map(|b| (w.progressed, b))
            })
            .min()?
            .1;
        self.cells[block as usize].doubled = true;
        self.speculative.push((block, false));
        Some(block + first)
    }

    /// Chooses a block whatever others claim: claims it if it is free, and otherwise makes a second attempt beside its
    /// holder. Returns whether it did, which it does not if the block is not of this shard or is this peer's already.
    pub fn choose_beside(&mut self, now: Time, block: u32) -> bool {
        let first = self.blocks.start;
        let Some(cell) = self.cell(block).copied() else { return false };
        let local = block - first;
        if cell.holder == ME || self.speculative.iter().any(|&(b, _)| b == local) {
            return false;
        }
        if cell.holder == FREE && !self.done.contains(local) {
            let claimed = Cell { holder: ME, term: cell.legal, since: now, ..cell };
            self.cells[local as usize] = claimed;
            self.free -= 1;
            insert_into(&mut self.workers[usize::from(ME)].holds, local);
        } else {
            self.cells[local as usize].doubled = true;
            self.speculative.push((local, false));
        }
        true
    }

    /// This peer has started a block that it holds: from now on, it does not give the block up for another's claim.
    pub fn start(&mut self, block: u32) {
        if let Some(cell) = self.cell(block).filter(|c| c.holder == ME) {
            cell.started = true;
        }
        let local = block.wrapping_sub(self.blocks.start);
        if let Some(second) = self.speculative.iter_mut().find(|(b, _)| *b == local) {
            second.1 = true;
        }
    }

    /// This peer finished a block and its output is acknowledged.
    pub fn finish(&mut self, now: Time, block: u32) {
        let Some(local) = block.checked_sub(self.blocks.start).filter(|&b| b < self.cells.len() as u32) else {
            return;
        };
        self.mark_done(now, local, ME);
        self.give_up(block);
        self.workers[usize::from(ME)].progress(now);
        insert_into(&mut self.recent, local);
        if self.recent.len() > limits::CLAIM_RUNS {
            // The shortest run tells the others least.
            let least = self.recent.iter().enumerate().min_by_key(|(_, r)| r.len).map_or(0, |(i, _)| i);
            self.recent.remove(least);
        }
    }

    /// This peer no longer holds or attempts a block, finished or not.
    pub fn give_up(&mut self, block: u32) {
        let Some(cell) = self.cell(block) else { return };
        let mine = cell.holder == ME;
        let local = block - self.blocks.start;
        if mine {
            self.free_block(local);
        }
        self.speculative.retain(|&(b, _)| b != local);
        remove_from(&mut self.workers[usize::from(ME)].holds, local);
    }
}
