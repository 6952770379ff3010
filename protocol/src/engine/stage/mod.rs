//! One stage of one job as this worker sees it: what it claimed, what it runs, what became of it.

mod budget;
mod shards;
mod units;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::budget::EXPECTED;
use self::shards::SUMMARY_WAIT;
use self::units::Avoided;
pub(super) use self::units::Unit;
use super::core::Core;
use super::outbox::Outbox;
use crate::claims::ClaimTable;
use crate::id::{Hash, JobId, PeerKey};
use crate::limits;
use crate::manifest::{Manifest, Source, Stage};
use crate::message::{Claim, Gossip, Seals, ShardLeft, Topic};
use crate::split::{Place, Split};
use crate::time::Time;

/// Where nothing is free, this peer looks again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The owner of a sealed partition, if it works, has so long before others reduce its buckets.
const OWNER_FIRST: Duration = Duration::from_millis(150);
/// A worker without progress for so long (or four of this peer's units) gets second attempts beside it.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(2);

/// This worker's part in one stage.
#[derive(Debug)]
pub(super) struct StageWork {
    pub(super) job: JobId,
    pub(super) number: u8,
    manifest: Arc<Manifest>,
    /// As the manifest describes the stage, with the tasks and shards that it has once they are settled.
    plan: Stage,
    /// How its tasks share out the buckets that they read, once that is settled, and whether the authority says so.
    split: Option<(Split, bool)>,
    /// What others claimed of it before, by who did: they had heard earlier of how many tasks it has.
    early: BTreeMap<PeerKey, Claim>,
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
    avoid: BTreeMap<u32, Avoided>,
    /// Sealed partitions of the shuffle that the stage reads, with their owner and when this peer may reduce them.
    seals: BTreeMap<u16, (Hash, PeerKey, Time)>,
    pub(super) outbox: Outbox,
    /// How near its job's turn is.
    pub(super) turn: Turn,
    /// Messages so far, and when the last one was sent.
    said: u32,
    last: Time,
    unsaid: bool,
    /// To be said now.
    says: bool,
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
    /// All shards of the stage, as the authority last described them, and since when no more has been done in them.
    shards: Vec<ShardLeft>,
    standing_since: Time,
}

/// What the worker's other jobs leave to one of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Whether its turn is near enough to claim blocks.
    pub(super) near: bool,
    /// How many jobs have anything in hand, this one included.
    pub(super) rivals: u32,
}

/// What a task reads of a shuffle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// The stage that wrote it.
    pub(super) from: u8,
    pub(super) place: Place,
    /// The root of the partition, and who sealed it.
    pub(super) root: Hash,
    pub(super) owner: PeerKey,
    /// When this peer may reduce it.
    open: Time,
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
            plan: stage.clone(),
            split: match stage.source {
                Source::Shuffle { stage } => manifest.fixed_split_of(stage).map(|split| (split, true)),
                Source::Inputs => None,
            },
            early: BTreeMap::new(),
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
            turn: Turn { near: true, rivals: 1 },
            said: 0,
            last: Time(0),
            unsaid: false,
            says: false,
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
            standing_since: core.now,
            manifest,
        };
        work.enter_shard(core, shard, place);
        work
    }

    /// Whether its tasks read documents.
    pub(super) fn reads_inputs(&self) -> bool {
        self.stage().source == Source::Inputs
    }

    fn stage(&self) -> &Stage {
        &self.plan
    }

    /// The submitter's hint where to begin. Of a few such places no two are the same: nothing need be settled.
    pub(super) fn take_place(&mut self, core: &Core, slot: u32, of: u32) {
        if self.said > 0 || self.table.held() > 0 {
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
    fn is_open(&self, now: Time, block: u32) -> bool {
        if self.avoid.get(&block).is_some_and(|avoided| avoided.until > now) {
            return false;
        }
        if self.stage().source == Source::Inputs {
            return true;
        }
        let mut tasks = self.stage().tasks_of_blocks(block..block + 1);
        tasks.all(|task| self.reads(task).is_some_and(|read| read.open <= now))
    }

    /// What a task reads of a shuffle; `None` before the partition is sealed.
    pub(super) fn reads(&self, task: u32) -> Option<Read> {
        let Source::Shuffle { stage: from } = self.stage().source else { return None };
        let place = self.split?.0.place(task)?;
        self.seals.get(&place.partition).map(|&(root, owner, open)| Read { from, place, root, owner, open })
    }

    /// Somebody, or the authority itself, says how many buckets make one task: from now on the stage has as many tasks as
    /// that makes. Among others the first is believed, which may be mistaken only if it is no honest shuffler.
    fn set_split(&mut self, core: &Core, width: u32, by_authority: bool) {
        let Source::Shuffle { stage: from } = self.stage().source else { return };
        let Some(split) = self.manifest.split_of(from, width) else { return };
        match &mut self.split {
            Some((known, certain)) if *known == split => {
                *certain |= by_authority;
                return;
            }
            Some((_, certain)) if *certain || !by_authority => return,
            _ => {}
        }
        self.split = Some((split, by_authority));
        self.plan = self.manifest.stages[usize::from(self.number)].settled(&split);
        self.queue.clear();
        self.tasks_left.clear();
        self.avoid.clear();
        self.shards.clear();
        let shard = self.table.shard() % self.plan.shards;
        self.open_shard(core, shard);
        for (worker, claim) in std::mem::take(&mut self.early) {
            self.hear(core, worker, &claim);
        }
    }

    /// How many blocks this worker wants in hand.
    fn wanted(&self, core: &Core, threads: u32) -> u32 {
        // The first claim is one block (rule 5); while that runs, there may be one for each thread and one more.
        let Some(pace) = self.pace else {
            let scarce = self.table.free() < (threads + 1) * self.table.active_workers();
            return if self.said == 0 || scarce { 1 } else { threads + 1 };
        };
        let ahead = self.ahead(core).as_micros() as f64 / f64::from(self.turn.rivals);
        ((ahead * f64::from(threads) / pace.max(1.0)).ceil() as u32).clamp(threads, limits::BLOCKS)
    }

    /// Claims aim at work for so long.
    fn ahead(&self, core: &Core) -> Duration {
        limits::CLAIM_AHEAD.max(core.voice.gap() * 5 / 2)
    }

    /// The most blocks to claim at once: half of this worker's share of what is free, so that the last batches are
    /// small (guided self-scheduling: Polychronopoulos and Kuck, 1987). But all claims of the shard together are
    /// `1 / interval` a second, and batches of *k* blocks that take `pace` each end the shard `free / k * interval +
    /// k * pace` from now: least at the root of `free * interval / pace`.
    fn fair(&self, core: &Core, threads: u32) -> u32 {
        let (free, company) = (self.table.free(), self.company(core));
        let interval = core.voice.gap().as_micros() as f64 / f64::from(company);
        let pace = self.pace.unwrap_or(f64::MAX).max(1.0) / f64::from(threads);
        let least = (f64::from(free) * interval / pace).sqrt() as u32;
        (free / (2 * company)).max(least).max(1)
    }

    /// Whether this worker has too little in hand.
    fn wants_more(&self, core: &Core, threads: u32) -> bool {
        let few = match self.pace {
            Some(_) => self.queue.len() as u32 * 2 <= self.wanted(core, threads),
            None => self.table.held() < self.wanted(core, threads),
        };
        // A worker that grows by what it may (rule 5) doubles what it has in hand with each word, or waits with it.
        let grows = self.allowed() >= (self.queue.len() as u32).max(1);
        few && grows && self.turn.near && !self.is_over() && !self.is_closed()
    }

    /// How many blocks more this worker may hold now.
    fn allowed(&self) -> u32 {
        self.table.allowance().saturating_sub(self.table.held())
    }

    /// Claims what is worth claiming now, and says so; gives whether that was anything. `upstream_over` says whether
    /// all is done, as far as this peer knows, of the stage that this one reads.
    pub(super) fn claim(&mut self, core: &mut Core, threads: u32, upstream_over: bool) -> bool {
        if !self.wants_more(core, threads) {
            if self.is_over() || (self.is_closed() && upstream_over) {
                self.look_around(core);
            }
            return false;
        }
        let now = core.now;
        if now < self.look_at.max(self.may_speak_at(core)) {
            return false;
        }
        self.entering = false;
        let wanted = self.wanted(core, threads);
        let fair = self.fair(core, threads);
        let allowed = self.allowed();
        let in_hand = if self.pace.is_some() { self.queue.len() as u32 } else { self.table.held() };
        let want = wanted.saturating_sub(in_hand).min(fair).min(allowed);
        let (me, heartbeat) = (core.me, self.heartbeat(core));
        let nothing = ClaimTable::new(me, self.job, 0, 0, 0..0, 0);
        let mut table = std::mem::replace(&mut self.table, nothing);
        let first = |block| self.stage().tasks_of_blocks(block..block + 1).start;
        let mine = |block| self.reads(first(block)).is_none_or(|read| read.owner == me);
        let mut chosen = table.choose(now, want, |b| self.is_open(now, b), mine);
        let idle = u64::from(table.active_workers() - table.busy_workers()).max(1);
        if chosen.is_empty() && allowed > 0 && !self.is_busy() && table.draw().is_multiple_of(idle) {
            let patience = STRAGGLER_PATIENCE.max(Duration::from_micros(self.pace.unwrap_or(0.0) as u64 * 4));
            // Of its progress a worker speaks at each heartbeat at least.
            let patience = patience + heartbeat;
            chosen.extend(table.choose_straggler(now, patience, |b| self.is_open(now, b)));
        }
        self.table = table;
        if chosen.is_empty() {
            self.look_at = now + LOOK_AGAIN;
            self.look_around(core);
            return false;
        }
        self.summary_wait = SUMMARY_WAIT.0;
        let settle = if self.immediate && self.said == 0 { Duration::ZERO } else { self.settle(core) };
        self.queue.extend(chosen.into_iter().map(|b| (b, now + settle)));
        self.says = true;
        true
    }

    /// Says how things stand, where it is time to.
    pub(super) fn speak(&mut self, core: &mut Core) {
        self.says |= core.now >= self.must_speak_at(core);
        if core.now >= self.summary_at {
            self.ask_summary(core);
        }
    }

    /// When this worker must say how things stand, if it does not claim before.
    fn must_speak_at(&self, core: &Core) -> Time {
        let holds = self.table.held() > 0;
        if holds && !self.contested {
            self.last + self.heartbeat(core)
        } else if self.contested {
            self.may_speak_at(core)
        } else if self.unsaid {
            self.may_tell_at(core)
        } else {
            Time::NEVER
        }
    }

    /// Whether this worker has anything to say of this shard that cannot wait.
    pub(super) fn says(&self) -> bool {
        self.says
    }

    /// Whether it is worth saying how things stand, where there is a message anyway.
    pub(super) fn could_say(&self) -> bool {
        self.unsaid || self.contested || self.table.held() > 0
    }

    /// Whether all workers of the mesh listen here: so few that every job is one shard for all of them.
    fn is_heard_by_all(&self, core: &Core) -> bool {
        core.workers <= EXPECTED && self.stage().shards == 1
    }

    /// Whether all who work on another shard listen to this one too, as far as this peer knows.
    pub(super) fn is_heard_by_those_of(&self, core: &Core, other: &StageWork) -> bool {
        let all = self.is_heard_by_all(core) && other.is_heard_by_all(core);
        let listeners = || self.table.listeners().collect::<BTreeSet<PeerKey>>();
        all || (other.table.active_workers() > 1
            && other.table.peers().collect::<BTreeSet<_>>().is_subset(&listeners()))
    }

    /// How things stand, as it is said now.
    pub(super) fn say(&mut self, core: &Core) -> Claim {
        self.table.set_settle(self.settle(core));
        let claim = self.table.next_message(core.now, self.said);
        (self.said, self.last) = (self.said + 1, core.now);
        (self.says, self.unsaid, self.contested) = (false, false, false);
        claim
    }

    /// Says how things stand at once, of this shard alone.
    fn publish(&mut self, core: &mut Core) {
        let claim = self.say(core);
        core.voice.spend(core.now);
        core.publish(self.topic, Gossip::Claims(vec![claim]));
    }

    /// When something must be done here, if nothing happens before.
    pub(super) fn deadline(&self, core: &Core, threads: u32) -> Time {
        let now = core.now;
        // Once it may be started, a claim waits for room in hand, not for time.
        let start = self.queue.front().map_or(Time::NEVER, |&(_, from)| if from > now { from } else { Time::NEVER });
        let claim =
            if self.wants_more(core, threads) { self.look_at.max(self.may_speak_at(core)) } else { Time::NEVER };
        self.must_speak_at(core).min(start).min(claim).min(self.summary_at).min(self.outbox.deadline())
    }

    /// Another worker's standing in this shard.
    pub(super) fn hear(&mut self, core: &Core, from: PeerKey, claim: &Claim) {
        if self.split.is_none() && self.stage().source != Source::Inputs {
            if self.early.len() < limits::SHARD_WORKERS || self.early.contains_key(&from) {
                self.early.insert(from, claim.clone());
            }
            return;
        }
        if claim.shard != self.table.shard() {
            return;
        }
        self.table.set_settle(self.settle(core));
        let heard = self.table.hear(core.now, from, claim);
        // Others must hear what is kept against them, and what is given up for them.
        self.contested |= heard.contested || !heard.lost.is_empty();
        if !heard.lost.is_empty() {
            let lost: BTreeSet<u32> = heard.lost.iter().copied().collect();
            self.queue.retain(|(b, _)| !lost.contains(b));
        }
        if (heard.changed || !heard.lost.is_empty()) && !self.entering && self.table.free() > 0 {
            let at = core.now + self.thin(core);
            self.look_at = if heard.lost.is_empty() { self.look_at.min(at) } else { at };
        }
    }

    /// The owner of partitions says that they are sealed.
    pub(super) fn hear_seals(&mut self, core: &Core, from: PeerKey, seals: &Seals) {
        if self.stage().source != (Source::Shuffle { stage: seals.stage }) {
            return;
        }
        self.set_split(core, seals.width, false);
        for &(partition, root) in &seals.seals {
            self.hear_seal(core, partition, root, from);
        }
    }

    fn hear_seal(&mut self, core: &Core, partition: u16, root: Hash, owner: PeerKey) {
        if self.seals.get(&partition).is_some_and(|s| (s.0, s.1) == (root, owner)) {
            return;
        }
        let works = core.directory.get(&owner).is_none_or(|member| member.advert.roles.worker);
        let open = if works && owner != core.me { core.now + OWNER_FIRST } else { core.now };
        self.seals.insert(partition, (root, owner, open));
        let thin = if owner == core.me { Duration::ZERO } else { self.thin(core) };
        if !self.entering {
            self.look_at = self.look_at.min(open + thin);
        }
    }

    /// What it read has been revoked: nothing is sealed any more. The authority may divide it anew, if it has lost how it
    /// was divided.
    pub(super) fn unseal(&mut self) {
        self.seals.clear();
        let is_fixed = |from: u8| self.manifest.fixed_split_of(from).is_some();
        if let (Source::Shuffle { stage }, Some((_, certain))) = (self.plan.source, &mut self.split) {
            *certain = is_fixed(stage);
        }
    }

    /// The shufflers changed: what was sealed is sealed again by its owners.
    pub(super) fn new_epoch(&mut self, now: Time, owner_of: impl Fn(u16) -> Option<PeerKey>) {
        self.seals.retain(|&partition, (_, owner, _)| owner_of(partition) == Some(*owner));
        self.look_at = now;
    }

    /// Lets everything go and says so.
    pub(super) fn leave(&mut self, core: &mut Core) {
        let held: Vec<u32> = self.table.message(core.now).holds.iter().flat_map(|h| h.run.iter()).collect();
        held.into_iter().for_each(|block| self.table.give_up(block));
        self.queue.clear();
        self.publish(core);
    }

    /// This peer did nothing for as long as `asleep`: leases of others did not run out meanwhile, as they could not be
    /// renewed here.
    pub(super) fn woke(&mut self, core: &mut Core, asleep: Duration) {
        self.table.woke(asleep);
        self.ask_summary(core);
    }

    /// Leases that ran out.
    pub(super) fn lapse(&mut self, core: &Core) {
        if self.table.lapse(core.now, self.lease(core), self.longest_hold(core)) {
            self.look_at = self.look_at.min(core.now + self.thin(core));
        }
    }

    /// A worker's connection broke, or it said goodbye.
    pub(super) fn lost(&mut self, core: &Core, peer: &PeerKey, for_good: bool) {
        if for_good {
            self.table.left_for_good(peer);
            self.look_at = self.look_at.min(core.now + self.thin(core));
        } else {
            self.table.broken(core.now, peer);
        }
    }
}
