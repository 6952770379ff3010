//! Input from others: workers' claims and lapses, and the authority's report of what is done.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Cell, ClaimEffect, ClaimTable, FREE, ME, Worker, allowance};
use crate::id::PeerKey;
use crate::limits;
use crate::message::{Claim, Hold};
use crate::ranges::{BitSet, Run, insert_into, remove_from, runs_of};
use crate::time::Time;

/// How long the lease of a worker runs on after its connection broke, unless the worker is heard again.
const BROKEN_LEASE: Duration = Duration::from_millis(1_500);
/// How long a worker's report that a block is done is believed although the authority does not know of it: a worker
/// reports a block once its output is acknowledged, and that has yet to reach the authority.
pub(super) const NEWS: Duration = Duration::from_secs(5);
/// How long a worker is ignored after a false report. One whose output was only delayed on its way to the authority is
/// back by then, and a liar is heard for a few seconds in a minute.
const DISTRUST: Duration = Duration::from_secs(60);

impl ClaimTable {
    /// Applies a claim that was sent by the worker itself.
    pub fn on_claim(&mut self, now: Time, from: PeerKey, claim: &Claim) -> ClaimEffect {
        let mut effect = ClaimEffect::default();
        if from == self.workers[usize::from(ME)].peer {
            return effect;
        }
        let worker = self.worker_index(now, from);
        let entry = &mut self.workers[usize::from(worker)];
        // Gossip delivers messages out of order, and old ones much later.
        if now < entry.ignored_until || (entry.alive && Some(claim.number) <= entry.number) {
            return effect;
        }
        (entry.heard, entry.ends) = (now, Time::NEVER);
        entry.number = Some(claim.number);
        if entry.holds.is_empty() {
            entry.progressed = now;
        }
        self.set_alive(worker, true);
        if !(claim.holds.is_empty() && claim.done.is_empty()) {
            // Even if others' claims are stronger.
            self.workers[usize::from(worker)].since.get_or_insert(now);
        }
        effect.doubtful = self.workers[usize::from(worker)].late && claim.finished > 0;
        self.take_done(now, worker, &claim.done, &mut effect);
        let holds = if self.is_allowed(worker, claim) { &claim.holds[..] } else { &[] };
        self.take_holds(now, worker, holds, &mut effect);
        // Drop this peer's records of the blocks that it lost.
        for i in 0..effect.lost.len() {
            self.give_up(effect.lost[i]);
        }
        effect
    }

    /// Applies a worker's claim that another peer passed on. Until the worker is heard itself, but for at most `left`,
    /// the free blocks that it claims are left to it. Nothing else is believed, and no worker that was heard is
    /// forgotten for one that may be invented.
    pub fn on_relayed_claim(&mut self, now: Time, peer: PeerKey, claim: &Claim, left: Duration) {
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
                if free && self.take_hold(now, worker, block, hold, &mut ClaimEffect::default()) {
                    insert_into(&mut self.workers[usize::from(worker)].holds, block);
                }
            }
        }
    }

    /// Whether a claim is within its sender's allowance (rule 5). The number of finished blocks that it states counts
    /// up to those that this peer has heard of, and its share of what was done before this peer listened.
    fn is_allowed(&self, worker: u16, claim: &Claim) -> bool {
        let seen: u32 = self.workers.iter().map(|w| w.finished + w.unheard).sum();
        let share = self.done.count().saturating_sub(seen) / self.active_workers().max(1);
        let entry = &self.workers[usize::from(worker)];
        let finished = claim.finished.min(entry.finished + entry.unheard + share);
        claim.holds.iter().map(|h| h.run.len).sum::<u32>() <= allowance(finished)
    }

    /// Applies a worker's report of finished blocks. It is believed for blocks that the worker held, and for as many
    /// free ones as it may have claimed in lost messages, so that no worker can end a job by a false report.
    fn take_done(&mut self, now: Time, worker: u16, done: &[Run], effect: &mut ClaimEffect) {
        for block in done.iter().filter_map(|run| self.within(*run)).flat_map(|run| run.iter()).collect::<Vec<_>>() {
            let cell = self.cells[block as usize];
            let is_free = cell.holder == FREE || self.is_late(cell.holder);
            let entry = &mut self.workers[usize::from(worker)];
            let held = cell.holder == worker || entry.seconds.contains(&block);
            let may = held || (is_free && entry.unheard < allowance(entry.finished));
            let counts = !entry.late && (entry.proven || !cell.vain);
            if !may || !counts || self.done.contains(block) {
                continue;
            }
            if held {
                entry.progress(now);
            } else {
                entry.unheard += 1;
            }
            self.mark_done(now, block, worker);
            effect.changed = true;
            if cell.holder == ME && !cell.started {
                effect.lost.push(block + self.blocks.start);
            }
        }
    }

    /// Replaces all that a worker holds; blocks that it held before and no longer names become free.
    fn take_holds(&mut self, now: Time, worker: u16, holds: &[Hold], effect: &mut ClaimEffect) {
        let (mut taken, mut seconds) = (Vec::new(), Vec::new());
        for hold in holds {
            for block in self.within(hold.run).iter().flat_map(Run::iter) {
                if self.done.contains(block) {
                    continue;
                }
                if hold.speculative {
                    seconds.push(block);
                    self.on_second_attempt(block, worker, effect);
                } else if self.take_hold(now, worker, block, hold, effect) {
                    taken.push(block);
                }
            }
        }
        self.workers[usize::from(worker)].seconds = seconds;
        let before = std::mem::replace(&mut self.workers[usize::from(worker)].holds, runs_of(taken.iter().copied()));
        for block in before.iter().flat_map(Run::iter) {
            if self.cells[block as usize].holder == worker && taken.binary_search(&block).is_err() {
                self.free_block(block);
                effect.changed = true;
            }
        }
    }

    /// One second attempt at a block is enough: of two that conflict, one gives way.
    fn on_second_attempt(&mut self, block: u32, worker: u16, effect: &mut ClaimEffect) {
        if self.workers[usize::from(worker)].late {
            return;
        }
        self.cells[block as usize].doubled = true;
        if self.speculative.contains(&(block, false)) && self.draw_of(block, worker) > self.draw_of(block, ME) {
            effect.lost.push(block + self.blocks.start);
        }
    }

    /// Gives a block to a worker that claims it, unless another's claim is stronger.
    fn take_hold(&mut self, now: Time, worker: u16, block: u32, hold: &Hold, effect: &mut ClaimEffect) -> bool {
        let cell = self.cells[block as usize];
        if cell.holder == worker {
            // `since` stays at the first message: repeating a claim does not prolong it.
            self.cells[block as usize].settled |= hold.settled;
            self.cells[block as usize].doubled = false;
            return true;
        }
        if !self.may_claim(now, worker, block) {
            return false;
        }
        let term = self.legal_term(now, block, hold.term);
        let stronger = cell.holder == FREE || self.is_late(cell.holder) || {
            let theirs = (term, hold.settled, self.draw_of(block, worker));
            theirs > (cell.term, self.is_settled(now, block), self.draw_of(block, cell.holder))
        };
        if !stronger || (cell.holder == ME && cell.started) {
            if cell.holder == ME {
                // Newcomers that repeat such claims must not use up this peer's messages.
                let entry = &mut self.workers[usize::from(worker)];
                effect.contested |= entry.proven || !std::mem::replace(&mut entry.was_told, true);
            }
            return false;
        }
        match cell.holder {
            ME => effect.lost.push(block + self.blocks.start),
            FREE => self.free -= 1,
            other => remove_from(&mut self.workers[usize::from(other)].holds, block),
        }
        let legal = cell.legal.max(term);
        let settled = hold.settled;
        let vain = cell.vain;
        self.cells[block as usize] = Cell { holder: worker, term, legal, settled, vain, since: now, ..Cell::FREE };
        self.workers[usize::from(worker)].since.get_or_insert(now);
        true
    }

    /// The term that counts for a claim. A higher one is legal only if the previous holder's lease may have expired at some
    /// peer.
    fn legal_term(&self, now: Time, block: u32, term: u8) -> u8 {
        let cell = self.cells[block as usize];
        let lapsed = cell.holder == FREE || {
            let holder = &self.workers[usize::from(cell.holder)];
            !holder.alive || holder.ends < Time::NEVER || now.since(holder.heard) >= BROKEN_LEASE
        };
        term.min(cell.legal.saturating_add(u8::from(lapsed)))
    }

    /// Marks a block as done, as worker `by` reported.
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

    /// The index of a worker, which is added if need be. In a full table it replaces the worker that lapses next, one
    /// that has finished something only if there is no other.
    fn worker_index(&mut self, now: Time, peer: PeerKey) -> u16 {
        if let Some(i) = self.workers.iter().position(|w| w.peer == peer) {
            return i as u16;
        }
        let worker = Worker { late: self.suspects.contains(&peer), ..Worker::new(peer, now) };
        self.active += u32::from(worker.counts());
        if self.workers.len() < limits::SHARD_WORKERS {
            self.workers.push(worker);
            return (self.workers.len() - 1) as u16;
        }
        let silent = self
            .workers
            .iter()
            .enumerate()
            .skip(1)
            .min_by_key(|(_, w)| (w.proven, !w.late, w.ends, w.heard))
            .map_or(1, |(i, _)| i);
        self.release(silent as u16);
        self.set_alive(silent as u16, false);
        // The new worker must not be blamed for reports of the one that it replaces.
        self.cells.iter_mut().filter(|c| usize::from(c.done_by) == silent).for_each(|c| c.done_by = FREE);
        self.workers[silent] = worker;
        silent as u16
    }

    fn set_alive(&mut self, worker: u16, alive: bool) {
        let entry = &mut self.workers[usize::from(worker)];
        let counted = entry.counts();
        entry.alive = alive;
        self.active = self.active + u32::from(entry.counts()) - u32::from(counted);
    }

    /// Frees what a worker holds after a lapse; returns whether it held anything. The next claim has a higher term, and
    /// wins against a late message of the previous holder.
    fn release(&mut self, worker: u16) -> bool {
        let holds = std::mem::take(&mut self.workers[usize::from(worker)].holds);
        for block in holds.iter().flat_map(Run::iter) {
            let cell = &mut self.cells[block as usize];
            if cell.holder == worker {
                cell.legal = cell.legal.max(cell.term.saturating_add(1));
                self.free_block(block);
            }
        }
        !holds.is_empty()
    }

    /// Ignores a worker for [`DISTRUST`] and drops what it said before: it made a false report, or held a block for too
    /// long.
    fn distrust(&mut self, now: Time, worker: u16) {
        let entry = &mut self.workers[usize::from(worker)];
        entry.ignored_until = now + DISTRUST;
        entry.finished = 0;
        self.set_alive(worker, false);
        self.release(worker);
    }

    /// Ends the leases that have run out, each `lease` after its holder was last heard, and claims that are older than
    /// `longest`, however often they were renewed; returns whether anything became free.
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
    pub fn on_disconnected(&mut self, now: Time, peer: &PeerKey) {
        if let Some(w) = self.workers.iter_mut().skip(1).find(|w| w.peer == *peer) {
            w.ends = w.ends.min(now + BROKEN_LEASE);
        }
    }

    /// A worker said goodbye: what it held is free at once. Returns whether it held anything.
    pub fn on_goodbye(&mut self, peer: &PeerKey) -> bool {
        let Some(i) = self.workers.iter().skip(1).position(|w| w.peer == *peer) else { return false };
        self.set_alive(i as u16 + 1, false);
        self.release(i as u16 + 1)
    }

    /// Tasks were reopened: recent reports that they are done no longer count for or against the workers that made
    /// them.
    pub fn forget_news(&mut self) {
        self.cells.iter_mut().for_each(|cell| cell.done_by = FREE);
    }

    /// Applies the authority's report: `done` replaces what this peer believed, except for recent reports of workers.
    /// Gives the blocks that this peer holds and no longer needs to run.
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

    /// The authority confirms that a block is done. That is `news` if no worker reported it before.
    fn prove(&mut self, now: Time, block: u32, news: bool) {
        let cell = &mut self.cells[block as usize];
        cell.done_by = FREE;
        // Whose block another worker ran has not finished it.
        let holder = cell.holder;
        if news && !matches!(holder, FREE | ME) && !self.is_late(holder) {
            self.workers[usize::from(holder)].progress(now);
        }
    }

    /// Keeps recent reports of blocks that the authority does not know to be done; workers that made older ones are
    /// ignored for a while.
    fn keep_news(&mut self, now: Time, before: &BitSet) {
        self.unproven = 0;
        self.workers.iter_mut().for_each(|w| w.unheard = 0);
        let mut liars = BTreeSet::new();
        for block in before.iter().filter(|b| !self.done.contains(*b)).collect::<Vec<_>>() {
            let Cell { done_by, since, .. } = self.cells[block as usize];
            if done_by == FREE {
                // The authority revoked it.
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
