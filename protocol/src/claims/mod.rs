//! Claims: who works on which blocks of one shard, as this peer has heard it.
//!
//! Claims are hints (rule 4): they keep work from being done twice, and nothing that must be right rests on
//! them. Each worker states its whole standing in every message, so a lost message is made good by the next.
//! Crossing claims are settled alike by everyone: the higher term wins, then a hash.

mod choose;
mod hear;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::message::{Claim, Hold, Standing};
use crate::ranges::{BitSet, Run};
use crate::time::Time;

/// Crossing claims are settled over groups of so many aligned blocks: a run keeps together.
const SETTLE_GROUP: u32 = 16;

/// Nobody holds the block.
const FREE: u16 = u16::MAX;
/// This peer's place in the list of workers.
const ME: u16 = 0;

/// The claims of one shard.
#[derive(Debug)]
pub struct ClaimTable {
    job: JobId,
    stage: u8,
    shard: u16,
    /// The shard's blocks; everything below counts from its first.
    blocks: Range<u32>,
    cells: Vec<Cell>,
    /// Blocks that are neither held nor done.
    free: u32,
    done: BitSet,
    /// How many of these rest on the word of others.
    unproven: u32,
    /// Index 0 is this peer. Places of forgotten workers are used again.
    workers: Vec<Worker>,
    /// How many of them have a lease that runs: asked for with every event.
    active: u32,
    /// Blocks that this peer attempts beside their holder, and whether it has begun.
    speculative: Vec<(u32, bool)>,
    /// Blocks that this peer finished, in as many runs as a message has room for.
    recent: Vec<Run>,
    cursor: u32,
    draws: u64,
    /// How long claims take to settle.
    settle: Duration,
}

/// One block.
#[derive(Clone, Copy, Debug)]
struct Cell {
    holder: u16,
    /// Who said that it is done, where the authority has not; otherwise [`FREE`].
    done_by: u16,
    term: u8,
    /// The highest term that a claim on it may have, as far as this peer saw claims lapse.
    legal: u8,
    /// This peer began it: it is finished whatever others claim.
    started: bool,
    /// A second attempt is under way here or was heard of.
    doubled: bool,
    /// Of another's claim: it has stood for so long that all have heard it.
    settled: bool,
    /// When it was claimed, or heard to be; once done, when that was heard.
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
        since: Time(0),
    };
}

#[derive(Debug)]
struct Worker {
    peer: PeerKey,
    heard: Time,
    /// Its lease ends by then, unless it is heard before: it was only told of, or its connection broke.
    ends: Time,
    /// Whether its lease runs.
    alive: bool,
    /// The number of the newest message heard from it, if any was; of this peer, of its last message.
    number: Option<u32>,
    /// It said what is not true: nothing that it says counts until then.
    ignored_until: Time,
    /// When it last finished a block that it held.
    progressed: Time,
    /// Blocks that it held here and that are done.
    finished: u32,
    /// Blocks that it said are done and was not heard to hold, since the authority last told.
    unheard: u32,
    holds: Vec<Run>,
    /// Blocks that it attempts beside their holders.
    seconds: Vec<u32>,
}

/// What [`ClaimTable::hear`] changed for this peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Blocks (by their number in the stage) that this peer held, had not started, and lost.
    pub lost: Vec<u32>,
    /// Whether blocks that were held by the sender are free now, or done.
    pub changed: bool,
    /// Whether the sender claims blocks that this peer holds and keeps: it has not heard of that, and should.
    pub contested: bool,
}

impl ClaimTable {
    /// The table of a shard in which nothing is claimed. `start` is where this peer begins to claim: a hint
    /// of the submitter, or a hash of its key; any number will do.
    pub fn new(me: PeerKey, job: JobId, stage: u8, shard: u16, blocks: Range<u32>, start: u64) -> Self {
        let size = blocks.end - blocks.start;
        let myself = Worker::new(me, Time(0));
        Self {
            job,
            stage,
            shard,
            cells: vec![Cell::FREE; size as usize],
            free: size,
            done: BitSet::new(size),
            unproven: 0,
            workers: vec![myself],
            active: 1,
            speculative: Vec::new(),
            recent: Vec::new(),
            cursor: (start % u64::from(size.max(1))) as u32,
            draws: 0,
            settle: Duration::ZERO,
            blocks,
        }
    }

    /// Sets how long a claim takes to be heard by all, and a stronger one to be heard back.
    pub fn set_settle(&mut self, settle: Duration) {
        self.settle = settle;
    }

    /// The shard.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// The blocks of the shard, by their numbers in the stage.
    pub fn blocks(&self) -> Range<u32> {
        self.blocks.clone()
    }

    /// Whether every block is done, as far as this peer knows.
    pub fn is_drained(&self) -> bool {
        self.done.is_full()
    }

    /// Whether the authority, or this peer itself, vouches for all that is done.
    pub fn is_proven(&self) -> bool {
        self.unproven == 0
    }

    /// Workers that were heard of in this shard and have not lapsed, this peer included.
    pub fn active_workers(&self) -> u32 {
        self.active
    }

    /// Those of them, without this peer, that hold anything; the others wait for something to do.
    pub fn busy_workers(&self) -> u32 {
        self.workers.iter().skip(1).filter(|w| w.alive && !w.holds.is_empty()).count() as u32
    }

    /// The peers that work on this shard, without this one: whoever works has module and index.
    pub fn peers(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.workers.iter().skip(1).filter(|w| w.alive).map(|w| w.peer)
    }

    /// All that were heard here, those included that have nothing to say any more, or have lapsed: they listen.
    pub fn listeners(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.workers.iter().skip(1).map(|w| w.peer)
    }

    /// This peer heard nothing for as long as `asleep`, as it did not run: the leases of others have that much longer to
    /// be renewed.
    pub fn woke(&mut self, asleep: Duration) {
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

    /// Sets a block free that somebody held.
    fn let_go(&mut self, block: u32) {
        let cell = &mut self.cells[block as usize];
        cell.holder = FREE;
        cell.started = false;
        cell.doubled = false;
        if !self.done.contains(block) {
            self.free += 1;
        }
    }

    /// Whether a claim has stood for so long that everyone has heard it: it holds against one that was made by
    /// someone who has not.
    fn is_settled(&self, now: Time, block: u32) -> bool {
        let cell = self.cells[block as usize];
        cell.started || cell.settled || now.since(cell.since) >= self.settle
    }

    /// The draw that settles claims that cross.
    fn draw_of(&self, block: u32, worker: u16) -> u64 {
        let group = ((block + self.blocks.start) / SETTLE_GROUP).to_le_bytes();
        let peer = &self.workers[usize::from(worker)].peer;
        Hash::of_parts("webmesh 1 crossing claims", &[&self.job.0, &[self.stage], &group, &peer.0]).draw()
    }

    /// The part of a run of the stage's blocks that lies in this shard, counted from its first.
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
        let others = self.workers.iter().enumerate().skip(1).filter(|(_, w)| w.alive).map(|(i, w)| {
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

    /// Adds a run of blocks to a claim, cut where their terms differ, or some have settled and others not.
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

    /// This peer's standing, to be published as the next message after `said` others.
    pub fn next_message(&mut self, now: Time, said: u32) -> Claim {
        self.workers[usize::from(ME)].number = Some(said + 1);
        self.workers[usize::from(ME)].heard = now;
        // Once said, it stays so, even if more workers come and claims take longer to settle.
        for block in self.workers[usize::from(ME)].holds.iter().flat_map(Run::iter).collect::<Vec<_>>() {
            self.cells[block as usize].settled |= self.is_settled(now, block);
        }
        self.message(now)
    }

    /// This peer's standing.
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
        let (job, stage, shard) = (self.job, self.stage, self.shard);
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
            finished: 0,
            unheard: 0,
            holds: Vec::new(),
            seconds: Vec::new(),
        }
    }

    /// When its lease ends, which lasts for `lease`, unless it is heard again.
    fn lapses_at(&self, lease: Duration) -> Time {
        self.ends.min(self.heard + lease)
    }

    /// It finished a block that it held.
    fn progress(&mut self, now: Time) {
        self.finished += 1;
        self.progressed = now;
    }
}

/// How many blocks a worker may hold that has finished so many (rule 5).
fn allowance(finished: u32) -> u32 {
    finished.saturating_mul(limits::CLAIM_FACTOR).saturating_add(limits::CLAIM_BASE)
}
