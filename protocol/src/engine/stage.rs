//! One stage of one job as this worker sees it: what it claimed, what it runs, what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Pending};
use super::outbox::Outbox;
use crate::claims::ClaimTable;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::manifest::{Manifest, Source, Stage, partition_of_bucket};
use crate::message::{Claim, Gossip, Request, Seals, ShardLeft, Summary, Topic};
use crate::pack::Layout;
use crate::time::Time;

/// A unit of work aims at so much time on one thread: long enough that handing it over costs nothing, short
/// enough that a cancelled job, a second claim or a younger job is not kept waiting.
const UNIT_TIME: Duration = Duration::from_millis(50);
/// Where a block takes so long, few are taken in hand: what is not begun may still go to others.
const LONG: Duration = Duration::from_millis(200);
/// Tasks in one unit, however short they are.
const UNIT_TASKS: u32 = 4096;
/// Each gossip message reaches a peer about so many times: simulated, 8 in a mesh of 100 peers, 13 in one of 1,000.
const GOSSIP_COPIES: u32 = 10;
/// Of the messages that a peer may be sent, so many are left to topics beside the claims of one shard.
const OTHER_MESSAGES: u32 = 20;
/// Messages that may follow each other quickly, where a worker has been silent for long: at the start, while it
/// finds its pace, and at the end, when batches are small.
const BURST: f64 = 6.0;
/// The first messages may follow each other so quickly,
const QUICK_GAP: Duration = Duration::from_millis(20);
/// and those after the first few.
const SHORTEST_GAP: Duration = Duration::from_millis(200);
const QUICK_MESSAGES: u32 = 5;
/// Where nothing is free, this peer looks again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Of workers who wait for few blocks, each waits up to so many times as long as claims take to settle.
const THINNEST: u32 = 16;
/// The owner of a sealed partition has so long before others reduce its buckets.
const OWNER_FIRST: Duration = Duration::from_millis(150);
/// A worker without progress for so long (or four of this peer's units) gets second attempts beside it.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(2);
/// A block that failed here is left to others for so long.
const LEAVE_TO_OTHERS: Duration = Duration::from_secs(2);
/// With nothing left to claim, the authority is asked for its view after so long; longer each time.
const SUMMARY_WAIT: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(5));
/// Where all seems done, it is asked this often, in case something is not.
const SUMMARY_WHEN_OVER: Duration = Duration::from_secs(15);
/// Who enters a shard waits at most so long to hear who holds what there.
const ENTER_WAIT: Duration = Duration::from_secs(3);
/// Peers of a shard that an entrant asks for its claims.
const ASK_CLAIMS: usize = 3;
/// Who enters a shard that has over 1.05 times its fair share of workers goes on to another.
const CROWDED: (u32, u32) = (21, 20);
/// Shards of which a worker takes the one with the most blocks for each worker.
const CHOICES: usize = 3;
/// A shard is worth going to where each of its workers has so many blocks left.
const WORTH: u32 = 4;
/// Workers of a shard that are expected at most before they are heard (rule 6).
const EXPECTED: u32 = 64;

/// This worker's part in one stage.
#[derive(Debug)]
pub(super) struct StageWork {
    pub(super) job: JobId,
    pub(super) number: u8,
    manifest: Arc<Manifest>,
    home: PeerKey,
    pub(super) table: ClaimTable,
    /// The topic of its shard's claims, and the one listened to so far.
    pub(super) topic: Topic,
    pub(super) listening: Topic,
    /// Blocks claimed and not started, with the time from which they may be.
    queue: VecDeque<(u32, Time)>,
    /// Tasks of started blocks that are not finished yet.
    tasks_left: BTreeMap<u32, u32>,
    /// Microseconds a block takes on one thread, smoothed.
    pace: Option<f64>,
    avoid: BTreeMap<u32, Time>,
    /// Sealed partitions of the shuffle that the stage reads, with their owner and when this peer heard of it.
    seals: BTreeMap<u16, (Hash, PeerKey, Time)>,
    pub(super) outbox: Outbox,
    budget: Budget,
    unsaid: bool,
    /// Claims crossed, and the others must hear whether this peer keeps its own.
    contested: bool,
    /// Nothing is claimed before.
    look_at: Time,
    /// The claims of others in a shard just entered are not known yet.
    entering: bool,
    /// So many of those who were asked for them have not answered.
    asking: usize,
    /// The submitter gave this peer a place of its own to begin at once (rule 7).
    immediate: bool,
    summary_at: Time,
    summary_wait: Duration,
    /// The shard about which the authority was asked and has not answered.
    asked: Option<u16>,
    /// The count of reopenings that this peer's view takes in.
    reopened: u32,
    /// All shards of the stage, as the authority last described them.
    shards: Vec<ShardLeft>,
}

/// What this worker may say in its shard: a bucket of messages that fills at the rate the shard can bear.
#[derive(Debug)]
struct Budget {
    messages: f64,
    at: Time,
    said: u32,
    last: Time,
}

/// Consecutive tasks for one thread.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) stage: u8,
    pub(super) tasks: Range<u32>,
}

impl Budget {
    fn full() -> Self {
        Self { messages: BURST, at: Time(0), said: 0, last: Time(0) }
    }

    /// When there is room for the next message, one coming in each `gap`.
    fn next(&self, gap: Duration) -> Time {
        let shortest = if self.said < QUICK_MESSAGES { QUICK_GAP } else { SHORTEST_GAP };
        let spaced = if self.said == 0 { Time(0) } else { self.last + shortest };
        spaced.max(self.at + gap.mul_f64((1.0 - self.messages).max(0.0)))
    }

    fn spend(&mut self, now: Time, gap: Duration) {
        let came_in = now.since(self.at).as_secs_f64() / gap.as_secs_f64().max(1e-6);
        self.messages = (self.messages + came_in).min(BURST) - 1.0;
        self.at = now;
        self.last = now;
        self.said += 1;
    }
}

impl StageWork {
    pub(super) fn new(
        core: &mut Core,
        job: JobId,
        number: u8,
        manifest: Arc<Manifest>,
        place: Option<(u32, u32)>,
    ) -> Self {
        let stage = &manifest.stages[usize::from(number)];
        let draw = Hash::of_parts("webmesh 1 first place", &[&job.0, &[number], &core.me.0]).draw();
        let shard = (draw % u64::from(stage.shards)) as u16;
        let mut work = Self {
            job,
            number,
            home: manifest.home,
            table: ClaimTable::new(core.me, job, number, shard, stage.shard_blocks(shard), 0),
            topic: Topic::of_shard(job, number, shard),
            listening: Topic::of_shard(job, number, shard),
            queue: VecDeque::new(),
            tasks_left: BTreeMap::new(),
            pace: None,
            avoid: BTreeMap::new(),
            seals: BTreeMap::new(),
            outbox: Outbox::default(),
            budget: Budget::full(),
            unsaid: false,
            contested: false,
            look_at: Time(0),
            entering: false,
            asking: 0,
            immediate: false,
            summary_at: Time::NEVER,
            summary_wait: SUMMARY_WAIT.0,
            asked: None,
            reopened: 0,
            shards: Vec::new(),
            manifest,
        };
        work.enter_shard(core, shard, place);
        work
    }

    fn stage(&self) -> &Stage {
        &self.manifest.stages[usize::from(self.number)]
    }

    /// Begins to work on a shard, from a place of this peer's own.
    fn enter_shard(&mut self, core: &mut Core, shard: u16, place: Option<(u32, u32)>) {
        let blocks = self.stage().shard_blocks(shard);
        let draw = Hash::of_parts("webmesh 1 place in shard", &[&self.job.0, &shard.to_le_bytes(), &core.me.0]).draw();
        self.table = ClaimTable::new(core.me, self.job, self.number, shard, blocks, draw);
        self.topic = Topic::of_shard(self.job, self.number, shard);
        match place {
            Some((slot, of)) => self.take_place(core, slot, of),
            None => self.look_at = core.now + self.settle(core) + self.thin(core),
        }
        if self.stage().shards > 1 {
            self.entering = true;
            self.asking = 0;
            self.look_at = core.now + ENTER_WAIT;
            self.ask_summary(core);
        }
    }

    /// The submitter's hint where to begin. Of a few such places no two are the same: nothing need be settled.
    pub(super) fn take_place(&mut self, core: &Core, slot: u32, of: u32) {
        if self.budget.said > 0 || self.table.held() > 0 {
            return;
        }
        let blocks = self.table.blocks();
        let start = u64::from(blocks.end - blocks.start) * u64::from(slot) / u64::from(of.max(1));
        let shard = self.table.shard();
        self.table = ClaimTable::new(core.me, self.job, self.number, shard, blocks, start);
        self.immediate = of <= EXPECTED && self.stage().shards == 1;
        self.look_at = if self.immediate { core.now } else { core.now + self.settle(core) + self.thin(core) };
    }

    /// Whether there is nothing more to claim here, as far as this peer knows.
    pub(super) fn is_over(&self) -> bool {
        self.table.is_drained() && (self.stage().shards == 1 || self.shards.iter().all(|s| s.blocks == 0))
    }

    /// Whether this worker has anything of this stage in hand.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || !self.tasks_left.is_empty() || !self.outbox.is_empty()
    }

    /// Whether none of its tasks can be run yet.
    fn is_closed(&self) -> bool {
        self.seals.is_empty() && self.stage().source != Source::Inputs
    }

    /// Whether a block's tasks can be run now.
    fn is_open(&self, now: Time, me: PeerKey, block: u32) -> bool {
        if self.avoid.get(&block).is_some_and(|&until| until > now) {
            return false;
        }
        let Source::Shuffle { stage: from } = self.stage().source else { return true };
        let tasks = self.stage().tasks_of_blocks(block..block + 1);
        tasks.into_iter().all(|task| {
            let seal = self.partition_read(from, task).and_then(|p| self.seals.get(&p));
            seal.is_some_and(|&(_, owner, heard)| owner == me || now.since(heard) >= OWNER_FIRST)
        })
    }

    fn partition_read(&self, from: u8, task: u32) -> Option<u16> {
        let (partitions, buckets) = self.manifest.stages[usize::from(from)].shuffle()?;
        Some(partition_of_bucket(task, partitions, buckets))
    }

    /// The root and the owner of the partition that a task reads, and the stage that wrote it.
    pub(super) fn reads(&self, task: u32) -> Option<(u8, u16, Hash, PeerKey)> {
        let Source::Shuffle { stage: from } = self.stage().source else { return None };
        let partition = self.partition_read(from, task)?;
        self.seals.get(&partition).map(|&(root, owner, _)| (from, partition, root, owner))
    }

    /// How many blocks this worker wants in hand.
    fn wanted(&self, threads: u32) -> u32 {
        // The first claim is one block (rule 5); while that runs, there may be one for each thread and one more.
        let Some(pace) = self.pace else {
            let scarce = self.table.free() < (threads + 1) * self.table.active_workers();
            return if self.budget.said == 0 || scarce { 1 } else { threads + 1 };
        };
        let ahead = limits::CLAIM_AHEAD.max(self.gap() * 5 / 2).as_micros() as f64;
        ((ahead * f64::from(threads) / pace.max(1.0)).ceil() as u32).clamp(threads, limits::BLOCKS)
    }

    /// The most blocks to claim at once: half of this worker's share of what is free, so that the last batches are
    /// small (guided self-scheduling: Polychronopoulos and Kuck, 1987). But all claims of the shard together are
    /// `1 / interval` a second, and batches of *k* blocks that take `pace` each end the shard `free / k * interval +
    /// k * pace` from now: least at the root of `free * interval / pace`.
    fn fair(&self, core: &Core, threads: u32) -> u32 {
        let (free, company) = (self.table.free(), self.company(core));
        let interval = self.gap().as_micros() as f64 / f64::from(company);
        let pace = self.pace.unwrap_or(f64::MAX).max(1.0) / f64::from(threads);
        let least = (f64::from(free) * interval / pace).sqrt() as u32;
        (free / (2 * company)).max(least).max(1)
    }

    /// The time between two messages of this worker, so that all workers of the shard keep the budget of rule 6.
    fn gap(&self) -> Duration {
        match self.table.active_workers() {
            0 | 1 => SHORTEST_GAP,
            workers => {
                let shared = limits::CONTROL_PER_SECOND - OTHER_MESSAGES;
                (Duration::from_secs(1) * workers * GOSSIP_COPIES / shared).max(SHORTEST_GAP)
            }
        }
    }

    /// A worker that holds anything speaks up so often, however little it has to say; rarely enough that it does
    /// not use up the word with which it would claim.
    fn heartbeat(&self) -> Duration {
        limits::HEARTBEAT.max(self.gap() * 3 / 2)
    }

    /// A claim stands so long after its holder was last heard: leases lengthen with the time between messages.
    fn lease(&self) -> Duration {
        limits::LEASE.max(self.heartbeat() * 3)
    }

    /// How many workers there are in this shard, heard or not.
    fn company(&self, core: &Core) -> u32 {
        let known = (core.workers / u32::from(self.stage().shards)).min(EXPECTED);
        let told = self.shards.get(usize::from(self.table.shard())).map_or(0, |s| u32::from(s.workers).min(EXPECTED));
        self.table.active_workers().max(known).max(told)
    }

    /// How long a claim takes to be heard, and a stronger one to be heard back.
    fn settle(&self, core: &Core) -> Duration {
        let hops = match self.company(core) {
            0 | 1 => return Duration::ZERO,
            2..=8 => 1,
            9..=64 => 2,
            _ => 3,
        };
        core.hop() * 2 * hops
    }

    /// Where many wait for few blocks, each waits for a while of its own first, and hears what others took: of
    /// those who would claim at a time there are about as many as there are blocks.
    fn thin(&mut self, core: &Core) -> Duration {
        let waiting = self.company(core).saturating_sub(self.table.busy_workers());
        let crowd = (waiting / self.table.free().max(1)).min(THINNEST);
        if crowd <= 1 {
            return Duration::ZERO;
        }
        let draw = self.table.draw() % 1024;
        self.settle(core) * crowd * draw as u32 / 1024
    }

    /// Whether this worker has too little in hand.
    fn wants_more(&self, threads: u32) -> bool {
        let few = match self.pace {
            Some(_) => self.queue.len() as u32 * 2 <= self.wanted(threads),
            None => self.table.held() < self.wanted(threads),
        };
        few && !self.is_over() && !self.is_closed()
    }

    /// Claims what is worth claiming now, and says so; gives whether that was anything. `upstream_over` says whether
    /// all is done, as far as this peer knows, of the stage that this one reads.
    pub(super) fn claim(&mut self, core: &mut Core, threads: u32, upstream_over: bool) -> bool {
        if !self.wants_more(threads) {
            if self.is_over() || (self.is_closed() && upstream_over) {
                self.look_around(core);
            }
            return false;
        }
        let now = core.now;
        if now < self.look_at.max(self.budget.next(self.gap())) {
            return false;
        }
        self.entering = false;
        let wanted = self.wanted(threads);
        let fair = self.fair(core, threads);
        let allowed = self.table.allowance().saturating_sub(self.table.held());
        let in_hand = if self.pace.is_some() { self.queue.len() as u32 } else { self.table.held() };
        let want = wanted.saturating_sub(in_hand).min(fair).min(allowed);
        let (me, heartbeat) = (core.me, self.heartbeat());
        let nothing = ClaimTable::new(me, self.job, 0, 0, 0..0, 0);
        let mut table = std::mem::replace(&mut self.table, nothing);
        let mine = |block| self.reads(self.stage().tasks_of_blocks(block..block + 1).start).is_none_or(|r| r.3 == me);
        let mut chosen = table.choose(now, want, |b| self.is_open(now, me, b), mine);
        let idle = u64::from(table.active_workers() - table.busy_workers()).max(1);
        if chosen.is_empty() && allowed > 0 && !self.is_busy() && table.draw().is_multiple_of(idle) {
            let patience = STRAGGLER_PATIENCE.max(Duration::from_micros(self.pace.unwrap_or(0.0) as u64 * 4));
            // Of its progress a worker speaks at each heartbeat at least.
            let patience = patience + heartbeat;
            chosen.extend(table.choose_straggler(now, patience, |b| self.is_open(now, me, b)));
        }
        self.table = table;
        if chosen.is_empty() {
            self.look_at = now + LOOK_AGAIN;
            self.look_around(core);
            return false;
        }
        self.summary_wait = SUMMARY_WAIT.0;
        let settle = if self.immediate && self.budget.said == 0 { Duration::ZERO } else { self.settle(core) };
        self.queue.extend(chosen.into_iter().map(|b| (b, now + settle)));
        self.publish(core);
        true
    }

    /// Nothing is free: learn from the authority what is really left, here and elsewhere.
    fn look_around(&mut self, core: &mut Core) {
        if self.is_busy() || self.summary_at != Time::NEVER {
            return;
        }
        let drained = self.table.is_drained() && self.stage().shards > 1;
        self.summary_at = core.now
            + match self.is_over() {
                true => SUMMARY_WHEN_OVER,
                false if drained => self.settle(core),
                false => self.summary_wait,
            };
    }

    /// Something goes wrong again and again: the authority is asked before long.
    pub(super) fn ask_summary_soon(&mut self, now: Time) {
        self.summary_at = self.summary_at.min(now + SUMMARY_WAIT.1);
    }

    /// Asks the authority what is done.
    pub(super) fn ask_summary(&mut self, core: &mut Core) {
        self.summary_at = Time::NEVER;
        self.summary_wait = (self.summary_wait * 3 / 2).min(SUMMARY_WAIT.1);
        let (job, stage, shard) = (self.job, self.number, self.table.shard());
        core.request(self.home, Request::Summary { job, stage, shard }, vec![], Pending::Summary { job, stage, shard });
    }

    /// Says how things stand, where it is time to.
    pub(super) fn speak(&mut self, core: &mut Core) {
        if core.now >= self.must_speak_at() {
            self.publish(core);
        }
        if core.now >= self.summary_at {
            self.ask_summary(core);
        }
    }

    /// When this worker must say how things stand, if it does not claim before.
    fn must_speak_at(&self) -> Time {
        let holds = self.table.held() > 0;
        if holds && !self.contested {
            self.budget.last + self.heartbeat()
        } else if self.contested || self.unsaid {
            self.budget.next(self.gap())
        } else {
            Time::NEVER
        }
    }

    fn publish(&mut self, core: &mut Core) {
        self.table.set_settle(self.settle(core));
        let claim = self.table.next_message(core.now, self.budget.said);
        self.budget.spend(core.now, self.gap());
        self.unsaid = false;
        self.contested = false;
        core.publish(self.topic, Gossip::Claim(claim));
    }

    /// When something must be done here, if nothing happens before.
    pub(super) fn deadline(&self, now: Time, threads: u32) -> Time {
        // Once it may be started, a claim waits for room in hand, not for time.
        let start = self.queue.front().map_or(Time::NEVER, |&(_, from)| if from > now { from } else { Time::NEVER });
        let claim = if self.wants_more(threads) { self.look_at.max(self.budget.next(self.gap())) } else { Time::NEVER };
        self.must_speak_at().min(start).min(claim).min(self.summary_at).min(self.outbox.deadline())
    }

    /// Another worker's standing in this shard.
    pub(super) fn hear(&mut self, core: &Core, from: PeerKey, claim: &Claim) {
        if claim.shard != self.table.shard() {
            return;
        }
        self.table.set_settle(self.settle(core));
        let heard = self.table.hear(core.now, from, claim);
        // Others must hear what is kept against them, and what is given up for them.
        self.contested |= heard.contested || !heard.lost.is_empty();
        if !heard.lost.is_empty() {
            self.queue.retain(|(b, _)| !heard.lost.contains(b));
        }
        if (heard.changed || !heard.lost.is_empty()) && !self.entering && self.table.free() > 0 {
            let at = core.now + self.thin(core);
            self.look_at = if heard.lost.is_empty() { self.look_at.min(at) } else { at };
        }
    }

    /// Someone in this shard told what all its workers hold, or does not know.
    pub(super) fn hear_standings(&mut self, core: &Core, shard: u16, standings: Option<&[(PeerKey, Claim)]>) {
        if shard != self.table.shard() {
            return;
        }
        self.asking = self.asking.saturating_sub(1);
        for (peer, claim) in standings.unwrap_or_default() {
            if (claim.job, claim.stage) == (self.job, self.number) {
                self.hear(core, *peer, claim);
            }
        }
        if !self.entering {
            return;
        }
        if standings.is_some() {
            self.entering = false;
            self.look_at = core.now + core.hop() + self.thin(core);
        } else if self.asking == 0 {
            // All are as new here as this peer.
            self.entering = false;
            self.look_at = core.now + self.settle(core) + self.thin(core);
        }
    }

    /// The claims of this shard, for one who enters it.
    pub(super) fn standings(&self, now: Time, shard: u16) -> Option<Vec<(PeerKey, Claim)>> {
        (shard == self.table.shard() && !self.entering).then(|| self.table.standings(now))
    }

    /// The owner of partitions says that they are sealed.
    pub(super) fn hear_seals(&mut self, core: &Core, from: PeerKey, seals: &Seals) {
        if self.stage().source != (Source::Shuffle { stage: seals.stage }) {
            return;
        }
        for &(partition, root) in &seals.seals {
            self.hear_seal(core, partition, root, from);
        }
    }

    fn hear_seal(&mut self, core: &Core, partition: u16, root: Hash, owner: PeerKey) {
        if self.seals.get(&partition).is_some_and(|s| (s.0, s.1) == (root, owner)) {
            return;
        }
        self.seals.insert(partition, (root, owner, core.now));
        let at = match owner == core.me {
            true => core.now,
            false => core.now + OWNER_FIRST + self.thin(core),
        };
        if !self.entering {
            self.look_at = self.look_at.min(at);
        }
    }

    /// The authority answered, or did not, when asked about a shard.
    pub(super) fn answered(&mut self, shard: u16) {
        self.asked.take_if(|asked| *asked == shard);
    }

    /// The authority's view of this shard.
    pub(super) fn hear_summary(
        &mut self,
        core: &mut Core,
        shard: u16,
        summary: &Summary,
        done: impl Iterator<Item = u32>,
        owner_of: impl Fn(u16) -> Option<PeerKey>,
    ) {
        if shard != self.table.shard() {
            return;
        }
        let now = core.now;
        if summary.reopened > self.reopened {
            self.reopened = summary.reopened;
            self.table.forget_news();
        }
        let size = self.table.blocks().len() as u32;
        let needless = self.table.set_done(now, done.take_while(|&block| block < size));
        self.queue.retain(|(b, _)| !needless.contains(b));
        for &(partition, root) in &summary.seals {
            if let Some(owner) = owner_of(partition) {
                self.hear_seal(core, partition, root, owner);
            }
        }
        self.shards = summary.shards.clone();
        if let Some(next) = self.better_shard() {
            if self.unsaid {
                self.publish(core);
            }
            self.enter_shard(core, next, None);
        } else if self.entering {
            self.meet(core, &summary.peers);
        } else if self.table.free() > 0 {
            self.look_at = self.look_at.min(now + self.thin(core));
        }
    }

    /// Where there is more to do for each worker than here: if this shard is crowded, or nothing is free in it.
    fn better_shard(&mut self) -> Option<u16> {
        if self.shards.len() != usize::from(self.stage().shards) || self.shards.len() < 2 || self.is_busy() {
            return None;
        }
        let here = self.shards[usize::from(self.table.shard())];
        let all =
            self.shards.iter().fold((0u64, 0u64), |sum, s| (sum.0 + u64::from(s.blocks), sum.1 + u64::from(s.workers)));
        // As many workers as the blocks here deserve, of those that there are.
        let fair = u64::from(here.blocks) * all.1 / all.0.max(1) * u64::from(CROWDED.0) / u64::from(CROWDED.1) + 1;
        let crowded = self.entering && u64::from(here.workers) > fair;
        if !crowded && self.table.free() > 0 {
            return None;
        }
        // A shard with few blocks for each of its workers has nothing to give away.
        let worth = |s: &ShardLeft| s.blocks > 0 && s.blocks >= WORTH * u32::from(s.workers);
        let others: Vec<u16> = (0..self.shards.len() as u16)
            .filter(|&s| s != self.table.shard() && worth(&self.shards[usize::from(s)]))
            .collect();
        let drawn: Vec<u16> = (0..CHOICES)
            .filter_map(|_| {
                let at = self.table.draw() % (others.len() as u64).max(1);
                others.get(at as usize).copied()
            })
            .collect();
        let per_worker = |s: &u16| {
            let of = self.shards[usize::from(*s)];
            u64::from(of.blocks) * 1024 / (u64::from(of.workers) + 1)
        };
        let best = drawn.into_iter().max_by_key(per_worker)?;
        let here_has = u64::from(here.blocks) * 1024 / u64::from(here.workers.max(1));
        (!crowded || per_worker(&best) > here_has).then_some(best)
    }

    /// Connects to some of a shard's workers, so that its gossip is heard, and asks for what they hold.
    fn meet(&mut self, core: &mut Core, peers: &[PeerKey]) {
        let (job, stage, shard) = (self.job, self.number, self.table.shard());
        let peers: Vec<PeerKey> = peers.iter().copied().filter(|p| *p != core.me).take(limits::SHARD_PEERS).collect();
        for &peer in &peers {
            if !core.directory.is_connected(&peer) {
                core.request(peer, Request::Hello(core.advert.clone()), vec![], Pending::Hello(peer));
            }
        }
        self.asking = peers.len().min(ASK_CLAIMS);
        for &peer in peers.iter().take(ASK_CLAIMS) {
            core.request(peer, Request::Claims { job, stage, shard }, vec![], Pending::Claims { job, stage, shard });
        }
        if peers.is_empty() {
            self.entering = false;
            self.look_at = core.now + self.settle(core);
        }
    }

    /// The shufflers changed: what was sealed is sealed again by its owners.
    pub(super) fn new_epoch(&mut self, now: Time, owner_of: impl Fn(u16) -> Option<PeerKey>) {
        self.seals.retain(|&partition, (_, owner, _)| owner_of(partition) == Some(*owner));
        self.look_at = now;
    }

    /// Whether one block takes as long as many units.
    pub(super) fn is_long(&self) -> bool {
        self.pace.is_some_and(|pace| pace > LONG.as_micros() as f64)
    }

    /// The next unit whose claim has settled; its blocks count as started.
    pub(super) fn next_unit(&mut self, now: Time, layout: Option<&Layout>) -> Option<Unit> {
        let &(first, from) = self.queue.front()?;
        if from > now {
            return None;
        }
        let stage = self.stage();
        let tasks_of = |block: u32| stage.tasks_of_blocks(block..block + 1);
        // A unit lies in one pack; where several are read for one block, the block alone makes the unit.
        let pack_of = |task: u32| layout.and_then(|l| l.pack_of(task)).map(|(_, tasks)| tasks.start);
        let pack = pack_of(tasks_of(first).start);
        let one_bucket = matches!(stage.source, Source::Shuffle { .. });
        let pace = self.pace.unwrap_or(f64::MAX);
        let room = (UNIT_TIME.as_micros() as f64 / pace.max(1.0)) as u32;
        let mut blocks = first..first + 1;
        for &(block, from) in self.queue.iter().skip(1) {
            let tasks = tasks_of(blocks.start).start..tasks_of(block).end;
            let fits = blocks.len() < room as usize && tasks.len() <= UNIT_TASKS as usize;
            if one_bucket || block != blocks.end || !fits || from > now || pack_of(tasks.end - 1) != pack {
                break;
            }
            blocks.end += 1;
        }
        let tasks = self.stage().tasks_of_blocks(blocks.clone());
        for block in blocks.clone() {
            self.queue.pop_front();
            self.table.start(block);
            let count = self.stage().tasks_of_blocks(block..block + 1).len() as u32;
            self.tasks_left.insert(block, count);
        }
        Some(Unit { stage: self.number, tasks })
    }

    /// A task of this stage took so long.
    pub(super) fn measure(&mut self, tasks: u32, elapsed: Duration) {
        let sample = elapsed.as_micros() as f64 / f64::from(tasks.max(1)) * f64::from(self.stage().block);
        let old = self.pace.unwrap_or(sample);
        self.pace = Some(old * 0.8 + sample.max(1.0) * 0.2);
    }

    /// All that a task produced is acknowledged.
    pub(super) fn task_finished(&mut self, now: Time, task: u32) {
        let block = task / self.stage().block;
        let Some(left) = self.tasks_left.get_mut(&block) else { return };
        *left -= 1;
        if *left == 0 {
            self.tasks_left.remove(&block);
            self.table.finish(now, block);
            self.unsaid = true;
        }
    }

    /// A task could not be done here: its block is given up, and left to others where there are any.
    pub(super) fn task_failed(&mut self, now: Time, task: u32, pause: Duration) {
        let block = task / self.stage().block;
        self.tasks_left.remove(&block);
        self.table.give_up(block);
        let pause = if self.table.active_workers() > 1 { LEAVE_TO_OTHERS.max(pause) } else { pause };
        self.avoid.retain(|_, until| *until > now);
        self.avoid.insert(block, now + pause);
        self.look_at = self.look_at.min(now + pause);
        self.unsaid = true;
    }

    /// Lets everything go and says so.
    pub(super) fn leave(&mut self, core: &mut Core) {
        let held: Vec<u32> = self.table.message(core.now).holds.iter().flat_map(|h| h.run.iter()).collect();
        held.into_iter().for_each(|block| self.table.give_up(block));
        self.queue.clear();
        self.publish(core);
    }

    /// Leases that ran out.
    pub(super) fn lapse(&mut self, core: &Core) {
        if self.table.lapse(core.now, self.lease()) {
            self.look_at = self.look_at.min(core.now + self.thin(core));
        }
    }

    /// A worker's connection broke, or it said goodbye.
    pub(super) fn lost(&mut self, core: &Core, peer: &PeerKey, for_good: bool) {
        if for_good {
            self.table.left_for_good(peer);
            self.look_at = self.look_at.min(core.now + self.thin(core));
        } else {
            self.table.broken(core.now, peer, self.lease());
        }
    }
}
