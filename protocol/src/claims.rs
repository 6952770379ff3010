//! Claims: who works on which blocks of one shard, as this peer has heard it.
//!
//! Claims are hints (rule 4): they keep work from being done twice, and nothing that must be right rests on
//! them. Each worker states its whole standing in every message, so a lost message is made good by the next.
//! Crossing claims are settled alike by everyone: the higher term wins, then a hash.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::message::{Claim, Hold};
use crate::ranges::{BitSet, Run, insert_into, remove_from, runs_of};
use crate::time::Time;

/// Crossing claims are settled over groups of so many aligned blocks: a run keeps together.
const SETTLE_GROUP: u32 = 16;
/// After a worker's connection broke, its lease ends so soon, unless it is heard again.
const BROKEN_LEASE: Duration = Duration::from_millis(1_500);
/// What was heard to be done is believed for so long against an older word of the authority: a worker says so
/// once its output is acknowledged, and that has yet to reach the authority.
const NEWS: Duration = Duration::from_secs(5);
/// Runs that this worker's own holdings may fall into; the rest of a message is room for splits.
const OWN_RUNS: usize = limits::CLAIM_RUNS - 8;

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
    /// What was heard to be done of late, oldest first.
    news: VecDeque<(Time, u32)>,
    /// Index 0 is this peer. Places of forgotten workers are used again.
    workers: Vec<Worker>,
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
    term: u8,
    /// This peer began it: it is finished whatever others claim.
    started: bool,
    /// A second attempt is under way here or was heard of.
    doubled: bool,
    /// Of another's claim: it has stood for so long that all have heard it.
    settled: bool,
    /// When it was claimed, or heard to be.
    since: Time,
}

#[derive(Debug)]
struct Worker {
    peer: PeerKey,
    heard: Time,
    /// Whether its lease runs.
    alive: bool,
    /// The number of the newest message heard from it; of this peer, of its last message.
    number: u32,
    /// When its count of finished blocks last grew.
    progressed: Time,
    finished: u32,
    holds: Vec<Run>,
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
        let cell = Cell { holder: FREE, term: 0, started: false, doubled: false, settled: false, since: Time(0) };
        let myself = Worker::new(me, Time(0));
        Self {
            job,
            stage,
            shard,
            cells: vec![cell; size as usize],
            free: size,
            done: BitSet::new(size),
            news: VecDeque::new(),
            workers: vec![myself],
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

    /// Workers that were heard of in this shard and have not lapsed, this peer included.
    pub fn active_workers(&self) -> u32 {
        self.workers.iter().filter(|w| w.alive).count() as u32
    }

    /// Those of them, without this peer, that hold anything; the others wait for something to do.
    pub fn busy_workers(&self) -> u32 {
        self.workers.iter().skip(1).filter(|w| w.alive && !w.holds.is_empty()).count() as u32
    }

    /// The peers that work on this shard, without this one: whoever works has module and index.
    pub fn peers(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.workers.iter().skip(1).filter(|w| w.alive).map(|w| w.peer)
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

    /// Takes another worker's standing.
    pub fn hear(&mut self, now: Time, from: PeerKey, claim: &Claim) -> Heard {
        let mut heard = Heard::default();
        if from == self.workers[usize::from(ME)].peer {
            return heard;
        }
        let worker = self.worker_index(now, from);
        let entry = &self.workers[usize::from(worker)];
        if entry.alive && claim.number <= entry.number {
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
        entry.number = claim.number;
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
    fn mark_done(&mut self, now: Time, block: u32) -> bool {
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

    /// The standings of all workers whose leases run, this peer's first: what a newcomer to the shard must know
    /// before it claims.
    pub fn standings(&self, now: Time) -> Vec<(PeerKey, Claim)> {
        let mine = self.message(now);
        let others = self.workers.iter().enumerate().skip(1).filter(|(_, w)| w.alive).map(|(i, w)| {
            let mut holds = Vec::new();
            for run in &w.holds {
                self.add_holds(now, &mut holds, *run, i as u16);
            }
            holds.truncate(limits::CLAIM_RUNS);
            let claim = Claim { number: w.number, holds, done: Vec::new(), finished: w.finished, ..mine.clone() };
            (w.peer, claim)
        });
        let others: Vec<_> = others.collect();
        std::iter::once((self.workers[usize::from(ME)].peer, mine.clone())).chain(others).collect()
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

    /// Claims up to `want` free blocks that are `open`, those that this peer would rather have first;
    /// gives their numbers in the stage.
    pub fn choose(
        &mut self,
        now: Time,
        want: u32,
        open: impl Fn(u32) -> bool,
        rather: impl Fn(u32) -> bool,
    ) -> Vec<u32> {
        let room = OWN_RUNS.saturating_sub(self.workers[usize::from(ME)].holds.len());
        let mut chosen = self.pick(now, want, room, |b| open(b) && rather(b));
        if (chosen.len() as u32) < want {
            let rest = want - chosen.len() as u32;
            chosen.extend(self.pick(now, rest, room, &open));
        }
        chosen
    }

    fn pick(&mut self, now: Time, want: u32, room: usize, open: impl Fn(u32) -> bool) -> Vec<u32> {
        let size = self.cells.len() as u32;
        let first = self.blocks.start;
        let mut chosen = Vec::new();
        for _ in 0..room {
            if self.free == 0 || chosen.len() as u32 >= want {
                break;
            }
            let is_free = |t: &Self, b: u32| {
                let free = t.cells[b as usize].holder == FREE && !t.done.contains(b);
                free && open(b + first) && !t.speculative.iter().any(|s| s.0 == b)
            };
            if self.cursor >= size || !is_free(self, self.cursor) {
                // Somewhere in what is free, each block as likely as any other, drawn differently by each peer.
                let free: Vec<u32> = (0..size).filter(|&b| is_free(self, b)).collect();
                let nth = self.draw() % (free.len() as u64).max(1);
                let Some(&at) = free.get(nth as usize) else { break };
                self.cursor = at;
            }
            while (chosen.len() as u32) < want && self.cursor < size && is_free(self, self.cursor) {
                let cell = &mut self.cells[self.cursor as usize];
                let term = cell.term;
                *cell = Cell { holder: ME, term, started: false, doubled: false, settled: false, since: now };
                self.free -= 1;
                insert_into(&mut self.workers[usize::from(ME)].holds, self.cursor);
                chosen.push(self.cursor + first);
                self.cursor += 1;
            }
        }
        chosen
    }

    /// A number that no other peer draws alike.
    pub fn draw(&mut self) -> u64 {
        self.draws += 1;
        let me = self.workers[usize::from(ME)].peer;
        let place = [self.stage, self.shard.to_le_bytes()[0], self.shard.to_le_bytes()[1]];
        Hash::of_parts("webmesh 1 claim draw", &[&self.job.0, &place, &me.0, &self.draws.to_le_bytes()]).draw()
    }

    /// A block held by someone who has made no progress for `patience`, for a second attempt here.
    /// Prefers who has been stuck longest; at most one second attempt a block.
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

    /// This peer began a block that it holds: from now on it is not given up for another's claim.
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
        self.mark_done(now, local);
        self.give_up(block);
        let me = &mut self.workers[usize::from(ME)];
        me.finished += 1;
        me.progressed = now;
        insert_into(&mut self.recent, local);
        if self.recent.len() > limits::CLAIM_RUNS {
            // The shortest run tells the others least.
            let least = self.recent.iter().enumerate().min_by_key(|(_, r)| r.len).map_or(0, |(i, _)| i);
            self.recent.remove(least);
        }
    }

    /// This peer lets a block go, finished or not.
    pub fn give_up(&mut self, block: u32) {
        let Some(cell) = self.cell(block) else { return };
        let mine = cell.holder == ME;
        let local = block - self.blocks.start;
        if mine {
            self.let_go(local);
        }
        self.speculative.retain(|&(b, _)| b != local);
        remove_from(&mut self.workers[usize::from(ME)].holds, local);
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

    /// This peer's standing, to be published as the next message after `said` others.
    pub fn next_message(&mut self, now: Time, said: u32) -> Claim {
        self.workers[usize::from(ME)].number = said + 1;
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
        Claim { job, stage, shard, number: me.number, holds, done, finished: me.finished }
    }

    fn cell(&mut self, block: u32) -> Option<&mut Cell> {
        self.cells.get_mut(block.checked_sub(self.blocks.start)? as usize)
    }
}

impl Worker {
    fn new(peer: PeerKey, now: Time) -> Self {
        Self { peer, heard: now, alive: true, number: 0, progressed: now, finished: 0, holds: Vec::new() }
    }
}

/// How many blocks a worker may hold that has finished so many (rule 5).
fn allowance(finished: u32) -> u32 {
    finished.saturating_mul(limits::CLAIM_FACTOR).saturating_add(limits::CLAIM_BASE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages said before, in tests of one message each.
    const SAID: u32 = 0;
    const SETTLE: Duration = Duration::from_millis(100);

    fn key(n: u8) -> PeerKey {
        PeerKey(Hash::of(&[n]).0)
    }

    fn table(me: u8, start: u64) -> ClaimTable {
        let mut table = ClaimTable::new(key(me), JobId([7; 32]), 0, 0, 0..100, start);
        table.set_settle(SETTLE);
        table
    }

    fn always(_: u32) -> bool {
        true
    }

    #[test]
    fn two_workers_that_hear_each_other_never_hold_the_same_block() {
        let (mut a, mut b) = (table(1, 0), table(2, 4));
        a.choose(Time(0), 8, always, always);
        b.choose(Time(0), 8, always, always);
        let (from_a, from_b) = (a.next_message(Time(0), SAID), b.next_message(Time(0), SAID));
        a.hear(Time(1), key(2), &from_b);
        b.hear(Time(1), key(1), &from_a);
        let blocks = |c: Claim| c.holds.iter().flat_map(|h| h.run.iter()).collect::<Vec<_>>();
        let (held_a, held_b) = (blocks(a.next_message(Time(0), SAID)), blocks(b.next_message(Time(0), SAID)));
        assert!(held_a.iter().all(|x| !held_b.contains(x)), "{held_a:?} {held_b:?}");
        assert_eq!(held_a.len() + held_b.len(), 12, "blocks 0 to 11 are held once each");
    }

    #[test]
    fn a_started_block_is_not_given_up() {
        let (mut a, mut b) = (table(1, 0), table(2, 0));
        a.choose(Time(0), 8, always, always).into_iter().for_each(|block| a.start(block));
        b.choose(Time(0), 8, always, always).into_iter().for_each(|block| b.start(block));
        assert!(a.hear(Time(1), key(2), &b.next_message(Time(0), SAID)).lost.is_empty());
        assert!(b.hear(Time(1), key(1), &a.next_message(Time(0), SAID)).lost.is_empty());
    }

    #[test]
    fn a_claim_that_all_have_heard_stands_against_one_by_who_has_not() {
        // Whichever of the two a draw would prefer.
        for (old, new) in [(1, 2), (2, 1)] {
            let (mut a, mut b) = (table(old, 0), table(new, 0));
            a.choose(Time(0), 8, always, always);
            let later = Time(1) + SETTLE;
            b.choose(later, 8, always, always);
            let heard = a.hear(later, key(new), &b.next_message(later, SAID));
            assert!(heard.lost.is_empty() && heard.contested);
            assert_eq!(b.hear(later, key(old), &a.next_message(later, SAID)).lost.len(), 8);
        }
    }

    #[test]
    fn a_claim_over_the_allowance_is_ignored() {
        let mut a = table(1, 0);
        let greedy = Claim {
            job: JobId([7; 32]),
            stage: 0,
            shard: 0,
            number: 1,
            holds: vec![Hold { run: Run::new(0, 100), term: 9, speculative: false, settled: false }],
            done: vec![],
            finished: 1_000_000,
        };
        a.hear(Time(1), key(2), &greedy);
        assert_eq!(a.free(), 100);
    }

    #[test]
    fn a_silent_worker_lapses_and_its_late_claim_loses_to_the_next_holder() {
        let (mut a, mut b) = (table(1, 0), table(2, 0));
        b.choose(Time(0), 8, always, always);
        a.hear(Time(1), key(2), &b.next_message(Time(0), SAID));
        assert_eq!(a.free(), 92);
        assert!(!a.lapse(Time(2), limits::LEASE));
        assert!(a.lapse(Time(2) + limits::LEASE, limits::LEASE));
        assert_eq!(a.choose(Time(0), 8, always, always), (0..8).collect::<Vec<_>>());
        let heard = a.hear(Time(3) + limits::LEASE, key(2), &b.next_message(Time(0), SAID));
        assert!(heard.lost.is_empty(), "the higher term stands");
        assert_eq!(b.hear(Time(9), key(1), &a.next_message(Time(0), SAID)).lost.len(), 8);
    }

    #[test]
    fn what_the_authority_says_is_done_is_not_run() {
        let mut a = table(1, 0);
        a.choose(Time(0), 4, always, always);
        assert_eq!(a.set_done(Time(1), [0, 1, 50].into_iter()), vec![0, 1]);
        assert_eq!(a.held(), 2);
        assert_eq!(a.free(), 95, "two are held, three done");
        a.set_done(Time(2), [50].into_iter());
        assert_eq!(a.free(), 97, "a block that the authority took back is free again");
    }

    #[test]
    fn an_older_word_of_the_authority_does_not_undo_the_latest_news() {
        let mut a = table(1, 0);
        a.choose(Time(0), 1, always, always);
        a.start(0);
        a.finish(Time(10), 0);
        a.set_done(Time(20), std::iter::empty());
        assert_eq!(a.left(), 99, "it was finished just now");
        a.set_done(Time(20) + 2 * NEWS, std::iter::empty());
        assert_eq!(a.left(), 100, "by now the authority would know");
    }

    #[test]
    fn a_newcomer_learns_what_all_others_hold() {
        let (mut a, mut b, mut c) = (table(1, 0), table(2, 50), table(3, 0));
        a.choose(Time(0), 8, always, always);
        b.choose(Time(0), 8, always, always);
        a.hear(Time(1), key(2), &b.next_message(Time(0), SAID));
        for (peer, claim) in a.standings(Time(0)) {
            c.hear(Time(2), peer, &claim);
        }
        assert_eq!(c.free(), 84);
        assert_eq!(c.active_workers(), 3);
    }

    #[test]
    fn a_stuck_workers_block_gets_one_second_attempt() {
        let mut a = table(1, 0);
        let mut b = table(2, 0);
        b.choose(Time(0), 1, always, always);
        a.hear(Time(1), key(2), &b.next_message(Time(0), SAID));
        let later = Time(1) + Duration::from_secs(3);
        assert_eq!(a.choose_straggler(later, Duration::from_secs(5), always), None);
        assert_eq!(a.choose_straggler(later, Duration::from_secs(2), always), Some(0));
        assert_eq!(a.choose_straggler(later, Duration::from_secs(2), always), None);
    }
}
