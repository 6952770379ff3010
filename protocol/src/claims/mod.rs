//! Claims: which workers hold which blocks of one shard, as far as this peer knows.
//!
//! Claims are hints (rule 4): they keep work from being done twice, and correctness never rests on them. Each worker
//! states all its claims in every message, so the next message makes up for a lost one. Every peer settles conflicting
//! claims in the same way: the higher term wins, then a hash.

mod choose;
mod newcomers;
#[cfg(test)]
mod tests;
mod updates;

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use crate::id::{Hash, PeerKey};
use crate::limits;
use crate::message::{Claim, Hold, Standing};
use crate::part::{ShardId, ShardRef};
use crate::ranges::{BitSet, Run};
use crate::time::Time;

/// Conflicting claims are settled over aligned groups of this many blocks, so that runs stay together.
const SETTLE_GROUP: u32 = 16;

/// In place of a worker's index: nobody.
const FREE: u16 = u16::MAX;
/// This peer's index in the list of workers.
const ME: u16 = 0;

/// The claims of one shard.
#[derive(Debug)]
pub struct ClaimTable {
    shard: ShardRef,
    /// The shard's blocks; everything below counts from its first.
    blocks: Range<u32>,
    cells: Vec<Cell>,
    /// The number of blocks that are neither held nor done.
    free: u32,
    done: BitSet,
    /// How many of the done blocks only other workers reported: neither the authority nor this peer.
    unproven: u32,
    /// Index 0 is this peer. The entries of forgotten workers are reused.
    workers: Vec<Worker>,
    /// How many of them have a running lease. A counter, because it is read on every event.
    active: u32,
    /// Workers that were late elsewhere in this job: they are from the start here.
    suspects: BTreeSet<PeerKey>,
    /// Blocks that this peer runs speculatively, and whether it has started them.
    speculative: Vec<(u32, bool)>,
    /// Blocks that this peer finished, in at most as many runs as fit into a message.
    recent: Vec<Run>,
    cursor: u32,
    draws: u64,
    /// How long a claim must stand until it counts as settled.
    settle: Duration,
}

/// One block.
#[derive(Clone, Copy, Debug)]
struct Cell {
    holder: u16,
    /// The worker that reported it done, if the authority has not confirmed that; otherwise [`FREE`].
    done_by: u16,
    term: u8,
    /// The highest term that a claim on it may have, by the lapses that this peer has seen.
    legal: u8,
    /// This peer has started it, and finishes it whatever others claim.
    started: bool,
    /// A second attempt is running here, or was heard of.
    doubled: bool,
    /// The claim has stood long enough for every worker to have heard it.
    settled: bool,
    /// A newcomer has held it, or reported it done, in vain: claims of newcomers on it no longer count.
    vain: bool,
    /// When it was claimed, or this peer heard of the claim; once it is done, when this peer heard of that.
    since: Time,
}

impl Cell {
    /// A block that nobody has claimed yet.
    const FREE: Self = Self {
        holder: FREE,
        done_by: FREE,
        term: 0,
        legal: 0,
        started: false,
        doubled: false,
        settled: false,
        vain: false,
        since: Time(0),
    };
}

#[derive(Debug)]
struct Worker {
    peer: PeerKey,
    heard: Time,
    /// Its lease ends then at the latest, unless it is heard before. [`Time::NEVER`] unless its connection broke, or it
    /// is known from another peer only.
    ends: Time,
    /// Whether its lease runs.
    alive: bool,
    /// The number of its newest message; `None` before the first.
    number: Option<u32>,
    /// Its messages are ignored until then: it made a false report, or held a block for too long.
    ignored_until: Time,
    /// When it last finished a block that it held.
    progressed: Time,
    /// It was told once that a claim of its own conflicts with one of this peer's, which is enough for a newcomer.
    was_told: bool,
    /// When it first claimed something here.
    since: Option<Time>,
    /// The authority has accepted a result of it in this job.
    proven: bool,
    /// By the time of the authority's last answer, it should have finished something and had not. No claim of it counts
    /// but on what it holds already.
    late: bool,
    /// Blocks that it held here and that are done.
    finished: u32,
    /// Blocks that it reported done without being known to hold them, since the authority's last report.
    unheard: u32,
    holds: Vec<Run>,
    /// Blocks that it runs speculatively.
    seconds: Vec<u32>,
}

/// What [`ClaimTable::on_claim`] changed for this peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClaimEffect {
    /// Blocks (by their number in the stage) that this peer held, had not started, and lost.
    pub lost: Vec<u32>,
    /// Whether blocks that the sender held are now free or done.
    pub changed: bool,
    /// Whether the sender claims blocks that this peer holds and keeps. It has not heard this peer's claim, and should.
    pub contested: bool,
    /// Whether the sender is late and states that it has finished something, which the authority knows better.
    pub doubtful: bool,
}

impl ClaimTable {
    /// The table of a shard in which nothing is claimed. `start` is where this peer begins to claim: a hint
    /// of the submitter, or a hash of its key; any number will do.
    pub fn new(me: PeerKey, shard: ShardRef, blocks: Range<u32>, start: u64) -> Self {
        let size = blocks.end - blocks.start;
        let myself = Worker::new(me, Time(0));
        Self {
            shard,
            cells: vec![Cell::FREE; size as usize],
            free: size,
            done: BitSet::new(size),
            unproven: 0,
            workers: vec![myself],
            active: 1,
            suspects: BTreeSet::new(),
            speculative: Vec::new(),
            recent: Vec::new(),
            cursor: (start % u64::from(size.max(1))) as u32,
            draws: 0,
            settle: Duration::ZERO,
            blocks,
        }
    }

    /// Sets how long a claim takes to reach every worker, and a stronger claim to come back.
    pub fn set_settle(&mut self, settle: Duration) {
        self.settle = settle;
    }

    /// The shard's number within its stage.
    pub fn shard(&self) -> ShardId {
        self.shard.shard
    }

    /// The shard.
    pub fn shard_ref(&self) -> ShardRef {
        self.shard
    }

    /// The blocks of the shard, by their numbers in the stage.
    pub fn blocks(&self) -> Range<u32> {
        self.blocks.clone()
    }

    /// Whether a block is done, according to this peer itself or the authority.
    pub fn is_proven_done(&self, block: u32) -> bool {
        let local = block.wrapping_sub(self.blocks.start);
        self.done.contains(local) && self.cells.get(local as usize).is_some_and(|cell| cell.done_by == FREE)
    }

    /// Whether every block is done, as far as this peer knows.
    pub fn is_drained(&self) -> bool {
        self.done.is_full()
    }

    /// Whether the authority or this peer itself vouches for every done block.
    pub fn is_proven(&self) -> bool {
        self.unproven == 0
    }

    /// The number of workers of this shard whose leases run, this peer included and late ones not.
    pub fn active_workers(&self) -> u32 {
        self.active
    }

    /// The number of other workers whose leases run that hold blocks; the rest are idle.
    pub fn busy_workers(&self) -> u32 {
        self.workers.iter().skip(1).filter(|w| w.counts() && !w.holds.is_empty()).count() as u32
    }

    /// The other peers that work on this shard. They have the job's module and index.
    pub fn peers(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.workers.iter().skip(1).filter(|w| w.counts()).map(|w| w.peer)
    }

    /// All other workers heard in this shard, idle and lapsed ones included, as they may still listen.
    pub fn listeners(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.workers.iter().skip(1).map(|w| w.peer)
    }

    /// Extends the leases of others by `asleep`, the time for which this peer did not run and heard nothing.
    pub fn on_resumed(&mut self, asleep: Duration) {
        for worker in self.workers.iter_mut().skip(1) {
            worker.heard = worker.heard + asleep;
            worker.ends = worker.ends + asleep;
            worker.progressed = worker.progressed + asleep;
        }
        self.cells.iter_mut().filter(|cell| cell.holder != ME).for_each(|cell| cell.since = cell.since + asleep);
    }

    /// How many blocks are neither done nor held.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// How many blocks this peer holds.
    pub fn held(&self) -> u32 {
        self.workers[usize::from(ME)].holds.iter().map(|r| r.len).sum::<u32>() + self.speculative.len() as u32
    }

    /// How many blocks are not done, as far as this peer knows.
    pub fn left(&self) -> u32 {
        self.done.size() - self.done.count()
    }

    /// How many blocks this peer may hold now (rule 5): others would ignore a claim over that.
    pub fn allowance(&self) -> u32 {
        allowance(self.workers[usize::from(ME)].finished)
    }

    /// Frees a block that a worker held.
    fn free_block(&mut self, block: u32) {
        let cell = &mut self.cells[block as usize];
        cell.holder = FREE;
        cell.started = false;
        cell.doubled = false;
        if !self.done.contains(block) {
            self.free += 1;
        }
    }

    /// Whether a claim has stood long enough for every worker to have heard it. It then wins against a claim of a
    /// worker that has not.
    fn is_settled(&self, now: Time, block: u32) -> bool {
        let cell = self.cells[block as usize];
        cell.started || cell.settled || now.since(cell.since) >= self.settle
    }

    /// The hash that settles conflicting claims: the higher one wins.
    fn draw_of(&self, block: u32, worker: u16) -> u64 {
        let group = ((block + self.blocks.start) / SETTLE_GROUP).to_le_bytes();
        let peer = &self.workers[usize::from(worker)].peer;
        Hash::of_parts("webmesh 1 crossing claims", &[&self.shard.job.0, &[self.shard.stage.0], &group, &peer.0]).draw()
    }

    /// The part of a run of the stage's blocks that lies in this shard, counted from the shard's first block.
    fn within(&self, run: Run) -> Option<Run> {
        let start = run.start.max(self.blocks.start);
        let end = run.end().min(self.blocks.end);
        (start < end).then(|| Run::new(start - self.blocks.start, end - start))
    }

    /// The standings of all workers whose leases run, this peer's first: what a newcomer to the shard must know
    /// before it claims. A lease lasts for `lease`.
    pub fn standings(&self, now: Time, lease: Duration) -> Vec<Standing> {
        let standing = |worker, claim, left: Duration| Standing { worker, claim, lease: left.as_millis() as u32 };
        let mine = self.message(now);
        let others = self.workers.iter().enumerate().skip(1).filter(|(_, w)| w.counts()).map(|(i, w)| {
            let mut holds = Vec::new();
            for run in &w.holds {
                self.add_holds(now, &mut holds, *run, i as u16);
            }
            holds.truncate(limits::CLAIM_RUNS);
            let claim =
                Claim { number: w.number.unwrap_or(0), holds, done: Vec::new(), finished: w.finished, ..mine.clone() };
            standing(w.peer, claim, w.lapses_at(lease).since(now))
        });
        let others: Vec<_> = others.collect();
        std::iter::once(standing(self.workers[usize::from(ME)].peer, mine.clone(), lease)).chain(others).collect()
    }

    /// Adds a run of blocks to a claim, split where the term or the settled flag changes.
    fn add_holds(&self, now: Time, holds: &mut Vec<Hold>, run: Run, worker: u16) {
        for block in run.iter().filter(|&b| self.cells[b as usize].holder == worker) {
            let (term, settled) = (self.cells[block as usize].term, self.is_settled(now, block));
            let block = block + self.blocks.start;
            match holds.last_mut() {
                Some(h) if h.run.end() == block && (h.term, h.settled) == (term, settled) => h.run.len += 1,
                _ => holds.push(Hold { run: Run::new(block, 1), term, speculative: false, settled }),
            }
        }
    }

    /// This peer's claim, to be published as its next message after `said` others.
    pub fn next_message(&mut self, now: Time, said: u32) -> Claim {
        self.workers[usize::from(ME)].number = Some(said + 1);
        self.workers[usize::from(ME)].heard = now;
        // A claim that was published as settled stays so, even if more workers join and claims take longer to settle.
        for block in self.workers[usize::from(ME)].holds.iter().flat_map(Run::iter).collect::<Vec<_>>() {
            self.cells[block as usize].settled |= self.is_settled(now, block);
        }
        self.message(now)
    }

    /// This peer's claim, with the number of its last message.
    pub fn message(&self, now: Time) -> Claim {
        let me = &self.workers[usize::from(ME)];
        let mut holds: Vec<Hold> = Vec::new();
        for run in &me.holds {
            self.add_holds(now, &mut holds, *run, ME);
        }
        for &(block, _) in &self.speculative {
            let run = Run::new(block + self.blocks.start, 1);
            holds.push(Hold { run, term: self.cells[block as usize].term, speculative: true, settled: false });
        }
        holds.sort_by_key(|h| h.run.start);
        holds.dedup_by_key(|h| h.run.start);
        holds.truncate(limits::CLAIM_RUNS);
        let mut done = self.recent.clone();
        done.iter_mut().for_each(|r| r.start += self.blocks.start);
        let ShardRef { job, stage, shard } = self.shard;
        Claim { job, stage, shard, number: me.number.unwrap_or(0), holds, done, finished: me.finished }
    }

    fn cell(&mut self, block: u32) -> Option<&mut Cell> {
        self.cells.get_mut(block.checked_sub(self.blocks.start)? as usize)
    }
}

impl Worker {
    fn new(peer: PeerKey, now: Time) -> Self {
        Self {
            peer,
            heard: now,
            ends: Time::NEVER,
            alive: true,
            number: None,
            ignored_until: Time(0),
            progressed: now,
            was_told: false,
            since: None,
            proven: false,
            late: false,
            finished: 0,
            unheard: 0,
            holds: Vec::new(),
            seconds: Vec::new(),
        }
    }

    /// Whether it counts as one of the shard's workers.
    fn counts(&self) -> bool {
        self.alive && !self.late
    }

    /// When its lease, which lasts for `lease`, ends unless it is heard again.
    fn lapses_at(&self, lease: Duration) -> Time {
        self.ends.min(self.heard + lease)
    }

    /// It finished a block that it held.
    fn progress(&mut self, now: Time) {
        self.finished += 1;
        self.progressed = now;
    }
}

/// How many blocks a worker that has finished `finished` of them may hold (rule 5).
fn allowance(finished: u32) -> u32 {
    finished.saturating_mul(limits::CLAIM_FACTOR).saturating_add(limits::CLAIM_BASE)
}
